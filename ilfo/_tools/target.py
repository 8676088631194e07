"""Where to write: refused before the work is done, not after it; and whether it was full in the end."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ilfo._tools.errors import InputError

__all__ = ["check_not_read", "check_room", "disk_is_full", "file_to_write"]

_SPARE = 4 * 2**20
"""Bytes that stay free: what a file needs to be closed."""


def file_to_write(path: str | os.PathLike[str], *, reads: Iterable[Path | None] = ()) -> Path:
    """The path of a file that can be written; it may be there already.

    Args:
        path: Of the file.
        reads: See :func:`check_not_read`.

    Raises:
        InputError: Its folder does not exist or cannot be written to, it is a folder itself, or it is read.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist. Make it first.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{target}: the folder {target.parent} cannot be written to. Change its permissions.")
    if target.is_dir():
        raise InputError(f"{target}: is a folder, expected the file to write. Name one in it.")
    check_not_read(target, reads)
    return target


def check_not_read(target: Path, reads: Iterable[Path | None]) -> None:
    """Refuses to write over what is read.

    Args:
        target: A file or folder, there already or not.
        reads: Files and folders that it is made from, under any name; None: what lies in no file.

    Raises:
        InputError: The target is one of these, or holds one.
    """
    for read in filter(None, reads):
        if target.exists() and read.exists() and target.samefile(read):
            raise InputError(f"{target}: is what is read. Name another output, and remove the old one afterwards.")
        if target.resolve() in read.resolve().parents:
            raise InputError(f"{target}: holds what is read, {read}. Name another output.")


def check_room(target: Path, size: int) -> None:
    """Refuses what the disk has no room for, where HDF5 would bring the whole process down.

    Args:
        target: What is to be written, in a folder that exists.
        size: Bytes that it takes at most.

    Raises:
        InputError: The disk has fewer left.
    """
    needed, (whole, _, free) = size + _SPARE, shutil.disk_usage(target.parent)
    if whole and needed > free:  # Some network file systems do not say how large they are.
        raise InputError(
            f"{target}: takes up to {needed / 1e6:,.1f} MB, but its disk has {free / 1e6:,.1f} MB left. Make room "
            "there, or name an output on another disk."
        )


def disk_is_full(error: OSError) -> bool:
    """Whether something could not be written because the disk, or this user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
