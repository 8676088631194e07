"""A world with one shining ball and a block that hides it, and frames that need no picture to be drawn."""

import json

import gymnasium
import h5py
import mujoco
import numpy as np

from ilfo.pretraining.frames import LAYOUT, MOST_OBJECTS
from ilfo.pretraining.scenes import Scene
from ilfo.pretraining.studio import Film

BALL = """
<mujoco>
  <asset><material name="shining" emission="1" rgba="1 0 0 1"/></asset>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="3 3 .1" rgba=".1 .2 .3 1"/>
    <body name="ball" pos="0 0 .3">
      <joint type="slide" axis="1 0 0"/> <joint type="slide" axis="0 1 0"/>
      <geom type="sphere" size=".04" material="shining" mass="1"/>
    </body>
    <body name="inside" pos="1 1 .3">
      <geom type="sphere" size=".02" rgba="0 0 1 1"/>
    </body>
    <body name="block" pos="1 1 .3"><geom type="box" size=".1 .1 .1" rgba="0 .6 0 1"/></body>
  </worldbody>
  <actuator>
    <velocity joint="x" kv="5"/> <velocity joint="y" kv="5"/>
  </actuator>
</mujoco>
""".replace('axis="1 0 0"', 'name="x" axis="1 0 0"').replace('axis="0 1 0"', 'name="y" axis="0 1 0"')


class Ball(gymnasium.Env):
    """Rolls where its actions say."""

    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))

    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(BALL)
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.np_random.uniform(-0.4, 0.4, 2)
        mujoco.mj_forward(self.model, self.data)
        return self.data.qpos.copy(), {}

    def step(self, action):
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, 10)
        return self.data.qpos.copy(), 0.0, False, False, {}


gymnasium.register("ShiningBall-v0", Ball, max_episode_steps=5)
BALL_SCENE = Scene("ball", "ShiningBall-v0", ("ball", "inside"), (0.0, 0.0, 0.3), (2.0, 3.0), elevation=(-70.0, -20.0))


def blob_film(length, seed, objects=2, size=48):
    """Coloured squares of 10 pixels that wander over a dark image: red, then green, then blue."""
    rng = np.random.default_rng(seed)
    frames = np.full((length, size, size, 3), 40, np.uint8)
    positions = np.empty((length, objects, 2), np.float32)
    for each in range(objects):
        start, speed = rng.uniform(8, size - 18, 2), rng.uniform(-1, 1, 2)
        for step in range(length):
            x, y = np.clip(start + step * speed, 0, size - 10).astype(int)
            frames[step, y : y + 10, x : x + 10] = 220 * np.eye(3)[each]
            positions[step, each] = x + 5, y + 5
    return Film(frames, positions, np.ones((length, objects), bool))


def write_films(path, films, scenes):
    """A file of frames as the renderer writes it: a scene's films one after the other."""
    with h5py.File(path, "w") as file:
        file.attrs["layout"] = LAYOUT
        file.attrs["scenes"] = json.dumps([[name, ["red", "green"]] for name in scenes])
        steps = [len(film.frames) for film in films]
        file["images"] = np.concatenate([film.frames for film in films])
        file["scenes"] = np.repeat(np.arange(len(films)) % len(scenes), steps)
        file["episodes"] = np.repeat(np.arange(len(films)), steps)
        blank = MOST_OBJECTS - 2
        positions = np.concatenate([film.positions for film in films])
        file["positions"] = np.pad(positions, ((0, 0), (0, blank), (0, 0)), constant_values=np.nan)
        file["visible"] = np.pad(np.concatenate([film.visible for film in films]), ((0, 0), (0, blank)))
    return path
