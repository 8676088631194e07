"""Names on the command line: a built-in's, or ``package.module:Class`` for a user's own."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ilfo._tools.errors import InputError, closest

__all__ = ["check_chosen", "check_prefixes", "check_tables", "find", "name_for_file", "option_group", "resolve"]


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
        raise InputError(f"no {kind} is called {name!r}; {name_for_file(name) or _known(name, built_in)}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise InputError(
            f"{kind} {name!r}: there is no module {module_name!r} in {os.getcwd()} or among the installed packages"
            + (f"; {hint}" if (hint := name_for_file(name)) else "")
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        public = [own for own in vars(module) if not own.startswith("_")]
        raise InputError(
            f"{kind} {name!r}: module {module_name!r} has no {class_name!r}; {closest(class_name, public)}"
        )
    return found


def _known(name: str, built_in: Mapping[str, str]) -> str:
    """What could have been meant by a name that is none."""
    if not built_in:
        return "name it 'module:name'"
    hint = closest(name, built_in)
    return hint + (" Your" if hint.endswith("?") else "; your") + " own is named 'module:Class'"


def name_for_file(name: str) -> str | None:
    """How to name what was given by its file, like ``rewards/mine.py:Mine``; None where it was not."""
    path, _, class_name = name.partition(":")
    folder, slash, file = path.rpartition("/")
    if not class_name or not (slash or file.endswith(".py")):
        return None
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    stem, elsewhere = file.removesuffix(".py"), path.startswith("/") or ".." in parts
    module, where = (stem, f", and run this in {folder or '/'}") if elsewhere else (".".join([*parts, stem]), "")
    return f"name the module, not its file: {module}:{class_name}{where}"


def check_chosen(words: Iterable[str], groups: Collection[str], kind: str, chosen: str, names: Iterable[str]) -> None:
    """Refuses flags of a built-in that was not chosen; flags of no built-in are left to the parser.

    Args:
        words: A command line.
        groups: The flag prefixes that exist.
        kind: The flag that chooses it: ``"reward"``, ``"agent"``, ``"features"``.
        chosen: What was chosen of that kind.
        names: The names of all built-ins of that kind.

    Raises:
        InputError: There is such a flag.
    """
    owners = {option_group(name): name for name in names}
    for word in words:
        flag = re.match(r"--([\w-]+)\.[^\s=]+", word)
        group = flag[1].replace("-", "_") if flag else ""
        if flag and group in owners and group not in groups:
            owner = owners[group]
            raise InputError(
                f"{flag[0]} is an option of --{kind} {owner}, and --{kind} is {chosen}: leave it out, or give --{kind} "
                f"{owner}"
            )


def check_tables(
    values: Mapping[str, Any], groups: Collection[str], kind: str, chosen: str, names: Iterable[str], source: str
) -> None:
    """Refuses a file's table of options of a built-in that was not chosen, as :func:`check_chosen` refuses flags.

    Args:
        values: What the file says.
        groups: The tables that there may be.
        kind: Of what, by its flag: ``"reward"``, ``"agent"``, ``"features"``.
        chosen: What was chosen of that kind.
        names: Of all built-ins of that kind.
        source: The file.

    Raises:
        InputError: There is such a table.
    """
    owners = {option_group(name): name for name in names}
    for key in values:
        group = key.replace("-", "_")
        if group in owners and group not in groups:
            owner = owners[group]
            raise InputError(
                f"{source}: {key} holds options of --{kind} {owner}, and --{kind} is {chosen}: leave them out, or give "
                f"--{kind} {owner}"
            )


def check_prefixes(groups: Iterable[str], taken: Iterable[str], chosen: str) -> None:
    """Refuses plug-ins whose flags would have the name or the prefix of others.

    Args:
        groups: The prefixes of the plug-ins' flags.
        taken: Names of the other flags.
        chosen: The flags that chose the plug-ins, for the message.

    Raises:
        InputError: A prefix is taken, or is that of two plug-ins.
    """
    known = {*taken}
    for group in groups:
        if group in known:
            flag = group.replace("_", "-")
            raise InputError(f"{chosen}: other flags are already called --{flag} or begin with it; rename the class")
        known.add(group)


def option_group(name: str) -> str:
    """The prefix of a plug-in's flags: ``td3`` for ``td3``, ``my_reward`` for ``my_file:MyReward``."""
    class_name = name.partition(":")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower() if class_name else name.replace("-", "_")
