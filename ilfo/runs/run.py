"""The writing of a run: its configuration, its measurements, and all that it needs to resume."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from pathlib import Path
from typing import IO, Any

import torch

import ilfo
from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo._tools.target import disk_is_full
from ilfo.runs.held_folder import HeldFolder, half_written
from ilfo.runs.reading import kept_replay, read_config
from ilfo.runs.same_run import alike, differences, weights_of

__all__ = ["Run"]

_LIBRARIES = ("torch", "numpy", "gymnasium", "mujoco", "pot", "h5py")


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
            for leftover in half_written(self.folder):
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
            if not disk_is_full(error):
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
