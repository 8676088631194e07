"""Ctrl-C that waits for a good moment, and one that does not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["interruptible"]

_STANDARD_ERROR = 2
_TOLD = b"\nilfo: stopping as soon as everything is saved; Ctrl-C again stops at once, without saving\n"


@contextmanager
def interruptible() -> Iterator[list[bool]]:
    """Ctrl-C and SIGTERM set a mark that a loop sees between two steps, so that what is saved is consistent.

    The first Ctrl-C says at once that it was heard. A second one does not wait for the loop: it restores the previous
    handlers of both signals and raises ``KeyboardInterrupt`` wherever the process is; the mark is longer then. A second
    SIGTERM changes nothing, since a process group may be sent it twice.
    """
    mark: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield mark  # signals reach the main thread alone
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, _: FrameType | None) -> None:
        first = not mark
        if first or number == signal.SIGINT:
            mark.append(True)
        if not first and number == signal.SIGINT:
            restore()
            raise KeyboardInterrupt
        if first and number == signal.SIGINT:
            # Not through Python's files, which a handler may have interrupted in the middle of a line.
            with suppress(OSError):
                os.write(_STANDARD_ERROR, _TOLD)

    for number in before:
        signal.signal(number, handle)
    try:
        yield mark
    finally:
        restore()
