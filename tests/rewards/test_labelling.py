"""Termination must not leak into the reward, whatever its sign."""

import numpy as np
import pytest
import torch
from small_envs import expert, walk

from ilfo.rewards import Episodes, OptimalTransport, RewardGenerator, TransportOptions
from ilfo.rewards.labelling import imitation_rewards

DISCOUNT = 0.95


class Constant(RewardGenerator):
    """The same reward for every step: all that an agent can learn from it is how long to live."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def fit(self, demonstrations):
        return self

    def score(self, episodes):
        return self.value * episodes.mask.float()


def value(rewards: torch.Tensor, length: int, terminated: bool) -> float:
    """Discounted return from the first step; a living agent goes on at its last reward for ever."""
    total = sum(DISCOUNT**step * float(rewards[step]) for step in range(length))
    return total if terminated else total + DISCOUNT**length / (1 - DISCOUNT) * float(rewards[length - 1])


def values(reward: RewardGenerator, absorbing: bool) -> tuple[float, float]:
    """Of an episode that falls off the ledge, and of one that lives on badly."""
    fall, idle = walk(-0.2), walk(0.0)
    assert fall.terminated
    assert len(fall) < 5
    episodes = Episodes.from_trajectories([fall, idle])
    rewards = imitation_rewards(reward, episodes, discount=DISCOUNT, absorbing=absorbing).rewards
    return value(rewards[0], len(fall), True), value(rewards[1], len(idle), False)


@pytest.mark.parametrize("squash", ["none", "exponential"])
def test_dying_does_not_pay_under_transport(squash):
    reward = OptimalTransport(TransportOptions(squash=squash)).fit(expert())
    dead, alive = values(reward, absorbing=True)
    assert dead < alive


def test_without_absorbing_states_dying_pays_under_a_negative_reward():
    reward = OptimalTransport(TransportOptions(squash="none")).fit(expert())
    dead, alive = values(reward, absorbing=False)
    assert dead > alive, "the trap that absorbing states are there for"


@pytest.mark.parametrize("constant", [-1.0, 1.0])
def test_the_default_absorbing_reward_makes_dying_never_better(constant):
    dead, alive = values(Constant(constant), absorbing=True)
    assert dead <= alive + 1e-4


def test_a_reward_of_transitions_is_told_where_its_default_lets_dying_pay():
    reward = Constant(-1.0)
    reward.needs = "transition"
    whole = Episodes.from_trajectories([walk(-0.2)])
    last = Episodes(whole.observations[:, -2:], torch.ones_like(whole.lengths), whole.terminated)
    with pytest.warns(UserWarning, match="Constant scores single transitions, some below 0, and has no absorbing_rew"):
        imitation_rewards(reward, last, discount=DISCOUNT, absorbing=True)
    assert imitation_rewards(reward, whole, discount=DISCOUNT, absorbing=True).rewards.lt(0).all()
    reward.value = 1.0
    assert imitation_rewards(reward, last, discount=DISCOUNT, absorbing=True).rewards.gt(0).all()


def test_a_constant_negative_reward_is_worth_the_same_dead_or_alive():
    dead, alive = values(Constant(-1.0), absorbing=True)
    assert dead == pytest.approx(alive, rel=1e-5) == pytest.approx(-1 / (1 - DISCOUNT), rel=1e-5)


def test_only_the_last_step_of_terminated_episodes_changes():
    episodes = Episodes.from_trajectories([walk(-0.2), walk(0.1), walk(-0.15)])
    reward = OptimalTransport(TransportOptions(squash="none")).fit(expert())
    labels = imitation_rewards(reward, episodes, discount=DISCOUNT, absorbing=True)
    scores, rewards = labels.scores, labels.rewards
    expected = scores.clone()
    absorbing = reward.absorbing_reward(episodes)
    for row in (0, 2):
        expected[row, episodes.lengths[row] - 1] += DISCOUNT / (1 - DISCOUNT) * absorbing[row]
    torch.testing.assert_close(rewards, expected)
    assert (rewards[1] == scores[1]).all()


def test_switched_off_the_scores_are_those_of_an_episode_that_was_cut():
    fall = walk(-0.2)
    episodes = Episodes.from_trajectories([fall])
    reward = OptimalTransport().fit(expert())
    labels = imitation_rewards(reward, episodes, discount=DISCOUNT, absorbing=False)
    scores = labels.scores
    assert torch.equal(scores, labels.rewards)
    cut = Episodes.from_trajectories([walk(-0.2, steps=len(fall))])
    cut = Episodes(cut.observations, cut.lengths, torch.zeros_like(cut.terminated))
    np.testing.assert_array_equal(scores, reward.score(cut))
