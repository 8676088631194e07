"""The error for input that a user can put right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "closest"]


class InputError(ValueError):
    """A file, flag or value that cannot be used: says what was found, what was expected and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def closest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the closest known word, or lists them all: ``"did you mean 'td3'?"``."""
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(names)}"
