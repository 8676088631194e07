"""From a logged dataset to one with other rewards: reads, scores and writes it by parts."""

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
from ilfo.rewards._answers import NotFiniteError
from ilfo.rewards.base import LARGEST
from ilfo.rewards.labelling import imitation_rewards

__all__ = ["DatasetLabeller", "Labelled"]

_READ_AHEAD = 32_768
"""Transitions that are read at a time, of which episodes of like length are scored together."""
_COSTS = 2**24
"""Pairs of a step and an expert's step in one batch: 64 MiB of costs in float32, however long the demonstrations."""


@dataclass(frozen=True)
class Labelled:
    """What was written.

    Attributes:
        episodes: Their number.
        transitions: Their number.
        mean_reward: Over all transitions.
        terminated: Episodes that the environment ended.
        continued: Transitions without a known successor, which got the reward of the step before them.
        averaged: Transitions without a known successor or a step before them, which got the mean of all others.
        rank_correlation: Spearman's, of the returns of the episodes with those under the environment's rewards; None
            where the dataset has none, or all episodes are worth the same. A folded value does not count.
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
        reward: Fitted.
        expert_steps: Of all demonstrations.
        fold_absorbing: Discount by which the value of an absorbing state is folded into the last reward of a terminated
            episode; None: episodes count as cut off where they end.
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
        self._total, self._transitions = 0.0, 0
        self._terminated = self._continued = 0
        self._alone: list[Slot] = []
        self._returns: list[tuple[float, float]] = []

    def write(self, written: NewRewards, progress: Callable[[int, int], None] | None) -> Labelled:
        """Labels every transition.

        Args:
            written: Where to.
            progress: Called with the transitions that are labelled, and with their number.

        Raises:
            InputError: An episode is damaged, diverged or not finite, or gets a reward that is; the reward breaks its
                contract; or not a single transition can be scored.
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
        mean = self._total / (everything - averaged)
        for slot in self._alone:
            written.write(slot, np.full(len(slot), mean, np.float32))
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
        """Episodes that follow each other, as many as are read at a time; without those that cannot be scored."""
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
        """Episodes of like length together, as many as their padding and the costs leave room for."""
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
            # The value of what follows a termination belongs to the last transition, which a learner sees end.
            own, new = np.append(own, own[-1]), np.append(own, new[-1])
            self._continued += 1
        self._transitions += len(slot)
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
