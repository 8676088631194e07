"""Writing demonstrations in the layout that somebody else's library reads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from ilfo._tools.errors import InputError, closest
from ilfo._tools.target import check_not_read
from ilfo.demos._labels import label_of
from ilfo.demos.d4rl import write_d4rl
from ilfo.demos.files import has_frames, open
from ilfo.demos.hdf5 import write_demonstrations
from ilfo.demos.minari_writer import write_minari
from ilfo.demos.rearranged import thinned
from ilfo.demos.robomimic import write_robomimic
from ilfo.demos.trajectory import Demonstrations, Trajectory

__all__ = ["Layout", "convert", "write"]

Layout = Literal["ilfo", "d4rl", "robomimic", "minari"]
"""``ilfo`` holds all that a trajectory can have, and states alone as well; the others demand actions and rewards."""

_WRITERS: dict[str, Callable[[str | os.PathLike[str], Demonstrations], Path]] = {
    "ilfo": write_demonstrations,
    "d4rl": write_d4rl,
    "robomimic": write_robomimic,
    "minari": write_minari,
}


def write(path: str | os.PathLike[str], demonstrations: Demonstrations, layout: Layout = "ilfo") -> Path:
    """Writes demonstrations, whole or not at all.

    Args:
        path: The file; a folder called ``NAME-v0`` for Minari.
        demonstrations: At least one trajectory; arrays are stored as float32.
        layout: Whose library is to read them.

    Returns:
        The path written.

    Raises:
        InputError: A path that is a folder or in none, a trajectory that reading would refuse, or one that lacks what
            the layout demands.

    Warns:
        UserWarning: Something that the layout has no place for was left out.

    Examples:
        >>> import tempfile, numpy, ilfo.demos
        >>> trajectory = ilfo.demos.Trajectory(numpy.zeros((6, 2)), numpy.zeros((5, 1)), numpy.ones(5))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write(f"{folder}/five.hdf5", Demonstrations((trajectory,)), layout="d4rl")
        ...     copy = ilfo.demos.open(path)
        >>> copy.layout, len(copy[0]), copy[0].env_return
        ('d4rl', 5, 5.0)
    """
    if layout not in get_args(Layout):
        raise InputError(f"there is no layout {layout!r}; {closest(layout, _WRITERS)}")
    return _WRITERS[layout](path, demonstrations)


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    layout: Layout,
    *,
    episodes: Sequence[int] | None = None,
    max_episode_steps: int | None = None,
    filter_key: str | None = None,
    clip_actions: bool = False,
    every: int = 1,
) -> Demonstrations:
    """Reads demonstrations of any layout and writes them in another.

    Args:
        source: What :func:`~ilfo.demos.open` takes.
        target: The file or folder to write.
        layout: Its layout.
        episodes: Which episodes to take, counted from 0; all by default.
        max_episode_steps: Time limit of the environment, for D4RL files that do not record their timeouts.
        filter_key: Name of a subset of demonstrations, for robomimic files that have some.
        clip_actions: Cut actions to [-1, 1], as an environment with these bounds does when it steps.
        every: Steps that become one, see :func:`~ilfo.demos.thinned`.

    Returns:
        What was written.

    Raises:
        InputError: What :func:`~ilfo.demos.open` or :func:`write` refuses, or the target is what is read.

    Warns:
        UserWarning: What they warn of, or frames or the rewards of ``ilfo label`` were left out.
    """
    frames = has_frames(source)
    demonstrations = open(
        source,
        episodes=episodes,
        max_episode_steps=max_episode_steps,
        filter_key=filter_key,
        frames=frames and layout == "ilfo",
    )
    check_not_read(Path(target), [demonstrations.path])
    if demonstrations.provenance.own_actions is None:
        # What a file does not say goes without saying in its layout, and is to be known in the other one too.
        known = replace(demonstrations.provenance, own_actions=demonstrations.layout != "ilfo")
        demonstrations = replace(demonstrations, provenance=known)
    demonstrations = thinned(demonstrations, every)
    if clip_actions:
        demonstrations = replace(demonstrations, trajectories=tuple(map(_clipped, demonstrations)))
    if label_of(demonstrations.path) is not None:
        warnings.warn(
            f"{source}: the rewards that 'ilfo label' wrote are left out, and the environment's own are taken. To have "
            "the others in that layout too, convert the dataset first and label the result.",
            stacklevel=2,
        )
    write(target, demonstrations, layout)
    if frames and layout != "ilfo":
        warnings.warn(f"{target}: frames left out, only the ilfo layout has a place for that.", stacklevel=2)
    return demonstrations


def _clipped(trajectory: Trajectory) -> Trajectory:
    return trajectory if trajectory.actions is None else replace(trajectory, actions=trajectory.actions.clip(-1, 1))
