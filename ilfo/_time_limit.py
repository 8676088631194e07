"""``Hopper-v5@200-steps``: an environment's id with a time limit of one's own."""

from __future__ import annotations

import re

from ilfo._errors import InputError

__all__ = ["split_limit", "with_limit"]


def split_limit(env_id: str) -> tuple[str, int | None]:
    """The id without the time limit, and the limit in steps; None where it has none of its own.

    Raises:
        InputError: A limit of 0 steps, or two limits.

    Examples:
        >>> split_limit("ilfo.metaworld:MetaWorld/reach-v3@100-steps@lights-seen-0")
        ('ilfo.metaworld:MetaWorld/reach-v3@lights-seen-0', 100)
        >>> split_limit("Hopper-v5")
        ('Hopper-v5', None)
    """
    plain, *marks = env_id.split("@")
    limits = [int(found[1]) for mark in marks if (found := re.fullmatch(r"(\d+)-steps", mark))]
    if len(limits) > 1 or 0 in limits:
        raise InputError(f"environment {env_id!r}: expected one time limit of at least 1 step, like {plain}@200-steps")
    others = [mark for mark in marks if not re.fullmatch(r"\d+-steps", mark)]
    return "@".join([plain, *others]), limits[0] if limits else None


def with_limit(env_id: str, steps: int | None) -> str:
    """The inverse of :func:`split_limit`, but for the order of what follows the id."""
    return env_id if steps is None else f"{env_id}@{steps}-steps"
