"""Transitions with their rewards, as they leave a labeller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

__all__ = ["FinishedEpisode", "Transition", "Transitions", "named_returns"]


class Transition(NamedTuple):
    """One transition, in the order in which ``add`` of Stable-Baselines3's ``ReplayBuffer`` begins.

    That one, which CleanRL uses too, takes infos besides, and as many rows as it was told of environments: make it with
    ``n_envs=1``, however many there are, and call ``replay.add(*step, [{}])``. The infos would only tell it of time
    limits, and ``terminated`` is never one.

    Attributes:
        observation: ``(D,)`` float32.
        next_observation: ``(D,)`` float32; of an episode's last step its final one.
        action: As it was given.
        reward: What to learn from, float32.
        terminated: Nothing follows; a time limit is no termination.
    """

    observation: np.ndarray
    next_observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


def named_returns(imitation_return: float, terms: Mapping[str, float]) -> dict[str, float]:
    """A return, and what each term of a sum has given to it, by the names of the metrics of ilfo's own runs."""
    return {"imitation_return": imitation_return} | {f"imitation_return/{name}": term for name, term in terms.items()}


@dataclass(frozen=True)
class FinishedEpisode:
    """What there is to log of an episode that is over.

    Attributes:
        env: Which environment it was played in.
        length: Its steps.
        imitation_return: Sum of the reward's own scores, without the worth of absorbing states.
        terminated: Whether the environment itself ended it.
        terms: What each term of a sum has given to the return, by its name; of other rewards nothing.
        metrics: What the reward says of what it learned from it; mostly nothing.
    """

    env: int
    length: int
    imitation_return: float
    terminated: bool
    terms: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """All that the reward says of it, by the names that it has in the metrics of ilfo's own runs."""
        return self.metrics | named_returns(self.imitation_return, self.terms)


@dataclass(frozen=True)
class Transitions:
    """``K`` transitions with their rewards, ready for a replay; iterating gives each as a :class:`Transition`.

    Attributes:
        observations: ``(K, D)`` float32.
        next_observations: ``(K, D)`` float32, never a reset's.
        actions: ``(K, ...)``, as they were given.
        rewards: ``(K,)`` float32.
        terminated: ``(K,)`` bool, True where nothing follows.
        ended: ``(K,)`` bool, True on the last step of an episode, whatever ended it.
        episodes: The episodes that came to their end.
    """

    observations: np.ndarray
    next_observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    ended: np.ndarray
    episodes: tuple[FinishedEpisode, ...] = ()

    def __len__(self) -> int:
        return len(self.rewards)

    def __iter__(self) -> Iterator[Transition]:
        columns = self.observations, self.next_observations, self.actions, self.rewards, self.terminated
        return map(Transition, *columns)

    @classmethod
    def none(cls, observations: np.ndarray, actions: np.ndarray) -> Transitions:
        """No transitions, of observations and actions like these."""
        marks = np.zeros(0, bool)
        return cls(observations[:0], observations[:0], actions[:0], np.zeros(0, np.float32), marks, marks)

    @classmethod
    def join(cls, parts: Sequence[Transitions]) -> Transitions:
        """One after another; at least one part."""
        return cls(
            np.concatenate([part.observations for part in parts]),
            np.concatenate([part.next_observations for part in parts]),
            np.concatenate([part.actions for part in parts]),
            np.concatenate([part.rewards for part in parts]),
            np.concatenate([part.terminated for part in parts]),
            np.concatenate([part.ended for part in parts]),
            tuple(episode for part in parts for episode in part.episodes),
        )
