"""Opening a file of demonstrations, whatever layout it has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

from ilfo._tools.errors import InputError
from ilfo.demos.d4rl import read_d4rl
from ilfo.demos.hdf5 import episode_groups, read_episodes
from ilfo.demos.library import bundled_path, is_bundled
from ilfo.demos.minari import minari_data, read_minari
from ilfo.demos.robomimic import is_robomimic, read_robomimic
from ilfo.demos.trajectory import Demonstrations
from ilfo.demos.videos import SUFFIXES

__all__ = ["has_frames", "layout_of", "open", "readable", "resolved"]

_STATES = ("obs", "observation", "states", "state", "qpos", "qvel")
"""What states are called elsewhere."""


def open(
    path: str | os.PathLike[str],
    *,
    episodes: Sequence[int] | None = None,
    max_episode_steps: int | None = None,
    assumed_episode_steps: int | None = None,
    filter_key: str | None = None,
    frames: bool = False,
) -> Demonstrations:
    """Reads demonstrations from a file or folder, or from the bundled ones by name.

    The layout is recognised: the toolkit's own and Minari's (``episode_*`` groups), robomimic's (``data/demo_*``),
    D4RL's (flat arrays), LeRobot's (a folder with ``meta/info.json``), Minari's in Arrow or parquet (a folder with
    ``data/metadata.json``).

    Args:
        path: An HDF5 file, the folder of a Minari or LeRobot dataset, or the name of a bundled demonstration if no such
            path exists.
        episodes: Which episodes to read, counted from 0; all by default. Only these are read from the disk.
        max_episode_steps: Time limit of the environment, for D4RL files that do not record their timeouts.
        assumed_episode_steps: The same, but used only where such a file does not tell its episodes apart, with a
            warning; ignored for any other file.
        filter_key: Name of a subset of demonstrations, for robomimic files that have some.
        frames: Whether to read the frames too; only files of the toolkit's own layout can have them.

    Returns:
        The demonstrations, every value finite and every length checked. Of chosen episodes the expert's return is their
        own mean where they have rewards, not the whole file's.

    Raises:
        InputError: The file is missing, damaged, of another layout, or holds an episode that cannot be used; or it
            lacks the filter key or the frames asked for, or does not need the time limit.

    Examples:
        >>> import tempfile, numpy, ilfo.demos
        >>> states = numpy.linspace(0, 1, 22, dtype="float32").reshape(11, 2)
        >>> expert = ilfo.demos.Demonstrations((ilfo.demos.Trajectory(states),))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = ilfo.demos.write(f"{folder}/expert.hdf5", expert)
        ...     copy = ilfo.demos.open(path)
        >>> len(copy), len(copy[0]), copy.observation_dim
        (1, 10, 2)
    """
    file = resolved(path)
    if file.is_dir():
        from ilfo.demos.lerobot import is_lerobot, read_lerobot
        from ilfo.demos.minari_arrow import read_minari_arrow

        layout, read = ("lerobot", read_lerobot) if is_lerobot(file) else ("minari", read_minari_arrow)
        _refuse(file, layout, filter_key, max_episode_steps, frames)
        return read(file, episodes)
    with _opened(file) as opened:
        layout = layout_of(opened)
        _refuse(file, layout, filter_key, max_episode_steps, frames)
        if layout == "ilfo":
            found = read_episodes(opened, episodes, frames=frames)
        elif layout == "minari":
            found = read_minari(opened, episodes)
        elif layout == "robomimic":
            found = read_robomimic(opened, episodes, filter_key)
        else:
            found = read_d4rl(opened, episodes, max_episode_steps, assumed_episode_steps)
    return found if episodes is None else found.with_own_return()


def has_frames(path: str | os.PathLike[str], *, alone: bool = False) -> bool:
    """Whether :func:`open` can read frames from a file.

    Args:
        path: As for :func:`open`.
        alone: Ask whether there are frames but no states, so that it cannot be read without frames.

    Raises:
        InputError: The file is missing, damaged or of another layout.
    """
    file = resolved(path)
    if file.is_dir():
        return False
    with _opened(file) as opened:
        groups = [each for name in episode_groups(opened) if isinstance(each := opened[name], h5py.Group)]
        filmed = layout_of(opened) == "ilfo" and any("frames" in each for each in groups)
        return filmed and not (alone and any("observations" in each for each in groups))


def layout_of(file: h5py.File) -> str:
    """Whose layout a file has, by looking at it."""
    if episode_groups(file):
        return "ilfo" if "ilfo_format_version" in file.attrs else "minari"
    if is_robomimic(file):
        return "robomimic"
    if "observations" in file:
        return "d4rl"
    raise InputError(_unknown_layout(file))


def _refuse(path: Path, layout: str, filter_key: str | None, max_episode_steps: int | None, frames: bool) -> None:
    """Refuses what this layout cannot answer."""
    if filter_key is not None and layout != "robomimic":
        raise InputError(f"{path}: a file of layout {layout} has no filter keys, only robomimic's do. Leave it out.")
    if max_episode_steps is not None and layout != "d4rl":
        raise InputError(f"{path}: a file of layout {layout} says where its episodes end. Leave the time limit out.")
    if frames and layout != "ilfo":
        raise frames_unread(path, layout)


def frames_unread(path: str | os.PathLike[str], layout: str) -> InputError:
    """What to raise where frames are wanted of a file whose layout holds them in other ways than ours."""
    return InputError(
        f"{path}: frames are read from files of layout ilfo alone, this is {layout}. Read its states, or write them "
        "with the frames into one: demos.Trajectory(states, frames=...), demos.write."
    )


def resolved(path: str | os.PathLike[str]) -> Path:
    """The file that is meant, sure to exist and to look like HDF5; or a folder that holds the episodes.

    Such a folder is that of a LeRobot dataset, or the ``data`` folder of a Minari dataset in Arrow or parquet.
    """
    file = Path(path)
    if not file.exists() and is_bundled(str(path)):
        return bundled_path(str(path))
    if file.is_dir():
        from ilfo.demos.lerobot import is_lerobot

        if is_lerobot(file):
            return file
        inside = minari_data(file)
        if inside is None:
            names = ", ".join(sorted(each.name for each in file.glob("*.hdf5"))[:5])
            hint = f"Name one of its files: {names}." if names else "It holds no .hdf5 file either."
            raise InputError(f"{file}: is a folder, but of neither a Minari nor a LeRobot dataset. {hint}")
        if inside.is_dir():
            return inside
        file = inside
    if not file.exists():
        raise InputError(
            f"{file}: no such file, and no bundled demonstration of that name. "
            "Check the path; `ilfo demos list` shows the bundled ones."
        )
    if not os.access(file, os.R_OK):
        raise InputError(f"{file}: this user may not read it. Change its permissions.")
    if not h5py.is_hdf5(file):
        size = file.stat().st_size
        if file.suffix.lower() in SUFFIXES:
            raise InputError(
                f"{file}: is a video. Make demonstrations of it first: 'ilfo demos from-videos {file} --out "
                f"{file.with_suffix('.hdf5')}'; --frame-size and --time-step make them fit an environment."
            )
        raise InputError(
            f"{file}: is not HDF5 ({size} bytes{', empty' if size == 0 else ''}), expected a .hdf5 file of "
            "demonstrations. Pickles are never read; convert arrays with ilfo.demos.write."
        )
    return file


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with readable(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever HDF5 raises on damaged content of this file becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except BlockingIOError as error:
        raise InputError(
            f"{path}: another program has it open and may be writing to it. Wait until it is done, or close it there."
        ) from error
    # h5py maps HDF5's error stack to all of these, depending on where the damage is.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        raise InputError(
            f"{path}: cannot be read as HDF5, it is truncated or damaged ({reason}). Copy or download it again."
        ) from error


def _unknown_layout(file: h5py.File) -> str:
    keys = sorted(file)
    found = ", ".join(map(repr, keys[:12])) + (", ..." if len(keys) > 12 else "") if keys else "nothing"
    return (
        f"{file.filename}, group '/': found {found}; expected groups 'episode_0', 'episode_1', ... (ilfo, Minari), "
        "groups 'data/demo_0', 'data/demo_1', ... (robomimic) or a dataset 'observations' (D4RL). "
        + _way_from(file, keys)
    )


def _way_from(file: h5py.File, keys: Sequence[str]) -> str:
    """What to do with a file of another layout, as its names suggest."""
    states = [key for key in keys if key in _STATES]
    for key in keys:
        group = file.get(key)
        if not states and isinstance(group, h5py.Group) and re.search(r"\d", key):
            within = next((name for name in ("observations", *_STATES) if name in group), None)
            if within is not None:
                renamed = "" if within == "observations" else f", and {within!r} in each of them 'observations'"
                return f"If {key!r} is an episode, call such groups 'episode_0', 'episode_1' and so on{renamed}."
    if states:
        parts = "join 'qpos' and 'qvel' to" if {"qpos", "qvel"} <= {*states} else f"call {states[0]!r}"
        return f"If the states are there, {parts} 'observations', or save them with ilfo.demos.write."
    if any(key.startswith("action") for key in keys):
        return "What is learned from is the states that an expert went through; actions alone do not say these."
    return "Rename the states to 'observations', or save them with ilfo.demos.write."
