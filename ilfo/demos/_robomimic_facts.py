"""What a robomimic file says of its environment, ``env_args``: reading and writing it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from ilfo._tools.marks import plain_id
from ilfo.demos._provenance import PROVENANCE, parsed_json, provenance_from_json
from ilfo.demos.trajectory import Provenance

__all__ = ["RobomimicFacts", "env_args_of", "robosuite_id"]

_ROBOSUITE, _GYM = 1, 2
"""Kinds of environments in ``env_args``."""
_TASK = re.compile(r"(?:ilfo\.robosuite:)?robosuite/(\w+)-(\w+)-v1")
"""What :func:`robosuite_id` makes, with or without the module that registers it."""


def robosuite_id(task: str, robot: str) -> str:
    """The Gymnasium id by which ``ilfo.robosuite`` registers a task with a robot."""
    return f"robosuite/{task}-{robot}-v1"


@dataclass(frozen=True)
class RobomimicFacts:
    """What the attributes of ``data`` say: robomimic's ``env_args``, and ilfo's provenance where it wrote the file."""

    env_args: dict[str, Any]
    env_kwargs: dict[str, Any]
    provenance: Provenance | None

    @classmethod
    def read(cls, data: h5py.Group, where: str) -> RobomimicFacts:
        """From the group of all demonstrations; ``where`` is the start of an error's sentence."""
        env_args = parsed_json(data.attrs.get("env_args", "{}"), f"{where}, attribute 'env_args'")
        kwargs = env_args.get("env_kwargs")
        own = provenance_from_json(data.attrs[PROVENANCE], where) if PROVENANCE in data.attrs else None
        return cls(env_args, kwargs if isinstance(kwargs, dict) else {}, own)

    def ordered(self, keys: Iterable[str]) -> list[str]:
        """Observation keys as ilfo wrote them, else in alphabetical order."""
        written = list(self.provenance.observation_keys) if self.provenance else []
        return sorted(keys, key=lambda key: (written.index(key) if key in written else len(written), key))

    @property
    def is_robosuite(self) -> bool:
        """Whether robosuite recorded it; robomimic writes ``type``, and its documentation says ``env_type``."""
        return self.env_args.get("type", self.env_args.get("env_type")) == _ROBOSUITE

    @property
    def robots(self) -> list[str]:
        """Names of robosuite's robots; none where the file does not say."""
        named = self.env_kwargs.get("robots", [])
        return [named] if isinstance(named, str) else [str(each) for each in named] if isinstance(named, list) else []

    @property
    def env_id(self) -> str | None:
        """The environment: robosuite's task with its robot as ``ilfo.robosuite`` calls it, else by robomimic's name."""
        name = self.env_args.get("env_name")
        if self.is_robosuite and name and len(set(self.robots)) == 1:
            return f"ilfo.robosuite:{robosuite_id(name, self.robots[0])}"
        return str(name) if name else None

    def described(self, keys: dict[str, int], expert_return: float | None) -> Provenance:
        """Provenance as robomimic says it, with the keys and the return that were found."""
        frequency = self.env_kwargs.get("control_freq")
        version = self.env_args.get("env_version")
        return Provenance(
            env_id=self.env_id,
            observation_keys=keys,
            time_step=1 / frequency if isinstance(frequency, int | float) and frequency > 0 else None,
            versions={"robosuite": str(version)} if self.is_robosuite and version else {},
            expert_return=expert_return,
            own_actions=True,
        )

    def success(self, group: h5py.Group, rewards: np.ndarray | None) -> bool | None:
        """Whether an episode met its task's criterion, where that can be told."""
        if "success" in group.attrs:
            return bool(group.attrs["success"])
        # Shaped rewards are positive on the way, and those of Gym environments mean something else.
        sparse = self.is_robosuite and not self.env_kwargs.get("reward_shaping")
        if not sparse or rewards is None or not np.isin(rewards, (0, 1)).all():
            return None
        return bool((rewards == 1).any())


def env_args_of(provenance: Provenance) -> dict[str, Any]:
    """The environment as robomimic describes it; its simulator's other arguments are not known here."""
    version = provenance.versions.get("robosuite")
    name = plain_id(provenance.env_id or "")
    task = _TASK.fullmatch(name)
    if version is None and task is None:
        return {"env_name": name, "type": _GYM, "env_kwargs": {}}
    kwargs: dict[str, Any] = {"control_freq": round(1 / provenance.time_step)} if provenance.time_step else {}
    if task is not None:
        name = task[1]
        kwargs["robots"] = [task[2]] * (2 if name.startswith("TwoArm") else 1)
    known = {} if version is None else {"env_version": version}
    return {"env_name": name, **known, "type": _ROBOSUITE, "env_kwargs": kwargs}
