"""A logged dataset, episode by episode: the states of each, and where its rewards are stored.

The readers of demonstrations hold a whole file in memory and leave out what shows nothing to an imitator. Here one
episode is read at a time, and every row of the rewards belongs to one, including the rows of an unfinished episode and
a last row whose next state is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos._arrays import numeric_dataset
from ilfo.demos._d4rl_bounds import episode_bounds
from ilfo.demos._labels import rewards_name
from ilfo.demos._provenance import PROVENANCE, check_keys_add_up
from ilfo.demos._robomimic_facts import RobomimicFacts
from ilfo.demos.d4rl import d4rl_columns, d4rl_provenance, episode_observations
from ilfo.demos.files import layout_of, readable
from ilfo.demos.hdf5 import check_version, episode_group, episode_groups, ilfo_provenance, read_episode
from ilfo.demos.minari import minari_metadata, minari_provenance, minari_space, read_minari_episode
from ilfo.demos.robomimic import demo_names, read_demo
from ilfo.demos.trajectory import Provenance, Trajectory

__all__ = ["CHUNK_CACHE", "Logged", "Slot", "open_logged"]

CHUNK_CACHE = {"rdcc_nbytes": 64 * 1024**2, "rdcc_nslots": 10_007}
"""HDF5's cache for files that are read or written by slices: it holds a row of chunks of any width, so that no chunk is
unpacked twice."""


@dataclass(frozen=True)
class Slot:
    """Where the rewards of one episode are stored.

    Attributes:
        name: What an error calls the episode.
        group: The group of the dataset ``rewards``; ``"/"`` for the root.
        start: The first row of the episode there.
        stop: The row after its last.
    """

    name: str
    group: str
    start: int
    stop: int

    def __len__(self) -> int:
        """Number of transitions."""
        return self.stop - self.start


Reader = Callable[[Slot], tuple[Trajectory, dict[str, int]]]
"""From a slot to its trajectory and the width of each observation key. The trajectory has no steps where no transition
of the slot has a known successor."""


@dataclass(frozen=True)
class Logged:
    """An open dataset.

    Attributes:
        file: Open for reading.
        layout: ``"ilfo"``, ``"minari"``, ``"robomimic"`` or ``"d4rl"``.
        slots: One an episode, in the order of the file; together they are all rows of its rewards.
        provenance: Where it came from.
        keys: Width of each key of the flat observation.
        left_out: Name and kind of every part of the observations that is not a vector, as far as was read.
    """

    file: h5py.File
    layout: str
    slots: tuple[Slot, ...]
    provenance: Provenance
    keys: dict[str, int]
    left_out: set[str]
    _read: Reader = field(repr=False)
    # HDF5 drops its cache when a dataset is closed: the rewards that were read last stay open.
    _opened: dict[str, h5py.Dataset | None] = field(default_factory=dict, repr=False)

    @property
    def path(self) -> Path:
        """The file's."""
        return Path(self.file.filename)

    @property
    def observation_dim(self) -> int:
        """Width ``D`` of the flat observation."""
        return sum(self.keys.values())

    def __len__(self) -> int:
        """Number of transitions."""
        return sum(map(len, self.slots))

    def read(self, slot: Slot) -> Trajectory:
        """The states of an episode, and whether it terminated.

        Returns:
            A trajectory of as many steps as the slot has transitions, or of one fewer where the last of these has no
            known successor.

        Raises:
            InputError: The episode is damaged, ragged or not finite, or has other observations than the first.
        """
        with readable(self.path):
            trajectory, keys = self._read(slot)
        if keys != self.keys:
            raise InputError(
                f"{self.path}, {slot.name}: its observations are {keys}, but those of {self.slots[0].name} are "
                f"{self.keys}. All episodes of a file come from one environment: split the file."
            )
        if len(slot) - len(trajectory) not in (0, 1):
            raise InputError(
                f"{self.path}, {slot.name}: {len(slot)} rows for {len(trajectory)} steps. Take a fresh copy."
            )
        return trajectory

    def env_rewards(self, slot: Slot) -> np.ndarray | None:
        """The environment's rewards for an episode, one a transition; None where the file has none."""
        with readable(self.path):
            if slot.group not in self._opened:
                self._opened.clear()
                group = self.file[slot.group]
                self._opened[slot.group] = group.get(rewards_name(group))
            rewards = self._opened[slot.group]
            return None if rewards is None else np.ravel(rewards[slot.start : slot.stop])


