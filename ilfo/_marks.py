"""``Hopper-v5@200-steps@seed-3``: an environment's id with a time limit, or with one beginning for all its episodes."""

from __future__ import annotations

import re
from typing import NamedTuple

from ilfo._errors import InputError

__all__ = ["Marks", "split_marks"]

_MEANINGS = {"steps": r"(\d+)-steps", "seed": r"seed-(\d+)"}


class Marks(NamedTuple):
    """What an id says of episodes; as text, what follows the plain id.

    Attributes:
        steps: Their time limit; None: the environment's own.
        seed: What every reset is seeded with, so that all begin alike; None: each begins in its own way.
    """

    steps: int | None = None
    seed: int | None = None

    def __str__(self) -> str:
        limit = "" if self.steps is None else f"@{self.steps}-steps"
        return limit + ("" if self.seed is None else f"@seed-{self.seed}")


def split_marks(env_id: str) -> tuple[str, Marks]:
    """The id without these marks, and the marks.

    Raises:
        InputError: A limit of 0 steps, two limits, or two seeds.

    Examples:
        >>> split_marks("ilfo.metaworld:MetaWorld/reach-v3@100-steps@lights-seen-0")
        ('ilfo.metaworld:MetaWorld/reach-v3@lights-seen-0', Marks(steps=100, seed=None))
        >>> split_marks("Hopper-v5@seed-3")
        ('Hopper-v5', Marks(steps=None, seed=3))
        >>> str(Marks(steps=100, seed=3))
        '@100-steps@seed-3'
    """
    plain, *marks = env_id.split("@")
    found: dict[str, int] = {}
    others = []
    for mark in marks:
        name, number = next(
            ((name, int(match[1])) for name, form in _MEANINGS.items() if (match := re.fullmatch(form, mark))), ("", 0)
        )
        if not name:
            others.append(mark)
        elif name in found or (name, number) == ("steps", 0):
            raise InputError(
                f"environment {env_id!r}: expected one time limit of at least 1 step, like {plain}@200-steps, and one "
                f"seed, like {plain}@seed-3"
            )
        else:
            found[name] = number
    return "@".join([plain, *others]), Marks(**found)
