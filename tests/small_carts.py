"""A cart that is to roll to the right, drawn by MuJoCo, so that it has variants; and who pushes it."""

import gymnasium
import numpy as np
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv

GOAL = 0.4


class Cart(InvertedPendulumEnv):
    """Succeeds where it has rolled far enough; the pole on it may do what it wants."""

    def step(self, action):
        observation, _, _, truncated, info = super().step(action)
        return observation, float(observation[0]), False, truncated, info | {"success": bool(observation[0] > GOAL)}


def push(observations):
    """To the right, the harder the faster it rolls."""
    return np.clip(0.1 + 0.2 * observations[:, 2:3], -1, 1).astype(np.float32)


gymnasium.register("Cart-v0", Cart, max_episode_steps=20)
CART = "small_carts:Cart-v0"
