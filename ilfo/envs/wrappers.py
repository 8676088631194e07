"""What an environment is wrapped in, by its protocol and by the marks of its id."""

from __future__ import annotations

import copy
import math
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

__all__ = ["SUCCESS_NAMES", "FixedHorizon", "RepeatAction", "SameStart", "TellGoal"]

SUCCESS_NAMES = ("success", "is_success")
"""Names of success in ``info``: Meta-World and Gymnasium use the first, Gymnasium-Robotics the second."""


class FixedHorizon(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Steps on to the time limit; after the step at which the environment would have ended, nothing counts.

    Rewards are 0 then, and there is no success.

    This is the protocol under which OOPS (arXiv 2310.01632) was run.

    Notes:
        Its authors' code counts rewards again once a fallen robot is back on its feet. Here nothing counts after
        the first end, so that a return is never above what the same actions earn under ``standard``.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._ended = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        self._ended = False
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps; ``terminated`` is always False."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._ended:
            reward, info = 0.0, info | {name: False for name in SUCCESS_NAMES if name in info}
        self._ended |= terminated
        return observation, reward, False, truncated, info


class RepeatAction(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Does each action for several steps of the environment, or to the episode's end.

    Its reward is the sum of theirs, and it succeeded if one of them did. The time limit is in actions.

    Args:
        env: With a time limit.
        times: Steps of the environment for an action.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], times: int) -> None:
        super().__init__(env)
        self._times = times
        speed = env.metadata.get("render_fps")
        if speed:
            self.metadata = env.metadata | {"render_fps": speed / times}

    @property
    def spec(self) -> gymnasium.envs.registration.EnvSpec:  # type: ignore[override]
        """The environment's, with the time limit in actions."""
        inner = self.env.spec
        assert inner is not None
        assert inner.max_episode_steps is not None
        spec = copy.copy(inner)
        spec.max_episode_steps = math.ceil(inner.max_episode_steps / self._times)
        return spec

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps so many times, or until the episode ends."""
        collected, succeeded = 0.0, dict[str, Any]()
        for _ in range(self._times):
            observation, reward, terminated, truncated, info = self.env.step(np.copy(action))
            collected += float(reward)
            succeeded |= {name: info[name] for name in SUCCESS_NAMES if info.get(name)}
            if terminated or truncated:
                break
        return observation, collected, terminated, truncated, info | succeeded


class SameStart(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Resets with one fixed seed, whatever is asked for: the same goal, places and first state in every episode.

    Args:
        env: Must obey the seed of its reset.
        seed: The fixed seed.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        super().__init__(env)
        self._seed = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts the episode over."""
        return self.env.reset(seed=self._seed, options=options)


class TellGoal(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Tells the goal, which is part of the observation, in ``info["goal"]`` of the reset too, unless one is there."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {"goal": observation["desired_goal"]} | info
