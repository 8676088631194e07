"""Refusals of options that make no sense, each naming the option and its value. None, where it may be given, passes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args

from ilfo._tools.errors import InputError, closest
from ilfo._tools.ranges import read_ranges

__all__ = [
    "check_at_least",
    "check_choices",
    "check_demo_dir",
    "check_each_once",
    "check_episode_count",
    "check_not_negative",
    "check_positive",
    "check_seed",
    "check_seeds",
    "check_share",
]


def check_choices(options: Any, choices: Mapping[str, Any]) -> None:
    """Refuses options whose value is none of those that their ``Literal`` lists."""
    for name, choice in choices.items():
        value, known = getattr(options, name), get_args(choice)
        if value not in known:
            raise InputError(f"{name} is {value!r}, which is none of {known}: {closest(str(value), known)}.")


def check_at_least(options: Any, least: int, *names: str) -> None:
    """Refuses counts that are too small."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"{name} is {value}: it must be at least {least}.")


def check_positive(options: Any, *names: str) -> None:
    """Refuses numbers that are not finite and above 0."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}: it must be a finite number above 0.")


def check_not_negative(options: Any, *names: str) -> None:
    """Refuses numbers that are not finite and at least 0."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is {value}: it must be finite and at least 0.")


def check_share(options: Any, *names: str) -> None:
    """Refuses numbers outside of 0 to 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} is {value}: it must lie between 0 and 1.")


def check_episode_count(episodes: int | None) -> None:
    """Refuses a number of ``--episodes`` below 1."""
    if episodes is not None and episodes < 1:
        raise InputError(f"--episodes is {episodes}; expected at least 1")


def check_seed(seed: int | None) -> None:
    """Refuses a ``--seed`` that no generator takes."""
    if seed is not None and not 0 <= seed < 2**63:
        raise InputError(f"--seed is {seed}; expected 0 or more, and less than 2**63")


def check_seeds(seeds: str | None) -> None:
    """Refuses a ``--seeds`` that names none, or is no list of numbers and ranges."""
    if seeds is not None and not read_ranges("--seeds", seeds):
        raise InputError("--seeds is empty; expected numbers and ranges, like 0-2")


def check_demo_dir(folder: Path | None) -> None:
    """Refuses a ``--demo-dir`` that is no folder."""
    if folder is not None and not folder.is_dir():
        raise InputError(f"--demo-dir {folder} is no folder")


def check_each_once(flag: str, names: Collection[str]) -> None:
    """Refuses no name, and the same one twice."""
    if len(set(names)) < len(names) or not names:
        raise InputError(f"--{flag} is {' '.join(names) or 'empty'}: give each once, and at least one")
