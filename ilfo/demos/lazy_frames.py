"""Frames of an episode that are loaded or made on access."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

__all__ = ["LazyFrames"]


class LazyFrames(ABC):
    """An array of frames of which only what is taken is in memory: ``frames[10:20]`` is ten of them.

    ``np.asarray(frames)`` is all of them.

    Args:
        shape: ``(T+1, H, W, 3)``.
        dtype: Of the frames.

    Attributes:
        shape: As given.
        dtype: As given.
        ndim: 4.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @abstractmethod
    def __getitem__(self, index: Any) -> np.ndarray:
        """The frames of an index, a slice, or an array of indices.

        Raises:
            IndexError: There is no such frame.
        """

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=bool(copy))
