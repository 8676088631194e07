"""A second model, drawn in the place of the simulated one."""

from __future__ import annotations

import copy
from typing import Any

import mujoco
import numpy as np

from ilfo.variants.bodies import Proportions, Shapes
from ilfo.variants.look import Look
from ilfo.variants.scenery import Distractors
from ilfo.variants.surfaces import Colours, Textures
from ilfo.variants.variant import Kind, Variant
from ilfo.variants.views import Camera, Lights

__all__ = ["Picture"]

_LOOKS: dict[Kind, type[Look]] = {
    "colours": Colours,
    "textures": Textures,
    "lights": Lights,
    "camera": Camera,
    "distractors": Distractors,
    "proportions": Proportions,
    "shapes": Shapes,
}

_DRAWN_FROM = (
    *("time", "qpos", "mocap_pos", "mocap_quat", "xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis"),
    *("subtree_com", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "cam_xpos", "cam_xmat"),
    *("light_xpos", "light_xdir", "ten_wrapadr", "ten_wrapnum", "ten_length", "wrap_obj", "wrap_xpos", "flexvert_xpos"),
    *("geom_xquat", "site_xquat", "xiquat"),
)
"""What of a simulation MuJoCo looks at when it draws; the last line since MuJoCo 4."""


class Picture:
    """A copy of a model with a variant's look, which takes the simulation's pose at every frame.

    The simulated model is never touched: a variant cannot affect the dynamics. Textures and meshes are uploaded to
    the graphics card when a rendering context is made, so the copy is complete before its first frame.

    Notes:
        If an environment later changes colours or shapes in its model, the copy does not follow; the positions of
        bodies, sites and cameras are taken from the simulation at every frame.

    Args:
        model: The simulated model.
        data: Its state before the first step, around which things are arranged.
        variant: The look.

    Raises:
        InputError: The variant has nothing to change here.

    Attributes:
        model: The copy.
        data: Its pose.
        home: The pose before the first step.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, variant: Variant) -> None:
        self.model = copy.deepcopy(model)
        self.data = mujoco.MjData(self.model)
        self._fields = [name for name in _DRAWN_FROM if hasattr(data, name)]
        self.home = mujoco.MjData(self.model)
        self.home.qpos[:] = data.qpos
        for place in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight):
            place(self.model, self.home)
        self._look = _LOOKS[variant.kind](self.model, self.home, variant.draw())

    def pose(self, data: mujoco.MjData) -> None:
        """Takes the pose of a simulation, for the next frame."""
        for name in self._fields:
            value = getattr(data, name)
            if isinstance(value, np.ndarray):
                getattr(self.data, name)[:] = value
            else:
                setattr(self.data, name, value)
        self._look.pose(self.data)

    def aim(self, camera: mujoco.MjvCamera) -> None:
        """Moves a camera that is not the model's, once."""
        self._look.aim(camera)

    def settle(self, eye: mujoco.MjvGLCamera) -> None:
        """Finds places for what is drawn beside the model; ``eye`` sees the model's pose at :attr:`home`."""
        self._look.settle(eye)

    def things(self, eye: mujoco.MjvGLCamera) -> list[dict[str, Any]]:
        """What is drawn beside the model: ``type``, ``size``, ``pos``, ``mat`` and ``rgba`` of each."""
        return self._look.things(eye)
