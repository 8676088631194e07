"""Turns the costs of single steps into their rewards, and into that of the state after a termination."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ilfo.rewards.atoms import Sequences
from ilfo.rewards.base import Episodes
from ilfo.rewards.matching import Matching

__all__ = ["BLOCK", "Match", "StepMatching"]

BLOCK = 2**24
"""Costs held in memory at a time, 64 MiB in float32."""


@dataclass(frozen=True)
class Match:
    """What the steps of episodes cost.

    Attributes:
        costs: ``(B, T)``, of any value in the padding; inf where nothing was left to match a step to.
        alone: ``(B,)`` share of the time after a termination in which the expert lived on, between 0 and 1.
    """

    costs: Tensor
    alone: Tensor

    @classmethod
    def with_one(cls, best: Tensor, costs: Tensor, alone: Tensor) -> Match:
        """For the demonstration ``(B,)`` chosen for each episode, out of costs ``(E, B, T)`` and shares ``(E, B)``."""
        rows = torch.arange(len(best), device=best.device)
        return cls(costs[best, rows], alone[best, rows])


class StepMatching(Matching):
    """Rewards each step by the cost of what it was matched to, which a subclass finds in :meth:`match`.

    A step without a match costs ``absorbing_cost``, or as much as the episode's worst step if that is more. Its reward
    is ``-scale`` times that with ``squash="none"``, and 0 with ``squash="exponential"``. After a termination, the share
    of time in which the expert still lived is rewarded like a step without a match; the rest, in which the expert was
    dead too, like a perfect match. So dying early does not pay, unless the expert did so.
    """

    @abstractmethod
    def match(self, episodes: Sequences) -> Match:
        """The costs of the steps of some episodes, given by their atoms."""

    def score(self, episodes: Episodes) -> Tensor:
        """Rewards ``(B, T)`` float32 on the device of the episodes; 0 beyond an episode's length.

        Raises:
            InputError: An episode is not finite, has no steps, or is not as wide as the demonstrations.
        """
        costs = self.match(self.episode_atoms(episodes)).costs
        unmatched = self._unmatched_reward(costs, episodes.mask)[:, None]
        rewards = torch.where(costs.isinf(), unmatched, self.reward_of(costs))
        return torch.where(episodes.mask, rewards, 0.0).float()

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """Reward per step, ``(B,)``, of the state that follows a termination; 0 for other episodes."""
        found = self.match(self.episode_atoms(episodes))
        alone = found.alone * self._unmatched_reward(found.costs, episodes.mask)
        together = (1.0 - found.alone) * self.reward_of(torch.zeros_like(found.alone))
        return torch.where(episodes.terminated, alone + together, 0.0).float()

    def _unmatched_reward(self, costs: Tensor, mask: Tensor) -> Tensor:
        """Reward ``(B,)`` of a step without a match."""
        return self.reward_of(self._unmatched_cost(costs, mask)).clamp(max=0.0)

    def _unmatched_cost(self, costs: Tensor, mask: Tensor) -> Tensor:
        """Cost ``(B,)`` of a step without a match: ``absorbing_cost``, or as much as the episode's worst step."""
        return torch.where(mask & costs.isfinite(), costs, 0.0).amax(dim=1).clamp(min=self._absorbing_cost)
