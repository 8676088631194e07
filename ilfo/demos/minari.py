"""Minari's datasets: a folder with the episodes in HDF5 and what is known of them in JSON.

::

    NAME-v0/data/metadata.json    spaces, environment, counts
    NAME-v0/data/main_data.hdf5
      /episode_0       attributes: id, seed, total_steps
        observations   (T+1, ...), the final one included; a group where the space is a Dict or a Tuple
        actions        (T, ...)
        rewards        (T,)
        terminations   (T,) bool
        truncations    (T,) bool
        infos          a group, its arrays (T+1, ...)

Reading takes the dataset's folder, its ``data`` folder or the HDF5 file. Dict observations are flattened in the
order of the space in ``metadata.json``, which is the environment's; images and text are left out. Episodes stored as
Arrow or parquet are read by :mod:`ilfo.demos.minari_arrow`; :mod:`ilfo.demos.minari_writer` writes HDF5.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos._arrays import as_rows, check_keys, check_widths, checked, numeric_dataset, pick
from ilfo.demos._labels import rewards_name
from ilfo.demos._provenance import PROVENANCE, check_keys_add_up, parsed_json, provenance_from_json
from ilfo.demos._spaces import Group, Space, flattened, inferred_space
from ilfo.demos.hdf5 import episode_group, episode_groups, with_its_end
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory

__all__ = [
    "EPISODES",
    "METADATA",
    "StoredEpisode",
    "minari_data",
    "minari_metadata",
    "minari_provenance",
    "minari_space",
    "read_minari",
    "read_minari_episode",
    "read_stored",
]

EPISODES = "main_data.hdf5"
"""The file with the episodes, where they are stored in HDF5."""
METADATA = "metadata.json"
"""The file beside the episodes that states spaces, environment and counts."""
_SUCCESS = ("success", "is_success")

StoredEpisode = tuple[Group, Mapping[str, Any]]
"""One episode in storage: the arrays of the layout above by name, and its attributes."""


def minari_data(folder: Path) -> Path | None:
    """Where a Minari dataset keeps its episodes: in an HDF5 file, or each in a folder of the ``data`` folder.

    Args:
        folder: The dataset's, or the ``data`` folder in it.

    Returns:
        That file or ``data`` folder; None where the folder is no Minari dataset.

    Raises:
        InputError: It is one, but its episodes are missing, or stored in another way.
    """
    for data in (folder / "data", folder):
        if (data / EPISODES).is_file():
            return data / EPISODES
        form = _metadata(data).get("data_format")
        if form in ("arrow", "parquet"):
            return data
        if form == "hdf5":
            raise InputError(f"{data}: has no file {EPISODES}, which {METADATA} promises. Copy or download it again.")
        if form is not None:
            raise InputError(
                f"{folder}: a Minari dataset that keeps its episodes as {form!r}, expected 'hdf5', 'arrow' or "
                "'parquet'. Load it with Minari and create it again with data_format='hdf5'."
            )
    return None


def read_minari(file: h5py.File, episodes: Sequence[int] | None = None) -> Demonstrations:
    """Reads a Minari dataset, episode by episode.

    Args:
        file: An open file with ``episode_*`` groups. ``metadata.json`` beside it says the space and the environment;
            without it, keys are taken in alphabetical order.
        episodes: Which to read, counted from 0 in numeric order of the groups; all by default.

    Returns:
        The trajectories, with layout ``"minari"``. An episode is a success where ``infos/success`` or
        ``infos/is_success`` is true at any step.

    Raises:
        InputError: A group that is empty, ragged, not finite or not of the space that ``metadata.json`` says.

    Warns:
        UserWarning: Images or text were left out of the observations, or the file has not all of its episodes.
    """
    groups = episode_groups(file)

    def load(index: int, where: str) -> StoredEpisode:
        group = episode_group(file, groups[index], where)
        return group, group.attrs

    return read_stored(Path(file.filename), [f"group {name!r}" for name in groups], load, episodes)


def read_stored(
    path: Path, names: Sequence[str], load: Callable[[int, str], StoredEpisode], episodes: Sequence[int] | None
) -> Demonstrations:
    """Reads a Minari dataset from any storage, episode by episode.

    Args:
        path: Of :func:`minari_data`.
        names: What an error calls each of its episodes, in order.
        load: From the number of an episode, counted from 0, and the start of an error's sentence to what is stored.
        episodes: As for :func:`read_minari`, which says too what is returned, raised and warned of.
    """
    metadata = minari_metadata(path)
    space = minari_space(metadata, path)
    stated = metadata.get("total_episodes", len(names))
    if not isinstance(stated, int):
        raise InputError(f"{_metadata_file(path)}: total_episodes is {stated!r}, expected a number. Correct it.")
    if stated != len(names):
        warnings.warn(
            f"{path}: holds {len(names)} episodes, but {METADATA} counts {stated}. Is the copy whole?", stacklevel=3
        )
    chosen = pick(episodes, len(names), str(path))
    left_out: set[str] = set()
    read = []
    for index in chosen:
        where = f"{path}, {names[index]}"
        read.append(read_minari_episode(load(index, where), space, where, left_out))
    trajectories = tuple(trajectory for trajectory, _ in read)
    check_widths(trajectories, [names[index] for index in chosen], str(path))
    check_keys([keys for _, keys in read], [names[index] for index in chosen], str(path))
    if left_out:
        warnings.warn(f"{path}: left out of the observations: {', '.join(sorted(left_out))}.", stacklevel=3)
    return Demonstrations(trajectories, minari_provenance(metadata, read[0][1], path), path, "minari")


def minari_metadata(path: Path) -> dict[str, Any]:
    """What ``metadata.json`` says of a file or a folder of episodes; nothing where a file is none of a dataset.

    Raises:
        InputError: It is no JSON object.
    """
    return _metadata(_metadata_file(path).parent) if path.is_dir() or path.name == EPISODES else {}


def _metadata_file(path: Path) -> Path:
    """``metadata.json`` in a folder of episodes, or beside a file of them."""
    return path / METADATA if path.is_dir() else path.with_name(METADATA)


def _metadata(data: Path) -> dict[str, Any]:
    """What ``metadata.json`` says; nothing where there is none."""
    path = data / METADATA
    return parsed_json(path.read_bytes(), str(path)) if path.is_file() else {}


def minari_space(metadata: dict[str, Any], path: Path) -> Space | None:
    """The space of the observations, or None where ``metadata.json`` does not say it.

    Raises:
        InputError: It is no JSON object.
    """
    text = metadata.get("observation_space")
    return None if text is None else parsed_json(text, f"{_metadata_file(path)}, observation_space")


def read_minari_episode(
    stored: StoredEpisode, space: Space | None, where: str, left_out: set[str]
) -> tuple[Trajectory, dict[str, int]]:
    """One episode, and the width of each key of its observations.

    Args:
        stored: With observations.
        space: Of the observations; None: as the arrays show it.
        where: The start of an error's sentence: file and group.
        left_out: Gets the name and kind of every part that is not a vector.

    Raises:
        InputError: The episode is ragged, not finite or not of the space.
    """
    group, attributes = stored
    blocks = flattened(group, "observations", space or inferred_space(group["observations"]), where, left_out)
    seed, rewards = attributes.get("seed"), rewards_name(group)
    trajectory = checked(
        Trajectory(
            observations=np.concatenate(list(blocks.values()), axis=1),
            actions=_read_actions(group, where),
            env_rewards=numeric_dataset(group, rewards, where)[()] if rewards in group else None,
            success=_read_success(group, where),
            seed=int(seed) if isinstance(seed, int | np.integer) else None,
        ),
        where,
    )
    return with_its_end(trajectory, group, attributes, where), {key: block.shape[1] for key, block in blocks.items()}


def _read_actions(group: Group, where: str) -> np.ndarray | None:
    """Actions in one row a step, a Dict's or a Tuple's side by side."""
    if "actions" not in group:
        return None
    if not isinstance(group["actions"], Mapping):
        return as_rows(np.atleast_1d(numeric_dataset(group, "actions", where)[()]))
    blocks = flattened(group, "actions", inferred_space(group["actions"]), where, set())
    return np.concatenate(list(blocks.values()), axis=1)


def _read_success(group: Group, where: str) -> bool | None:
    infos = group.get("infos")
    for name in _SUCCESS:
        if isinstance(infos, Mapping) and name in infos:
            return bool(np.any(numeric_dataset(infos, name, f"{where}, group 'infos'")[()]))
    return None


def minari_provenance(metadata: dict[str, Any], keys: dict[str, int], path: Path) -> Provenance:
    """Where a dataset came from, as its metadata say.

    Args:
        metadata: Of :func:`minari_metadata`.
        keys: Width of each key of its observations.
        path: The file or folder of episodes.

    Raises:
        InputError: The metadata do not hold what they should.
    """
    where = _metadata_file(path)
    if PROVENANCE in metadata:
        provenance = provenance_from_json(metadata[PROVENANCE], str(where))
        check_keys_add_up(provenance, sum(keys.values()), f"{where}, {PROVENANCE}")
        return provenance
    if not metadata:
        return Provenance(observation_keys={} if list(keys) == ["observation"] else keys, own_actions=True)
    spec = parsed_json(metadata.get("env_spec") or "{}", f"{where}, env_spec")
    versions = {"minari": str(metadata["minari_version"])} if "minari_version" in metadata else {}
    requirements = metadata.get("requirements") or []
    if not isinstance(requirements, list):
        raise InputError(f"{where}: requirements is {requirements!r}, expected a list of libraries. Correct it.")
    pinned = (str(each).partition("==") for each in requirements)
    versions |= {library.strip(): version.strip() for library, _, version in pinned if version}
    authors = metadata.get("author") or []
    facts = (
        f"Minari dataset {metadata.get('dataset_id', where.parent.parent.name)}",
        f"by {', '.join(map(str, authors)) if isinstance(authors, list) else authors}" if authors else "",
        f"algorithm {metadata['algorithm_name']}" if metadata.get("algorithm_name") else "",
    )
    return Provenance(
        env_id=None if spec.get("id") is None else str(spec["id"]),
        observation_keys=keys,
        versions=versions,
        source=", ".join(filter(None, facts)),
        own_actions=True,
    )
