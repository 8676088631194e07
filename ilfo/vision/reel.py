"""Several films of one size as one long one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ilfo._tools.errors import InputError
from ilfo.vision.backbones import check_frames

__all__ = ["Reel"]


class Reel:
    """Films read as one array, of which only the frames asked for are copied.

    Args:
        films: ``(N_i, H, W, 3)`` uint8 each, or objects whose slices are such arrays.
        names: Names of the films, for errors.

    Attributes:
        starts: ``(films + 1,)`` int64: the first frame of each film, and the end of the last one.
        shape: Shape of the concatenated array.
        dtype: uint8.

    Raises:
        InputError: There are no films, one is not such an array, or their frames differ in size.
    """

    def __init__(self, films: Sequence[np.ndarray], names: Sequence[str]) -> None:
        if not films:
            raise InputError("there are no films: at least one is needed")
        for film, name in zip(films, names, strict=True):
            check_frames(film, name)
            if film.shape[1:] != films[0].shape[1:]:
                (height, width), (first_height, first_width) = film.shape[1:3], films[0].shape[1:3]
                raise InputError(
                    f"{name}: frames of {width} x {height} pixels, and those of {names[0]} have {first_width} x "
                    f"{first_height}; record all of them in one size"
                )
        self._films = films
        self.starts = np.cumsum([0, *(len(film) for film in films)])
        self.shape = (int(self.starts[-1]), *films[0].shape[1:])
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice) -> np.ndarray:
        start, stop, step = index.indices(len(self))
        assert step == 1
        pieces = [
            film[max(start - first, 0) : stop - first]
            for film, first, end in zip(self._films, self.starts[:-1], self.starts[1:], strict=True)
            if start < end and first < stop
        ]
        return np.concatenate(pieces) if len(pieces) != 1 else np.asarray(pieces[0])

    def evenly(self, count: int) -> np.ndarray:
        """At most ``count`` frames at equal distances, the first and the last among them where it is 2 or more."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64))
        frames = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for row, each in enumerate(chosen.tolist()):
            frames[row] = self[each : each + 1][0]
        return frames

    def pieces(self, start: int, stop: int) -> list[tuple[int, slice]]:
        """The films that frames ``start`` to before ``stop`` belong to, and which of these frames are theirs."""
        films = range(np.searchsorted(self.starts, start, "right") - 1, np.searchsorted(self.starts, stop, "left"))
        edges = [(film, max(self.starts[film], start), min(self.starts[film + 1], stop)) for film in films]
        return [(film, slice(int(first - start), int(end - start))) for film, first, end in edges]
