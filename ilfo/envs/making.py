"""One environment: made by one protocol, and described."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import gymnasium
import mujoco
import numpy as np

from ilfo._tools.errors import InputError
from ilfo._tools.marks import split_marks
from ilfo.demos import Provenance
from ilfo.envs.wrappers import SUCCESS_NAMES, FixedHorizon, RepeatAction, SameStart, TellGoal
from ilfo.plugins import name_for_file
from ilfo.variants import split_id, vary

__all__ = [
    "ACTION_SLACK",
    "Description",
    "Protocol",
    "describe",
    "goal_of",
    "has_script",
    "has_success",
    "make_env",
    "success_of",
]

Protocol = Literal["standard", "fixed-horizon"]
"""``standard``: episodes end as the environment's authors wrote it. ``fixed-horizon``: they never end early."""


ACTION_SLACK = 1e-4
"""How far beyond [-1, 1] an action may be: what float32 does to a ``tanh`` or a division, not a mistake of scale."""

_REGISTER = {
    "ilfo.robotics": ("AdroitHand", "AntMaze", "Fetch", "FrankaKitchen", "HandManipulate", "HandReach", "PointMaze"),
    "ilfo.metaworld": ("MetaWorld/",),
    "ilfo.robosuite": ("robosuite/",),
}
"""Modules that register environments once they are imported, and how their ids begin."""


def _log_mujoco_warnings_once() -> None:
    """Hands MuJoCo's warnings to ``logging``, each text once: it prints them anew for every copy of a model."""
    if mujoco.get_mju_user_warning() is not None:
        return
    logger = logging.getLogger("mujoco")

    @functools.cache
    def log(text: str) -> None:
        # What is deprecated in a model concerns the author of the environment, not who trains in it.
        logger.log(logging.DEBUG if "deprecated" in text else logging.WARNING, text)

    mujoco.set_mju_user_warning(log)


def make_env(env_id: str, protocol: Protocol = "standard", render: bool = False) -> gymnasium.Env[Any, Any]:
    """Makes an environment with flat float observations and actions in [-1, 1].

    A goal that a dict of observations holds as ``desired_goal``, as Gymnasium-Robotics has it, is told by the reset
    (:class:`TellGoal`).

    Args:
        env_id: Gymnasium id; ``module:Id`` imports a module that registers it, ``Id@colours-unseen-3`` is a variant
            (:mod:`ilfo.variants`), episodes of ``Id@200-steps`` are cut off after 200 steps, and those of ``Id@seed-3``
            all begin alike (:class:`SameStart`). Each action in ``Id@repeat-3`` is done for three steps
            (:class:`RepeatAction`). ``Id@no-shadows`` is drawn without shadows and reflections, several
            times as fast without a GPU.
        protocol: How episodes end, see :data:`Protocol`.
        render: Whether frames are wanted.

    Raises:
        InputError: No such environment, spaces that are not supported, no time limit, or a mark that means nothing.
    """
    env = _make_as_registered(env_id, render)
    try:
        return _wrapped(env, env_id, protocol)
    except BaseException:
        env.close()
        raise


def _wrapped(env: gymnasium.Env[Any, Any], env_id: str, protocol: Protocol) -> gymnasium.Env[Any, Any]:
    """The environment with flat observations and actions in [-1, 1], if it can have them."""
    if isinstance(env.observation_space, gymnasium.spaces.Dict):
        _check_vectors(env_id, env.observation_space)
        if "desired_goal" in env.observation_space.spaces:
            env = TellGoal(env)
        env = gymnasium.wrappers.FlattenObservation(env)
    space, actions = env.observation_space, env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise InputError(f"environment {env_id!r} has observations {space}; expected one vector or a dict of vectors")
    if not isinstance(actions, gymnasium.spaces.Box) or len(actions.shape) != 1:
        raise InputError(f"environment {env_id!r} has actions {actions}; expected a continuous vector (Box)")
    _check_range(env_id, actions)
    if not _within_one(actions):
        # Rescaled, -1 and 1 may come out beyond the bounds by a last bit, which some environments refuse.
        within = gymnasium.wrappers.TransformAction(env, lambda action: action.clip(actions.low, actions.high), actions)
        env = gymnasium.wrappers.RescaleAction(within, np.float32(-1), np.float32(1))
    if env.spec is None or env.spec.max_episode_steps is None:
        raise InputError(f"environment {env_id!r} has no time limit: give it one, {env_id}@1000-steps")
    if protocol == "fixed-horizon":
        env = FixedHorizon(env)
    times = split_marks(env_id)[1].repeat
    return env if times == 1 else RepeatAction(env, times)


