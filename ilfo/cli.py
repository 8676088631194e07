"""The command ``ilfo``: finds the verb and calls it."""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from ilfo import __version__
from ilfo._tools.errors import InputError, closest

__all__ = ["main"]

_VERBS = {
    "train": ("ilfo.train", "learn a policy from one file of expert states"),
    "clone": ("ilfo.clone", "imitate the actions of demonstrations, from states, keypoints or pixels"),
    "compare": ("ilfo.compare", "train every reward with every agent: one table, one picture"),
    "evaluate": ("ilfo.evaluate", "play a trained policy, or train and evaluate a suite of tasks"),
    "report": ("ilfo.report", "one HTML page on a run: curves, rewards, matches, video"),
    "label": ("ilfo.label", "replace the rewards of a logged dataset by an imitation reward's"),
    "record": ("ilfo.record", "write demonstrations of a run, of a scripted expert or of any callable"),
    "demos": (
        "ilfo.demos.commands",
        "look at demonstration files and convert them: info, validate, convert, list, plot",
    ),
}


def _help() -> str:
    lines = [f"  {verb:<10}{what}" for verb, (_, what) in _VERBS.items()]
    return "\n".join(
        [
            f"ilfo {__version__}: imitation learning from observation.",
            "One file of expert states in, a policy out.",
            "",
            "usage: ilfo VERB [flags]        'ilfo VERB --help' lists the flags",
            "",
            *lines,
        ]
    )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line for what concerns the user, without the place in the code."""
    if issubclass(category, (UserWarning, RuntimeWarning)):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(message))  # Gymnasium colours its warnings, also for a file.
        print(f"ilfo: warning: {plain.removeprefix('WARN: ')}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb. Returns the exit status: 0, 2 for input that cannot be used, or 130 after Ctrl-C.

    It is 1 if the output goes into a program that has ended, as in ``ilfo train --help | head``.
    """
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 1  # Rich, which prints most, does the same.


def _nobody_reads() -> bool:
    """Whether what the output goes into has ended; if so, what is left goes nowhere, without further errors."""
    if sys.stdout is None:
        return False
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        print(__version__)
        return 0
    warnings.showwarning = _show_warning
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # for 'my_file:MyReward' and 'my_file:MyEnvironment-v0'
    try:
        if verb not in _VERBS:
            raise InputError(f"there is no verb {verb!r}; {closest(verb, _VERBS)}")
        return int(importlib.import_module(_VERBS[verb][0]).main(rest))
    except InputError as error:
        print(f"ilfo: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # Only an error that names its file tells the user what to change.
        if error.filename is None or error.strerror is None:
            raise
        print(
            f"ilfo: {error.filename}: {error.strerror}. Name another path, or change its permissions", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("ilfo: stopped", file=sys.stderr)
        return 130
