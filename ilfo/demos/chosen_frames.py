"""Frames in another order, or some of them time and again, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ilfo.demos.lazy_frames import LazyFrames

__all__ = ["ChosenFrames"]


class ChosenFrames(LazyFrames):
    """The array ``frames[numbers]`` of an episode, of which only what is indexed is in memory.

    Args:
        frames: ``(N, H, W, 3)`` uint8, or what gives such an array when it is sliced.
        numbers: ``(T+1,)`` integers in [0, N).
    """

    def __init__(self, frames: Any, numbers: np.ndarray) -> None:
        super().__init__((len(numbers), *frames.shape[1:]), frames.dtype)
        self._frames, self._numbers = frames, numbers

    def __getitem__(self, index: Any) -> np.ndarray:
        """The frames of an index, a slice, or an array of indices.

        Raises:
            IndexError: There is no such frame.
            InputError: They lie in a file that can no longer be read.
        """
        if isinstance(index, tuple):
            return np.asarray(self)[index]
        chosen = self._numbers[index]
        if not chosen.size:
            return np.empty((*chosen.shape, *self.shape[1:]), self.dtype)
        needed = np.unique(chosen)
        # Each run of neighbours is one slice: frames of a file are read by slices.
        runs = np.split(needed, np.flatnonzero(np.diff(needed) > 1) + 1)
        pieces = [np.asarray(self._frames[int(run[0]) : int(run[-1]) + 1]) for run in runs]
        taken = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return taken if np.array_equal(chosen, needed) else taken[np.searchsorted(needed, chosen)]

    def __repr__(self) -> str:
        return f"ChosenFrames({self._frames!r}, {self._numbers!r})"