def _check_range(env_id: str, actions: gymnasium.spaces.Box) -> None:
    """Refuses actions onto which [-1, 1] cannot be stretched."""
    if not np.issubdtype(actions.dtype, np.floating):
        raise InputError(
            f"environment {env_id!r} has actions of whole numbers, {actions}; expected real ones: register it with a "
            "Box of float32, and round in its step"
        )
    if not actions.is_bounded():
        raise InputError(
            f"environment {env_id!r} has unbounded actions {actions}; expected bounds, onto which [-1, 1] is "
            "stretched: give its action space finite ones, and take off ClipAction, which hides them"
        )
    fixed = np.flatnonzero(actions.low == actions.high)
    if len(fixed):
        raise InputError(
            f"environment {env_id!r} has actions {actions}, of which dimension {fixed[0]} can only be "
            f"{actions.low[fixed[0]]:g}; expected bounds that differ: leave that dimension out of its space, and add "
            "it in its step"
        )


def _check_vectors(env_id: str, space: gymnasium.spaces.Dict, path: str = "") -> None:
    """Refuses pictures among the parts, of which each pixel would become a column of the state."""
    for name, part in space.spaces.items():
        if isinstance(part, gymnasium.spaces.Dict):
            _check_vectors(env_id, part, f"{path}{name}/")
        elif part.shape is not None and (len(part.shape) > 2 or (len(part.shape) == 2 and part.dtype == np.uint8)):
            raise InputError(
                f"environment {env_id!r} has pictures {part.shape} among its observations, '{path}{name}'; expected "
                "one vector or a dict of vectors: register it without them (gymnasium.wrappers.FilterObservation), and "
                "let --features keypoints see frames"
            )


def _within_one(actions: gymnasium.spaces.Box) -> bool:
    return bool(np.all(actions.low == -1) and np.all(actions.high == 1))


def _make_as_registered(env_id: str, render: bool = False) -> gymnasium.Env[Any, Any]:
    _log_mujoco_warnings_once()
    plain_id, variant = split_id(env_id)
    marks = split_marks(env_id)[1]
    wanted: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
    try:
        env = gymnasium.make(plain_id, max_episode_steps=marks.steps, disable_env_checker=True, **wanted)
    except (gymnasium.error.Error, ImportError) as error:
        found = name_for_file(plain_id) or _module_for(env_id) or _successor(plain_id)
        hint = f"; {found}" if found else ""
        why = str(error).removesuffix(".") if hint else str(error)
        raise InputError(f"environment {env_id!r} cannot be made: {why}{hint}") from error
    except AssertionError as error:
        if not _is_of_joint_kinds(error):
            raise
        mended = f"ilfo.robotics:{env_id.rpartition(':')[2]}"
        raise InputError(
            f"environment {env_id!r} cannot be made: Gymnasium-Robotics does not know the joints of MuJoCo "
            f"{mujoco.__version__}. Put ilfo.robotics: in front, which mends that: {mended}"
        ) from error
    try:
        if not marks.shadows:
            _draw_flat(env, env_id)
        if variant is not None:
            vary(env, variant)
        if render:
            _follow(env)
    except BaseException:
        env.close()
        raise
    return env if marks.seed is None else SameStart(env, marks.seed)


def _module_for(env_id: str) -> str | None:
    """Which module to put in front of an id that one of ours registers; None where none does, or it is there."""
    for module, starts in _REGISTER.items():
        if env_id.startswith(starts) and module not in sys.modules:
            extra = module.rpartition(".")[2]
            return f"put {module}: in front, {module}:{env_id} (pip install 'ilfo[{extra}]')"
    return None


def _successor(plain_id: str) -> str | None:
    """What Gymnasium has in place of the MuJoCo environments that it gave away; None where it has none."""
    later = re.sub(r"-v[23]$", "-v5", plain_id)
    if later == plain_id or later not in gymnasium.registry:
        return None
    return (
        f"{later} is the same robot, for most with the same states: 'ilfo demos validate FILE --env {later}' says "
        "whether a demonstration fits"
    )


def _is_of_joint_kinds(error: AssertionError) -> bool:
    """Whether it is the error that :mod:`ilfo.robotics` fixes: Gymnasium-Robotics fails at a joint of MuJoCo 4."""
    (*_, (frame, _)) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == "gymnasium_robotics.utils.mujoco_utils" and (
        mujoco.mjtJoint.mjJNT_HINGE != np.int32(int(mujoco.mjtJoint.mjJNT_HINGE))
    )


