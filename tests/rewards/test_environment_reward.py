"""The environment's own reward."""

import numpy as np
import pytest
import torch
from pendulum_system import demonstrations, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.rewards import EnvironmentReward, Episodes


def rewarded(steps: int) -> Trajectory:
    return Trajectory(np.zeros((steps + 1, 3), np.float32), env_rewards=np.arange(1.0, steps + 1, dtype=np.float32))


def test_rewards_pass_through_and_the_padding_is_zero():
    episodes = Episodes.from_trajectories([rewarded(2), rewarded(4)])
    dirty = Episodes(episodes.observations, episodes.lengths, episodes.terminated, episodes.env_rewards + 0.0)
    dirty.env_rewards[0, 2:] = torch.nan
    scores = EnvironmentReward().fit(demonstrations()).score(dirty)
    assert scores.tolist() == [[1.0, 2.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]


def test_a_terminal_state_is_worth_nothing():
    assert EnvironmentReward().absorbing_reward(Episodes.from_trajectories([rewarded(2)] * 3)).tolist() == [0.0] * 3


def test_episodes_without_rewards_are_refused():
    with pytest.raises(InputError, match="no rewards of the environment"):
        EnvironmentReward().score(Episodes.from_trajectories([rollout()]))
