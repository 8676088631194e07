"""Observations stored as a tree of arrays, flattened as Gymnasium's ``FlattenObservation`` flattens their space.

A space is what Minari writes into ``metadata.json``: ``{"type": "Dict", "subspaces": {...}}``, with the keys in the
order that the environment flattens them in. Groups of a file are Dicts, or Tuples where their members are called
``_index_0``, ``_index_1``, ... A group is HDF5's, or any mapping from names to arrays and groups.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos._arrays import as_rows, numeric_dataset

__all__ = ["Group", "Space", "flattened", "inferred_space"]

Group = Mapping[str, Any]
"""Datasets and groups by name: an ``h5py.Group``, or what is read like one."""
Space = dict[str, Any]
"""``type``, and what belongs to it: ``subspaces``, ``shape``, ``n``, ``nvec``, ``start``."""

_INDEX = re.compile(r"_index_\d+")
_SMALLEST_IMAGE = 32
_MOST_VALUES = 100_000
_JPEG = b"\xff\xd8\xff"


def flattened(group: Group, name: str, space: Space, where: str, left_out: set[str]) -> dict[str, np.ndarray]:
    """The observations ``group[name]`` as blocks of columns.

    Args:
        group: One episode.
        name: Of the dataset, or of the group of datasets.
        space: Theirs. Discrete values become one-hot vectors, as in Gymnasium.
        where: The start of an error's sentence: file and group.
        left_out: Gets the name and kind of every part that is not a vector: images, text.

    Returns:
        Block ``(rows, width)`` of each key at the top level, in order; ``"observation"`` where there are no keys.

    Raises:
        InputError: The file does not hold what the space says, blocks of different lengths, or nothing but images.
    """
    parts = dict(_subspaces(space, where))
    if parts:
        members = _members(group, name, parts, where)
        found = {
            key: list(_columns(members, key, part, f"{name}/{key}", where, left_out)) for key, part in parts.items()
        }
    else:
        found = {"observation": list(_columns(group, name, space, name, where, left_out))}
    _check_rows([column for columns in found.values() for column in columns], name, where)
    blocks = {key: np.concatenate(columns, axis=1) for key, columns in found.items() if columns}
    if not blocks:
        kinds = ", ".join(sorted(left_out)) or "nothing"
        raise InputError(f"{where}: {name!r} holds {kinds}, expected vectors of states. Record the states too.")
    return blocks


def inferred_space(node: Group | h5py.Dataset | np.ndarray) -> Space:
    """The space of observations that come without ``metadata.json``: keys by name, as Gymnasium sorts a plain dict."""
    if isinstance(node, Mapping):
        if len(node) and all(map(_INDEX.fullmatch, node)):
            return {"type": "Tuple", "subspaces": [inferred_space(node[f"_index_{i}"]) for i in range(len(node))]}
        return {"type": "Dict", "subspaces": {key: inferred_space(node[key]) for key in sorted(node)}}
    if _holds_jpeg(node):
        return {"type": "JPEG"}
    if node.dtype.kind not in "fiub":
        return {"type": "Text"}
    return {"type": "Box", "dtype": str(node.dtype), "shape": list(node.shape[1:])}


def _columns(group: Group, name: str, space: Space, path: str, where: str, left_out: set[str]) -> Iterator[np.ndarray]:
    """Blocks ``(rows, width)`` of one part of an observation, in order."""
    kind, parts = _said(space, "type", where), dict(_subspaces(space, where))
    if parts:
        members = _members(group, name, parts, where)
        for key, part in parts.items():
            yield from _columns(members, key, part, f"{path}/{key}", where, left_out)
    elif kind in ("Discrete", "MultiDiscrete"):
        yield from _one_hot(numeric_dataset(group, name, where), space, f"{where}, dataset {path!r}")
    elif kind in ("Box", "MultiBinary") and not _is_image(space, f"{where}, dataset {path!r}"):
        values = numeric_dataset(group, name, where)
        if values.ndim == 0:
            raise InputError(f"{where}, dataset {path!r}: is a single number, expected one row an observation.")
        yield as_rows(values[()])
    elif kind not in ("Dict", "Tuple"):
        left_out.add(f"{path!r} ({'images' if kind in ('Box', 'JPEG') else str(kind).lower()})")


def _subspaces(space: Space, where: str) -> Iterator[tuple[str, Space]]:
    """Name in the file and space of each member; nothing where the space has no members."""
    kind = _said(space, "type", where)
    if kind not in ("Dict", "Tuple"):
        return
    members = _said(space, "subspaces", where)
    if kind == "Dict" and isinstance(members, dict):
        yield from members.items()
    elif kind == "Tuple" and isinstance(members, list):
        yield from ((f"_index_{index}", member) for index, member in enumerate(members))
    else:
        raise InputError(f"{where}: its space has subspaces {members!r}, no {kind}. Correct metadata.json.")


def _members(group: Group, name: str, parts: dict[str, Space], where: str) -> Group:
    """The group that holds every one of the parts."""
    node = group[name]
    if not isinstance(node, Mapping):
        raise InputError(f"{where}: {name!r} is a dataset, expected a group of {', '.join(map(repr, parts))}.")
    for key in parts:
        if key not in node:
            found = ", ".join(map(repr, node)) or "nothing"
            raise InputError(
                f"{where}, group {name!r}: has no {key!r} (found {found}), which the observation space has. Take a "
                "fresh copy."
            )
    return node


def _one_hot(dataset: h5py.Dataset | np.ndarray, space: Space, where: str) -> Iterator[np.ndarray]:
    """A block ``(rows, n)`` for each of the discrete values of a row."""
    sizes = _whole_numbers(space, "n" if space["type"] == "Discrete" else "nvec", where)
    starts = _whole_numbers({"start": 0} | space, "start", where)
    if (sizes < 1).any() or sizes.sum() > _MOST_VALUES or len(starts) not in (1, len(sizes)):
        raise InputError(
            f"{where}: its space has {sizes.tolist()} discrete values from {starts.tolist()} on, expected at least 1 "
            f"of each, {_MOST_VALUES:,} in all, and as many starts. Correct metadata.json."
        )
    values = as_rows(np.atleast_1d(dataset[()])) - starts
    if values.shape[1] != len(sizes):
        raise InputError(f"{where}: has shape {dataset.shape}, expected (rows, {len(sizes)}) discrete values.")
    for column, size in zip(values.T, sizes, strict=True):
        outside = np.flatnonzero((column < 0) | (column >= size))
        if len(outside):
            raise InputError(
                f"{where}: step {outside[0]} is number {column[outside[0]]} of {size} values, counted from 0. The "
                "space in metadata.json is not that of this file."
            )
        yield (column[:, None] == np.arange(size)).astype(np.float32)


def _is_image(space: Space, where: str) -> bool:
    """Minari's criterion, by which it also decides what to encode."""
    if space.get("dtype") != "uint8":
        return False
    shape = _whole_numbers({"shape": ()} | space, "shape", where)
    return len(shape) in (2, 3) and bool(shape[:2].min() >= _SMALLEST_IMAGE)


