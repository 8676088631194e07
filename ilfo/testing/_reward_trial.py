"""A reward generator on trial: the episodes that it is tried on, and what it says of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import Episodes, RewardGenerator, StateFeatures
from ilfo.testing._probes import PROBE_STEPS, cut, random_walk, shuffled, still

__all__ = ["RewardTrial"]

TOLERANCE = 5e-3
"""Share of the largest reward by which two ways to the same reward may differ: distances from a matrix product, like
those of ``torch.cdist`` with many rows, have half the digits of others."""


class RewardTrial:
    """A generator on trial.

    Args:
        maker: Makes it from options and features.
        demonstrations: What it is fitted on.
        options: What it is made with.
        device: Where the episodes are.
    """

    def __init__(
        self,
        maker: Callable[[Any, StateFeatures], RewardGenerator],
        demonstrations: Demonstrations,
        options: Any,
        device: torch.device | str,
    ) -> None:
        self.maker, self.demonstrations, self._options, self._device = maker, demonstrations, options, device

    def make(self) -> RewardGenerator:
        """A fresh one, not fitted."""
        return self.maker(self._options, StateFeatures())

    @cached_property
    def reward(self) -> RewardGenerator:
        """The one that is examined; the clause on ``fit`` fits it."""
        return self.make()

    @property
    def episodes(self) -> Episodes:
        """Like the expert's, cut short by a termination, random, still, shuffled, and of a single step.

        A copy each time, so that no check meets another's changes or gets the kept answer to an earlier one.
        """
        return copy.deepcopy(self._episodes)

    @cached_property
    def _episodes(self) -> Episodes:
        expert = cut(self.demonstrations[0], PROBE_STEPS)
        died = cut(expert, max(1, 2 * len(expert) // 3), terminated=True)
        return self._collected([expert, died, random_walk(expert), still(died), shuffled(expert), cut(expert, 1)])

    def ladder(self) -> dict[str, Episodes]:
        """Whole episodes like and unlike the first demonstration."""
        expert = cut(self.demonstrations[0], len(self.demonstrations[0]))
        others = {"shuffled": shuffled(expert), "still": still(expert), "random_walk": random_walk(expert)}
        return {name: self._collected([episode]) for name, episode in {"expert": expert, **others}.items()}

    def _collected(self, trajectories: Sequence[Trajectory]) -> Episodes:
        """As the training loop hands them over: a generator that imitates never sees the environment's rewards."""
        episodes = Episodes.from_trajectories(trajectories, self._device)
        return replace(episodes, env_rewards=None) if self.reward.imitates else episodes

    @cached_property
    def scores(self) -> Tensor:
        """Its rewards for the episodes when it was first asked."""
        return self.score(self.episodes)

    @cached_property
    def second(self) -> tuple[Tensor, list[tuple[float, str]]]:
        """The rewards of another generator, made and fitted alike, and the progress that it reported."""
        progress: list[tuple[float, str]] = []
        reward = self.make()
        reward.on_progress = lambda share, text: progress.append((share, text))
        reward.fit(self.demonstrations)
        return self.score(self.episodes, reward), progress

    def score(self, episodes: Episodes, reward: RewardGenerator | None = None) -> Tensor:
        """Its rewards, or another generator's, for episodes."""
        return (self.reward if reward is None else reward).score(episodes)

    def difference(self, found: Tensor, expected: Tensor, *, exactly: bool = False) -> str | None:
        """The worst difference between rewards ``(B, T)`` of steps that happened, in words; None if there is none."""
        allowed = 0.0 if exactly else TOLERANCE * float(expected.abs().max())
        apart = (found - expected).abs()
        wrong = ~(apart <= allowed) & self._episodes.mask  # NaN is not close to anything
        if not wrong.any():
            return None
        row, step = divmod(int(torch.where(wrong, apart.nan_to_num(math.inf), -1.0).argmax()), found.shape[1])
        return f"step {step} of episode {row} gets {found[row, step]:.6g} in place of {expected[row, step]:.6g}"
