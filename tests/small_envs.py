"""Environments small enough to learn in seconds, each built around one trap."""

import os
import signal
from collections import OrderedDict
from typing import ClassVar

import gymnasium
import numpy as np

from ilfo.demos import Demonstrations, Provenance, Trajectory


class Ledge(gymnasium.Env):
    """A walk to the right, with a ledge behind the start: falling off ends the episode.

    The observation is position and velocity. The environment's reward is 1 at a velocity of 0.1 and falls to 0 at 0
    and 0.2. ``success`` means having walked past 3.
    """

    SPEED = 0.1
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-0.2, 0.2, (1,), np.float32)
    dt = 0.5

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-0.1, 0.1), 0.0])
        return self.state.copy(), {}

    def step(self, action):
        velocity = float(np.clip(action[0], -0.2, 0.2))
        self.state = np.array([self.state[0] + velocity, velocity])
        reward = max(0.0, 1 - abs(velocity - self.SPEED) / self.SPEED)
        return self.state.copy(), reward, bool(self.state[0] < -0.5), False, {"success": self.state[0] > 3}


class Unsteady(Ledge):
    """Not deterministic given its seed."""

    def step(self, action):
        return super().step(action + np.float32(np.random.default_rng().normal(0, 0.05)))


class Exploding(Ledge):
    """Its simulation diverges after ten steps."""

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return super().reset(seed=seed)

    def step(self, action):
        self.steps += 1
        observation, *rest = super().step(action)
        return (observation * np.nan if self.steps > 10 else observation), *rest


class DictLedge(Ledge):
    """The same, seen as a dict."""

    observation_space = gymnasium.spaces.Dict(
        {
            "velocity": gymnasium.spaces.Box(-1, 1, (1,), np.float64),
            "position": gymnasium.spaces.Box(-99, 99, (1,), np.float64),
        }
    )

    def reset(self, *, seed=None, options=None):
        state, info = super().reset(seed=seed)
        return {"position": state[:1], "velocity": state[1:]}, info

    def step(self, action):
        state, *rest = super().step(action)
        return {"position": state[:1], "velocity": state[1:]}, *rest


class Generous(Ledge):
    """The same, and its reward is 1000 times as much."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, 1000 * reward, *rest


class Reusing(Ledge):
    """The same in float32, and hands out the one buffer that it goes on writing to."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self):
        self.buffer = np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        self.buffer[:], info = super().reset(seed=seed)
        return self.buffer, info

    def step(self, action):
        self.buffer[:], *rest = super().step(action)
        return self.buffer, *rest


class Halving(Ledge):
    """The same with actions in [-1, 1], and changes those that it is given."""

    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def step(self, action):
        action *= 0.5
        return super().step(action)


class MixedLedge(Ledge):
    """The same, seen as a dict in an order of its own, with the quarter of the way as one of four."""

    observation_space = gymnasium.spaces.Dict(
        OrderedDict(
            velocity=gymnasium.spaces.Box(-1, 1, (1,), np.float64),
            quarter=gymnasium.spaces.Discrete(4),
            position=gymnasium.spaces.Box(-99, 99, (1,), np.float64),
        )
    )

    def show(self, state):
        return {"velocity": state[1:], "quarter": int(np.clip(state[0], 0, 3)), "position": state[:1]}

    def reset(self, *, seed=None, options=None):
        state, info = super().reset(seed=seed)
        return self.show(state), info

    def step(self, action):
        state, *rest = super().step(action)
        return self.show(state), *rest


class Worn(Ledge):
    """Every episode leaves it a little further to the right, whatever the seed."""

    wear = 0.0

    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed)
        self.state[0] += self.wear
        self.wear += 0.01
        return self.state.copy(), info


class Vast(Ledge):
    """The same, and its position is beyond what can be squared in float32."""

    def step(self, action):
        observation, *rest = super().step(action)
        return observation * 1e30, *rest


