"""The same states in another order: an expert held at its end, one that stops on the way, one out of order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ilfo.demos.chosen_frames import ChosenFrames
from ilfo.demos.trajectory import Demonstrations, Trajectory

__all__ = ["held", "shuffled", "stopped"]


def held(demonstrations: Demonstrations, steps: int) -> Demonstrations:
    """Demonstrations whose expert goes on standing still, in its last state, until an episode has this many steps.

    Recordings of a task often stop when it is done, and episodes go on. Compared with such an episode as a whole, an
    expert that has stopped says nothing of what is to be done then: stay. Episodes that the environment ended, or that
    are as long already, stay what they are; those that grow lose actions and rewards, which nobody recorded.

    Args:
        demonstrations: Of any length; frames, where there are some, are repeated as they are looked at, see
            :class:`~ilfo.demos.chosen_frames.ChosenFrames`.
        steps: Steps ``T`` that an episode is to have at least.

    Example:
        >>> expert = Demonstrations((Trajectory(np.float32([[0], [1], [2]])),))
        >>> held(expert, 4)[0].observations.ravel()
        array([0., 1., 2., 2., 2.], dtype=float32)
    """

    def longer(one: Trajectory) -> Trajectory:
        if one.terminated or len(one) >= steps:
            return one
        return replace(_in_order(one, np.minimum(np.arange(steps + 1), len(one))), truncated=True)

    return replace(demonstrations, trajectories=tuple(map(longer, demonstrations)))


def stopped(trajectory: Trajectory, steps: int) -> Trajectory:
    """What the expert does for so many steps, after which it stands still where it is, for as long as it went on.

    A reward that is to teach a task as a whole must be worth less to who stops on the way. Actions, rewards and success
    are lost: nobody recorded them of this.

    Example:
        >>> stopped(Trajectory(np.float32([[0], [1], [2], [3]])), 1).observations.ravel()
        array([0., 1., 1., 1.], dtype=float32)
    """
    order = np.minimum(np.arange(len(trajectory.observations)), steps)
    halted = _in_order(trajectory, order)
    return replace(halted, terminated=False, truncated=True, success=None, success_step=None)


def shuffled(trajectory: Trajectory, seed: int = 0) -> Trajectory:
    """The same states in a random order: a reward that looks at transitions must rank it below the original.

    Actions, rewards and success are lost, as in :func:`stopped`: nobody recorded them of this.
    """
    order = np.random.default_rng(seed).permutation(len(trajectory.observations))
    return replace(_in_order(trajectory, order), terminated=False, success=None, success_step=None)


def _in_order(trajectory: Trajectory, order: np.ndarray) -> Trajectory:
    """These of its states and frames; actions and rewards, which nobody recorded of that, are lost."""
    frames: Any = None if trajectory.frames is None else ChosenFrames(trajectory.frames, order)
    lost: dict[str, Any] = {"actions": None, "env_rewards": None, "last_reward": None}
    return replace(trajectory, observations=trajectory.observations[order], frames=frames, **lost)
