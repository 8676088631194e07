"""robosuite's tasks as Gymnasium environments that obey their seed, seen as robomimic's demonstrations see them.

Importing this module registers every task with every robot that fits, so that
``--env ilfo.robosuite:robosuite/Lift-Panda-v1`` is all that a run needs; ``environment_of(FILE)`` says which one a
robomimic file was recorded in.
"""

from __future__ import annotations

import logging
import os
from typing import Any, SupportsFloat

import gymnasium
import h5py
import mujoco
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos._robomimic_facts import RobomimicFacts, robosuite_id
from ilfo.demos.robomimic import is_robomimic

try:
    # It greets whoever imports it with advice on files that nothing here needs.
    logging.disable(logging.WARNING)
    import robosuite
except ModuleNotFoundError as error:
    raise InputError('robosuite is not installed: pip install "ilfo[robosuite]"') from error
finally:
    logging.disable(logging.NOTSET)
if not hasattr(mujoco.MjData, "qM"):
    raise InputError(
        f"robosuite {robosuite.__version__} needs MuJoCo 3 and does not run with {mujoco.__version__}: in an "
        "environment of its own, pip install 'ilfo[robosuite]' 'mujoco<4'"
    )
logging.getLogger("robosuite_logs").setLevel(logging.WARNING)

__all__ = ["RobosuiteTask", "environment_of"]

_ROBOTS = ("Panda", "Sawyer", "IIWA", "UR5e", "Jaco", "Kinova3")
"""Arms on a table; a task for two arms gets two of them."""

_CONTROL_HZ = 20
"""What robomimic's demonstrations were recorded at."""

_HORIZONS = {"TwoArmTransport": 700, "ToolHang": 700}
"""Time limits of robomimic's evaluations (arXiv 2108.03298); of all other tasks 400 steps."""

_CAMERA, _PIXELS = "agentview", 256


class RobosuiteTask(gymnasium.Env[Any, Any]):
    """A task with its robots and their default controllers: actions move the hand in space, turn it and grip.

    The observation is a dict with the keys of robomimic's files: ``object``, and of each robot ``robot0_eef_pos``,
    ``robot0_eef_quat``, ``robot0_gripper_qpos`` and its other proprioception. ``info["success"]`` is the task's own
    criterion.

    Notes:
        The model is loaded once, and a reset only places objects and robots, by its seed. robosuite itself reloads it
        at every reset, which takes a hundred times as long and redraws the size of some objects: its cube of ``Lift``
        is 4.0 to 4.4 cm wide, while here it is always the same.

    Args:
        task: robosuite's name, e.g. ``"Lift"``.
        robot: Name of the arm, e.g. ``"Panda"``.
        render_mode: ``"rgb_array"`` for frames, of the camera in front of the table.
    """

    library = "robosuite"
    metadata = {"render_modes": ["rgb_array"], "render_fps": _CONTROL_HZ}  # noqa: RUF012 as Gymnasium declares it

    def __init__(self, task: str, robot: str, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._task = robosuite.make(
            task,
            robots=[robot] * (2 if task.startswith("TwoArm") else 1),
            has_renderer=False,
            has_offscreen_renderer=render_mode is not None,
            use_camera_obs=False,
            control_freq=_CONTROL_HZ,
            ignore_done=True,
            hard_reset=False,
            seed=0,
        )
        self.dt = float(self._task.control_timestep)
        self.frame_skip = round(self.dt / self._task.sim.model.opt.timestep)
        low, high = self._task.action_spec
        self.action_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        seen = {key: len(values) for key, values in self._seen(self._task._get_observations()).items()}
        boxes = [(key, gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float64)) for key, width in seen.items()]
        self.observation_space = gymnasium.spaces.Dict(boxes)

    def _seen(self, observations: dict[str, Any]) -> dict[str, np.ndarray]:
        """What robomimic keeps, under its names."""
        found = {"object": observations["object-state"]}
        found |= {
            key: values
            for key, values in observations.items()
            if key.startswith("robot") and not key.endswith("proprio-state")
        }
        return {key: np.atleast_1d(np.asarray(values, np.float64)) for key, values in sorted(found.items())}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        if seed is not None:
            # The object samplers hold a reference to this generator, so that it is reseeded in place, not replaced.
            self._task.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        return self._seen(self._task.reset()), {}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps."""
        observations, reward, _, _ = self._task.step(np.asarray(action, np.float64))
        return self._seen(observations), float(reward), False, False, {"success": bool(self._task._check_success())}

    def render(self) -> Any:
        """The picture ``(H, W, 3)`` of the camera in front of the table; None without a render mode."""
        if self.render_mode is None:
            return None
        return self._task.sim.render(camera_name=_CAMERA, width=_PIXELS, height=_PIXELS)[::-1]

    def close(self) -> None:
        """Frees the simulator."""
        self._task.close()


def environment_of(path: str | os.PathLike[str]) -> str:
    """The id of the environment that a robomimic file was recorded in, for ``--env``.

    Raises:
        InputError: Not a robomimic file of a robosuite task, or its robots or its control rate are not those here.
    """
    with h5py.File(path) as file:
        if not is_robomimic(file):
            raise InputError(f"{path} has no group data/demo_0; expected a robomimic file")
        facts = RobomimicFacts.read(file["data"], f"{path}, group 'data'")
    task, robots = facts.env_args.get("env_name"), facts.robots
    if not facts.is_robosuite or task not in robosuite.ALL_ENVIRONMENTS:
        raise InputError(f"{path}, attribute env_args: names {task!r}, which robosuite {robosuite.__version__} has not")
    if len(set(robots)) != 1 or robots[0] not in _ROBOTS:
        raise InputError(
            f"{path}, attribute env_args: its robots are {', '.join(robots) or 'not named'}; expected one of "
            f"{', '.join(_ROBOTS)}"
        )
    rate = facts.env_kwargs.get("control_freq", _CONTROL_HZ)
    if rate != _CONTROL_HZ:
        raise InputError(f"{path}, attribute env_args: control_freq is {rate}; expected {_CONTROL_HZ}, as it is here")
    return str(facts.env_id)


for _task in robosuite.ALL_ENVIRONMENTS:
    for _robot in _ROBOTS:
        gymnasium.register(
            robosuite_id(_task, _robot),
            "ilfo.robosuite:RobosuiteTask",
            kwargs={"task": _task, "robot": _robot},
            max_episode_steps=_HORIZONS.get(_task, 400),
        )
