"""Which variant of an environment is meant, and the numbers that are drawn for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from ilfo._tools.errors import InputError, closest
from ilfo._tools.marks import meant_mark, split_marks

__all__ = ["KINDS", "Draw", "Kind", "Split", "Variant", "split_id"]

Kind = Literal["colours", "textures", "lights", "camera", "distractors", "proportions", "shapes"]
KINDS: tuple[Kind, ...] = ("colours", "textures", "lights", "camera", "distractors", "proportions", "shapes")
"""What can vary. A kind's index seeds its random numbers: append new kinds at the end."""

Split = Literal["seen", "unseen"]
_SPLITS: tuple[Split, ...] = ("seen", "unseen")

_MARK = "@"
"""Between an environment's id and its variant's name; Gymnasium allows it in no id, and no shell reads it."""

_Option = TypeVar("_Option")


@dataclass(frozen=True)
class Variant:
    """One look of an environment, the same wherever it is asked for.

    Attributes:
        kind: What varies.
        index: Which of them, from 0.
        split: ``"seen"`` to train on, ``"unseen"`` to hold out: no draw of one lies in a range of the other.

    Raises:
        InputError: No such kind or split, or a negative index.

    Examples:
        >>> Variant.named("camera-unseen-3")
        Variant(kind='camera', index=3, split='unseen')
        >>> print(Variant("colours", 0))
        colours-seen-0
    """

    kind: Kind
    index: int
    split: Split = "seen"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"{self.kind!r} is nothing that varies; {closest(self.kind, KINDS)}")
        if self.split not in _SPLITS:
            raise InputError(f"{self.split!r} is no split of the variants; {closest(self.split, _SPLITS)}")
        if self.index < 0:
            raise InputError(f"variant {self.index} of {self.kind}: expected 0 or more")

    @classmethod
    def named(cls, name: str) -> Variant:
        """The variant of a name such as ``"colours-unseen-3"``.

        Raises:
            InputError: Not such a name.
        """
        parts = re.fullmatch(r"(\w+)-(\w+)-([0-9]+)", name)
        if parts is None:
            raise InputError(
                f"{name!r} names no variant; expected KIND-SPLIT-INDEX, such as 'colours-unseen-3' (or a time limit, "
                "such as '200-steps', actions that last, such as 'repeat-3', a seed, such as 'seed-3', or 'no-shadows')"
                + meant_mark(name)
            )
        kind, split, index = parts.groups()
        return cls(kind, int(index), split)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind}-{self.split}-{self.index}"

    def draw(self) -> Draw:
        """Its numbers, from the first on."""
        key = (KINDS.index(self.kind), _SPLITS.index(self.split))
        return Draw(np.random.default_rng(np.random.SeedSequence(self.index, spawn_key=key)), self.split == "unseen")


class Draw:
    """Random numbers of one variant. Every range is given for both splits, side by side.

    Args:
        random: Their source, also for draws that are the same in both splits.
        unseen: Whether to use the unseen ranges.
    """

    def __init__(self, random: np.random.Generator, unseen: bool) -> None:
        self.random, self._unseen = random, unseen

    def between(self, seen: tuple[float, float], unseen: tuple[float, float], size: int = 1) -> np.ndarray:
        """Uniform numbers ``(size,)``."""
        return self.random.uniform(*(unseen if self._unseen else seen), size)

    def one_of(self, seen: Sequence[_Option], unseen: Sequence[_Option]) -> _Option:
        """One option."""
        options = unseen if self._unseen else seen
        return options[int(self.random.integers(len(options)))]


def split_id(env_id: str) -> tuple[str, Variant | None]:
    """The id of an environment and its variant, of ``"HalfCheetah-v5@colours-unseen-3"``; None where it has none.

    A time limit, ``@200-steps``, a seed, ``@seed-3``, and ``@no-shadows`` are left out.

    Raises:
        InputError: What follows the ``@`` names neither a variant nor any of these.

    Examples:
        >>> split_id("ilfo.metaworld:MetaWorld/reach-v3@lights-seen-0")
        ('ilfo.metaworld:MetaWorld/reach-v3', Variant(kind='lights', index=0, split='seen'))
        >>> split_id("Hopper-v5")
        ('Hopper-v5', None)
    """
    plain, mark, name = split_marks(env_id)[0].partition(_MARK)
    return plain, Variant.named(name) if mark else None
