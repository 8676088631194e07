"""Opening a file of demonstrations, whatever layout it has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

from ilfo._errors import InputError
from ilfo.demos.d4rl import read_d4rl
from ilfo.demos.hdf5 import episode_groups, read_episodes
from ilfo.demos.library import bundled_path, is_bundled
from ilfo.demos.trajectory import Demonstrations

__all__ = ["open"]


def open(
    path: str | os.PathLike[str],
    *,
    episodes: Sequence[int] | None = None,
    max_episode_steps: int | None = None,
) -> Demonstrations:
    """Reads demonstrations from a file, or from the bundled ones by name.

    The layout is recognised: the toolkit's own and Minari's (``episode_*`` groups), or D4RL's flat arrays.

    Args:
        path: An HDF5 file, or the name of a bundled demonstration where no file is called so.
        episodes: Which episodes to read, counted from 0; all by default. Only these are read from the disk.
        max_episode_steps: Time limit of the environment, for D4RL files that do not record their timeouts.

    Returns:
        The demonstrations, every value finite and every length checked.

    Raises:
        InputError: The file is missing, damaged, of another layout, or holds an episode that cannot be used.

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
    with _opened(_resolved(path)) as file:
        if episode_groups(file):
            return read_episodes(file, episodes)
        if "observations" in file:
            return read_d4rl(file, episodes, max_episode_steps)
        raise InputError(_unknown_layout(file))


def _resolved(path: str | os.PathLike[str]) -> Path:
    """The file that is meant, sure to exist and to look like HDF5."""
    file = Path(path)
    if not file.exists() and is_bundled(str(path)):
        return bundled_path(str(path))
    if file.is_dir():
        inside = ", ".join(sorted(each.name for each in file.glob("*.hdf5"))[:5])
        hint = f"Name one of its files: {inside}." if inside else "It holds no .hdf5 file either."
        raise InputError(f"{file}: is a folder, expected an HDF5 file. {hint}")
    if not file.exists():
        raise InputError(
            f"{file}: no such file, and no bundled demonstration of that name. "
            "Check the path; `ilfo demos list` shows the bundled ones."
        )
    if not os.access(file, os.R_OK):
        raise InputError(f"{file}: this user may not read it. Change its permissions.")
    if not h5py.is_hdf5(file):
        size = file.stat().st_size
        raise InputError(
            f"{file}: is not HDF5 ({size} bytes{', empty' if size == 0 else ''}), expected a .hdf5 file of "
            "demonstrations. Pickles are never read; convert arrays with ilfo.demos.write."
        )
    return file


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The open file; whatever HDF5 raises on damaged content becomes an InputError."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    # h5py maps HDF5's error stack to all of these, depending on where the damage is.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).strip("'\"").split()) or type(error).__name__
        raise InputError(
            f"{path}: cannot be read as HDF5, it is truncated or damaged ({reason}). Copy or download it again."
        ) from error


def _unknown_layout(file: h5py.File) -> str:
    data = file.get("data")
    if isinstance(data, h5py.Group) and any(name.startswith("demo_") for name in data):
        return (
            f"{file.filename}, group 'data': found a robomimic file ('data/demo_*'), which is "
            "not read yet. Choose the observation keys, join them into one array an episode "
            "and save them with ilfo.demos.write."
        )
    keys = sorted(file)
    found = ", ".join(map(repr, keys[:12])) + (", ..." if len(keys) > 12 else "") if keys else "nothing"
    return (
        f"{file.filename}, group '/': found {found}; expected groups 'episode_0', 'episode_1', ... (ilfo, "
        "Minari) or a dataset 'observations' (D4RL). Rename the states to 'observations', or save them with "
        "ilfo.demos.write."
    )