def _draw_flat(env: gymnasium.Env[Any, Any], env_id: str) -> None:
    """Takes shadows and reflections away, of which each draws the whole scene once more; nothing else changes."""
    model: Any = getattr(env.unwrapped, "model", None)
    if not isinstance(model, mujoco.MjModel):
        raise InputError(
            f"environment {env_id!r} is not drawn by Gymnasium's own MuJoCo renderer, the only one whose shadows can "
            "be taken away: leave out @no-shadows"
        )
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0


def _follow(env: gymnasium.Env[Any, Any]) -> None:
    """Films with the model's own tracking camera: Gymnasium 1.4 films with one that stands still."""
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is not None and renderer.camera_id == -1:
        renderer.camera_id = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")


def success_of(info: Mapping[str, Any]) -> bool | None:
    """Whether the task's own criterion is met, by the ``info`` of a step; None where that says nothing."""
    success = next((info[name] for name in SUCCESS_NAMES if name in info), None)
    return None if success is None else bool(success)


def goal_of(info: Mapping[str, Any]) -> np.ndarray | None:
    """The goal of an episode, ``(G,)`` float32, from the ``info`` that ``reset`` returned.

    Returns:
        A copy of ``info["goal"]``; None where it is not numeric, or there is none.
    """
    goal = np.array(info.get("goal"))
    return goal.astype(np.float32).ravel() if goal.dtype.kind in "fiub" else None


def has_success(env_id: str) -> bool:
    """Whether an environment says of its episodes if they succeeded, as its first step shows.

    Raises:
        InputError: See :func:`make_env`.
    """
    env = make_env(env_id)
    try:
        env.reset(seed=0)
        *_, info = env.step(np.zeros(env.action_space.shape or (), np.float32))
    finally:
        env.close()
    return success_of(info) is not None


class Description(NamedTuple):
    """What an environment is like.

    Attributes:
        provenance: What a demonstration recorded in it would say: keys and widths of its states, time step, versions.
        low: ``(D,)`` lower bounds of its observations.
        high: ``(D,)`` upper bounds.
        action_dim: Width ``A`` of an action.
        own_bounds: Whether the environment's own action bounds are -1 and 1, so that actions are not rescaled.
        horizon: The time limit in steps.
    """

    provenance: Provenance
    low: np.ndarray
    high: np.ndarray
    action_dim: int
    own_bounds: bool
    horizon: int


def has_script(env_id: str) -> bool:
    """Whether an environment comes with a scripted expert; Meta-World's tasks do."""
    return env_id.startswith("ilfo.metaworld:")


def describe(env_id: str) -> Description:
    """What an environment is like.

    Raises:
        InputError: See :func:`make_env`.
    """
    registered = _make_as_registered(env_id)
    registered.close()
    seen = registered.observation_space
    parts = seen.spaces if isinstance(seen, gymnasium.spaces.Dict) else {"observation": seen}
    env = make_env(env_id)
    try:
        keys = {name: gymnasium.spaces.flatdim(part) for name, part in parts.items()}
        flat, actions, own = env.observation_space, env.action_space, registered.action_space
        assert isinstance(flat, gymnasium.spaces.Box)
        assert isinstance(actions, gymnasium.spaces.Box)
        assert isinstance(own, gymnasium.spaces.Box)
        assert env.spec is not None
        assert env.spec.max_episode_steps is not None
        times = split_marks(env_id)[1].repeat
        time_step = getattr(env.unwrapped, "dt", None)
        action_repeat = getattr(env.unwrapped, "frame_skip", None)
        provenance = Provenance(
            env_id=env_id,
            observation_keys=keys,
            time_step=None if time_step is None else float(time_step) * times,
            versions=_versions(type(env.unwrapped)),
            action_repeat=None if action_repeat is None else int(action_repeat) * times,
        )
        return Description(
            provenance,
            flat.low,
            flat.high,
            action_dim=actions.shape[0],
            own_bounds=_within_one(own),
            horizon=env.spec.max_episode_steps,
        )
    finally:
        env.close()


def _versions(kind: type) -> dict[str, str]:
    """Versions of the simulator, and of the library that brings the environment, where it is an installed one.

    An environment of ours that stands for another library's names that as ``library``.
    """
    versions = {name: importlib.metadata.version(name) for name in ("gymnasium", "mujoco", "numpy")}
    library = getattr(kind, "library", kind.__module__.partition(".")[0])
    with suppress(importlib.metadata.PackageNotFoundError):
        versions[library] = importlib.metadata.version(library)
    return versions
