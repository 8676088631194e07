"""``Hopper-v5@200-steps@repeat-2@seed-3@no-shadows``: an id that says more of episodes, actions and pictures."""

from __future__ import annotations

import difflib
import re
from typing import Any, NamedTuple

from ilfo._tools.errors import InputError

__all__ = ["Marks", "meant_mark", "plain_id", "split_marks"]

_MEANINGS = {"steps": r"(\d+)-steps", "seed": r"seed-(\d+)", "shadows": r"no-shadows", "repeat": r"repeat-(\d+)"}
_AT_LEAST_ONE = {"steps", "repeat"}


class Marks(NamedTuple):
    """What an id says of episodes, actions and pictures; as text, what follows the plain id.

    Attributes:
        steps: Time limit of episodes in steps of the environment; None: its own.
        seed: What every reset is seeded with, so that all begin alike; None: each begins in its own way.
        shadows: Whether pictures have shadows and reflections.
        repeat: Steps of the environment for which each action is done.
    """

    steps: int | None = None
    seed: int | None = None
    shadows: bool = True
    repeat: int = 1

    def __str__(self) -> str:
        said = {
            f"@{self.steps}-steps": self.steps is not None,
            f"@repeat-{self.repeat}": self.repeat != 1,
            f"@seed-{self.seed}": self.seed is not None,
            "@no-shadows": not self.shadows,
        }
        return "".join(mark for mark, given in said.items() if given)


def plain_id(env_id: str) -> str:
    """The id as Gymnasium knows it: without marks, and without the variant, which is marked alike.

    Examples:
        >>> plain_id("ilfo.metaworld:MetaWorld/reach-v3@100-steps@lights-seen-0")
        'ilfo.metaworld:MetaWorld/reach-v3'
    """
    return env_id.partition("@")[0]


def split_marks(env_id: str) -> tuple[str, Marks]:
    """The id without these marks, and the marks.

    Raises:
        InputError: A limit of 0 steps, an action for 0 steps, or the same kind of mark twice.

    Examples:
        >>> split_marks("ilfo.metaworld:MetaWorld/reach-v3@100-steps@lights-seen-0")
        ('ilfo.metaworld:MetaWorld/reach-v3@lights-seen-0', Marks(steps=100, seed=None, shadows=True, repeat=1))
        >>> split_marks("Hopper-v5@seed-3")
        ('Hopper-v5', Marks(steps=None, seed=3, shadows=True, repeat=1))
        >>> str(Marks(steps=100, seed=3))
        '@100-steps@seed-3'
    """
    plain, *marks = env_id.split("@")
    found: dict[str, Any] = {}
    others = []
    for mark in marks:
        matches = ((name, re.fullmatch(form, mark)) for name, form in _MEANINGS.items())
        name, match = next(((name, match) for name, match in matches if match), ("", None))
        if match is None:
            others.append(mark)
        elif name in found or (name in _AT_LEAST_ONE and not int(match[1])):
            raise InputError(
                f"environment {env_id!r}: expected one time limit of at least 1 step, like {plain}@200-steps, actions "
                f"done for at least 1 step each, like {plain}@repeat-2, one seed, like {plain}@seed-3, and @no-shadows "
                "once"
            )
        else:
            found[name] = int(match[1]) if match.groups() else False
    return "@".join([plain, *others]), Marks(**found)


def meant_mark(mark: str) -> str:
    """The end of a sentence on something that is no mark: the mark that was probably meant, or nothing.

    Examples:
        >>> meant_mark("200-step")
        "; did you mean '200-steps'?"
    """
    number = re.search(r"[1-9]\d*", mark)
    if "step" in mark:
        return f"; did you mean '{number[0] if number else 200}-steps'?"
    forms = [form.replace(r"(\d+)", number[0] if number else "3") for form in _MEANINGS.values()]
    meant = difflib.get_close_matches(mark, forms, n=1, cutoff=0.7)
    return f"; did you mean {meant[0]!r}?" if meant else ""
