"""Ctrl-C that waits for a good moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[list[bool]]:
    """Ctrl-C and SIGTERM set a mark that a loop sees between two steps, so that what is saved is consistent."""
    mark: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield mark  # signals reach the main thread alone
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: mark.append(True)) for number in signals]
    try:
        yield mark
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
