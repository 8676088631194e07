"""Keypoints over the frames of an episode, as a video or as a sheet of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo._tools.target import file_to_write
from ilfo.demos import Demonstrations, Trajectory
from ilfo.envs.video import SUFFIXES, write_pictures
from ilfo.rewards.keypoints import KeypointFeatures, KeypointOptions
from ilfo.vision import draw_keypoints

__all__ = ["draw_demonstrations", "write_keypoints"]

_TRAIL = 10
_AT_ONCE = 64
"""Frames that are drawn at a time: they are enlarged."""
_ROWS, _COLUMNS = 3, 4


def draw_demonstrations(
    demonstrations: Demonstrations,
    out: str | os.PathLike[str],
    options: KeypointOptions | None = None,
    doing: Callable[[str], object] = lambda what: None,
) -> Path:
    """Finds keypoints in the frames of demonstrations, and draws those of the first episode.

    Args:
        demonstrations: Opened with their frames.
        out: See :func:`write_keypoints`.
        options: How keypoints are found.
        doing: Called with the expected cost of encoding, before it begins.

    Returns:
        The path written.

    Raises:
        InputError: There are no frames, ``out`` cannot be written, or the network cannot be had.
    """
    target = _target(out, reads=[demonstrations.path])
    features, drawn = KeypointFeatures(options), demonstrations[:1]
    doing(f"seeing {features.plan(demonstrations, drawn)}")
    seen = features.fit(demonstrations).see_demonstrations(drawn)
    return _write(target, seen[0], demonstrations.provenance.time_step)


def write_keypoints(
    out: str | os.PathLike[str], trajectory: Trajectory, features: KeypointFeatures, time_step: float | None = None
) -> Path:
    """Draws the keypoints of an episode over its frames.

    Args:
        out: ``.webm`` or ``.mp4`` for a video, ``.png`` for a sheet of frames at equal distances; written whole or not
            at all.
        trajectory: With frames.
        features: Fitted.
        time_step: Seconds between two frames of a video; None: a thirtieth.

    Returns:
        The path written.

    Raises:
        InputError: Another suffix, no such folder, or no frames.
    """
    return _write(_target(out), features.see(trajectory), time_step)


def _write(target: Path, seen: Trajectory, time_step: float | None) -> Path:
    keypoints = seen.observations
    assert seen.frames is not None
    pictures = _drawn(seen.frames, keypoints)
    if target.suffix.lower() in SUFFIXES:
        return write_pictures(target, pictures, 1 / time_step if time_step else None)
    import cv2

    chosen = np.linspace(0, len(keypoints) - 1, min(len(keypoints), _ROWS * _COLUMNS)).round()
    shown = [picture for index, picture in enumerate(pictures) if index in chosen]
    blank = np.zeros_like(shown[0])
    shown += [blank] * (-len(shown) % _COLUMNS)
    rows = [np.concatenate(shown[start : start + _COLUMNS], axis=1) for start in range(0, len(shown), _COLUMNS)]
    _, png = cv2.imencode(".png", np.concatenate(rows)[..., ::-1])
    with atomic_path(target) as temporary:
        temporary.write_bytes(png.tobytes())
    return target


def _target(out: str | os.PathLike[str], reads: Iterable[Path | None] = ()) -> Path:
    target = file_to_write(out, reads=reads)
    if target.suffix.lower() not in (*SUFFIXES, ".png"):
        raise InputError(f"{target}: keypoints are drawn as {', '.join(SUFFIXES)} or .png; name such a file")
    return target


def _drawn(frames: np.ndarray, keypoints: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(frames), _AT_ONCE):
        first = max(start - _TRAIL, 0)
        rows = slice(first, start + _AT_ONCE)
        yield from draw_keypoints(frames[rows], keypoints[rows], trail=_TRAIL)[start - first :]
