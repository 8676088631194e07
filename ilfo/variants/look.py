"""The interface of a kind of variant: what it may change in a picture."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from ilfo.variants.variant import Draw

__all__ = ["Look", "hue_to_rgb", "rotation"]


class Look:
    """A kind of variant. Its constructor draws random numbers and edits the model; it overrides what it changes.

    Args:
        model: The picture's own copy of the model, to be edited.
        home: Data of that model, in the environment's pose before its first step.
        draw: The variant's random numbers.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        raise NotImplementedError

    def pose(self, data: mujoco.MjData) -> None:
        """Edits the pose of one frame: ``data`` comes in the environment's pose, to be edited in place."""

    def aim(self, camera: mujoco.MjvCamera) -> None:
        """Moves a camera that is not the model's, once."""

    def settle(self, eye: mujoco.MjvGLCamera) -> None:
        """Finds places for what stands beside the model, once; ``eye`` sees the pose before the first step.

        No episode decides them, for a variant looks the same wherever it is asked for.
        """

    def things(self, eye: mujoco.MjvGLCamera) -> list[dict[str, Any]]:
        """Geometry of the frame beside the model's: ``type``, ``size``, ``pos``, ``mat`` and ``rgba`` of each."""
        return []


def hue_to_rgb(hue: np.ndarray | float, saturation: np.ndarray | float, value: np.ndarray | float) -> np.ndarray:
    """Colours ``(..., 3)`` in [0, 1] of hues ``(...)`` in turns.

    Examples:
        >>> hue_to_rgb(np.array([0.0, 1 / 3]), 1.0, 0.5).tolist()
        [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    """
    sixth = (np.array([5.0, 3.0, 1.0]) + 6 * np.asarray(hue)[..., None]) % 6
    saturation, value = np.asarray(saturation)[..., None], np.asarray(value)[..., None]
    return value * (1 - saturation * np.clip(np.minimum(sixth, 4 - sixth), 0, 1))


def rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    """The matrix ``(3, 3)`` of a rotation about a unit axis ``(3,)``, counter-clockwise as seen against the axis."""
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, axis, np.deg2rad(degrees))
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
