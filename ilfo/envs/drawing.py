"""Environments that can be drawn, and their pictures."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.envs.making import Protocol, make_env

__all__ = ["RenderError", "drawable_env", "filmed", "first_frame", "frame", "nothing_can_be_drawn", "prepare_drawing"]


class RenderError(InputError):
    """No picture can be drawn on this machine."""


def prepare_drawing() -> None:
    """Chooses the drawing library of a machine without a display; before anything is drawn in the process."""
    if sys.platform == "linux" and "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")
    # PyTorch's compiler and Mesa's drivers each bring an LLVM: the process crashes if the drivers' is loaded first.
    with suppress(ImportError):
        importlib.import_module("triton")


def nothing_can_be_drawn(error: Exception) -> RenderError:
    """What to raise where the drawing library is missing: the reason, and what to install."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return RenderError(
        f"no picture can be drawn here ({reason}): for MuJoCo without a display install libegl1 and "
        "libgl1-mesa-dri and set MUJOCO_GL=egl"
    )


def drawable_env(env_id: str, protocol: Protocol, size: tuple[int, int] | None = None) -> gymnasium.Env[Any, Any]:
    """Makes an environment that draws pictures.

    Args:
        env_id: Gymnasium id.
        protocol: How episodes end.
        size: Width and height in pixels that MuJoCo draws in; by default the environment's own.

    Raises:
        InputError: See :func:`ilfo.envs.make_env`.
        RenderError: The environment takes no ``render_mode``.
    """
    prepare_drawing()
    try:
        env = make_env(env_id, protocol, render=True)
    except TypeError as error:
        raise RenderError(f"{env_id} cannot be drawn: its constructor does not take render_mode ({error})") from error
    _lighten(env)
    _aim(env)
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is not None and size is not None:
        renderer.width, renderer.height = size
        buffer = renderer.model.vis.global_
        buffer.offwidth, buffer.offheight = max(buffer.offwidth, size[0]), max(buffer.offheight, size[1])
    return _OwnContext(env)


class _OwnContext(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Draws in this environment's own OpenGL context, whatever else is drawn in the process.

    Gymnasium makes a context current only when it is new. Several environments would all be drawn with the textures of
    the newest one, and with none once that is closed; and each would free its resources in another's context.
    """

    def render(self) -> Any:
        """A frame, as the environment draws it."""
        self._make_current()
        return self.env.render()

    def close(self) -> None:
        """Frees the simulator and, while its context exists, its resources on the graphics card."""
        viewer = self._make_current()
        if viewer is not None:
            viewer.con.free()
        self.env.close()

    def _make_current(self) -> Any:
        """The viewer of MuJoCo's pictures, in whose context the next calls are; None before the first frame."""
        viewer: Any = getattr(getattr(self.unwrapped, "mujoco_renderer", None), "viewer", None)
        if viewer is not None:
            viewer.make_context_current()
        return viewer


def _aim(env: gymnasium.Env[Any, Any]) -> None:
    """Points a free camera without a configured target at the middle of the model in its initial state.

    Gymnasium points it at the middle of the first state that is drawn, which would shift the pictures of two episodes
    against each other.
    """
    renderer: Any = getattr(env.unwrapped, "mujoco_renderer", None)
    known = getattr(renderer, "default_cam_config", {})
    if renderer is None or (known and "lookat" in known):
        return
    import mujoco

    data = mujoco.MjData(renderer.model)
    mujoco.mj_forward(renderer.model, data)
    renderer.default_cam_config = (known or {}) | {"lookat": np.median(data.geom_xpos, axis=0)}


def _lighten(env: gymnasium.Env[Any, Any]) -> None:
    """Coarser shadows and no multisampling: without a GPU, MuJoCo then draws four times as fast, nearly the same."""
    visual = getattr(getattr(env.unwrapped, "model", None), "vis", None)
    if visual is not None:
        visual.quality.shadowsize = 1024
        visual.quality.offsamples = 0


def first_frame(env: gymnasium.Env[Any, Any]) -> np.ndarray:
    """The first picture ``(H, W, 3)`` of an environment that was just reset.

    Raises:
        RenderError: Nothing can be drawn here; says what to install.
    """
    try:
        picture: Any = env.render()
    except NotImplementedError as error:
        raise RenderError("the environment draws no pictures: its class has no render()") from error
    # Drivers, their bindings and Gymnasium each raise errors of their own where the drawing library is missing.
    except Exception as error:
        _drop_half_made_viewers(error)
        raise nothing_can_be_drawn(error) from error
    if picture is None:
        raise RenderError("the environment draws no pictures: it has no render mode 'rgb_array'")
    return np.asarray(picture)


def frame(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture as a frame of a trajectory.

    Args:
        picture: ``(H, W, 3)`` of any size.
        size: Width and height in pixels.

    Returns:
        ``(height, width, 3)`` uint8; a picture of another shape is squeezed, not cut.

    Raises:
        RenderError: The picture is not RGB in uint8.
    """
    picture = np.array(picture)  # A copy: an environment may hand out the buffer that it draws into.
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise RenderError(
            f"the environment draws pictures {picture.shape} of {picture.dtype}; expected RGB, (height, width, 3) of "
            "uint8 from 0 to 255: convert them in its render()"
        )
    if picture.shape[1::-1] == size:
        return picture
    import cv2

    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def filmed(
    trajectories: Sequence[Trajectory], env_id: str, protocol: Protocol, size: tuple[int, int]
) -> list[Trajectory]:
    """Episodes with the frames of all their observations: those without are played again and filmed.

    Args:
        trajectories: Each with frames, or with its seed and actions.
        env_id: The environment that they were played in.
        protocol: The protocol that they were played under.
        size: Width and height of a frame in pixels.

    Raises:
        InputError: An episode has neither, or the environment does not bring it to the same end again.
        RenderError: Nothing can be drawn here.
    """
    if all(each.frames is not None for each in trajectories):
        return list(trajectories)
    with closing(drawable_env(env_id, protocol, size)) as env:
        return [each if each.frames is not None else _relived(each, env, env_id, size) for each in trajectories]


def _relived(trajectory: Trajectory, env: gymnasium.Env[Any, Any], env_id: str, size: tuple[int, int]) -> Trajectory:
    if trajectory.actions is None or trajectory.seed is None:
        raise InputError("an episode without actions or without its seed cannot be lived again, so not filmed either")
    observation, _ = env.reset(seed=trajectory.seed)
    frames = [frame(first_frame(env), size)]
    for action in trajectory.actions:
        observation, *_ = env.step(action.copy())
        frames.append(frame(env.render(), size))  # type: ignore[arg-type]
    if not np.allclose(observation, trajectory.observations[-1], rtol=1e-4, atol=1e-4):
        raise InputError(f"{env_id} is not deterministic: an episode that is lived again is another one")
    return replace(trajectory, frames=np.array(frames))


def _drop_half_made_viewers(error: Exception) -> None:
    """Frees what failed to open: Gymnasium's viewer raises once more when it is collected, into the terminal."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = hook
