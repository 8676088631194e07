"""An environment whose reward is the imitation reward."""

import gymnasium
import numpy as np
import pytest
import torch
from ledge_rewards import Learning, Nearness
from small_envs import LEDGE, expert

from ilfo._tools.errors import InputError
from ilfo.adapters.gymnasium import ImitationRewardWrapper
from ilfo.rewards import Episodes, OptimalTransport, SumReward
from ilfo.rewards.labelling import imitation_rewards

DISCOUNT = 0.95


def play(env, velocity, seed=0):
    observation, _ = env.reset(seed=seed)
    states, rewards, own, over = [observation], [], [], False
    while not over:
        observation, reward, terminated, truncated, info = env.step(np.array([velocity], np.float32))
        states.append(observation)
        rewards.append(reward)
        own.append(info["env_reward"])
        over = terminated or truncated
    return np.array(states, np.float32), rewards, own, terminated


@pytest.mark.parametrize(("velocity", "falls"), [(0.1, False), (-0.2, True)])
@pytest.mark.parametrize("absorbing", [True, False])
def test_steps_return_the_imitation_reward_and_the_environments_own_beside_it(velocity, falls, absorbing):
    class Negative(Nearness):
        def score(self, episodes):
            return super().score(episodes) - 2.0 * episodes.mask

    reward = Negative().fit(expert())
    env = ImitationRewardWrapper(gymnasium.make(LEDGE), reward, discount=DISCOUNT, absorbing=absorbing)
    for seed in (0, 1):
        states, rewards, own, terminated = play(env, velocity, seed)
        assert terminated == falls
        pairs = torch.from_numpy(np.stack([states[:-1], states[1:]], axis=1))
        ends = torch.zeros(len(pairs), dtype=torch.bool)
        ends[-1] = terminated
        episodes = Episodes(pairs, torch.ones(len(pairs), dtype=torch.int64), ends)
        wanted = imitation_rewards(reward, episodes, discount=DISCOUNT, absorbing=absorbing)
        np.testing.assert_allclose(rewards, wanted.rewards[:, 0], rtol=1e-5, atol=1e-6)
        assert (rewards[-1] < -5) == (falls and absorbing), "falling costs what it costs to be dead for ever"
        assert own == pytest.approx([1.0 if velocity == 0.1 else 0.0] * len(own), abs=1e-5)


def test_the_last_step_of_an_episode_has_what_there_is_to_log():
    reward = SumReward({"near": Nearness(), "learned": Learning()}, {"near": 1.0, "learned": 0.5}).fit(expert())
    env = ImitationRewardWrapper(gymnasium.make(LEDGE), reward, discount=DISCOUNT)
    for episode in (1, 2):
        env.reset(seed=0)
        rewards, told = [], []
        for step in range(40):
            _, imitation_reward, _, _, info = env.step(np.array([0.1], np.float32))
            rewards.append(imitation_reward)
            told += [(step, info["imitation"])] if "imitation" in info else []
        ((step, numbers),) = told
        assert step == 39
        assert numbers["learned/steps_seen"] == 40.0 * episode
        assert numbers["imitation_return"] == pytest.approx(sum(rewards), rel=1e-5)
        near, learned = (numbers[f"imitation_return/{name}"] for name in ("near", "learned"))
        assert learned == pytest.approx((1 + 40 * (episode - 1)) * near / 2, rel=1e-5)
        assert near + learned == pytest.approx(sum(rewards), rel=1e-5)


def test_a_reward_that_learns_sees_every_episode_once_also_one_that_is_reset():
    reward = Learning().fit(expert())
    env = ImitationRewardWrapper(gymnasium.make(LEDGE), reward, discount=DISCOUNT)
    play(env, 0.1)
    env.reset()
    for _ in range(7):
        env.step(np.array([0.1], np.float32))
    play(env, 0.1)
    assert [length for length, _ in reward.ends] == [40, 7, 40]


def test_a_buffer_that_the_environment_goes_on_writing_to_is_no_transitions_beginning():
    reward = Nearness().fit(expert())
    env = ImitationRewardWrapper(gymnasium.make("small_envs:Reusing-v0").unwrapped, reward, discount=DISCOUNT)
    _, rewards, _, _ = play(gymnasium.wrappers.TimeLimit(env, 10), 0.1)
    assert len(rewards) == 10
    assert min(rewards) > 1.5


def test_in_vector_environments_it_wraps_each():
    reward = Nearness().fit(expert())
    envs = gymnasium.make_vec(
        LEDGE,
        num_envs=2,
        vectorization_mode="sync",
        wrappers=[lambda env: ImitationRewardWrapper(env, reward, discount=DISCOUNT)],
    )
    envs.reset(seed=0)
    _, rewards, *_ = envs.step(np.array([[0.1], [-0.2]], np.float32))
    assert rewards[0] > rewards[1] > 0


def test_what_it_cannot_do_is_refused_with_what_can():
    with pytest.raises(InputError, match=r"OptimalTransport needs whole episodes.*EpisodeLabeller.*ReplayBuffer"):
        ImitationRewardWrapper(gymnasium.make(LEDGE), OptimalTransport().fit(expert()), discount=DISCOUNT)
    with pytest.raises(InputError, match=r"observation space is Dict.*FlattenObservation"):
        ImitationRewardWrapper(gymnasium.make("small_envs:DictLedge-v0"), Nearness().fit(expert()), discount=DISCOUNT)
    env = ImitationRewardWrapper(gymnasium.make("small_envs:Exploding-v0"), Nearness().fit(expert()), discount=DISCOUNT)
    with pytest.raises(InputError, match=r"of the observation is nan"):
        play(env, 0.1)
