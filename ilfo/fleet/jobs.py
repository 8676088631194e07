"""Jobs of a fleet: their interface, and how they are told apart from other runs and from each other."""

from __future__ import annotations

import dataclasses
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.demos.files import has_frames
from ilfo.demos.trajectory import sha256_of
from ilfo.envs import describe
from ilfo.fleet.cell_flags import dotted
from ilfo.runs import read_config
from ilfo.runs.same_run import alike

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Job", "check_apart", "check_unchanged", "job_folder"]


class Job(ABC):
    """The interface of a job that a fleet can run.

    Attributes:
        name: Its name in tables and displays.
        config: The configuration that its flags give.
    """

    name: str
    config: Any

    @property
    def folder(self) -> Path:
        """Where it leaves what it does; no two of a fleet share one."""
        return Path(self.config.out)

    @property
    def log(self) -> Path:
        """Where what it prints goes, if it does not run in this process."""
        return self.folder / "log.txt"

    @property
    def threads(self) -> int:
        """Processor threads that it takes."""
        return int(self.config.threads)

    @property
    @abstractmethod
    def commands(self) -> list[list[str]]:
        """What to run, as words after ``ilfo``."""

    @property
    @abstractmethod
    def counts(self) -> str:
        """The column of its metrics that says how far it is."""

    @property
    @abstractmethod
    def size(self) -> int:
        """What that column ends with."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether its folder holds all that it would leave there."""

    @abstractmethod
    def run(self, console: Console | None) -> None:
        """Does it in this process."""

    @property
    @abstractmethod
    def takes_frames(self) -> bool:
        """Whether it learns from the frames of its demonstrations too."""

    def _compared(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings of the run in its folder, and its own, ready to compare: see :func:`ilfo.runs.same_run.alike`.

        Options of a table go by their dotted names. Demonstrations are known by their content, where they can be read.
        """
        stored, given = read_config(self.folder), json.loads(json.dumps(dataclasses.asdict(self.config), default=str))
        files = [given["demo"]] if isinstance(given["demo"], str) else given["demo"] or []
        written = tuple(_written(file) for file in files)
        digest = _sha256_of_files(tuple(files), written, given["env"], given["filter_key"], self.takes_frames)
        was, now = map(dotted, alike(stored, given, digest))
        before, moved = stored.get("demo_sha256"), stored["config"].get("demo") != given["demo"]
        if not moved and digest is not None and before is not None and digest != before:
            was["demo"], now["demo"] = (f"{given['demo']} with SHA-256 {each[:12]}" for each in (before, digest))
        return was, now


def _written(file: str) -> tuple[tuple[str, int, int], ...]:
    """Path, size and time of a file, or of all in a folder: another content has others; nothing where there is none."""
    paths = sorted(Path(file).rglob("*")) if Path(file).is_dir() else [Path(file)]
    found = [(str(path), path.stat()) for path in paths if path.exists()]
    return tuple((path, each.st_size, each.st_mtime_ns) for path, each in found)


@cache
def _sha256_of_files(
    files: tuple[str, ...], written: object, env: str, filter_key: str | None, frames: bool
) -> str | None:
    """Hash of the demonstrations in files as a run reads them; None where there are none, or they cannot be read.

    All cells of a table learn from a few files, which are read once as long as they stay as ``written`` says.
    """
    try:
        horizon = describe(env).horizon
        opened = [
            demos.open(file, frames=frames and has_frames(file), filter_key=filter_key, assumed_episode_steps=horizon)
            for file in files
        ]
    except InputError:
        return None
    return sha256_of(each for part in opened for each in part) if files else None


def check_unchanged(folder: Path, was: Mapping[str, Any], now: Mapping[str, Any], what: str = "run") -> None:
    """Refuses a folder whose run had other settings; ``was`` and ``now`` hold the same names.

    Raises:
        InputError: The message names the settings that differ, and calls the run ``what``.
    """
    changed = [f"{name} was {was[name]!r} and is now {now[name]!r}" for name in now if was[name] != now[name]]
    if changed:
        raise InputError(
            f"{folder} holds a {what} of another kind: {'; '.join(changed)}. Give the same values to go on with it or "
            "to show it, or another --out to start afresh"
        )


def job_folder(out: Path, *names: str) -> Path:
    """The folder of the run that these names tell from others: ``transport--td3`` in ``out``.

    Letters of any script stay, and whatever else there is becomes a hyphen.
    """
    return out / "--".join(re.sub(r"(?:[^\w.]|_)+", "-", name).strip("-") for name in names)


class _Placed(Protocol):
    """What has a name, and a folder of its own."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def folder(self) -> Path:
        """Where it is kept."""


def check_apart(jobs: Iterable[_Placed]) -> None:
    """Refuses jobs, or cells of a table, that would share a folder."""
    known: dict[Path, _Placed] = {}
    for job in jobs:
        other = known.setdefault(job.folder, job)
        if other is not job:
            raise InputError(
                f"{other.name} and {job.name} would share the folder {job.folder}: run them under two --out"
            )
