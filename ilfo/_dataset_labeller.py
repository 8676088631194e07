"""Relabels a logged dataset with new rewards: reads, scores and writes it in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.demos.logged import Logged, Slot
from ilfo.demos.relabelled import NewRewards
from ilfo.rewards import Episodes, RewardGenerator
from ilfo.rewards._checked import NotFiniteError
from ilfo.rewards.base import LARGEST
from ilfo.rewards.labelling import imitation_rewards

__all__ = ["DatasetLabeller", "Labelled"]

_READ_AHEAD = 32_768
"""Transitions read at a time; among these, episodes of similar length are scored together."""
_COSTS = 2**24
"""Pairs of an agent's and an expert's step in a batch: 64 MiB of float32 costs, however long the demonstrations."""


@dataclass(frozen=True)
class Labelled:
    """A summary of the dataset that was written.

    Attributes:
        episodes: Number of episodes.
        transitions: Number of transitions.
        mean_reward: Mean over all transitions.
        terminated: Number of episodes that the environment ended.
        continued: Transitions without a known successor, which got the reward of the step before them.
        averaged: Transitions with neither a known successor nor a step before them, which got the mean of all others.
        rank_correlation: Spearman's, between the imitation returns of the episodes and their environment returns; None
            where the dataset has no rewards, or one of the two is constant. Folded values are left out.
    """

    episodes: int
    transitions: int
    mean_reward: float
    terminated: int
    continued: int
    averaged: int
    rank_correlation: float | None


class DatasetLabeller:
    """Reads, scores and writes a dataset by parts, and keeps count.

    Args:
        logged: The dataset.
        reward: A fitted reward generator.
        expert_steps: Steps of all demonstrations together.
        fold_absorbing: Discount with which the value of an absorbing state is folded into the last reward of a
            terminated episode; None: every episode counts as cut off where it ends.
        device: Where episodes are scored.
    """

    def __init__(
        self,
        logged: Logged,
        reward: RewardGenerator,
        *,
        expert_steps: int,
        fold_absorbing: float | None = None,
        device: str = "cpu",
    ) -> None:
        self._logged, self._reward = logged, reward
        self._fold_absorbing, self._device = fold_absorbing, device
        self._padded_steps = max(1, _COSTS // expert_steps)
        self._scored, self._total, self._transitions = 0.0, 0.0, 0
        self._terminated = self._continued = 0
        self._alone: list[Slot] = []
        self._returns: list[tuple[float, float]] = []

    def write(self, written: NewRewards, progress: Callable[[int, int], None] | None) -> Labelled:
        """Labels every transition.

        Args:
            written: Where the rewards go.
            progress: Called with the number of transitions labelled so far, and the number of all.

        Raises:
            InputError: An episode is damaged, diverged or not finite, or gets a reward that is not finite; the reward
                breaks its contract; or no transition can be scored.
        """
        everything = len(self._logged)
        for part in self._parts():
            for batch in self._batches(part):
                for (slot, trajectory), scores, learned in zip(batch, *self._score(batch), strict=True):
                    written.write(slot, self._noted(slot, trajectory, scores, learned))
                if progress is not None:
                    progress(self._transitions, everything)
        averaged = sum(map(len, self._alone))
        if averaged == everything:
            raise InputError(f"{self._logged.path}: no transition has a known successor, so that none can be scored.")
        known = everything - averaged
        for slot in self._alone:
            written.write(slot, np.full(len(slot), self._scored / known, np.float32))
        # The mean of what a learner sees, without what was only filled in.
        mean = self._total / known
        return Labelled(
            episodes=len(self._logged.slots),
            transitions=everything,
            mean_reward=mean,
            terminated=self._terminated,
            continued=self._continued,
            averaged=averaged,
            rank_correlation=_rank_correlation(np.array(self._returns).reshape(-1, 2)),
        )

    def _parts(self) -> Iterator[list[tuple[Slot, Trajectory]]]:
        """Lists of consecutive episodes, as many as are read at a time, without those that cannot be scored."""
        part: list[tuple[Slot, Trajectory]] = []
        steps = 0
        for slot in self._logged.slots:
            trajectory = self._logged.read(slot)
            self._check_magnitude(slot, trajectory)
            self._terminated += trajectory.terminated
            if len(trajectory):
                part.append((slot, trajectory))
                steps += len(trajectory)
            else:
                self._alone.append(slot)
            if steps >= _READ_AHEAD:
                yield part
                part, steps = [], 0
        yield part

    def _check_magnitude(self, slot: Slot, trajectory: Trajectory) -> None:
        beyond = np.argwhere(np.abs(trajectory.observations) >= LARGEST)
        if len(beyond):
            step, dimension = beyond[0].tolist()
            raise InputError(
                f"{self._logged.path}, {slot.name}, step {step}: dimension {dimension} of the observation is "
                f"{trajectory.observations[step, dimension]:g}; expected a number below {LARGEST:g}. The simulation "
                "has diverged: leave the episode out."
            )

    def _batches(self, part: list[tuple[Slot, Trajectory]]) -> Iterator[list[tuple[Slot, Trajectory]]]:
        """Batches of episodes of similar length, as large as the limit on costs allows with padding."""
        batch: list[tuple[Slot, Trajectory]] = []
        for each in sorted(part, key=lambda each: len(each[1])):
            if batch and (len(batch) + 1) * len(each[1]) > self._padded_steps:
                yield batch
                batch = []
            batch.append(each)
        if batch:
            yield batch

    def _score(self, batch: list[tuple[Slot, Trajectory]]) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(B, T)``, and the rewards that a learner is to see."""
        episodes = Episodes.from_trajectories([trajectory for _, trajectory in batch], self._device)
        discount = self._fold_absorbing
        try:
            with torch.no_grad():
                found = imitation_rewards(
                    self._reward, episodes, discount=discount or 0.0, absorbing=discount is not None
                )
        except NotFiniteError as error:
            slot, _ = batch[error.row]
            raise InputError(f"{self._logged.path}, {slot.name}, {error.problem} Nothing was written.") from error
        return found.scores.cpu().numpy(), found.rewards.cpu().numpy()

    def _noted(self, slot: Slot, trajectory: Trajectory, scores: np.ndarray, learned: np.ndarray) -> np.ndarray:
        """The rewards ``(len(slot),)`` to write of an episode, once they are counted."""
        steps = len(trajectory)
        own, new = scores[:steps], learned[:steps]
        if len(slot) > steps:
            # The folded value belongs to the last transition, the one that a learner sees terminate.
            own, new = np.append(own, own[-1]), np.append(own, new[-1])
            self._continued += 1
        self._transitions += len(slot)
        self._scored += float(own.sum(dtype=np.float64))
        self._total += float(new.sum(dtype=np.float64))
        old = self._logged.env_rewards(slot)
        if old is not None:
            self._returns.append((float(own.sum(dtype=np.float64)), float(old.sum(dtype=np.float64))))
        return new


def _rank_correlation(pairs: np.ndarray) -> float | None:
    """Spearman's rank correlation of two columns ``(N, 2)``; None where one is constant or not finite."""
    if not np.isfinite(pairs).all() or any(len(np.unique(column)) < 2 for column in pairs.T):
        return None
    return float(np.corrcoef(_ranks(pairs[:, 0]), _ranks(pairs[:, 1]))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Place of each value in the order of all; equal values share the mean of their places."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]
