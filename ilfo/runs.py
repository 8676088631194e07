"""A run is one folder: its configuration, its measurements, and all that it needs to resume."""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

import ilfo
from ilfo._same_run import alike, differences, weights_of
from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError

__all__ = ["HeldFolder", "Run", "kept_replay", "read_checkpoint", "read_config", "read_metrics", "read_summary"]

_WRITTEN_WHOLE = ("config.json", "git.diff", "summary.json")
_LIBRARIES = ("torch", "numpy", "gymnasium", "mujoco", "pot", "h5py")


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
            own = {self.folder / name for name in names} | set(_half_written(self.folder))
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


class Run:
    """The folder of a training run, held by one process at a time.

    ``config.json`` and ``git.diff`` say what was run, ``metrics.jsonl`` what was measured (the ground truth;
    TensorBoard's events repeat it), ``checkpoints/`` holds what the run goes on from, ``checkpoints/final.pt`` the
    trained agent, ``summary.json`` the result.

    Args:
        folder: Created if it does not exist; or a held folder, which the run closes.
        config: The resolved configuration as plain values.
        demo_sha256: Hash of the demonstrations, or None.

    Raises:
        InputError: The folder holds a run of another configuration or demonstration, save that more steps are wanted of
            one that is not finished or kept its replay; or see :class:`HeldFolder`.
    """

    def __init__(self, folder: str | os.PathLike[str], config: dict[str, Any], demo_sha256: str | None) -> None:
        self._held = folder if isinstance(folder, HeldFolder) else HeldFolder(folder)
        self.folder = self._held.folder
        self.checkpoints = self.folder / "checkpoints"
        self._metrics: IO[bytes] | None = None
        self._longer: dict[str, Any] | None = None  # The configuration with more steps, not written yet.
        identity = {"config": config, "demo_sha256": demo_sha256}
        try:
            for leftover in _half_written(self.folder):
                leftover.unlink()  # a process was killed; nothing else writes while the folder is held
            if (self.folder / "config.json").exists() and not self._abandoned(config):
                self._refuse_another(identity)
            else:
                self._describe(identity)
        except BaseException:
            self.close()
            raise

    def _abandoned(self, config: dict[str, Any]) -> bool:
        """Whether what is here was cloning and was stopped while it learned: nothing of that is ever gone on with."""
        verbs = {each.get("verb", "train") for each in (config, read_config(self.folder)["config"])}
        saved = (self.folder / "summary.json").exists() or any(self.checkpoints.glob("*.pt"))
        return verbs == {"clone"} and not saved

    def _refuse_another(self, identity: dict[str, Any]) -> None:
        stored = read_config(self.folder)
        plain = json.loads(json.dumps(identity, default=str))
        verb, wanted = (each["config"].get("verb", "train") for each in (stored, plain))
        if verb != wanted:
            raise InputError(
                f"{self.folder} holds a run of 'ilfo {verb}', and this is 'ilfo {wanted}': give another --out"
            )
        was, now = alike(stored, plain["config"], plain["demo_sha256"])
        longer = was.get("steps", 0) < now.get("steps", 0)
        if longer and (not (self.folder / "summary.json").exists() or kept_replay(self.folder)):
            was |= {"steps": now["steps"]}
        found = list(differences(stored | {"config": was}, plain | {"config": now}))
        if found:
            hint = ""
            if longer and was["steps"] != now["steps"]:
                hint = " (only --keep-replay lets a finished run be trained further)"
            raise InputError(
                f"{self.folder} holds a run of another configuration: {'; '.join(found)}{hint}. Give the same "
                "values to go on with it, or another --out to start afresh"
            )
        if any(stored["config"].get(name) != value for name, value in plain["config"].items()):
            changed = stored | plain | weights_of(plain["config"])
            if longer:
                self._longer = changed
            else:
                self._write_json("config.json", changed)

    def go_on(self) -> None:
        """What the run was finished with before, if it was, no longer holds; nor does a smaller number of steps."""
        (self.checkpoints / "final.pt").unlink(missing_ok=True)
        (self.folder / "summary.json").unlink(missing_ok=True)
        if self._longer is not None:
            self._write_json("config.json", self._longer)
            self._longer = None

    def _describe(self, identity: dict[str, Any]) -> None:
        commit, diff = _git_state()
        (self.folder / "git.diff").unlink(missing_ok=True)  # Of a run that was abandoned.
        if diff:
            with atomic_path(self.folder / "git.diff") as path:
                path.write_text(diff, encoding="utf-8")
        versions = {"ilfo": ilfo.__version__, "python": platform.python_version()}
        versions |= {name: importlib.metadata.version(name) for name in _LIBRARIES}
        machine = {"platform": platform.platform(), "cores": os.cpu_count()}
        facts = {"git_commit": commit, "versions": versions, "machine": machine}
        self._write_json("config.json", identity | weights_of(identity["config"]) | facts)

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        with atomic_path(self.folder / name) as path:
            path.write_text(json.dumps(value, indent=2, default=str) + "\n")

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row to ``metrics.jsonl``; a number that is not finite becomes null, which every reader can read."""
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        if self._metrics is None:
            self._metrics = open(self.folder / "metrics.jsonl", "ab")
        self._metrics.write(json.dumps(row).encode() + b"\n")
        self._metrics.flush()

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes a checkpoint to resume from, beside the earlier ones; see :meth:`keep_only`.

        Raises:
            InputError: The disk is full.
        """
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())
        metrics = self.folder / "metrics.jsonl"
        state = state | {"metrics_bytes": metrics.stat().st_size if metrics.exists() else 0}
        self._write_checkpoint(self._checkpoint(step).name, state)

    def saved_steps(self) -> set[int]:
        """Steps of the checkpoints that there are to go on from."""
        return {int(path.stem.removeprefix("step_")) for path in self.checkpoints.glob("step_*.pt")}

    def keep_only(self, step: int | None) -> None:
        """Removes the checkpoints to resume from, except that of ``step``, if any."""
        for path in self.checkpoints.glob("step_*.pt"):
            if step is None or path != self._checkpoint(step):
                path.unlink()

    def restore(self, step: int | None) -> dict[str, Any] | None:
        """The checkpoint of a step; later rows of ``metrics.jsonl`` are cut off. None: start over, without any."""
        state = None if step is None else self.read(step)
        metrics = self.folder / "metrics.jsonl"
        if metrics.exists():
            os.truncate(metrics, state["metrics_bytes"] if state else 0)
        return state

    def read(self, step: int) -> dict[str, Any]:
        """The checkpoint of a step."""
        return dict(torch.load(self._checkpoint(step), map_location="cpu", weights_only=True))

    def _checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step_{step:010d}.pt"

    def _write_checkpoint(self, name: str, state: dict[str, Any]) -> None:
        self.checkpoints.mkdir(exist_ok=True)
        try:
            with atomic_path(self.checkpoints / name) as path, path.open("wb") as file:
                torch.save(state, file)  # Given a path, it does not say why it cannot write.
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(
                f"the disk of {self.folder} is full, and {name} could not be saved: make room, and the same command "
                "goes on from the checkpoint before"
            ) from error

    def finish(self, summary: dict[str, Any], state: dict[str, Any] | None = None) -> None:
        """Writes the trained agent, where there is one, and the summary."""
        if state is not None:
            self._write_checkpoint("final.pt", state)
        self._write_json("summary.json", summary)

    def close(self) -> None:
        """Lets another process have the folder."""
        if self._metrics is not None:
            self._metrics.close()
        self._held.close()


