"""Gymnasium-Robotics' hands and arms, where they are installed, with time limits that human demonstrations need.

Importing this module registers what Gymnasium-Robotics has, so that ``--env ilfo.robotics:FetchPush-v4`` is all that a
run needs, and beside it ``AdroitHandDoorHuman-v1`` and likewise ``Hammer``, ``Pen`` and ``Relocate``: Adroit's tasks
with a longer time limit. D4RL's human demonstrations (arXiv 2004.07219) last 269, 452, 200 and 398 steps on average.
After the 200 steps of the usual time limit, 6 of 25 humans have opened the door (to 1.35 rad, which counts as success);
after 300 steps, 7.

Compare policies by success. Adroit's dense reward changed in Gymnasium-Robotics 1.2.1 under the same ``v1`` (it now
pays for being far from the handle), so that returns are comparable only within one version.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import gymnasium
import mujoco
import numpy as np

from ilfo._tools.errors import InputError

try:
    # It prints a notice on Adroit's rewards, the one above, whenever it is imported.
    with contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics
except ModuleNotFoundError as error:
    raise InputError('Gymnasium-Robotics is not installed: pip install "ilfo[robotics]"') from error

__all__ = ["HUMAN_STEPS"]

HUMAN_STEPS = {"Door": 300, "Hammer": 650, "Pen": 200, "Relocate": 550}
"""Time limits of the tasks that humans demonstrated."""


def _let_joint_kinds_equal_numbers() -> None:
    """Makes ``mujoco.mjtJoint.mjJNT_HINGE == numpy.int32(3)`` true, as it was before MuJoCo 4.

    In MuJoCo 4 a joint type equals only Python's integers, while a model's ``jnt_type`` holds NumPy's. Code that asks
    ``jnt_type[i] in (mjJNT_HINGE, mjJNT_SLIDE)``, as Gymnasium-Robotics 1.4 does, then ends in an AssertionError for
    every hinge.
    """
    kind = mujoco.mjtJoint
    if kind.mjJNT_HINGE == np.int32(int(kind.mjJNT_HINGE)):
        return
    equals = kind.__eq__

    def equals_numbers(one: Any, other: Any) -> bool:
        return equals(one, int(other) if isinstance(other, np.integer) else other)

    kind.__eq__ = equals_numbers


def _register() -> None:
    gymnasium.register_envs(gymnasium_robotics)
    _let_joint_kinds_equal_numbers()
    for task, steps in HUMAN_STEPS.items():
        spec = gymnasium.spec(f"AdroitHand{task}-v1")
        gymnasium.register(f"AdroitHand{task}Human-v1", spec.entry_point, max_episode_steps=steps, kwargs=spec.kwargs)


_register()
