"""Features on disk, under the hash of all that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.pieces import pieces_of

__all__ = ["cache_folder", "cached", "fingerprint", "is_cached"]


VERSION = 1
"""To be raised whenever :mod:`ilfo.vision` finds other numbers from the same frames and settings, so that what earlier
code found is found anew."""


def cache_folder() -> Path:
    """``$ILFO_CACHE``, or ``~/.cache/ilfo``."""
    return Path(os.environ.get("ILFO_CACHE") or Path.home() / ".cache" / "ilfo")


def fingerprint(arrays: Sequence[np.ndarray], settings: Mapping[str, Any]) -> str:
    """SHA-256 of arrays, their types and shapes, and of plain values by name."""
    digest = hashlib.sha256(json.dumps({"version": VERSION} | dict(settings), sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{tuple(array.shape)}".encode())
        for rows in pieces_of(array):
            digest.update(np.ascontiguousarray(array[rows]).reshape(-1).data)
    return digest.hexdigest()


def is_cached(key: str) -> bool:
    """Whether there is an entry; it may still turn out to be damaged."""
    return os.path.isfile(_entry(key))  # False too where the folder may not be read.


def _entry(key: str) -> Path:
    return cache_folder() / f"{key}.npz"


def cached(key: str, names: Sequence[str], make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Reads arrays from the cache, or makes and stores them.

    An entry that cannot be read is made again, and one that cannot be written is not stored; both warn.

    Args:
        key: A hash from :func:`fingerprint`.
        names: Names of the arrays in an entry.
        make: Makes them, by name.
    """
    path = _entry(key)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
            return {name: entry[name] for name in names}
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path}: this entry of the cache is damaged ({error}); it is made anew", stacklevel=2)
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.savez(temporary, **{name: made[name] for name in names})  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(f"{path}: features cannot be kept ({error}); set ILFO_CACHE to a writable folder", stacklevel=2)
    return made
