"""Other choices of the same states: an expert held at its end, in larger steps, that stops on the way, out of order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ilfo._tools.errors import InputError
from ilfo._tools.marks import split_marks
from ilfo.demos.chosen_frames import ChosenFrames
from ilfo.demos.trajectory import Demonstrations, Trajectory

__all__ = ["held", "shuffled", "stopped", "thinned"]


def held(demonstrations: Demonstrations, steps: int) -> Demonstrations:
    """Demonstrations padded with the expert's last state until each episode has this many steps.

    Recordings of a task often stop when it is done, while the agent's episodes go on. When whole episodes are compared,
    such a recording does not show what to do from then on: stay. Episodes that the environment ended, or that are long
    enough, are left as they are; padded ones lose actions and rewards, which do not exist for the padding.

    Args:
        demonstrations: Of any length; frames, where there are some, are repeated on access, see
            :class:`~ilfo.demos.chosen_frames.ChosenFrames`.
        steps: Least number of steps ``T`` of an episode.

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


def thinned(demonstrations: Demonstrations, every: int) -> Demonstrations:
    """Every so many-th state alone, as an agent sees them whose actions are each done for so many steps.

    The first and the last state of an episode are kept, and the steps between them are as even as whole steps allow.
    Rewards are added up; actions are lost, since several were done between two states.

    Args:
        demonstrations: Of any length; frames, where there are some, are chosen on access.
        every: Steps that become one, at least 1. An episode that has fewer becomes one step.

    Raises:
        InputError: It is less than 1.

    Example:
        >>> expert = Demonstrations((Trajectory(np.float32([[0], [1], [2], [3], [4], [5], [6]])),))
        >>> thinned(expert, 3)[0].observations.ravel()
        array([0., 3., 6.], dtype=float32)
    """
    if every < 1:
        raise InputError(f"one of every {every} states: expected 1 or more")
    if every == 1:
        return demonstrations

    def fewer(one: Trajectory) -> Trajectory:
        steps = len(one)
        kept = np.linspace(0, steps, max(1, round(steps / every)) + 1).round().astype(int) if steps else np.array([0])
        chosen = _in_order(one, kept)
        rewards = None if one.env_rewards is None else np.add.reduceat(one.env_rewards, kept[:-1]).astype(np.float32)
        success = None if one.success_step is None else int(np.searchsorted(kept, one.success_step))
        return replace(chosen, env_rewards=rewards, last_reward=one.last_reward, success_step=success)

    told, env_id = demonstrations.provenance, demonstrations.provenance.env_id
    if env_id is not None:
        others, marks = split_marks(env_id)
        env_id = f"{others}{marks._replace(repeat=marks.repeat * every)}"
    provenance = replace(
        told,
        env_id=env_id,
        time_step=None if told.time_step is None else told.time_step * every,
        action_repeat=None if told.action_repeat is None else told.action_repeat * every,
    )
    return replace(demonstrations, trajectories=tuple(map(fewer, demonstrations)), provenance=provenance)


def stopped(trajectory: Trajectory, steps: int) -> Trajectory:
    """The expert for ``steps`` steps, and then standing still in the state it is in, to the original length.

    A reward that teaches a task as a whole must pay less for stopping on the way. Actions, rewards and success are
    dropped: none were recorded for this episode.

    Example:
        >>> stopped(Trajectory(np.float32([[0], [1], [2], [3]])), 1).observations.ravel()
        array([0., 1., 1., 1.], dtype=float32)
    """
    order = np.minimum(np.arange(len(trajectory.observations)), steps)
    halted = _in_order(trajectory, order)
    return replace(halted, terminated=False, truncated=True, success=None, success_step=None)


def shuffled(trajectory: Trajectory, seed: int = 0) -> Trajectory:
    """The same states in a random order: a reward that looks at transitions must rank it below the original.

    Actions, rewards and success are dropped, as in :func:`stopped`.
    """
    order = np.random.default_rng(seed).permutation(len(trajectory.observations))
    return replace(_in_order(trajectory, order), terminated=False, success=None, success_step=None)


def _in_order(trajectory: Trajectory, order: np.ndarray) -> Trajectory:
    """These of its states and frames; actions and rewards, which nobody recorded of that, are lost."""
    frames: Any = None if trajectory.frames is None else ChosenFrames(trajectory.frames, order)
    lost: dict[str, Any] = {"actions": None, "env_rewards": None, "last_reward": None}
    return replace(trajectory, observations=trajectory.observations[order], frames=frames, **lost)