def _half_written(folder: Path) -> list[Path]:
    """What a process that was killed left of a run."""
    names = [folder.glob(f".{name}.*") for name in _WRITTEN_WHOLE]
    return [path for found in (*names, (folder / "checkpoints").glob(".*.pt")) for path in found]


def kept_replay(folder: str | os.PathLike[str]) -> bool:
    """Whether a finished run, or the runs in a folder around several, can be trained further (``--keep-replay``)."""
    return any(path for inner in ("", "*/") for path in Path(folder).glob(f"{inner}checkpoints/step_*.pt"))


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run was told: ``config.json`` as a dictionary.

    Raises:
        InputError: The folder is not a run.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        is_file = "it is a file" if path.parent.exists() else "it does not exist"
        found = "it has no config.json" if path.parent.is_dir() else is_file
        raise InputError(f"{folder} is not the folder of a run: {found}")
    stored = _read_json(path)
    if not isinstance(stored.get("config"), dict):
        raise InputError(
            f"{folder} is not the folder of a run: its config.json says nothing of a 'config', so that it is somebody "
            "else's; name the folder of a run, or a new one for --out"
        )
    return stored


def read_checkpoint(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The trained agent of a finished run, or the newest checkpoint of one under way, on the CPU.

    Its tensors are mapped, and read from the file when they are used: most of a checkpoint is the replay, which only a
    resumed run needs. They do not change when the run replaces the file meanwhile.

    Raises:
        InputError: Nothing was saved yet.
    """
    checkpoints = Path(folder) / "checkpoints"
    final = checkpoints / "final.pt"
    for _ in range(3):  # a run under way may replace its checkpoint between the look and the reading
        saved = [final] if final.exists() else sorted(checkpoints.glob("step_*.pt"))
        if not saved:
            break
        try:
            state: dict[str, Any] = torch.load(saved[-1], map_location="cpu", weights_only=True, mmap=True)
            return state
        except (FileNotFoundError, RuntimeError):  # PyTorch opens a file that it maps twice, the second time in C++
            if saved[-1].exists():
                raise
    raise InputError(f"{folder} holds no checkpoint yet: let the run train for a while")


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``; a last row that is still being written is left out."""
    path = Path(folder) / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def read_summary(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    path = Path(folder) / "summary.json"
    return _read_json(path) if path.exists() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; expected a file that this user may read") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected what a run writes there, values by name")
    return content


def _git_state() -> tuple[str | None, str]:
    """Commit of the working directory's repository and its uncommitted changes, where it is one."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], capture_output=True, encoding="utf-8", errors="replace", timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return (commit.strip(), git("diff", "HEAD") or "") if commit else (None, "")
