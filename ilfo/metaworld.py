"""Meta-World's tasks as Gymnasium environments that obey their seed, and the scripted experts that come with them.

Importing this module registers every task, goal included in the observation, so that
``--env ilfo.metaworld:MetaWorld/reach-v3`` is all that a run needs.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from ilfo._tools.errors import InputError, closest
from ilfo.envs import Policy
from ilfo.variants import split_id

try:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
    from metaworld.policies import ENV_POLICY_MAP
except ModuleNotFoundError as error:
    raise InputError("Meta-World is not installed: pip install 'ilfo[metaworld]'") from error

__all__ = ["Task", "scripted_policy"]

_PREFIX = "MetaWorld/"


_CAMERA = "corner2"
"""Where published work films from. It hangs upside down, as Meta-World's corner cameras all do."""


_PARTS = {"hand": 3, "gripper": 1, "objects": 14, "previous": 18, "goal": 3}
"""The blocks of Meta-World's observation, in its order: position of the hand, opening of the gripper, position and
quaternion of two objects (zeros where there is one), all of these one step before, and the goal."""


class Task(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A task whose ``reset(seed=...)`` decides where goal and objects are, and returns the goal in ``info["goal"]``.

    The observation is a dict of ``hand`` (3,), ``gripper`` (1,), ``objects`` (14,), ``previous`` (18,) and ``goal``
    (3,), which flattened is Meta-World's own, ``(39,)``.

    Notes:
        Meta-World 3.1 ignores the seed of ``reset`` and draws the positions from NumPy's global state. Its
        observation space is also that of a hidden goal, whose bounds are 0.

    Args:
        task: Meta-World's name, e.g. ``"reach-v3"``.
        render_mode: ``"rgb_array"`` for frames.
    """

    def __init__(self, task: str, render_mode: str | None = None) -> None:
        env = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task}-goal-observable"](seed=0, render_mode=render_mode)
        env.seeded_rand_vec, env._freeze_rand_vec = True, False
        env.max_path_length = sys.maxsize  # Meta-World's own limit of 500 steps; Gymnasium's counts here.
        low, high = _split(env.sawyer_observation_space.low), _split(env.sawyer_observation_space.high)
        env.mujoco_renderer.camera_id = env.model.camera(_CAMERA).id
        super().__init__(env)
        # A list of pairs keeps this order: Gymnasium sorts the keys of a dict, and flattens in that order.
        boxes = [(name, gymnasium.spaces.Box(low[name], high[name], dtype=np.float64)) for name in _PARTS]
        self.observation_space = gymnasium.spaces.Dict(boxes)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        if seed is not None:
            self.unwrapped.seed(seed)  # type: ignore[attr-defined]
        observation, info = self.env.reset(options=options)
        parts = _split(observation)
        return parts, info | {"goal": parts["goal"].astype(np.float32)}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _split(observation), reward, terminated, truncated, info

    def render(self) -> Any:
        """The picture ``(H, W, 3)`` of the corner, the right way up; None without a render mode."""
        picture: Any = self.env.render()
        return None if picture is None else np.rot90(picture, 2)


def _split(flat: np.ndarray) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(_PARTS.values()))
    return dict(zip(_PARTS, np.split(flat, ends[:-1]), strict=True))


def scripted_policy(env_id: str) -> Policy:
    """Meta-World's scripted expert of a task.

    Args:
        env_id: As registered here, with or without ``ilfo.metaworld:`` and the name of a variant.

    Returns:
        Maps observations ``(N, 39)`` and steps ``(N,)``, which it ignores, to actions ``(N, 4)`` in [-1, 1].

    Raises:
        InputError: There is no such task; names the closest.
    """
    task = split_id(env_id)[0].rpartition(":")[2].removeprefix(_PREFIX)
    if task not in ENV_POLICY_MAP:
        raise InputError(f"Meta-World has no task {task!r}; {closest(task, ENV_POLICY_MAP)}")
    expert = ENV_POLICY_MAP[task]()

    def act(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Constant")  # It says that the actions need the clip below.
            actions = np.stack([expert.get_action(np.asarray(each, np.float64)) for each in observations])
        return actions.clip(-1, 1).astype(np.float32)

    return act


for _name in ENV_POLICY_MAP:
    gymnasium.register(
        f"{_PREFIX}{_name}", entry_point="ilfo.metaworld:Task", kwargs={"task": _name}, max_episode_steps=500
    )
