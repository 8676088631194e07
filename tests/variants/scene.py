"""A room with all that a variant may change: a driven arm, things to move, a table, two cameras, a lamp, a tendon."""

from typing import ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

ROOM = """
<mujoco>
  <option gravity="0 0 0"/>
  <asset>
    <texture name="wood" type="2d" builtin="checker" width="32" height="32" rgb1=".5 .3 .1" rgb2=".9 .7 .5"/>
    <texture name="sky" type="skybox" builtin="gradient" width="32" height="32" rgb1=".4 .6 .8" rgb2="0 0 0"/>
    <material name="wood" texture="wood" texrepeat="3 3"/>
    <material name="red" rgba=".9 .1 .1 1"/>
    <mesh name="wedge" vertex="0 0 0  .3 0 0  0 .2 0  0 0 .1"/>
  </asset>
  <worldbody>
    <light name="lamp" pos="0 0 3" dir="0 0 -1"/>
    <geom name="floor" type="plane" size="4 4 .1" material="wood"/>
    <geom name="table" type="box" size=".6 .6 .1" pos="0 0 .4"/>
    <camera name="front" pos="0 -3 1.5" xyaxes="1 0 0 0 .4 1"/>
    <camera name="hung" pos="0 -3 1.5" xyaxes="-1 0 0 0 -.4 -1"/>
    <body name="arm" pos="-.3 0 .6">
      <joint name="turn" axis="0 0 1" damping="1"/>
      <geom name="arm" type="capsule" fromto="0 0 0 .3 0 0" size=".05" material="red"/>
      <site name="tip" pos=".3 0 0" size=".03"/>
    </body>
    <site name="hook" pos="-.3 .4 .6" size=".03"/>
    PASSIVE
  </worldbody>
  <tendon><spatial name="rope" width=".02"><site site="hook"/><site site="tip"/></spatial></tendon>
  <actuator><motor joint="turn" ctrlrange="-1 1"/></actuator>
</mujoco>
"""

THINGS = """
<body name="box" pos=".2 0 .6"><freejoint/><geom name="box" type="box" size=".1 .08 .06" rgba=".2 .5 .2 1"/></body>
<body name="ball" pos=".2 .3 .6"><freejoint/><geom name="ball" size=".08"/></body>
<body name="can" pos="-.2 -.3 .6"><freejoint/><geom name="can" type="cylinder" size=".06 .09"/></body>
<body name="wedge" pos=".3 -.3 .6"><freejoint/><geom name="wedge" type="mesh" mesh="wedge"/></body>
<body name="ghost" pos=".3 -.3 .9"><freejoint/><geom name="ghost" size=".05" group="3"/></body>
"""
"""Bodies that no actuator drives; the last one's shape is not drawn."""

BEHIND = '<body pos="0 -9 5"><freejoint/><geom size=".1"/></body>'
"""One behind the cameras' back."""


def room(passive=THINGS):
    """The model, and its state at rest."""
    model = mujoco.MjModel.from_xml_string(ROOM.replace("PASSIVE", passive))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


class Room(MujocoEnv):
    """The room as an environment, filmed from the front; the arm starts somewhere near the middle."""

    def __init__(self, render_mode=None, passive=THINGS):
        self._passive = passive
        everything = gymnasium.spaces.Box(-np.inf, np.inf, (room(passive)[0].nq,), np.float64)
        # The path is of no use, but has to be that of a file.
        super().__init__(__file__, 5, everything, render_mode, 64, 64, camera_name="front")

    metadata: ClassVar[dict] = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 100}

    def _initialize_simulation(self):
        return room(self._passive)

    def reset_model(self):
        self.set_state(self.init_qpos + self.np_random.uniform(-0.01, 0.01, self.model.nq), self.init_qvel)
        return self.data.qpos.copy()

    def step(self, action):
        self.do_simulation(action, self.frame_skip)
        return self.data.qpos.copy(), 0.0, False, False, {}


gymnasium.register("Room-v0", Room, max_episode_steps=50)
gymnasium.register("RoomBehind-v0", Room, max_episode_steps=50, kwargs={"passive": BEHIND})
gymnasium.register("EmptyRoom-v0", Room, max_episode_steps=50, kwargs={"passive": ""})
