"""The toolkit's provenance in files of other layouts: one JSON object, under a name that their readers pass over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from ilfo._tools.errors import InputError
from ilfo.demos.trajectory import Demonstrations, Provenance

__all__ = [
    "PROVENANCE",
    "check_keys_add_up",
    "parsed_json",
    "plain_provenance",
    "provenance_from_json",
    "provenance_to_json",
]

PROVENANCE = "ilfo_provenance"
"""Attribute of an HDF5 file or group, or key of a JSON file, that holds it. A file that has it was written by ilfo."""


def provenance_to_json(demonstrations: Demonstrations) -> str:
    """Provenance as a JSON object, with the expert's return as it is known now."""
    known = replace(demonstrations.provenance, expert_return=demonstrations.expert_return)
    return json.dumps(asdict(known))


def provenance_from_json(text: Any, where: str) -> Provenance:
    """The inverse of :func:`provenance_to_json`. Fields that only a later ilfo knows are ignored.

    Args:
        text: What the file has under :data:`PROVENANCE`.
        where: The start of an error's sentence: the file.

    Raises:
        InputError: Not such an object.
    """
    where = f"{where}, attribute {PROVENANCE!r}"
    return _made_of(parsed_json(text, where), where, "Remove the attribute, or convert again.")


def plain_provenance(provenance: Provenance, where: str) -> Provenance:
    """The same in Python's own numbers and text, which every layout has a place for; they may be NumPy's.

    Args:
        provenance: As given.
        where: The start of an error's sentence: the file to write.

    Raises:
        InputError: A field is no number, or no mapping, where it should be one.
    """
    return _made_of(vars(provenance), f"{where}, provenance", "Correct it.")


def _made_of(stated: Mapping[str, Any], where: str, remedy: str) -> Provenance:
    known = {each.name for each in fields(Provenance)}
    values = {}
    for name, value in stated.items():
        if name in known and value is not None:
            try:
                values[name] = _CONVERT.get(name, str)(value)
            except (ValueError, TypeError, AttributeError) as error:
                raise InputError(f"{where}: {name} is {value!r}. {remedy}") from error
    return Provenance(**values)


def check_keys_add_up(provenance: Provenance, width: int, where: str) -> None:
    """Refuses observation keys whose widths do not add up to the observation's.

    Args:
        provenance: Names the keys, or none.
        width: Dimensions of the flat observation.
        where: The start of an error's sentence: where the keys are stated.

    Raises:
        InputError: The widths do not add up.
    """
    keys = provenance.observation_keys
    if keys and sum(keys.values()) != width:
        raise InputError(
            f"{where}: {keys} are {sum(keys.values())} dimensions together, but the observations have {width}. "
            "Correct the keys."
        )


def parsed_json(text: Any, where: str) -> dict[str, Any]:
    """A JSON object of a file.

    Args:
        text: Its text, as ``str`` or ``bytes``.
        where: The start of an error's sentence: file, and attribute or dataset.

    Raises:
        InputError: Not text, not JSON, or not an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{where}: found {_cut(text)}, expected a JSON object ({error}). Take a fresh copy."
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {_cut(text)}, expected a JSON object. Take a fresh copy.")
    return value


def _cut(text: Any) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "observation_keys": lambda pairs: {str(key): int(width) for key, width in pairs.items()},
    "time_step": float,
    "versions": lambda pairs: {str(library): str(version) for library, version in pairs.items()},
    "expert_return": float,
    "action_repeat": int,
    "own_actions": bool,
}
"""From what is stated to a field of ``Provenance``; text where nothing is said."""
