"""The settings of a plug-in: a dataclass whose fields become flags."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields, is_dataclass
from itertools import pairwise
from typing import Any

from ilfo.testing._contract import Breach

__all__ = ["check_options", "undocumented"]


def check_options(options: Any) -> Iterator[Breach]:
    """What is wrong with the ``Options`` of a plug-in, whose fields become flags and are written to ``config.json``."""
    if options is None:
        return
    if not (isinstance(options, type) and is_dataclass(options)):
        yield f"Options is {options!r}.", "write @dataclass(frozen=True) above the class of the settings, and name it."
        return
    name = options.__name__
    if not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield (
            f"{name} can be changed after it was made.",
            "write @dataclass(frozen=True): several agents and copies of a reward share one instance.",
        )
    bare = [field.name for field in fields(options) if field.default is MISSING and field.default_factory is MISSING]
    if bare:
        yield f"{name} has no default for {', '.join(bare)}.", "give one: a run without the flag takes it."
        return
    try:
        json.dumps(asdict(options()))
    except TypeError as error:
        yield (
            f"the defaults of {name} cannot be written to a run's config.json: {error}.",
            "keep numbers, strings, booleans, None and tuples of these.",
        )


def undocumented(options: Any) -> list[str]:
    """A remark on the fields without a docstring under them in the source; none if the source is unavailable."""
    if options is None:
        return []
    documented: set[str] = set()
    for holder in options.__mro__[:-1]:
        try:
            source = ast.parse(textwrap.dedent(inspect.getsource(holder)))
        except (OSError, TypeError):
            return []
        for statement, following in pairwise(source.body[0].body):  # type: ignore[attr-defined]
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(statement, ast.AnnAssign) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                documented.add(ast.unparse(statement.target))
    bare = [field.name for field in fields(options) if field.name not in documented]
    return [f"No docstring under {', '.join(bare)} of {options.__name__}: it would be their help."] if bare else []
