"""A folder that one process at a time can use for a run."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from ilfo._tools.errors import InputError
from ilfo.runs.reading import read_config

__all__ = ["HeldFolder", "half_written"]

_WRITTEN_WHOLE = ("config.json", "git.diff", "summary.json")


class HeldFolder(os.PathLike[str]):
    """A folder for a run, locked against other processes until it is closed.

    It can be held before the run begins, so that no long work is done for a folder that is then refused. If no run has
    begun in it when it is closed, it is left as it was found.

    Args:
        folder: Created if it does not exist.

    Raises:
        InputError: It is a file, it cannot be made or written to, it holds something that is not a run, or another
            process is training in it.

    Attributes:
        folder: Its path.
        begun: Whether a run had begun in it before.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._made: list[Path] = []
        self._lock: IO[str] | None = None
        try:
            self._check()
            self._lock = self._acquire_lock()
        except OSError as error:
            self.close()
            raise InputError(
                f"--out {self.folder} cannot be used: {error.strerror}; expected a folder that can be made and written "
                "to. Name another, or change the permissions"
            ) from error
        except BaseException:
            self.close()
            raise

    def __fspath__(self) -> str:
        return str(self.folder)

    def _check(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--out {self.folder} is a file; expected a folder")
        self.begun = (self.folder / "config.json").exists()
        if self.begun:
            read_config(self.folder)
        elif self.folder.exists():
            names = ("checkpoints", ".lock", "git.diff", "log.txt")
            own = {self.folder / name for name in names} | set(half_written(self.folder))
            foreign = [path.name for path in self.folder.iterdir() if path not in own]
            if foreign:
                raise InputError(
                    f"--out {self.folder} is not the folder of a run: it has no config.json but holds "
                    f"{', '.join(sorted(foreign)[:5])}; choose an empty folder"
                )

    def _acquire_lock(self) -> IO[str]:
        for missing in reversed([each for each in (self.folder, *self.folder.parents) if not each.exists()]):
            missing.mkdir(exist_ok=True)
            self._made.append(missing)
        file = self.folder / ".lock"
        is_new = not file.exists()
        lock = open(file, "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise InputError(
                f"another process is training in {self.folder}; wait for it or choose another --out"
            ) from error
        except BaseException:
            lock.close()
            raise
        if is_new:
            self._made.append(file)
        return lock

    def close(self) -> None:
        """Releases the folder, and removes it if it was created here and no run began in it."""
        with suppress(OSError):  # Something else was put into it meanwhile, or it cannot be looked at.
            if not (self.folder / "config.json").exists():
                for path in reversed(self._made):
                    if path.is_dir():
                        path.rmdir()
                    else:
                        path.unlink()
        self._made = []
        if self._lock is not None:
            self._lock.close()


def half_written(folder: Path) -> list[Path]:
    """What a process that was killed left of a run."""
    names = [folder.glob(f".{name}.*") for name in _WRITTEN_WHOLE]
    return [path for found in (*names, (folder / "checkpoints").glob(".*.pt")) for path in found]
