"""Suites: named lists of tasks that methods are measured on, each task with its environment and its demonstration.

A suite is a TOML file; those that come with the package lie beside this file, ``NAME.toml``::

    title = "One line on what is measured"
    steps = 100_000                      # of every seed
    protocol = "standard"
    flags = ["--eval-every", "10000"]    # of 'ilfo train', for every task

    [[tasks]]
    name = "reach"
    env = "ilfo.metaworld:MetaWorld/reach-v3"
    demo = ["metaworld-reach"]           # the first that exists: a file in --demo-dir, or a bundled one
    scripted = true                      # if none exists: record one of the environment's scripted expert
    flags = ["--reward-keys", "hand"]

A suite with ``verb = "clone"`` measures how a task's look affects cloned policies. It has no steps, its flags are those
of ``ilfo clone``, and its demonstrations have actions and frames; all files of a folder of demonstrations are used.
Instead of the scripted expert, a policy of your own may be recorded: ``policy = "module:callable"``.
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ilfo._tools.errors import InputError, closest
from ilfo._tools.filling import fill
from ilfo.demos.library import bundled
from ilfo.envs import Protocol

__all__ = ["Suite", "Task", "bundled_suites", "is_suite", "open_suite"]


@dataclass(frozen=True)
class Task:
    """One task of a suite.

    Attributes:
        name: Its name in tables.
        env: Gymnasium id; ``module:Id`` imports a module that registers it.
        demo: Names of demonstrations, of which the first that exists is used.
        scripted: Whether to record the scripted expert if none exists.
        policy: A policy to record if none exists, ``module:callable``; it comes before the scripted expert.
        flags: Flags of the suite's verb, after the suite's own.
        steps: Environment steps of every seed; 0 for the suite's.
    """

    name: str
    env: str
    demo: tuple[str, ...]
    scripted: bool = False
    policy: str = ""
    flags: tuple[str, ...] = ()
    steps: int = 0

    @property
    def expert(self) -> dict[str, Any]:
        """The expert to record if no demonstration exists, as options of ``ilfo record``; empty: none."""
        return {"policy": self.policy} if self.policy else {"scripted": True} if self.scripted else {}

    def find_demo(self, folder: Path | None) -> str | None:
        """The first of ``demo`` that exists, as a path in ``folder`` (``.hdf5`` may be left out) or a bundled name."""
        known = {each.name for each in bundled()}
        for name in self.demo:
            if folder is not None:
                files = [path for path in (folder / name, folder / f"{name}.hdf5") if path.exists()]
                if files:
                    return str(files[0])
            if name in known:
                return name
        return None


@dataclass(frozen=True)
class Suite:
    """A list of tasks, and how they are trained.

    Attributes:
        name: Name of its file, without ``.toml``.
        title: What it measures, in one line.
        tasks: At least one, with distinct names.
        verb: What is done with every task: ``"train"`` with each reward and agent, ``"clone"`` with each eye.
        steps: Environment steps of every seed, unless a task has its own.
        protocol: How episodes end.
        flags: Flags of the verb, for every task.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    verb: Literal["train", "clone"] = "train"
    steps: int = 100_000
    protocol: Protocol = "standard"
    flags: tuple[str, ...] = ()


def bundled_suites() -> dict[str, Path]:
    """Name to file of the suites that come with the package."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}


def is_suite(name: str) -> bool:
    """Whether a word names a suite, bundled or a TOML file; the folder of a run is taken for that instead."""
    return not (Path(name) / "config.json").is_file() and (name in bundled_suites() or name.endswith(".toml"))


def open_suite(name: str) -> Suite:
    """A suite by its name, or by the path of its TOML file.

    Raises:
        InputError: There is none, or its file lacks a key, has one that means nothing, or a value of the wrong type.
    """
    path = bundled_suites().get(name, Path(name))
    if name not in bundled_suites() and not name.endswith(".toml"):
        raise InputError(f"there is no suite {name!r}; {closest(name, bundled_suites())}, or give a TOML file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the suite {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"the suite {path} is not valid TOML: {error}") from error
    given = values.pop("tasks", None)
    if not isinstance(given, list) or not given:
        raise InputError(f"the suite {path} has no tasks; expected at least one table [[tasks]]")
    tasks = tuple(_made(Task, each, f"the suite {path}, task {number}") for number, each in enumerate(given, start=1))
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise InputError(f"the suite {path} has two tasks of one name among {', '.join(names)}; rename one")
    suite: Suite = _made(
        Suite, {"title": path.stem} | values | {"name": path.stem, "tasks": tasks}, f"the suite {path}"
    )
    if suite.verb == "clone" and ("steps" in values or any("steps" in each for each in given)):
        raise InputError(f"the suite {path} has steps, and nothing that is cloned counts them: leave the key out")
    return suite


def _made(kind: type[Any], values: Any, where: str) -> Any:
    """An instance of a dataclass from a table of TOML; a word stands for a list of one."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r}; expected a table")
    hints = typing.get_type_hints(kind)
    lists = {key for key, value in values.items() if hints.get(key) == tuple[str, ...] and isinstance(value, str)}
    return fill(kind, {key: [value] if key in lists else value for key, value in values.items()}, where)
