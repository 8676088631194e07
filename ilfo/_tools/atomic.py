"""Files and folders that are either whole or absent."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_folder", "atomic_path"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success syncs it and renames it, on an error removes it.

    Who may read and write it is up to the umask, as for any new file.

    Raises:
        FileNotFoundError: The folder of ``path`` does not exist.
    """
    target = Path(path)
    temporary = _beside(target, target.suffix)
    temporary.touch(0o666, exist_ok=False)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str], aside: Path | None = None) -> Iterator[Path]:
    """Yields a temporary folder beside ``path``; on success syncs all in it and renames it, on an error removes it.

    Args:
        path: What it is to be.
        aside: What was at ``path`` is moved here just before, where anything was.

    Raises:
        OSError: The folder of ``path`` does not exist, or ``path`` is there already and is not an empty folder.
    """
    target = Path(path)
    temporary = _beside(target)
    temporary.mkdir()
    try:
        yield temporary
        for each in (*temporary.rglob("*"), temporary):
            _sync(each)
        if aside is not None and target.exists():
            os.rename(target, aside)
        os.rename(temporary, target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _beside(target: Path, suffix: str = "") -> Path:
    """A hidden name in the same folder that nothing has yet."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{suffix}")


def _sync(path: Path) -> None:
    """Has a file, or the list of a folder's files, written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
