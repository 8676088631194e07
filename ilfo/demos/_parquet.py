"""Columns of parquet and Arrow files as NumPy arrays, sure to be whole: no value missing, every row of one width."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ilfo._tools.errors import InputError

if TYPE_CHECKING:
    import pyarrow

__all__ = ["load_pyarrow", "read_columns", "vectors", "whole_numbers"]


def load_pyarrow(where: str) -> ModuleType:
    """The library that reads parquet and Arrow, imported only where such a file is read.

    Raises:
        InputError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.dataset
    except ImportError as error:
        raise InputError(
            f"{where}: parquet and Arrow files are read with pyarrow, which is not installed. Run: "
            "pip install 'ilfo[lerobot-format]', which brings it."
        ) from error
    return pyarrow


def read_columns(
    files: Sequence[Path], names: Collection[str], *, optional: Collection[str] = (), form: str = "parquet"
) -> dict[str, pyarrow.ChunkedArray]:
    """The named columns of one table; others, images for instance, are never taken from the disk.

    Args:
        files: The parts of the table, in order.
        names: What it must have.
        optional: What is read too where it is there.
        form: What the files are: ``"parquet"`` or ``"arrow"``.

    Raises:
        InputError: A file is missing, damaged, unlike the first, or the table lacks a column.
    """
    where = files[0] if len(files) == 1 else files[0].parent
    pyarrow = load_pyarrow(str(where))
    try:
        stored = pyarrow.dataset.dataset(list(map(str, files)), format=form)
        held = stored.schema.names
        missing = [name for name in names if name not in held]
        if missing:
            raise InputError(
                f"{where}: has no column {missing[0]!r}, expected it beside {', '.join(map(repr, held[:8]))}. "
                "Copy or download the data set again."
            )
        wanted = [*names, *(name for name in optional if name in held)]
        # By name alone: text with a dot may mean a part of a column.
        table = stored.to_table(columns={name: pyarrow.dataset.field(name) for name in wanted})
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{where}: cannot be read as {form}, it is missing, truncated or damaged ({reason}). Copy or download it "
            "again."
        ) from error
    return {name: table.column(name) for name in wanted}


def whole_numbers(column: pyarrow.ChunkedArray, where: str) -> np.ndarray:
    """A column ``(N,)`` of indices as int64.

    Raises:
        InputError: It holds something else, or a value is missing.
    """
    from pyarrow import types

    if not types.is_integer(column.type) or column.null_count:
        found = f"{column.null_count} empty rows" if column.null_count else f"{column.type} values"
        raise InputError(f"{where}: holds {found}, expected one whole number a row. Write the data set again.")
    return np.asarray(column.to_numpy(), np.int64)


def vectors(column: pyarrow.ChunkedArray, width: int | None, where: Callable[[int], str]) -> np.ndarray:
    """A column as numbers ``(N, width)``, whether stored as lists, as lists of a fixed size or, for one, as scalars.

    Args:
        column: ``N`` rows.
        width: Numbers that every row should have; None: as many as the first.
        where: The start of an error's sentence for a row.

    Raises:
        InputError: A row has another width or is empty, or the values are not numbers; names the first such row.
    """
    from pyarrow import compute, types

    if not len(column):
        return np.empty((0, width or 1), np.float32)
    _refuse_empty(column, 1, where)
    values, lengths = column, np.ones(len(column), int)
    if types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type):
        values, lengths = compute.list_flatten(column), compute.list_value_length(column).to_numpy()
    if not (types.is_floating(values.type) or types.is_integer(values.type) or types.is_boolean(values.type)):
        numbers = "numbers" if width is None else f"{width} numbers"
        raise InputError(f"{where(0)}: holds {column.type} values, expected {numbers}. Write it as float32.")
    expected = int(lengths[0]) if width is None else width
    wrong = np.flatnonzero(lengths != expected)
    if len(wrong):
        row = int(wrong[0])
        stated = "" if width is None else ", or correct the shape in meta/info.json if all rows have that width"
        raise InputError(
            f"{where(row)}: has width {lengths[row]}, expected {expected}. Leave that episode out{stated}."
        )
    _refuse_empty(values, expected, where)
    # A copy: what pyarrow lends may not be written to.
    return np.array(values.to_numpy()).reshape(len(column), expected)


def _refuse_empty(values: pyarrow.ChunkedArray, width: int, where: Callable[[int], str]) -> None:
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy())[0]) // width
        raise InputError(f"{where(row)}: there is no value, expected a number. Leave that episode out.")
