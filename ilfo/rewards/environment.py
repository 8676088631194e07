"""The environment's own reward, passed through."""

from __future__ import annotations

import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.rewards.base import Episodes, Needs, RewardGenerator

__all__ = ["EnvironmentReward"]


class EnvironmentReward(RewardGenerator):
    """Passes the environment's rewards through: to make experts, and to compare with published curves.

    It does not imitate: demonstrations are neither needed nor read.
    """

    needs: Needs = "transition"
    imitates = False

    def fit(self, demonstrations: Demonstrations) -> EnvironmentReward:
        """Returns itself: there is nothing to learn from the expert."""
        return self

    def score(self, episodes: Episodes) -> Tensor:
        """The environment's rewards ``(B, T)`` float32, 0 beyond an episode's length.

        Raises:
            InputError: The episodes carry no rewards of the environment.
        """
        if episodes.env_rewards is None:
            raise InputError(
                "The episodes carry no rewards of the environment: record them as env_rewards, or choose an "
                "imitation reward."
            )
        return torch.where(episodes.mask, episodes.env_rewards, 0.0).float()

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """Zeros ``(B,)``: for the environment, a terminal state has the value 0."""
        return torch.zeros(len(episodes.lengths), device=episodes.observations.device)