class Costly(Ledge):
    """Its reward is not a number beyond 1."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, (np.nan if self.state[0] > 1 else reward), *rest


class Clumsy(Ledge):
    """Raises an error of its own when pushed to the left, and takes its process with it when pushed hard."""

    def step(self, action):
        if action[0] < -0.15:
            os.kill(os.getpid(), signal.SIGKILL)
        if action[0] < 0:
            raise KeyError("no way back")
        return super().step(action)


class Signposted(Ledge):
    """The same with a sign at 1, where success is, until it is left behind; the sign is the goal, and all is drawn.

    The picture is grey as far as it has come, 2 at the right edge.
    """

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"]}
    frame_skip = 4

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.picture = np.zeros((60, 80, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return observation, info | {"goal": np.array([1.0])}

    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {"success": 1 < self.state[0] < 1.5}

    def render(self):
        self.picture[:] = 0
        self.picture[:, : int(np.clip(self.state[0] * 40, 0, 80))] = 128
        return self.picture


class Boastful(Ledge):
    """The same, and it speaks of success only when it comes."""

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, ({"is_success": True} if info["success"] else {})


class Stillborn(Ledge):
    """Every other episode begins with an observation that is no number."""

    episodes = 0

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.episodes += 1
        return (observation if self.episodes % 2 else observation * np.nan), info


class Square(gymnasium.Env):
    """A square on a grey plane, which an action pushes to the left or the right; it is drawn in a colour of its own.

    The observation is its position in [-1, 1] and its last velocity, the reward how far it is to the right.
    """

    COLOUR = (230, 40, 40)
    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-2, 2, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    dt = 0.1

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-0.7, -0.5), 0.0])
        return self.state.copy(), {}

    def step(self, action):
        velocity = 0.1 * float(action[0])
        self.state = np.array([np.clip(self.state[0] + velocity, -0.8, 0.8), velocity])
        return self.state.copy(), float(self.state[0]), False, False, {}

    def shown(self):
        return self.state[0]

    def render(self):
        down, across = np.mgrid[:32, :32]
        picture = np.repeat((100 + 4 * ((down // 4 + across // 4) % 2))[..., None], 3, axis=2).astype(np.uint8)
        left = round(float((self.shown() + 1) / 2 * 32)) - 4
        picture[12:20, max(left, 0) : left + 8] = self.COLOUR
        return picture


class Mirrored(Square):
    """The same states, drawn the other way round."""

    def shown(self):
        return -self.state[0]


for kind in (
    Ledge,
    Unsteady,
    Exploding,
    DictLedge,
    Generous,
    Reusing,
    MixedLedge,
    Worn,
    Vast,
    Costly,
    Clumsy,
    Signposted,
    Halving,
    Boastful,
    Stillborn,
):
    gymnasium.register(f"{kind.__name__}-v0", kind, max_episode_steps=40)
for kind in (Square, Mirrored):
    gymnasium.register(f"{kind.__name__}-v0", kind, max_episode_steps=20)
gymnasium.register("Endless-v0", Ledge)

LEDGE = "small_envs:Ledge-v0"
GENEROUS = "small_envs:Generous-v0"


def walk(velocity: float, steps: int = 40) -> Trajectory:
    """A walk at constant speed, as the environment would show it; off the ledge it ends."""
    positions = velocity * np.arange(steps + 1)
    fallen = np.flatnonzero(positions < -0.5)
    last = int(fallen[0]) if len(fallen) else steps
    velocities = np.full(last + 1, velocity)
    velocities[0] = 0.0
    reward = max(0.0, 1 - abs(velocity - Ledge.SPEED) / Ledge.SPEED)
    return Trajectory(
        observations=np.stack([positions[: last + 1], velocities], axis=1).astype(np.float32),
        env_rewards=np.full(last, reward, np.float32),
        terminated=bool(len(fallen)),
        truncated=not len(fallen),
    )


def expert() -> Demonstrations:
    """One walk at the right speed, without actions."""
    return Demonstrations((walk(Ledge.SPEED),), Provenance(env_id=LEDGE, observation_keys={"observation": 2}))
