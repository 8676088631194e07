"""Demonstrations from videos: an episode each, with frames and no states."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos.lazy_frames import LazyFrames
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory

__all__ = ["SUFFIXES", "VideoFrames", "from_videos"]

SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
"""By which a file that is no HDF5 is taken for a video."""

UNEVEN = 0.1
"""Share of the usual interval between frames from which another is no rounding."""


def from_videos(
    paths: Sequence[str | os.PathLike[str]],
    *,
    frame_size: tuple[int, int] | None = None,
    time_step: float | None = None,
) -> Demonstrations:
    """Demonstrations with the frames of videos, to be written with :func:`~ilfo.demos.write`.

    A reward that sees keypoints (``--features keypoints``) needs no more. Frames are decoded when they are taken.

    Args:
        paths: Of the videos, in any format that OpenCV decodes.
        frame_size: Width and height in pixels to scale frames to, each side on its own; the environment is drawn in the
            same size. None: as they are.
        time_step: Seconds from one frame to the next, which should be those of the environment's step; of the video's
            frames, the nearest in time are taken, also where these come at uneven intervals, as from many telephones.
            None: all.

    Returns:
        An episode for each video, whose observations are ``(T+1, 0)``.

    Raises:
        InputError: A video cannot be read, has fewer than two frames or fewer a second than are asked for, or is of
            another size than the others.

    Warns:
        UserWarning: Frames come at uneven intervals, and all are taken, or some more than once.
    """
    if not paths:
        raise InputError("no videos; expected at least one")
    films = [VideoFrames(path, frame_size, time_step) for path in paths]
    for path, film in zip(paths, films, strict=True):
        if film.shape[1:] != films[0].shape[1:]:
            sizes = [f"{each.shape[2]} x {each.shape[1]}" for each in (film, films[0])]
            raise InputError(f"{path}: frames of {sizes[0]} pixels, those of {paths[0]} have {sizes[1]}: give a size")
        if time_step is None and not np.isclose(film.time_step, films[0].time_step, rtol=0.01):
            rates = [f"{1 / each.time_step:.3g}" for each in (film, films[0])]
            raise InputError(
                f"{path}: {rates[0]} frames a second, and {paths[0]} has {rates[1]}: give the seconds between frames"
            )
    names = ", ".join(Path(path).name for path in paths)
    provenance = Provenance(time_step=films[0].time_step, source=f"frames of {names}")
    empty = [np.zeros((len(film), 0), np.float32) for film in films]
    episodes = [Trajectory(none, frames=film) for none, film in zip(empty, films, strict=True)]  # type: ignore[arg-type]
    return Demonstrations(tuple(episodes), provenance)


class VideoFrames(LazyFrames):
    """The frames of a video, ``(T+1, H, W, 3)`` uint8 RGB, at even intervals; fast where they are taken in order.

    Args:
        path: The video.
        frame_size: See :func:`from_videos`.
        time_step: See :func:`from_videos`.

    Attributes:
        time_step: Seconds from one frame to the next.

    Raises:
        InputError: See :func:`from_videos`.

    Warns:
        UserWarning: See :func:`from_videos`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        frame_size: tuple[int, int] | None = None,
        time_step: float | None = None,
    ) -> None:
        self._player = _Player(Path(path))
        times = self._player.times
        self.time_step, self._chosen = _chosen(times, time_step, str(path))
        if len(self._chosen) < 2:
            raise InputError(
                f"{path}: {len(self._chosen)} of its {len(times)} frames are to be taken; expected at least 2."
            )
        self._size = frame_size
        width, height = frame_size or self._player.size
        super().__init__((len(self._chosen), height, width, 3), np.dtype(np.uint8))

    def __getitem__(self, index: Any) -> np.ndarray:
        """The frames of an index, a slice, or an array of indices.

        Raises:
            IndexError: There is no such frame.
            InputError: The video is no longer what it was.
        """
        if isinstance(index, tuple):
            return np.asarray(self)[index]
        chosen = self._chosen[index]
        taken = np.empty((chosen.size, *self.shape[1:]), self.dtype)
        for place in np.argsort(chosen, axis=None).tolist():
            taken[place] = self._scaled(self._player.frame(int(chosen.flat[place])))
        return taken.reshape(*chosen.shape, *self.shape[1:])

    def _scaled(self, picture: np.ndarray) -> np.ndarray:
        import cv2

        return picture if self._size is None else cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)

    def __repr__(self) -> str:
        return f"VideoFrames({self._player.path}, shape={self.shape})"


