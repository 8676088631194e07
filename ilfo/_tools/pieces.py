"""Long arrays in pieces: films may lie in a file, and not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

__all__ = ["PIECE_BYTES", "pieces_of"]

PIECE_BYTES = 32 * 2**20
"""Most bytes of a piece, unless one row has more."""


def pieces_of(array: Any, multiple: int = 1) -> Iterator[slice]:
    """Slices of rows that together are the whole array, from its start to its end.

    Args:
        array: What has ``shape``, ``dtype`` and a length, ``(N, ...)``.
        multiple: Rows that stay together, as those of one chunk of a file do; a piece is as many, or several times so.

    Examples:
        >>> import numpy
        >>> [(each.start, each.stop) for each in pieces_of(numpy.zeros((50, 480, 640, 3), numpy.uint8))]
        [(0, 36), (36, 50)]
    """
    bytes_of_row = max(1, array.dtype.itemsize * math.prod(array.shape[1:]))
    rows = max(1, PIECE_BYTES // (bytes_of_row * multiple)) * multiple
    for start in range(0, len(array), rows):
        yield slice(start, min(start + rows, len(array)))