@contextmanager
def open_logged(path: Path, max_episode_steps: int | None = None) -> Iterator[Logged]:
    """Opens a dataset, and finds its episodes.

    Args:
        path: An HDF5 file.
        max_episode_steps: Time limit of the environment, for D4RL files that do not record their timeouts.

    Raises:
        InputError: The file is damaged or of none of the four layouts, holds no episode, or does not say where they
            end; or it has no need of the time limit.

    Warns:
        UserWarning: Nothing marks where episodes end.
    """
    with readable(path):
        file = h5py.File(path, "r", **CHUNK_CACHE)
    with file:
        with readable(path):
            layout = layout_of(file)
            if max_episode_steps is not None and layout != "d4rl":
                raise InputError(
                    f"{path}: a file of layout {layout} says where its episodes end. Leave the time limit out."
                )
            logged = _flat(file, max_episode_steps) if layout == "d4rl" else _OPENERS[layout](file)
        yield logged


def _flat(file: h5py.File, max_episode_steps: int | None) -> Logged:
    path = file.filename
    columns = d4rl_columns(file)
    bounds, terminated = episode_bounds(columns, max_episode_steps, path)
    provenance = d4rl_provenance(file, columns, bounds)
    rows, width = columns["observations"].shape
    if bounds[-1][1] < rows:
        bounds, terminated = [*bounds, (bounds[-1][1], rows)], [*terminated, False]
    believed = PROVENANCE in file.attrs
    keys = provenance.observation_keys or {"observation": width}
    ended = {start: flag for (start, _), flag in zip(bounds, terminated, strict=True)}

    def read(slot: Slot) -> tuple[Trajectory, dict[str, int]]:
        observations = episode_observations(columns, slot.start, slot.stop, believed, f"{path}, {slot.name}")
        return Trajectory(observations, terminated=ended[slot.start], truncated=not ended[slot.start]), keys

    slots = tuple(
        Slot(f"episode {index} (rows {start} to {stop - 1})", "/", start, stop)
        for index, (start, stop) in enumerate(bounds)
    )
    return Logged(file, "d4rl", slots, provenance, keys, set(), read)


def _ilfo(file: h5py.File) -> Logged:
    path = file.filename
    check_version(file, path)
    provenance = ilfo_provenance(file, path)

    def read(slot: Slot) -> tuple[Trajectory, dict[str, int]]:
        trajectory = read_episode(file, slot.group, path, frames=False)
        width = trajectory.observations.shape[1]
        check_keys_add_up(provenance, width, f"{path}, {slot.name}")
        return trajectory, provenance.observation_keys or {"observation": width}

    slots = tuple(_whole(file, name, "observations", 1) for name in episode_groups(file))
    return Logged(file, "ilfo", slots, provenance, read(slots[0])[1], set(), read)


def _minari(file: h5py.File) -> Logged:
    path = Path(file.filename)
    metadata = minari_metadata(path)
    space = minari_space(metadata, path)
    left_out: set[str] = set()

    def read(slot: Slot) -> tuple[Trajectory, dict[str, int]]:
        where = f"{path}, {slot.name}"
        group = episode_group(file, slot.group, where)
        return read_minari_episode((group, group.attrs), space, where, left_out)

    slots = tuple(_whole(file, name, "observations", 1) for name in episode_groups(file))
    keys = read(slots[0])[1]
    return Logged(file, "minari", slots, minari_provenance(metadata, keys, path), keys, left_out, read)


def _robomimic(file: h5py.File) -> Logged:
    path, data = file.filename, file["data"]
    known = RobomimicFacts.read(data, f"{path}, group 'data'")
    left_out: set[str] = set()

    def read(slot: Slot) -> tuple[Trajectory, dict[str, int]]:
        name = slot.group.removeprefix("data/")
        return read_demo(data, name, known, f"{path}, {slot.name}", left_out, copies=[])

    slots = tuple(_whole(file, f"data/{name}", "obs", 0) for name in demo_names(file, None, path))
    keys = read(slots[0])[1]
    return Logged(file, "robomimic", slots, known.provenance or known.described(keys, None), keys, left_out, read)


_OPENERS: dict[str, Callable[[h5py.File], Logged]] = {"ilfo": _ilfo, "minari": _minari, "robomimic": _robomimic}


def _whole(file: h5py.File, group: str, states: str, final: int) -> Slot:
    """The slot of an episode stored as a group: as long as its rewards, else as its states without the final one."""
    name = f"group {group!r}"
    node = file[group]
    if not isinstance(node, h5py.Group):
        raise InputError(f"{file.filename}, {name}: is a dataset, expected a group that holds {states!r}.")
    if "rewards" in node:
        rows = numeric_dataset(node, "rewards", f"{file.filename}, {name}").shape
        return Slot(name, group, 0, rows[0] if rows else 0)
    part = node.get(states)
    while isinstance(part, h5py.Group) and len(part):
        part = next(iter(part.values()))
    rows = part.shape if isinstance(part, h5py.Dataset) else None
    return Slot(name, group, 0, max(rows[0] - final, 0) if rows else 0)
