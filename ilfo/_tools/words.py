"""Words that several places print alike."""

from __future__ import annotations

__all__ = ["UNKNOWN", "counted", "duration", "estimate", "estimate_in_words", "if_known"]

UNKNOWN = "–"
"""What stands where there would be a number, and none is known."""


def counted(number: int, noun: str) -> str:
    """A number of things: ``"1 episode"``, ``"1,000 steps"``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """About how long something takes: ``"75 s"``, ``"12 min"``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def if_known(value: float | None, form: str) -> str:
    """A number in the form ``"{:.2f}"``, or a dash."""
    return UNKNOWN if value is None else form.format(value)


def estimate(value: float, interval: tuple[float, float] | None, form: str) -> str:
    """A number with its interval, where it has one: ``"0.86 (0.74 to 0.93)"`` in the form ``"{:.2f}"``."""
    if interval is None:
        return form.format(value)
    low, high = map(form.format, interval)
    return f"{form.format(value)} ({low} to {high})"


def estimate_in_words(value: float, interval: tuple[float, float] | None, form: str) -> str:
    """The same where there is room: ``"0.86, 95 % interval 0.74 to 0.93 (bootstrap)"``."""
    if interval is None:
        return form.format(value)
    low, high = map(form.format, interval)
    return f"{form.format(value)}, 95 % interval {low} to {high} (bootstrap)"