def _chosen(times: np.ndarray, time_step: float | None, path: str) -> tuple[float, np.ndarray]:
    """Seconds between the frames to take, and their numbers; ``times`` are those of all, in seconds."""
    if len(times) < 2:
        return time_step or 1.0, np.arange(len(times))
    intervals = np.diff(times)
    usual = float(np.median(intervals))
    if time_step is None:
        if (abs(intervals - usual) > UNEVEN * usual).any():
            usual = float(intervals.mean())
            warnings.warn(
                f"{path}: its frames come at uneven intervals, {intervals.min():.3g} to {intervals.max():.3g} s; all "
                f"are taken, as if one came every {usual:.3g} s. Give the seconds between frames (--time-step) to have "
                "those that are nearest.",
                stacklevel=3,
            )
        return usual, np.arange(len(times))
    if not 1.01 * time_step >= usual:
        raise InputError(
            f"{path}: has a frame every {usual:.4g} s, expected one every {time_step:g} s. Give at least {usual:.4g} "
            "s, or a video of more frames a second."
        )
    wanted = np.arange(0, times[-1] + usual / 2, time_step)
    chosen = np.rint(np.interp(wanted, times, np.arange(len(times)))).astype(int)
    again = len(chosen) - len(np.unique(chosen))
    if again and intervals.max() > (1 + UNEVEN) * usual:
        warnings.warn(
            f"{path}: {again} of {len(chosen)} frames are those before them again, because there is none for up "
            f"to {intervals.max():.3g} s.",
            stacklevel=3,
        )
    return time_step, chosen


class _Player:
    """Decodes a video from its start to its end, and from the start again where an earlier frame is wanted.

    Args:
        path: The video.

    Attributes:
        path: As given.
        size: Width and height in pixels.
        times: Seconds of each frame after the first, ``(N,)``. They are counted: what a file says of their number is a
            guess.

    Raises:
        InputError: It cannot be decoded, or says nothing of when its frames are to be seen.
    """

    def __init__(self, path: Path) -> None:
        import cv2

        self.path = path
        self._rewind()
        rate, stamps = float(self._video.get(cv2.CAP_PROP_FPS)), []
        while self._video.grab():
            stamps.append(self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        self.times = self._seconds(np.array(stamps), rate)
        self._rewind()
        # A telephone's film may be stored on its side; its frames come upright.
        height, width, _ = self.frame(0).shape
        self.size = width, height

    def _seconds(self, stamps: np.ndarray, rate: float) -> np.ndarray:
        """When frames are to be seen: by their stamps if these say so, else by the file's frames a second.

        Stamps are whole milliseconds in .mkv and .webm, and whole hundredths of a second in .gif.
        """
        intervals = np.diff(stamps)
        rounding = 0.0101 if self.path.suffix.lower() == ".gif" else 0.0011
        even = rate > 0 and (abs(intervals - 1 / rate) <= max(UNEVEN / rate, rounding)).all()
        if len(intervals) and (intervals > 0).all() and not even:
            return stamps - stamps[0]
        if not rate > 0:
            raise InputError(f"{self.path}: says nothing of its frames a second. Encode it again, at a constant rate.")
        # What the file says is exact where stamps are rounded; of a .gif it is a guess.
        if len(intervals) and (intervals > 0).all() and abs(intervals.mean() * rate - 1) > 0.02:
            rate = 1 / float(intervals.mean())
        return np.arange(len(stamps)) / rate

    def _rewind(self) -> None:
        import cv2

        if not self.path.is_file():
            raise InputError(f"{self.path}: there is no such file.")
        self._video = cv2.VideoCapture(str(self.path))
        if not self._video.isOpened():
            raise InputError(f"{self.path}: is no video that OpenCV can decode. Encode it as .mp4 with H.264.")
        self._at = -1

    def frame(self, number: int) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB."""
        if number < self._at:
            self._rewind()
        while self._at < number:
            if not self._video.grab():
                raise InputError(f"{self.path}: frame {self._at + 1} cannot be read; the video is damaged or changed.")
            self._at += 1
        decoded, picture = self._video.retrieve()
        if not decoded:
            raise InputError(f"{self.path}: frame {number} cannot be decoded; the video is damaged.")
        return picture[..., ::-1]