def _holds_jpeg(dataset: h5py.Dataset | np.ndarray) -> bool:
    """Whether each row is an encoded image: bytes of any length, or of one length by chance."""
    if h5py.check_vlen_dtype(dataset.dtype) == np.uint8:
        return True
    return dataset.dtype == np.uint8 and dataset.ndim == 2 and len(dataset) > 0 and dataset[0].tobytes()[:3] == _JPEG


def _check_rows(blocks: list[np.ndarray], name: str, where: str) -> None:
    for one, other in itertools.pairwise(blocks):
        if len(one) != len(other):
            raise InputError(
                f"{where}, group {name!r}: its parts have {len(one)} and {len(other)} rows, expected one row an "
                "observation in each. Cut them to one length, or record the episode again."
            )


def _said(space: Any, word: str, where: str) -> Any:
    if not isinstance(space, dict) or word not in space:
        raise InputError(f"{where}: its space says no {word!r}: {str(space)[:60]}. Correct metadata.json.")
    return space[word]


def _whole_numbers(space: Space, word: str, where: str) -> np.ndarray:
    """What a space says by a word: whole numbers ``(n,)``, however they are nested."""
    said = _said(space, word, where)
    try:
        numbers = np.array(said if np.size(said) else [], np.object_).ravel()
        whole = [int(number) for number in numbers if not isinstance(number, bool | str) and number == int(number)]
        if len(whole) == len(numbers):
            return np.array(whole, np.int64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(
        f"{where}: its space says {word} {str(said)[:60]!r}, expected whole numbers. Correct metadata.json."
    )
