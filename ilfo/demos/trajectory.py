"""What a demonstration is: trajectories of states, and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np

from ilfo._tools.pieces import pieces_of

__all__ = ["Demonstrations", "Provenance", "Trajectory", "sha256_of", "spans_of"]


@dataclass(frozen=True)
class Trajectory:
    """One episode of an expert, seen from outside: states, and whatever else was recorded.

    A trajectory of ``T`` steps has ``T + 1`` observations, the final one included. Actions are never
    required.

    Attributes:
        observations: ``(T+1, D)`` float32. Dict observations are flattened in the order of
            ``Provenance.observation_keys``. ``(T+1, 0)`` where there are frames and no states.
        actions: ``(T, A)`` float32, or None.
        env_rewards: ``(T,)`` float32, the environment's own reward, for evaluation only, or None.
        frames: ``(T+1, H, W, 3)`` uint8 RGB, what a camera saw at each observation, or None. Those of a file are read
            from it on access, see :class:`~ilfo.demos.lazy_frames.LazyFrames`.
        goal: ``(G,)`` float32, the goal of this episode, where the environment states it; else None.
        terminated: The environment ended the episode (a fall, a goal) after the last observation.
        truncated: A time limit, or the end of the recording, ended it.
        success: Whether the task's own criterion was met; None where the task has none.
        success_step: Steps until it was first met; None where that never was, or is not known.
        last_reward: Reward of one more step, which is not part of the trajectory because the state that it led to was
            not recorded; it counts in the return. None where there was none.
        seed: The seed that the environment was reset with, or None.
    """

    observations: np.ndarray
    actions: np.ndarray | None = None
    env_rewards: np.ndarray | None = None
    terminated: bool = False
    truncated: bool = True
    success: bool | None = None
    seed: int | None = None
    frames: np.ndarray | None = None
    goal: np.ndarray | None = None
    success_step: int | None = None
    last_reward: float | None = None

    def __len__(self) -> int:
        """Number of steps ``T``: one fewer than the observations."""
        return len(self.observations) - 1

    @property
    def env_return(self) -> float | None:
        """Sum of the environment's rewards, the last one included, or None where they were not recorded."""
        if self.env_rewards is None:
            return None
        return float(np.sum(self.env_rewards, dtype=np.float64)) + (self.last_reward or 0.0)


@dataclass(frozen=True)
class Provenance:
    """Where demonstrations came from, as far as the file says.

    Attributes:
        env_id: Gymnasium id of the environment, e.g. ``"Hopper-v5"``.
        observation_keys: Name and width of each block of the flat observation, in order;
            ``{"observation": D}`` for an environment whose observation is one vector; empty where the file
            names none.
        time_step: Seconds between two observations.
        versions: Library name to version, of what recorded the file.
        expert_return: Mean undiscounted return of the expert under the environment's own reward.
        source: One line for a reader: who recorded it, by which command.
        action_repeat: Steps of the simulator that one action lasts; None where there is no such number.
        bar: What an episode had to do to be kept, e.g. ``"success"``; None where every episode was.
        own_actions: Whether actions are in the environment's own units; False: in [-1, 1], which stand for its bounds,
            as ``ilfo record`` writes them. None: not known; a file of ilfo's layout is then taken to have the latter.
    """

    env_id: str | None = None
    observation_keys: dict[str, int] = field(default_factory=dict)
    time_step: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    expert_return: float | None = None
    source: str | None = None
    action_repeat: int | None = None
    bar: str | None = None
    own_actions: bool | None = None


def spans_of(keys: Mapping[str, int]) -> dict[str, range]:
    """The columns of each block of a flat observation.

    Examples:
        >>> spans_of({"position": 2, "velocity": 1})
        {'position': range(0, 2), 'velocity': range(2, 3)}
    """
    ends = accumulate(keys.values())
    return {key: range(end - width, end) for (key, width), end in zip(keys.items(), ends, strict=True)}


@dataclass(frozen=True)
class Demonstrations(Sequence[Trajectory]):
    """A sequence of expert trajectories with their provenance: what a reward generator is fitted on.

    A slice is of the same kind; the expert's return of some of the episodes is their own mean where they have rewards.

    Attributes:
        trajectories: At least one, all of one width.
        provenance: Where they came from.
        path: The file that they were read from, or None.
        layout: ``"ilfo"``, ``"minari"``, ``"robomimic"``, ``"d4rl"``, ``"lerobot"``, or ``"memory"`` where no file was
            read.

    Examples:
        >>> states = np.zeros((6, 3), np.float32)
        >>> expert = Demonstrations((Trajectory(states, env_rewards=np.ones(5)), Trajectory(states[:4])))
        >>> len(expert), expert.horizon, expert.observation_dim
        (2, 5, 3)
        >>> expert[0].env_return, expert.expert_return is None
        (5.0, True)
        >>> len(expert[1:])
        1
    """

    trajectories: tuple[Trajectory, ...]
    provenance: Provenance = field(default_factory=Provenance)
    path: Path | None = None
    layout: str = "memory"

    def __len__(self) -> int:
        return len(self.trajectories)

    @overload
    def __getitem__(self, index: int) -> Trajectory: ...
    @overload
    def __getitem__(self, index: slice) -> Demonstrations: ...
    def __getitem__(self, index: int | slice) -> Trajectory | Demonstrations:
        if not isinstance(index, slice):
            return self.trajectories[index]
        chosen = replace(self, trajectories=self.trajectories[index])
        return chosen if len(chosen) == len(self) else chosen.with_own_return()

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self.trajectories)

    @property
    def observation_dim(self) -> int:
        """Width ``D`` of the flat observation."""
        return int(self.trajectories[0].observations.shape[-1])

    @property
    def horizon(self) -> int:
        """Steps of the longest trajectory."""
        return max(len(trajectory) for trajectory in self.trajectories)

    @property
    def expert_return(self) -> float | None:
        """The expert's mean return: as the file states it, else from the recorded rewards, else None."""
        if self.provenance.expert_return is not None:
            return self.provenance.expert_return
        returns = [trajectory.env_return for trajectory in self.trajectories]
        known = [value for value in returns if value is not None]
        return float(np.mean(known)) if known and len(known) == len(returns) else None

    def with_own_return(self) -> Demonstrations:
        """The same, of whose rewards the expert's return is the mean, if they have some; not that of a larger whole."""
        own = replace(self, provenance=replace(self.provenance, expert_return=None))
        return self if own.expert_return is None else own

    @property
    def sha256(self) -> str:
        """SHA-256 of the data: the name, shape and bytes of every trajectory's arrays, and how it ended.

        Frames count where they are loaded: a file opened without them has another SHA-256 than one opened with them.
        """
        return sha256_of(self.trajectories)


def sha256_of(trajectories: Iterable[Trajectory]) -> str:
    """SHA-256 of trajectories, which may be generated one by one; see :attr:`Demonstrations.sha256`.

    Frames that lie in a file are read by slices.
    """
    digest = hashlib.sha256()
    for trajectory in trajectories:
        for name in ("observations", "actions", "env_rewards", "frames", "goal"):
            array: Any = getattr(trajectory, name)
            if array is not None:
                digest.update(f"{name}{tuple(array.shape)}".encode())
                dtype = "u1" if name == "frames" else "<f4"
                for rows in pieces_of(array):
                    # Not bound to a name, which would keep a piece in memory while the next one is read.
                    digest.update(np.ascontiguousarray(array[rows], dtype).reshape(-1).data)
        digest.update(f"{trajectory.terminated}{trajectory.truncated}{trajectory.success}".encode())
    return digest.hexdigest()
