"""Gymnasium's renderer of MuJoCo, which draws a picture instead of the simulated model."""

from __future__ import annotations

from typing import Any

import mujoco
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

from ilfo.variants.picture import Picture

__all__ = ["PictureRenderer"]


class PictureRenderer(MujocoRenderer):
    """Takes the place of an environment's renderer before its first frame.

    Args:
        env: The environment itself, without wrappers.
        picture: What is drawn of it.
    """

    def __init__(self, env: Any, picture: Picture) -> None:
        plain = env.mujoco_renderer
        super().__init__(
            picture.model,
            picture.data,
            plain.default_cam_config,
            plain.width,
            plain.height,
            plain.max_geom,
            plain.camera_id,
            visual_options=plain._vopt,
        )
        self._env, self._picture, self._settled = env, picture, False

    def render(self, render_mode: str | None) -> Any:
        """Renders the state that the environment is in."""
        # Coarser shadows are requested by changing the simulated model.
        wanted, quality = self._env.model.vis.quality, self.model.vis.quality
        quality.shadowsize, quality.offsamples = wanted.shadowsize, wanted.offsamples
        viewer: Any = self._get_viewer(render_mode)
        if render_mode != "human":
            fixed = self.camera_id != -1
            viewer.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED if fixed else mujoco.mjtCamera.mjCAMERA_FREE
            viewer.cam.fixedcamid = self.camera_id
        if not self._settled:
            self._picture.settle(self._eye(viewer, self._picture.home))
            self._settled = True
        for thing in self._picture.things(self._eye(viewer, self._env.data)):
            viewer.add_marker(**thing)
        return super().render(render_mode)

    def _eye(self, viewer: Any, pose: mujoco.MjData) -> mujoco.MjvGLCamera:
        """What the camera is to the picture in a pose, which the picture takes."""
        self._picture.pose(pose)
        mujoco.mjv_updateCamera(self.model, self.data, viewer.cam, viewer.scn)
        return mujoco.mjv_averageCamera(*viewer.scn.camera)

    def _set_cam_config(self) -> None:
        super()._set_cam_config()
        assert self.viewer is not None
        self._picture.aim(self.viewer.cam)
