"""Videos of episodes: an episode is lived again with a camera on, and encoded for web browsers."""

from __future__ import annotations

import itertools
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo._tools.target import file_to_write
from ilfo.demos import Trajectory
from ilfo.envs.drawing import RenderError, drawable_env, first_frame
from ilfo.envs.making import Protocol

__all__ = ["SUFFIXES", "check_video_path", "write_pictures", "write_video"]

SUFFIXES = {".webm": "VP80", ".mp4": "vp09"}
"""File suffix to codec: what OpenCV's wheel can encode and every current browser plays. VP8 encodes faster."""

_SMOOTH_FPS = 30
_DEFAULT_FPS = 30


def check_video_path(path: str | os.PathLike[str]) -> Path:
    """The path of a video to write.

    Raises:
        InputError: A suffix that is not supported, a folder that does not exist, or the path is one itself.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"{target}: cannot write a {target.suffix or 'nameless'} video; use {' or '.join(SUFFIXES)}")
    return file_to_write(target)


def write_video(
    path: str | os.PathLike[str],
    trajectory: Trajectory,
    env_id: str,
    protocol: Protocol,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Plays an episode again and films it at the environment's own speed, at 30 frames a second or fewer.

    Args:
        path: ``.webm`` or ``.mp4``; written whole or not at all.
        trajectory: An episode with its seed and actions, as :func:`ilfo.envs.rollouts.rollout` returns it.
        env_id: The environment it was played in.
        protocol: The protocol it was played under.
        progress: Called with the steps done and the steps in all.

    Returns:
        The path written.

    Raises:
        InputError: See :func:`check_video_path`; or the trajectory has no actions or no seed to live it again by.
        RenderError: Nothing can be drawn here.
    """
    target = check_video_path(path)
    frames = _frames(trajectory, env_id, protocol, progress)
    rate, first = next(frames)
    return _encode(target, rate, first, (frame for _, frame in frames))


def write_pictures(path: str | os.PathLike[str], pictures: Iterable[np.ndarray], speed: float | None = None) -> Path:
    """Writes pictures as a video, 30 frames a second or fewer: of faster ones some are left out.

    Args:
        path: ``.webm`` or ``.mp4``; written whole or not at all.
        pictures: At least one, ``(H, W, 3)`` uint8 RGB of one size.
        speed: Pictures a second; None: 30.

    Returns:
        The path written.

    Raises:
        InputError: See :func:`check_video_path`.
        RenderError: OpenCV cannot encode video.
    """
    target, speed = check_video_path(path), speed or _DEFAULT_FPS
    stride = max(1, math.ceil(speed / _SMOOTH_FPS))
    shown = itertools.islice(pictures, 0, None, stride)
    return _encode(target, speed / stride, next(shown), shown)


def _encode(target: Path, rate: float, first: np.ndarray, others: Iterator[np.ndarray]) -> Path:
    import cv2

    height, width = (side // 2 * 2 for side in first.shape[:2])
    codec = cv2.VideoWriter.fourcc(*SUFFIXES[target.suffix.lower()])
    with atomic_path(target) as temporary:
        with _quiet_ffmpeg():
            writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, rate, (width, height))
        if not writer.isOpened():
            raise RenderError(f"{target}: this OpenCV cannot encode video; reinstall opencv-python-headless")
        try:
            writer.write(_bgr(first, height, width))
            for frame in others:
                writer.write(_bgr(frame, height, width))
        finally:
            writer.release()
    return target


def _frames(
    trajectory: Trajectory, env_id: str, protocol: Protocol, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[float, np.ndarray]]:
    """Frame rate and frame ``(H, W, 3)`` uint8 RGB of every step that is shown, the first and the last included."""
    if trajectory.actions is None or trajectory.seed is None:
        raise InputError("an episode without actions or without its seed cannot be lived again, so not filmed either")
    env = drawable_env(env_id, protocol)
    try:
        speed = float(env.metadata.get("render_fps") or _DEFAULT_FPS)
        stride = max(1, math.ceil(speed / _SMOOTH_FPS))
        observation, _ = env.reset(seed=trajectory.seed)
        collected, total = 0.0, len(trajectory)
        yield speed / stride, _labelled(first_frame(env), 0, collected)
        for step, action in enumerate(trajectory.actions, start=1):
            observation, reward, *_ = env.step(action.copy())
            collected += float(reward)
            if step % stride == 0 or step == total:
                yield speed / stride, _labelled(np.asarray(env.render()), step, collected)
            if progress is not None:
                progress(step, total)
        if not np.allclose(observation, trajectory.observations[-1], rtol=1e-4, atol=1e-4):
            warnings.warn(
                f"{env_id} is not deterministic: the filmed episode is not the one that was measured", stacklevel=3
            )
    finally:
        env.close()


def _labelled(frame: np.ndarray, step: int, collected: float) -> np.ndarray:
    import cv2

    picture = np.ascontiguousarray(frame, np.uint8).copy()
    scale, font = picture.shape[1] / 1000, cv2.FONT_HERSHEY_SIMPLEX
    text, margin = f"step {step}   return {collected:,.1f}", round(14 * scale)
    (width, height), below = cv2.getTextSize(text, font, scale, 1)
    box = picture[: height + below + 2 * margin, : width + 2 * margin]
    box //= 3
    cv2.putText(picture, text, (margin, margin + height), font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _bgr(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(frame[:height, :width, ::-1])


@contextmanager
def _quiet_ffmpeg() -> Iterator[None]:
    """Silences what OpenCV writes to C's stderr about WebM, which has no codec tags."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
