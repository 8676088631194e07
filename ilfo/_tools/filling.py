"""Dataclasses from plain values, as files of TOML and JSON have them, with their types checked."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ilfo._tools.errors import InputError, closest

__all__ = ["converted", "fill"]


def fill(
    cls: type[Any],
    values: Mapping[str, Any],
    source: str,
    *,
    prefix: str = "",
    absent: Any = dataclasses.MISSING,
    base: Any = None,
) -> Any:
    """An instance of a dataclass from a dictionary, as TOML and JSON have them.

    Args:
        cls: The dataclass.
        values: Field to value; a name may have dashes for underscores.
        source: Where they stand, for errors.
        prefix: What comes before the names, for errors.
        absent: Value of required fields that are missing; by default these are refused.
        base: An instance with what is not said; None: the defaults of the fields.

    Raises:
        InputError: An unknown or missing name, or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    names = [item.name for item in dataclasses.fields(cls)]
    arguments: dict[str, Any] = {}
    defaults = {item.name: _default_of(item) for item in dataclasses.fields(cls)}
    for raw_key, value in values.items():
        key = raw_key.replace("-", "_")
        if key not in names:
            raise InputError(f"{source}: unknown key {prefix + raw_key!r}; {closest(key, names)}")
        arguments[key] = converted(hints[key], value, source, prefix + key, defaults[key])
    if base is not None:
        return dataclasses.replace(base, **arguments)
    required = [name for name, default in defaults.items() if default is dataclasses.MISSING]
    for name in required:
        if name not in arguments:
            if absent is dataclasses.MISSING:
                raise InputError(f"{source}: {prefix + name} is missing; required: {', '.join(required)}")
            arguments[name] = absent
    return cls(**arguments)


def _default_of(item: dataclasses.Field[Any]) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def converted(hint: Any, value: Any, source: str, name: str, default: Any = dataclasses.MISSING) -> Any:
    """A value as a field of this type takes it; what a table does not say is as in ``default``, if that is one.

    Raises:
        InputError: It is of another type.
    """
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise InputError(f"{source}: {name} is {value!r}; expected a table of options")
        return fill(hint, value, source, prefix=f"{name}.", base=default if isinstance(default, hint) else None)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        refusals = []
        for part in arguments:
            try:
                return converted(part, value, source, name)
            except InputError as refusal:
                refusals.append(refusal)
        raise refusals[0]
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{source}: {name} is {value!r}; expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{source}: {name} is {value!r}; expected a list")
        variadic = origin is list or (len(arguments) == 2 and arguments[1] is ...)
        parts = [arguments[0]] * len(value) if variadic else arguments
        if len(parts) != len(value):
            raise InputError(f"{source}: {name} has {len(value)} values; expected {len(parts)}")
        pairs = enumerate(zip(parts, value, strict=True))
        return origin(converted(part, each, source, f"{name}[{index}]") for index, (part, each) in pairs)
    if hint is Path:
        if not isinstance(value, (str, Path)):
            raise InputError(f"{source}: {name} is {value!r}; expected a path")
        return Path(value)
    if not isinstance(hint, type):
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) != (hint is bool) or not isinstance(value, hint):
        raise InputError(
            f"{source}: {name} is {value!r}; expected {'true or false' if hint is bool else hint.__name__}"
        )
    return value
