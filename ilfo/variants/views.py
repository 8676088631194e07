"""Other light, and another place to film from."""

from __future__ import annotations

import mujoco
import numpy as np

from ilfo.variants.look import Look, hue_to_rgb, rotation
from ilfo.variants.variant import Draw

__all__ = ["Camera", "Lights"]

_UP = np.array([0.0, 0.0, 1.0])


class Lights(Look):
    """Lamps tilt about what they shine on, and the light is stronger or weaker and tinted.

    Seen: 5 to 20 degrees, a strength of 0.85 to 1.2, a tint of 0 to 0.1 of full saturation. Unseen: 30 to 45 degrees,
    0.5 to 0.75, 0.25 to 0.4.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        heading = draw.random.uniform(0, 2 * np.pi)
        axis = np.array([np.cos(heading), np.sin(heading), 0])
        self._turn = rotation(axis, draw.between(seen=(5, 20), unseen=(30, 45))[0])
        strength = draw.between(seen=(0.85, 1.2), unseen=(0.5, 0.75))[0]
        tint = hue_to_rgb(draw.random.uniform(), draw.between(seen=(0, 0.1), unseen=(0.25, 0.4))[0], strength)
        for lamps in (model.light_diffuse, model.light_specular, model.light_ambient):
            lamps *= tint
        model.vis.headlight.diffuse *= tint
        model.vis.headlight.ambient *= tint
        self._bodies, self._centre = model.light_bodyid, model.stat.center

    def pose(self, data: mujoco.MjData) -> None:
        """Turns the lamps: those of the room about its middle, those on a body about its subtree's centre of mass."""
        pivots = np.where(self._bodies[:, None] == 0, self._centre, data.subtree_com[self._bodies])
        data.light_xpos[:] = pivots + (data.light_xpos - pivots) @ self._turn.T
        data.light_xdir[:] = data.light_xdir @ self._turn.T


class Camera(Look):
    """Every camera goes around what it films, to either side, up and away from it.

    Seen: by 3 to 12 degrees, up by 0 to 5, to 1.0 to 1.08 times the distance. Unseen: by 18 to 30, up by 8 to 15, to
    1.15 to 1.3 times.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        self._azimuth = draw.between(seen=(3, 12), unseen=(18, 30))[0] * draw.random.choice([-1, 1])
        self._elevation = draw.between(seen=(0, 5), unseen=(8, 15))[0]
        self._distance = draw.between(seen=(1, 1.08), unseen=(1.15, 1.3))[0]
        backwards = home.cam_xmat.reshape(-1, 3, 3)[:, :, 2]
        depths = ((home.cam_xpos - model.stat.center) * backwards).sum(axis=1)
        self._depths = depths.clip(0.1 * model.stat.extent)

    def pose(self, data: mujoco.MjData) -> None:
        """Moves the model's cameras, each about the point ahead of it that is nearest to the middle of the model."""
        about_up = rotation(_UP, self._azimuth)
        for camera, depth in enumerate(self._depths):
            frame = data.cam_xmat[camera].reshape(3, 3)
            # A camera that hangs upside down rises when it turns the other way.
            rise = rotation(frame[:, 0], -self._elevation if frame[2, 1] >= 0 else self._elevation)
            pivot = data.cam_xpos[camera] - depth * frame[:, 2]
            frame = about_up @ rise @ frame
            data.cam_xmat[camera] = frame.ravel()
            data.cam_xpos[camera] = pivot + self._distance * depth * frame[:, 2]

    def aim(self, camera: mujoco.MjvCamera) -> None:
        """Moves a free camera in the same way about the point that it looks at."""
        camera.azimuth += self._azimuth
        camera.elevation = max(camera.elevation - self._elevation, -89.0)
        camera.distance *= self._distance
