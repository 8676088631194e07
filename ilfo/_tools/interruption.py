"""Ctrl-C that waits for a good moment, and one that does not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

__all__ = ["Interruption", "interruptible"]

_STANDARD_ERROR = 2
_TOLD = "ilfo: stopping as soon as everything is saved"


@dataclass
class Interruption:
    """Whether somebody wants to stop; true where it is so.

    Attributes:
        wanted: Ctrl-C was pressed, or SIGTERM sent.
        at_once: Ctrl-C was pressed again after that.
    """

    wanted: bool = False
    at_once: bool = False

    def __bool__(self) -> bool:
        return self.wanted


@contextmanager
def interruptible(at_once: bool = True) -> Iterator[Interruption]:
    """Ctrl-C and SIGTERM leave a mark that a loop sees between two steps, so that what is saved is consistent.

    Who presses Ctrl-C is told so at once. Ctrl-C after that does not wait for the loop: it restores the handlers that
    both signals had before and raises ``KeyboardInterrupt`` wherever the process is. A second SIGTERM changes nothing:
    whoever ends a group of processes may send it twice.

    Args:
        at_once: Whether a second Ctrl-C ends what is going on without a save; else nobody is told of it.
    """
    mark = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield mark  # signals reach the main thread alone
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    told = f"\n{_TOLD}{'; Ctrl-C again stops at once, without saving' if at_once else ''}\n".encode()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, _: FrameType | None) -> None:
        again, mark.wanted = mark.wanted, True
        if number != signal.SIGINT:
            return
        if again:
            mark.at_once = True
            restore()
            raise KeyboardInterrupt
        # Not through Python's files, which a handler may have interrupted in the middle of a line.
        with suppress(OSError):
            os.write(_STANDARD_ERROR, told)

    for number in before:
        signal.signal(number, handle)
    try:
        yield mark
    finally:
        restore()
