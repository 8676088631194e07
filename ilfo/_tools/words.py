"""Words that several places print alike."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """A number of things: ``"1 episode"``, ``"1,000 steps"``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
