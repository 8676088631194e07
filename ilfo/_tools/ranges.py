"""Whole numbers as they are spelled on a command line: lists, ``0-2,7``, and sizes, ``128x96``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ilfo._tools.errors import InputError

__all__ = ["read_ranges", "read_size", "with_columns_spelled_out"]

_COLUMNS = ("--features.dims", "--policy-features.dims")


def read_ranges(flag: str, spelled_out: str) -> tuple[int, ...]:
    """The numbers of a flag, in the order in which they are spelled; none for nothing.

    Args:
        flag: Its name, for errors.
        spelled_out: Numbers and ranges of numbers, with commas between.

    Raises:
        InputError: Something else, a range that goes downwards, or a number twice.

    Examples:
        >>> read_ranges("--seeds", "7, 0-2")
        (7, 0, 1, 2)
    """
    found: list[int] = []
    for part in spelled_out.split(",") if spelled_out else ():
        spelled = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if spelled is None:
            raise InputError(f"{flag} is {spelled_out!r}; expected numbers and ranges, like 0-9 or 0,3,7")
        first, last = int(spelled[1]), int(spelled[2] or spelled[1])
        found += range(first, last + 1)
        if last < first or len(set(found)) != len(found):
            raise InputError(f"{flag} is {spelled_out!r}; each number may stand there once, and ranges go upwards")
    return tuple(found)


def read_size(flag: str, spelled_out: str) -> tuple[int, int]:
    """Width and height in pixels: one number for both, or two.

    Args:
        flag: Its name, for errors.
        spelled_out: ``84`` or ``128x96``.

    Raises:
        InputError: It is something else.
    """
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)?", spelled_out):
        raise InputError(f"{flag} is {spelled_out}; expected pixels, 84, or width and height, 128x96")
    width, _, height = spelled_out.partition("x")
    return int(width), int(height or width)


def with_columns_spelled_out(words: Sequence[str]) -> list[str]:
    """Words of a command line, with every column that a range after a flag for columns stands for.

    Raises:
        InputError: A range goes downwards.

    Examples:
        >>> with_columns_spelled_out(["--features.dims", "0-2", "5", "--env", "0-2"])
        ['--features.dims', '0', '1', '2', '5', '--env', '0-2']
    """
    found: list[str] = []
    flag = ""
    for word in words:
        value = word
        if word.startswith("--"):
            name, _, value = word.partition("=")
            flag = name.replace("_", "-")
        if flag in _COLUMNS and re.fullmatch(r"\d+-\d+", value):
            found += [flag] if value != word else []
            found += map(str, read_ranges(flag, value))
        else:
            found.append(word)
    return found
