"""Meta-World's tasks as Gymnasium environments that obey their seed, and the scripted experts that come with them.

Importing this module registers every task, goal included in the observation, so that
``--env ilfo.metaworld:MetaWorld/reach-v3`` is all that a run needs.
"""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np

from ilfo._errors import InputError, closest
from ilfo.rollouts import Policy

try:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
    from metaworld.policies import ENV_POLICY_MAP
except ModuleNotFoundError as error:
    raise InputError("Meta-World is not installed: pip install 'ilfo[metaworld]'") from error

__all__ = ["Task", "scripted_policy"]

_PREFIX = "MetaWorld/"


class Task(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A task whose ``reset(seed=...)`` decides where goal and objects are.

    Notes:
        Meta-World 3.1 ignores the seed of ``reset`` and draws the positions from NumPy's global state. It also
        states the observation space of the hidden goal, of which the bounds are 0.

    Args:
        task: Meta-World's name, e.g. ``"reach-v3"``.
        render_mode: ``"rgb_array"`` for frames.
    """

    def __init__(self, task: str, render_mode: str | None = None) -> None:
        env = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"](seed=0, render_mode=render_mode)
        env.seeded_rand_vec, env._freeze_rand_vec = True, False
        env.observation_space = env.sawyer_observation_space
        super().__init__(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        if seed is not None:
            self.unwrapped.seed(seed)  # type: ignore[attr-defined]
        return self.env.reset(options=options)


def scripted_policy(env_id: str) -> Policy:
    """Meta-World's scripted expert of a task.

    Args:
        env_id: As registered here, with or without ``ilfo.metaworld:``.

    Returns:
        Observations ``(N, 39)`` to actions ``(N, 4)`` float32 in [-1, 1].

    Raises:
        InputError: There is no such task; names the closest.
    """
    task = env_id.rpartition(":")[2].removeprefix(_PREFIX)
    if task not in ENV_POLICY_MAP:
        raise InputError(f"Meta-World has no task {task!r}; {closest(task, ENV_POLICY_MAP)}")
    expert = ENV_POLICY_MAP[task]()

    def act(observations: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Constant")  # It says that the actions need the clip below.
            actions = np.stack([expert.get_action(np.asarray(each, np.float64)) for each in observations])
        return actions.clip(-1, 1).astype(np.float32)

    return act


for _name in ENV_POLICY_MAP:
    gymnasium.register(
        f"{_PREFIX}{_name}", entry_point="ilfo.metaworld:Task", kwargs={"task": _name}, max_episode_steps=500
    )
