"""Frames that stay in their file until they are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos.lazy_frames import LazyFrames

__all__ = ["StoredFrames"]


class StoredFrames(LazyFrames):
    """The frames of one episode in an HDF5 file: an array that reads only what is indexed.

    ``frames[10:20]`` reads ten frames; ``np.asarray(frames)`` reads all of them. An hour of video need not fit into
    memory to be encoded.

    Args:
        dataset: ``(T+1, H, W, 3)`` uint8, of a file open for reading, which may be closed afterwards.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        super().__init__(dataset.shape, dataset.dtype)
        self._path, self._name = Path(dataset.file.filename).absolute(), str(dataset.name)
        self._stamp = _stamp(self._path)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The frames of an index, a slice, or an array of indices.

        Raises:
            IndexError: There is no such frame.
            InputError: The file is gone, or is no longer what it was.
        """
        if not isinstance(index, int | np.integer | slice):
            return np.asarray(self)[index]
        if not isinstance(index, slice):
            index = range(len(self))[index]
        try:
            if _stamp(self._path) == self._stamp:
                with h5py.File(self._path, "r") as file:
                    return np.asarray(file[self._name][index])
            found = "another file is there now, or it was written to"
        except (OSError, KeyError) as error:
            found = str(error)
        raise InputError(
            f"{self._path}, dataset {self._name!r}: cannot be read: {found}. It is truncated or damaged, or was "
            "changed while it was in use: take a fresh copy, and leave it as it is."
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them; what was just read is nobody else's, and need not be copied."""
        return super().__array__(dtype, copy=False)

    def __repr__(self) -> str:
        return f"StoredFrames({self._path}, {self._name!r}, shape={self.shape})"


def _stamp(path: Path) -> tuple[int, ...]:
    """What differs once another file is there, or this one was written to."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
