"""Names on the command line: a built-in's, or ``package.module:Class`` for a user's own."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from typing import Any

from ilfo._errors import InputError, closest

__all__ = ["find", "option_group", "resolve"]


def resolve(name: str, built_in: Mapping[str, str], kind: str, base: type) -> type[Any]:
    """Finds the class that a name stands for.

    Args:
        name: A key of ``built_in``, or ``package.module:Class``; the command line looks in the working directory too.
        built_in: Name to ``module:Class``.
        kind: What is looked for, for the message: ``"reward"``, ``"agent"``.
        base: Class that the result must derive from.

    Raises:
        InputError: There is no such name, module or class, or it is of another kind.
    """
    found = find(name, built_in, kind)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{kind} {name!r} is not a subclass of {base.__module__}.{base.__name__}")
    return found


def find(name: str, built_in: Mapping[str, str], kind: str) -> Any:
    """Finds whatever a name stands for.

    Args:
        name: A key of ``built_in``, or ``package.module:name``; the command line looks in the working directory too.
        built_in: Name to ``module:name``.
        kind: What is looked for, for the message.

    Raises:
        InputError: There is no such name, module or thing in it.
    """
    target = built_in.get(name, name)
    module_name, separator, class_name = target.partition(":")
    if not (separator and module_name.strip(".") and class_name) or module_name.startswith("."):
        known = f"{closest(name, built_in)}; your own is named 'module:Class'" if built_in else "name it 'module:name'"
        raise InputError(f"no {kind} is called {name!r}; {known}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise InputError(
            f"{kind} {name!r}: there is no module {module_name!r} in {os.getcwd()} or among the installed packages"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        public = [own for own in vars(module) if not own.startswith("_")]
        raise InputError(
            f"{kind} {name!r}: module {module_name!r} has no {class_name!r}; {closest(class_name, public)}"
        )
    return found


def option_group(name: str) -> str:
    """The prefix of a plug-in's flags: ``td3`` for ``td3``, ``my_reward`` for ``my_file:MyReward``."""
    class_name = name.partition(":")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower() if class_name else name.replace("-", "_")
