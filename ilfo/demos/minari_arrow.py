"""Minari's datasets whose episodes are stored as Arrow or parquet, a folder each.

::

    NAME-v0/data/metadata.json      as of a dataset in HDF5; data_format is "arrow" or "parquet"
    NAME-v0/data/0/metadata.json    id, seed, total_steps
    NAME-v0/data/0/part-0.arrow     T+1 rows of these columns, the last one but for observations and infos filled up
      observations                  numbers, lists of a fixed size, encoded images, or a struct of these
      actions
      rewards
      terminations
      truncations
      infos                         a struct, optional

What is in them is read as in HDF5, by :func:`ilfo.demos.minari.read_stored`: structs stand for groups, the fields
``0``, ``1``, ... of a Tuple for members called ``_index_0``, ``_index_1``, ...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos._parquet import load_pyarrow, read_columns, vectors
from ilfo.demos._provenance import parsed_json
from ilfo.demos.minari import METADATA, StoredEpisode, minari_metadata, read_stored
from ilfo.demos.trajectory import Demonstrations

if TYPE_CHECKING:
    import pyarrow

__all__ = ["read_minari_arrow"]

_OF_STEPS = ("actions", "rewards", "terminations", "truncations")
_FOLDER = re.compile(r"(\d+)")
_PART = re.compile(r"part-(\d+)")


def read_minari_arrow(data: Path, episodes: Sequence[int] | None = None) -> Demonstrations:
    """Reads a Minari dataset in Arrow or parquet, episode by episode.

    Args:
        data: The folder with ``metadata.json`` and a folder for each episode.
        episodes: Which to read, counted from 0 in numeric order of the folders; all by default.

    Returns:
        What :func:`~ilfo.demos.minari.read_minari` returns of the same dataset in HDF5.

    Raises:
        InputError: pyarrow is missing; or an episode is missing, damaged, ragged, not finite or not of the space that
            ``metadata.json`` says.

    Warns:
        UserWarning: Images or text were left out of the observations, or the folder has not all of its episodes.
    """
    load_pyarrow(str(data))
    form = minari_metadata(data)["data_format"]
    folders = _numbered(data.iterdir(), _FOLDER)
    if not folders:
        raise InputError(
            f"{data}: holds no episode, expected folders '0', '1', ... Copy or download the dataset again."
        )

    def load(index: int, where: str) -> StoredEpisode:
        return _load(folders[index], form, where)

    return read_stored(data, [f"folder {folder.name!r}" for folder in folders], load, episodes)


def _load(folder: Path, form: str, where: str) -> StoredEpisode:
    """One episode in storage.

    Raises:
        InputError: Its files are missing or damaged.
    """
    parts = _numbered(folder.glob(f"*.{form}"), _PART)
    if not parts:
        found = ", ".join(sorted(each.name for each in folder.iterdir())) or "nothing"
        raise InputError(f"{where}: found {found}, expected part-0.{form}. Copy or download the episode again.")
    columns = read_columns(parts, ["observations", *_OF_STEPS], optional=["infos"], form=form)
    steps = max(len(columns["observations"]) - 1, 0)
    columns |= {name: columns[name].slice(0, steps) for name in _OF_STEPS}
    stated = folder / METADATA
    return _Columns(columns, where), parsed_json(stated.read_bytes(), str(stated)) if stated.is_file() else {}


def _numbered(paths: Iterable[Path], pattern: re.Pattern[str]) -> list[Path]:
    """The paths of such names by their numbers, so that ``10`` follows ``9``."""
    found = [(int(match[1]), path) for path in paths if (match := pattern.fullmatch(path.stem))]
    return [path for _, path in sorted(found)]


class _Columns(Mapping[str, Any]):
    """Columns as arrays and groups by name, none converted before it is asked for.

    Args:
        columns: By the names that they are stored by.
        where: The start of an error's sentence.
        path: Of the struct whose fields they are, with a slash behind it.
    """

    def __init__(self, columns: Mapping[str, pyarrow.ChunkedArray], where: str, path: str = "") -> None:
        self._columns, self._where, self._path = columns, where, path

    def __getitem__(self, name: str) -> _Columns | np.ndarray:
        from pyarrow import types

        column = self._columns[self._stored(name)]
        path, kind = f"{self._path}{name}", column.type
        if types.is_struct(kind):
            fields = [kind.field(index).name for index in range(kind.num_fields)]
            return _Columns(dict(zip(fields, column.flatten(), strict=True)), self._where, f"{path}/")
        if types.is_binary(kind) or types.is_large_binary(kind):
            return np.empty(len(column), h5py.vlen_dtype(np.uint8))
        if types.is_string(kind) or types.is_large_string(kind):
            return np.empty(len(column), h5py.string_dtype())
        return vectors(column, None, lambda row: f"{self._where}, column {path!r}, row {row}")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._stored(name) in self._columns

    def __iter__(self) -> Iterator[str]:
        is_tuple = list(self._columns) == [str(index) for index in range(len(self._columns))]
        return (f"_index_{name}" if is_tuple else name for name in self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def _stored(self, name: str) -> str:
        """Members of a Tuple are stored by their numbers alone, and only Minari's HDF5 puts a word before them."""
        return name if name in self._columns else name.removeprefix("_index_")
