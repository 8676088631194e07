"""Options that take effect only beside certain values of another one: without these, they are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ilfo._tools.errors import InputError

__all__ = ["Condition", "Effects", "above_zero", "check_effects", "check_groups", "given", "one_of"]


class Condition(NamedTuple):
    """When an option takes effect.

    Attributes:
        other: The option that decides it.
        holds: Whether it does, for all the options.
        wanted: The values with which it does, in words.
        silent: Values of the option itself that ask for nothing, besides its default.
    """

    other: str
    holds: Callable[[Any], bool]
    wanted: str
    silent: tuple[Any, ...] = ()


Effects = Mapping[str, Condition]
"""What a class of options calls ``TAKES_EFFECT``: the condition for each option that has one, by its name."""


def one_of(other: str, *values: Any, silent: tuple[Any, ...] = ()) -> Condition:
    """Takes effect where another option has one of these values."""
    *most, last = map(str, values)
    wanted = f"{', '.join(most)} or {last}" if most else last
    return Condition(other, lambda options: getattr(options, other) in values, wanted, silent)


def above_zero(other: str) -> Condition:
    """Takes effect where another option is above 0."""
    return Condition(other, lambda options: getattr(options, other) > 0, "more than 0")


def given(other: str) -> Condition:
    """Takes effect where another option is not None."""
    return Condition(other, lambda options: getattr(options, other) is not None, "a value")


def check_effects(prefix: str, options: Any, preset: Mapping[str, Any] | None = None) -> None:
    """Refuses an option that was set and takes no effect.

    Called once all values are known, not when options are made: a file may give one, and a flag the other.

    Args:
        prefix: That of their flags, like ``transport``.
        options: A dataclass, perhaps with a table ``TAKES_EFFECT``; that of a plug-in need not have one.
        preset: Values that nobody asked for one by one.

    Raises:
        InputError: There is such an option.
    """
    table: Effects = getattr(options, "TAKES_EFFECT", {})
    for item in dataclasses.fields(options):
        if item.name not in table:
            continue
        condition, value = table[item.name], getattr(options, item.name)
        unasked = [item.default, *condition.silent]
        if preset is not None and item.name in preset:
            unasked.append(preset[item.name])
        if condition.holds(options) or _plain(value) in map(_plain, unasked):
            continue
        flag, other = (f"--{prefix}.{name}".replace("_", "-") for name in (item.name, condition.other))
        raise InputError(
            f"{flag} is {_shown(value)} and {other} {_shown(getattr(options, condition.other))}, with which it has no "
            f"effect: leave it out, or give {other} {condition.wanted}"
        )


def check_groups(config: Any, preset: Mapping[str, Any] | None = None) -> None:
    """Calls :func:`check_effects` for each group of options in a configuration.

    Args:
        config: A dataclass, some of whose fields are options.
        preset: Tables of values that nobody asked for one by one, by the name of the field.

    Raises:
        InputError: An option takes no effect.
    """
    for item in dataclasses.fields(config):
        options = getattr(config, item.name)
        if dataclasses.is_dataclass(options):
            check_effects(item.name, options, (preset or {}).get(item.name))


def _shown(value: Any) -> str:
    """As it may be given on a command line."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Comparable whether it comes from a file or from the command line."""
    return list(value) if isinstance(value, tuple) else value
