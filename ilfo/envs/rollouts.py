"""Whole episodes, played with a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from ilfo.demos import Trajectory
from ilfo.envs.environments import Environments
from ilfo.envs.making import Protocol

if TYPE_CHECKING:
    from ilfo.rewards.sight import View

__all__ = ["Policy", "Stage", "random_policy", "rollout"]

Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Observations ``(N, D)``, and the steps ``(N,)`` since their episodes began, to actions ``(N, A)`` in [-1, 1]."""

COPIES = 10
"""Environments that step together, for each seed."""


def rollout(
    policy: Policy, env_id: str, episodes: int, *, protocol: Protocol = "standard", seed: int = 0
) -> list[Trajectory]:
    """Plays whole episodes with a policy, in environments that are made for it.

    Args:
        policy: Observations ``(N, D)`` and ages of the episodes in steps ``(N,)`` to actions ``(N, A)`` in [-1, 1].
        env_id: Gymnasium id.
        episodes: How many.
        protocol: How they end.
        seed: Seed of their initial states.
    """
    with closing(Stage(env_id, protocol, [seed])) as stage:
        return stage.play(policy, episodes)[0]


def successes_of(episodes: Iterable[Trajectory]) -> list[bool] | None:
    """Whether each of these episodes succeeded; None where nothing is said of any.

    Where one has a success, those of which nothing is said had none: some environments speak of success only when it
    comes.
    """
    found = [each.success for each in episodes]
    return None if all(each is None for each in found) else [bool(each) for each in found]


def random_policy(action_dim: int, seed: int) -> Policy:
    """Uniform actions in [-1, 1], from a stream of their own."""
    generator = np.random.default_rng(seed)

    def act(observations: np.ndarray, ages: np.ndarray | None = None) -> np.ndarray:
        return generator.uniform(-1, 1, (len(observations), action_dim)).astype(np.float32)

    return act


class Stage:
    """Environments in which policies of one or more seeds play whole episodes, kept from one call to the next.

    Args:
        env_id: Gymnasium id.
        protocol: How episodes end.
        seeds: Seeds of the initial states; each time the same ones.
        workers: Processes that the environments live in; 0: this one.
        view: What policies see in place of states.
    """

    def __init__(
        self, env_id: str, protocol: Protocol, seeds: Sequence[int], workers: int = 0, view: View | None = None
    ) -> None:
        self._env_id, self._protocol, self._seeds, self._workers = env_id, protocol, seeds, workers
        self._view = view
        self._environments: dict[int, Environments] = {}

    def play(self, policy: Policy, episodes: int) -> list[list[Trajectory]]:
        """Plays whole episodes of each of ``S`` seeds.

        Copy ``i`` of ``N`` of a seed plays episodes ``i, i + N, ...``; which episodes are played, and how they start,
        depends on the seed and on their number alone. A copy that has played its own stands still until the last is
        done.

        Args:
            policy: Observations ``(S*N, D)`` and ages of the episodes in steps ``(S*N,)`` to actions ``(S*N, A)`` in
                [-1, 1], the rows of the first seed first.
            episodes: How many of each seed.
        """
        copies = max(1, min(COPIES, episodes))
        if copies in self._environments:
            self._environments[copies].restart()
        else:
            self._environments[copies] = Environments(
                self._env_id, copies, self._protocol, self._seeds, self._workers, view=self._view
            )
        environments = self._environments[copies]
        environments.rest_after([len(range(copy, episodes, copies)) for copy in range(copies)] * len(self._seeds))
        played: list[list[Trajectory]] = [[] for _ in range(len(environments))]
        missing = episodes * len(self._seeds)
        while missing:
            for row, trajectory in environments.step(policy(environments.observations, environments.ages)).finished:
                played[row].append(trajectory)
                missing -= 1
        return [
            [played[start + index % copies][index // copies] for index in range(episodes)]
            for start in range(0, len(played), copies)
        ]

    def close(self) -> None:
        """Frees the simulators."""
        for environments in self._environments.values():
            environments.close()
        self._environments.clear()
