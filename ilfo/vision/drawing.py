"""Keypoints drawn over the frames that they were found in."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from ilfo._tools.errors import InputError
from ilfo.vision.backbones import check_frames
from ilfo.vision.loading import INSTALL

__all__ = ["concept_colours", "draw_keypoints"]

SUBPIXEL = 4
"""Binary digits after the point of the positions that OpenCV draws at."""


def concept_colours(count: int) -> list[tuple[int, int, int]]:
    """A bright RGB colour for each concept, neighbours far apart on the colour wheel."""
    golden = 0.618
    return [
        tuple(round(255 * part) for part in colorsys.hsv_to_rgb(k * golden % 1.0, 0.9, 1.0))  # type: ignore[misc]
        for k in range(count)
    ]


def draw_keypoints(
    frames: np.ndarray, keypoints: np.ndarray, *, trail: int = 10, smallest_side: int = 256
) -> np.ndarray:
    """Frames with a disc at each keypoint, and a faint line along its last positions.

    Args:
        frames: ``(N, H, W, 3)`` uint8 RGB.
        keypoints: ``(N, K, 3)`` or ``(N, 3K)``: ``u``, ``v`` and visibility of each concept, as
            :class:`~ilfo.rewards.keypoints.KeypointFeatures` finds them. A concept's colour is the same in all frames;
            its disc grows with its visibility.
        trail: Number of earlier positions that the line goes through; 0: none.
        smallest_side: Smaller frames are enlarged by a whole factor until their shorter side has at least this many
            pixels, so that discs do not hide what they mark.

    Returns:
        ``(N, f * H, f * W, 3)`` uint8, new.

    Raises:
        InputError: Frames and keypoints do not go together, or OpenCV is missing.
    """
    check_frames(frames)
    flat = np.asarray(keypoints, np.float64).reshape(len(keypoints), -1)
    if len(flat) != len(frames) or flat.shape[1] % 3:
        raise InputError(
            f"keypoints of shape {np.shape(keypoints)} for {len(frames)} frames; expected ({len(frames)}, K, 3) or "
            f"({len(frames)}, 3K)"
        )
    cv2 = _import_cv2()
    points = flat.reshape(len(flat), -1, 3)
    factor = max(-(-smallest_side // min(frames.shape[1:3])), 1)
    height, width = (factor * side for side in frames.shape[1:3])
    # The pixel in the middle of the image has the coordinate (width - 1) / 2.
    pixels = (points[..., :2] + 1) / 2 * (width, height) - 0.5
    fixed = (pixels * 2**SUBPIXEL).round().astype(np.int32)
    colours = concept_colours(points.shape[1])
    unit = min(height, width) / 256
    drawn = np.empty((len(frames), height, width, 3), np.uint8)
    for step, frame in enumerate(frames):
        picture = np.ascontiguousarray(frame)
        if factor > 1:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
        faint = picture.copy()
        for k, colour in enumerate(colours):
            line = np.ascontiguousarray(fixed[max(step - trail, 0) : step + 1, k])
            cv2.polylines(faint, [line], False, colour, max(round(unit), 1), cv2.LINE_AA, SUBPIXEL)
        picture = cv2.addWeighted(faint, 0.5, picture, 0.5, 0)
        for k, colour in enumerate(colours):
            radius = round(unit * (2 + 4 * min(max(points[step, k, 2], 0.0), 1.0)) * 2**SUBPIXEL)
            centre = tuple(fixed[step, k].tolist())
            cv2.circle(picture, centre, radius + 2**SUBPIXEL, (0, 0, 0), -1, cv2.LINE_AA, SUBPIXEL)
            cv2.circle(picture, centre, radius, colour, -1, cv2.LINE_AA, SUBPIXEL)
        drawn[step] = picture
    return drawn


def _import_cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError(INSTALL.format("OpenCV")) from error
    return cv2
