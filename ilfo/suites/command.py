"""What the command lines of all suites do alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ilfo._tools.errors import InputError
from ilfo.fleet import Failure, Job, RayFleet, failures_in_words, read_table, run_jobs, spare_cores
from ilfo.suites.suite import Suite, Task, open_suite

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CommonOptions", "chosen_tasks", "run_on", "suite_command", "suite_folder"]


@dataclass(frozen=True)
class CommonOptions:
    """What every suite can be asked for: which of its tasks, where they are kept, and where they run."""

    tasks: tuple[str, ...] = ()
    """Tasks of the suite, by name; by default all."""
    out: Path | None = None
    """Folder of the runs, of the demonstrations that are recorded for them, of table.md and of picture.png; by default
    runs/SUITE. The same command goes on where it stopped."""
    demo_dir: Path | None = None
    """Folder with demonstrations that are not bundled, under the names that the suite gives them."""
    jobs: int | None = None
    """Runs at a time, each a process of its own; 1: one after the other in this process. By default as many as there
    are cores for (on a Ray cluster: its cores), with --threads cores for each."""
    ray: str | None = None
    """Run them on a Ray cluster: its address, host:port, or 'local'. --out and --demo-dir have to be on a disk that all
    of its machines share. Demonstrations are recorded on this machine."""


_Options = TypeVar("_Options", bound=CommonOptions)
_Job = TypeVar("_Job", bound=Job)


def suite_command(
    argv: Sequence[str],
    kind: type[_Options],
    about: str,
    run: Callable[[Suite, _Options, Sequence[str], Console], list[Failure]],
) -> int:
    """The command line ``ilfo evaluate SUITE [options] [-- flags]``.

    Args:
        argv: The suite and what follows it.
        kind: The class of its options.
        about: Its description for ``--help``; ``{tasks}`` stands for the names of the tasks.
        run: Runs the suite with the flags after ``--``, shows the results, and returns the runs that failed.

    Returns:
        The exit status: 0, 1 where a run failed, 130 after Ctrl-C.
    """
    from rich.console import Console

    name, *given = argv
    suite = open_suite(name)
    description = f"{suite.title}.\n\n{about.format(tasks=', '.join(task.name for task in suite.tasks))}"
    options, flags = read_table(kind, given, f"ilfo evaluate {name}", description, suite.verb)
    console = Console()
    try:
        failures = run(suite, options, flags, console)
    except KeyboardInterrupt:
        out = suite_folder(suite, options)
        text = f"Stopped. What is finished is in {out}; the same command goes on from there."
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return 130
    if failures:
        console.print(f"\n{failures_in_words(failures)}", highlight=False, markup=False, soft_wrap=True)
    return 1 if failures else 0


def run_on(
    jobs: Sequence[_Job], options: CommonOptions, console: Console | None, ended: Callable[[_Job], object]
) -> list[Failure]:
    """Does jobs, at least one, on this machine or on a Ray cluster, and returns those that failed; see ``run_jobs``."""
    threads = max(job.threads for job in jobs)
    if options.ray is None:
        number = spare_cores(threads) if options.jobs is None else options.jobs
        return run_jobs(jobs, number, console, ended=ended)
    with closing(RayFleet(options.ray, threads)) as fleet:
        number = fleet.side_by_side if options.jobs is None else options.jobs
        return run_jobs(jobs, number, console, fleet=fleet, ended=ended)


def chosen_tasks(suite: Suite, options: CommonOptions) -> list[Task]:
    """The tasks that ``--tasks`` names, by default all.

    Raises:
        InputError: The suite has no such task.
    """
    known = [task.name for task in suite.tasks]
    for name in options.tasks:
        if name not in known:
            raise InputError(f"--tasks names {name!r}, which {suite.name} has not; expected some of {', '.join(known)}")
    return [task for task in suite.tasks if not options.tasks or task.name in options.tasks]


def suite_folder(suite: Suite, options: CommonOptions) -> Path:
    """Where runs, table and picture are kept."""
    return options.out or Path("runs") / suite.name
