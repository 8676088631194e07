"""An environment whose reward is the imitation reward."""

import pickle

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector.utils import CloudpickleWrapper
from ledge_rewards import Learning, Nearness, Passing, three_columns, timed
from small_envs import LEDGE, expert

from ilfo._tools.errors import InputError
from ilfo.adapters.gymnasium import ImitationRewardWrapper
from ilfo.rewards import Episodes, NearestStep, OptimalTransport, SumReward
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

        def absorbing_reward(self, episodes):
            return torch.full((len(episodes.lengths),), -2.0)

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


@pytest.mark.parametrize("outside", [False, True])
def test_a_time_limit_may_be_inside_or_outside(outside):
    def limited(env):
        return gymnasium.wrappers.TimeLimit(env, 5)

    env = gymnasium.make(LEDGE)
    env = ImitationRewardWrapper(env if outside else limited(env), Nearness().fit(expert()), discount=DISCOUNT)
    env, told, returned = limited(env) if outside else env, [], []
    for _ in range(3):
        told.append(env.reset(seed=0)[1])
        over, rewards = False, 0.0
        while not over:
            _, reward, terminated, truncated, info = env.step(np.array([0.1], np.float32))
            rewards += reward
            over = terminated or truncated
            told.append(info)
        returned.append(rewards)
    told.append(env.reset()[1])
    found = [info["imitation"]["imitation_return"] for info in told if "imitation" in info]
    assert found == pytest.approx(returned)


def test_a_reset_that_happens_in_a_step_is_refused_where_it_would_be_rewarded():
    reward = Nearness().fit(expert())
    with pytest.raises(InputError, match=r"Autoreset\(ImitationRewardWrapper\(env"):
        ImitationRewardWrapper(gymnasium.wrappers.Autoreset(gymnasium.make(LEDGE)), reward, discount=DISCOUNT)
    gymnasium.wrappers.Autoreset(ImitationRewardWrapper(gymnasium.make(LEDGE), reward, discount=DISCOUNT))


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


def test_environments_in_processes_of_their_own_learn_apart_and_the_reward_that_was_given_never():
    """Its description says so; they are sent there in this wrapping."""
    assert "AsyncVectorEnv" in ImitationRewardWrapper.__doc__
    reward = Learning().fit(expert())
    sent = pickle.dumps(CloudpickleWrapper(lambda: ImitationRewardWrapper(gymnasium.make(LEDGE), reward, discount=0.9)))
    for _ in range(2):
        env = pickle.loads(sent)()
        play(env, 0.1)
        env.reset()
        for _ in range(40):
            *_, info = env.step(np.array([0.1], np.float32))
        assert info["imitation"]["steps_seen"] == 80.0, "its own episodes alone"
    assert reward.steps == 0


@pytest.mark.parametrize("kind", [NearestStep, Nearness, Passing])
def test_observations_of_another_width_are_refused_before_the_first_step(kind):
    with pytest.raises(InputError, match=r"ha(s|ve) 2 dimensions.*\b3\b.*use a demonstration of this environment"):
        ImitationRewardWrapper(gymnasium.make(LEDGE), kind().fit(three_columns()), discount=DISCOUNT)


def test_a_reward_that_is_not_fitted_is_refused_before_the_first_step():
    half = SumReward({"one": Nearness().fit(expert()), "other": NearestStep()}, {"one": 1.0, "other": 1.0})
    for reward in (NearestStep(), Nearness(), half):
        with pytest.raises(InputError, match=r"no expert yet.*call fit or load_state_dict"):
            ImitationRewardWrapper(gymnasium.make(LEDGE), reward, discount=DISCOUNT)


def test_a_reward_that_learns_may_look_at_the_time():
    """In other adapters it is scored again when nobody knows the time any more; here never."""
    reward = timed(Learning).fit(expert())
    _, rewards, *_ = play(ImitationRewardWrapper(gymnasium.make(LEDGE), reward, discount=DISCOUNT), 0.1)
    assert min(rewards) > 1.5


def test_what_it_cannot_do_is_refused_with_what_can():
    with pytest.raises(InputError, match=r"OptimalTransport needs whole episodes.*EpisodeLabeller.*ReplayBuffer"):
        ImitationRewardWrapper(gymnasium.make(LEDGE), OptimalTransport().fit(expert()), discount=DISCOUNT)
    with pytest.raises(InputError, match=r"observation space is Dict.*FlattenObservation"):
        ImitationRewardWrapper(gymnasium.make("small_envs:DictLedge-v0"), Nearness().fit(expert()), discount=DISCOUNT)
    env = ImitationRewardWrapper(gymnasium.make("small_envs:Exploding-v0"), Nearness().fit(expert()), discount=DISCOUNT)
    with pytest.raises(InputError, match=r"of the observation is nan"):
        play(env, 0.1)
