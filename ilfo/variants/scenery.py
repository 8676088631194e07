"""Distractors: objects in the picture that have nothing to do with the task."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from ilfo.variants.look import Look, hue_to_rgb
from ilfo.variants.variant import Draw

__all__ = ["Distractors"]

_Geom = mujoco.mjtGeom
_TRIES = 300
_MIDDLE, _EDGE = 0.45, 0.9
"""Nothing stands nearer to the middle of the picture, nor farther from it, in halves of its height."""

_DRAWN = np.array([1, 1, 1, 0, 0, 0], np.uint8)
"""The groups of shapes that MuJoCo draws by default."""

_DOWN = np.array([0.0, 0.0, -1.0])


class Distractors(Look):
    """Coloured objects on the floor or table, around the middle of the picture; no part of the simulated world.

    Seen: 2 to 4 boxes and balls, red over green to cyan. Unseen: 5 to 8 cylinders and capsules, cyan over blue to pink.

    They are placed where the camera looks before the first step; their height is 5 to 9 % of the picture's. If the
    camera travels, they repeat along its way. If there is no floor, they float.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        self._model, self._home, self._random = model, home, draw.random
        shapes = (_Geom.mjGEOM_BOX, _Geom.mjGEOM_SPHERE), (_Geom.mjGEOM_CYLINDER, _Geom.mjGEOM_CAPSULE)
        count = int(draw.between(seen=(2, 5), unseen=(5, 9))[0])
        self._shapes = [draw.one_of(*shapes) for _ in range(count)]
        hues = draw.between(seen=(0.0, 0.45), unseen=(0.5, 0.95), size=count)
        self._colours = np.column_stack([hue_to_rgb(hues, 0.8, 0.9), np.ones(count)])
        self._scales = draw.random.uniform(0.05, 0.09, count)

    def settle(self, eye: mujoco.MjvGLCamera) -> None:
        """Places all of them in the camera's view."""
        self._places, self._sizes = self._free_places(eye)
        self._start, self._middle = eye.pos[:2].copy(), eye.pos[:2] + self._depth(eye) * eye.forward[:2]
        self._span = 2.2 * np.abs(self._places[:, :2] - self._middle).max(initial=1e-3)

    def things(self, eye: mujoco.MjvGLCamera) -> list[dict[str, Any]]:
        """All of them, each where the camera comes across it."""
        travelled = eye.pos[:2] - self._start
        offsets = self._places[:, :2] - self._middle
        ahead = (offsets - travelled + self._span / 2) % self._span - self._span / 2
        places = self._places.copy()
        places[:, :2] += travelled + ahead - offsets
        upright = np.eye(3).ravel()
        return [
            {"type": shape, "size": _size(shape, size), "pos": place, "mat": upright, "rgba": colour}
            for shape, size, place, colour in zip(self._shapes, self._sizes, places, self._colours, strict=False)
        ]

    def _free_places(self, eye: mujoco.MjvGLCamera) -> tuple[np.ndarray, np.ndarray]:
        """Middles ``(N, 3)`` and half heights ``(N,)``, by rays through random points of the picture."""
        middle = self._depth(eye)
        slope = (eye.frustum_top - eye.frustum_bottom) / 2 / eye.frustum_near
        right = np.cross(eye.forward, eye.up)
        standing: list[tuple[np.ndarray, float]] = []
        floating: list[tuple[np.ndarray, float]] = []
        for _ in range(_TRIES):
            if len(standing) == len(self._scales):
                break
            across, up = self._random.uniform(-_EDGE, _EDGE, 2)
            if max(abs(across), abs(up)) < _MIDDLE:
                continue
            ray = eye.forward + slope * (across * right + up * eye.up)
            scale = slope * self._scales[len(standing)]
            distance = self._free_way(eye.pos, ray)
            if distance is None:
                floating.append((eye.pos + middle * ray, scale * middle))
            elif 0 < distance < 3 * middle:
                size = scale * distance
                above = eye.pos + (distance - size) * ray - 3 * size * _DOWN
                fall = self._free_way(above, _DOWN)
                if fall is not None and 1.5 * size < fall < 4.5 * size:
                    standing.append((above + (fall - size) * _DOWN, size))
        settled = (standing + floating)[: len(self._scales)]
        return np.array([place for place, _ in settled]).reshape(-1, 3), np.array([size for _, size in settled])

    def _free_way(self, start: np.ndarray, way: np.ndarray) -> float | None:
        """Distance to the first geom hit, in lengths of ``way``; 0 if that geom can move; None if nothing is hit."""
        geom = np.array([-1], np.int32)
        length = float(np.linalg.norm(way))
        distance = mujoco.mj_ray(
            self._model, self._home, np.asarray(start, float), np.asarray(way, float) / length, _DRAWN, True, -1, geom
        )
        if distance < 0:
            return None
        return distance / length if self._model.body_weldid[self._model.geom_bodyid[geom[0]]] == 0 else 0.0

    def _depth(self, eye: mujoco.MjvGLCamera) -> float:
        """How far ahead the middle of the model is."""
        ahead = float((self._model.stat.center - eye.pos) @ eye.forward)
        return max(ahead, 0.1 * self._model.stat.extent)


def _size(shape: int, half: float) -> np.ndarray:
    """The size ``(3,)`` that the scene takes of a shape of this half height."""
    if shape == _Geom.mjGEOM_CYLINDER:
        return np.array([0.7 * half, 0.7 * half, half])
    if shape == _Geom.mjGEOM_CAPSULE:
        return np.array([0.6 * half, 0.6 * half, 0.4 * half])
    return np.full(3, half)
