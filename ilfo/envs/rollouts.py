"""Whole episodes, played with a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from ilfo._tools.errors import InputError
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


@overload
def rollout(
    policy: Policy,
    env_id: str,
    episodes: int,
    *,
    protocol: Protocol = ...,
    seed: int = ...,
    num_envs: int = ...,
    environments: Environments | None = ...,
) -> list[Trajectory]: ...
@overload
def rollout(
    policy: Policy,
    env_id: str,
    episodes: int,
    *,
    protocol: Protocol = ...,
    seed: Sequence[int],
    num_envs: int = ...,
    environments: Environments | None = ...,
) -> list[list[Trajectory]]: ...
def rollout(
    policy: Policy,
    env_id: str,
    episodes: int,
    *,
    protocol: Protocol = "standard",
    seed: int | Sequence[int] = 0,
    num_envs: int = COPIES,
    environments: Environments | None = None,
) -> list[Trajectory] | list[list[Trajectory]]:
    """Plays whole episodes with a policy.

    Copy ``i`` of a seed plays episodes ``i, i + N, ...``; which episodes are played, and how they start, depends on
    the seed and on ``N`` alone. A copy that has played its own stands still until the last is done.

    Args:
        policy: Observations ``(N, D)`` to actions ``(N, A)`` in [-1, 1]; of ``S`` seeds, ``(S*N, D)`` to ``(S*N, A)``.
        env_id: Gymnasium id.
        episodes: How many of each seed.
        protocol: How they end.
        seed: Seed of their initial states, or ``S`` of them.
        num_envs: Copies of each seed that step together, ``N``; no more than there are episodes.
        environments: Restarted and played in, instead of environments that are made for it; they are at rest
            afterwards and can be restarted.

    Returns:
        The episodes, or for a sequence of seeds those of each.

    Raises:
        InputError: ``environments`` are not what the other arguments describe.
    """
    count = max(1, min(num_envs, episodes))
    given = environments is not None
    environments = environments or Environments(env_id, count, protocol, seed)
    wanted = (env_id, protocol, count, _as_tuple(seed))
    found = (environments.env_id, environments.protocol, environments.num_envs, environments.seeds)
    if found != wanted:
        raise InputError(
            f"the environments to play in are (id, protocol, copies, seeds) {found}; expected {wanted}: make others"
        )
    played: list[list[Trajectory]] = [[] for _ in range(len(environments))]
    try:
        if given:
            environments.restart()
        environments.rest_after([len(range(copy, episodes, count)) for copy in range(count)] * len(environments.seeds))
        missing = episodes * len(environments.seeds)
        while missing:
            for row, trajectory in environments.step(policy(environments.observations, environments.ages)).finished:
                played[row].append(trajectory)
                missing -= 1
    finally:
        if not given:
            environments.close()
    grouped = [
        [played[start + index % count][index // count] for index in range(episodes)]
        for start in range(0, len(played), count)
    ]
    return grouped if isinstance(seed, Sequence) else grouped[0]


def random_policy(action_dim: int, seed: int) -> Policy:
    """Uniform actions in [-1, 1], from a stream of their own."""
    generator = np.random.default_rng(seed)

    def act(observations: np.ndarray, ages: np.ndarray | None = None) -> np.ndarray:
        return generator.uniform(-1, 1, (len(observations), action_dim)).astype(np.float32)

    return act


def _as_tuple(seed: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(seed) if isinstance(seed, Sequence) else (seed,)


class Stage:
    """Environments that policies of one or more seeds play whole episodes in, kept from one time to the next.

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
        """Episodes of each seed; see :func:`rollout`."""
        copies = min(COPIES, episodes)
        if copies not in self._environments:
            self._environments[copies] = Environments(
                self._env_id, copies, self._protocol, self._seeds, self._workers, view=self._view
            )
        return rollout(
            policy,
            self._env_id,
            episodes,
            protocol=self._protocol,
            seed=self._seeds,
            environments=self._environments[copies],
        )

    def close(self) -> None:
        """Frees the simulators."""
        for environments in self._environments.values():
            environments.close()
        self._environments.clear()
