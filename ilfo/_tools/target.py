"""Where to write: refused before the work is done, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from ilfo._tools.errors import InputError

__all__ = ["file_to_write"]


def file_to_write(path: str | os.PathLike[str]) -> Path:
    """The path of a file that can be written; it may be there already.

    Raises:
        InputError: Its folder does not exist or cannot be written to, or it is a folder itself.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist. Make it first.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{target}: the folder {target.parent} cannot be written to. Change its permissions.")
    if target.is_dir():
        raise InputError(f"{target}: is a folder, expected the file to write. Name one in it.")
    return target
