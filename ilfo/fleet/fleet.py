"""Runs side by side: each a process of its own, with its log, and all of them on one display."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, TypeVar

from ilfo._tools.cores import usable_cores
from ilfo._tools.errors import InputError
from ilfo._tools.interruption import interruptible
from ilfo._tools.words import counted
from ilfo.fleet._display import Display
from ilfo.fleet.jobs import Job

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Failure", "Fleet", "Process", "failures_in_words", "run_jobs", "spare_cores", "start_child"]

_Job = TypeVar("_Job", bound=Job)

_RUN = """
import json, sys
order = json.loads(sys.argv[1])
sys.path += [entry for entry in order["path"] if entry not in sys.path]
from ilfo.cli import main
sys.exit(next(filter(None, map(main, order["commands"])), 0))
"""
"""What a child does: one command of ilfo after the other, until one fails."""

_LOOK = 0.2
"""Seconds between two looks at who has ended."""

_LAST_LINES = 12
"""Of a failed run's log, at the end."""


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        job: The job.
        what: Its exit status in words, and the last lines of its output.
    """

    job: Job
    what: str


class Process(Protocol):
    """A job under way, wherever it runs; that of a child is a ``subprocess.Popen``."""

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def terminate(self) -> None:
        """Has it save and end, without waiting for it."""

    def kill(self) -> None:
        """Has it end at once, if that can be."""

    def wait(self) -> int:
        """Waits for its end."""


class Fleet(Protocol):
    """What starts jobs somewhere.

    Attributes:
        kills: Whether jobs can be ended at once, without saving.
    """

    kills: bool

    def start(self, job: Job) -> Process:
        """Starts a job."""


class _Here:
    """This machine."""

    kills = True

    def start(self, job: Job) -> Process:
        return start_child(job.commands, job.log, job.threads, sys.path)


def start_child(
    commands: Sequence[Sequence[str]], log: Path, threads: int, path: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Starts a process that runs commands of ``ilfo``, and adds what it prints to a log.

    Ctrl-C in the terminal does not reach it; ``SIGTERM`` has it save and end.

    Args:
        commands: Words after ``ilfo``, one list a command.
        log: A file; its folder is made.
        threads: Processor threads of the numerical libraries.
        path: Entries that are appended to the child's ``sys.path``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    output: IO[bytes]
    with log.open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                _RUN,
                json.dumps({"path": list(path), "commands": [list(each) for each in commands]}),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"},
            process_group=0,
        )


def spare_cores(threads: int) -> int:
    """How many jobs of so many threads fit on the processor side by side, at least 1."""
    return max(1, usable_cores() // threads)


def run_jobs(
    jobs: Sequence[_Job],
    side_by_side: int,
    console: Console | None = None,
    *,
    fleet: Fleet | None = None,
    ended: Callable[[_Job], object] = lambda job: None,
) -> list[Failure]:
    """Runs all jobs; one that fails does not stop the others, and is told at once.

    Args:
        jobs: Jobs in the order of their start; all of one kind.
        side_by_side: Jobs at a time; 1 on this machine runs them in this process.
        console: Where progress is shown; None: nowhere.
        fleet: Where they run; None: this machine.
        ended: Called with each job that succeeded.

    Returns:
        The jobs that failed.

    Raises:
        InputError: ``side_by_side`` is below 1.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once all jobs under way have saved; after a second Ctrl-C at once,
            except on Ray, where they save nevertheless. Those that failed until then are told once more.
    """
    if side_by_side < 1:
        raise InputError(f"--jobs is {side_by_side}; expected at least 1")
    failures: list[Failure] = []
    try:
        if fleet is None and side_by_side == 1:
            _one_by_one(jobs, console, ended, failures.append)
        else:
            _side_by_side(jobs, side_by_side, console, fleet or _Here(), ended, failures.append)
    except KeyboardInterrupt:
        if failures and console is not None:
            console.print(f"\n{failures_in_words(failures)}", highlight=False, markup=False, soft_wrap=True)
        raise
    return failures


def _side_by_side(
    jobs: Sequence[_Job],
    number: int,
    console: Console | None,
    fleet: Fleet,
    ended: Callable[[_Job], object],
    failed: Callable[[Failure], object],
) -> None:
    waiting = deque(jobs)
    running: dict[Process, _Job] = {}
    counts = jobs[0].counts if jobs else "step"
    display = Display(console, len(jobs), sum(job.size for job in jobs), counts)
    with interruptible(at_once=fleet.kills) as interruption, display:
        try:
            while (waiting or running) and not interruption:
                while waiting and len(running) < number:
                    job = waiting.popleft()
                    display.begin(job.name, job.folder, job.size)
                    running[fleet.start(job)] = job
                for process in [process for process in running if process.poll() is not None]:
                    job, status = running.pop(process), process.wait()
                    why = None if status == 0 else _last_words(job, status)
                    display.end(job.name, why)
                    if why is None:
                        ended(job)
                    else:
                        failed(Failure(job, why))
                display.refresh()
                time.sleep(_LOOK)
            if interruption:
                _stop(running)
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            if interruption.at_once and fleet.kills:
                display.at_once = True
                for process in running:
                    process.kill()
            raise
        finally:
            _stop(running)


def _stop(running: Collection[Process]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.wait()


def _one_by_one(
    jobs: Sequence[_Job],
    console: Console | None,
    ended: Callable[[_Job], object],
    failed: Callable[[Failure], object],
) -> None:
    for number, job in enumerate(jobs, start=1):
        if console is not None:
            console.print(f"\n{job.name} ({number} of {len(jobs)})", style="bold", highlight=False, markup=False)
        try:
            job.run(console)
        except InputError as error:
            why = str(error)
        # A run may fail in the environment's code or the user's own, and the others have nothing to do with it.
        except Exception:
            why = traceback.format_exc()
        else:
            ended(job)
            continue
        failed(Failure(job, why))
        if console is not None:
            console.print(f"{job.name} failed: {why}", highlight=False, markup=False, soft_wrap=True)


def _last_words(job: Job, status: int) -> str:
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    lines = job.log.read_text(errors="replace").splitlines() if job.log.exists() else []
    return "\n".join([f"it {how}; the end of {job.log}:", *lines[-_LAST_LINES:]])


def failures_in_words(failures: Sequence[Failure]) -> str:
    """Which jobs failed, and how."""
    return "\n\n".join(
        [f"{counted(len(failures), 'run')} failed", *(f"{failure.job.name}: {failure.what}" for failure in failures)]
    )
