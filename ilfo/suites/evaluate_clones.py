"""``ilfo evaluate SUITE`` of a suite of clones: how changes of look affect policies, by what they see."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ilfo._tools.checks import check_demo_dir, check_each_once, check_seeds
from ilfo._tools.errors import InputError
from ilfo._tools.tables import write_results
from ilfo._tools.words import counted
from ilfo.cloning import EYES, looks_of
from ilfo.cloning.eyes import Sees
from ilfo.envs import make_env
from ilfo.envs.drawing import drawable_env
from ilfo.fleet import Failure, check_apart, check_free, job_folder
from ilfo.fleet.clone_jobs import CloneJob, flags_for
from ilfo.suites.command import CommonOptions, chosen_tasks, run_on, suite_command, suite_folder
from ilfo.suites.look_recordings import Recording, check_recordings, plan_recordings, record_missing
from ilfo.suites.looks_figure import looks_figure
from ilfo.suites.looks_table import CloneCell, looks_table, means_table, measure
from ilfo.suites.suite import Suite, Task
from ilfo.training.configs import several_seeds
from ilfo.variants import KINDS, Kind, Variant

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CloneSuiteOptions", "evaluate_clones", "main"]

_OWN = ("--env", "--demo", "--sees", "--seed", "--out", "--protocol")
"""Flags of ``ilfo clone`` that the suite decides."""

_ABOUT = (
    "Clone an expert of every task ({tasks}) from states, keypoints and pixels, and play the policies where nothing "
    "but the picture differs: one table, one picture. Flags after '--' go to 'ilfo clone' for every policy; those of "
    "one eye, like --keypoints.k, go to that eye's policies alone, and --state-dims to those that do not see states."
)


@dataclass(frozen=True)
class CloneSuiteOptions(CommonOptions):
    """Clone an expert with each eye, and play the policies where the tasks only look different."""

    sees: tuple[Sees, ...] = ("states", "keypoints", "pixels")
    """What the policies see; one is cloned for each, all from the same demonstrations."""
    kinds: tuple[Kind, ...] = KINDS
    """What varies, one at a time."""
    demos: int = 20
    """Episodes of the expert to learn from, in all looks together."""
    looks: int = 2
    """Variants of each kind that demonstrations are recorded in, besides the plain look; these are the seen variants.
    0: the plain look alone."""
    seeds: str = "0-2"
    """Seeds of every policy."""
    episodes: int = 20
    """Episodes that each seed plays in every look: the plain one, and each kind seen and unseen."""
    stop_after_success: int | None = 10
    """Steps that an episode goes on after its first success, which is what counts; None: to its end."""
    demo_dir: Path | None = None
    """Folder with demonstrations under the names that the suite gives them: each a file, or a folder of files, with
    actions and frames. They are used as they are, and nothing is recorded."""


@dataclass(frozen=True)
class _Lesson:
    """What a task is learned from: files, what they are in words, and how to record them if they are not given."""

    files: tuple[str, ...]
    what: str
    recordings: tuple[Recording, ...] = ()


def evaluate_clones(
    suite: Suite, options: CloneSuiteOptions, flags: Sequence[str] = (), console: Console | None = None
) -> tuple[list[CloneCell], list[Failure]]:
    """Records, clones and plays whatever is missing, and writes table and picture after each policy.

    Args:
        suite: The tasks, with ``verb = "clone"``.
        options: What to clone, and where to keep it.
        flags: Flags of ``ilfo clone``, after the suite's and the task's; those of one eye go to its policies alone.
        console: Where progress is shown; None: nowhere.

    Returns:
        All cells, task by task, and the runs that failed.

    Raises:
        InputError: A name is unknown or given twice; ``ilfo clone`` refuses a flag, or the table decides it; a folder
            holds a run or demonstrations made with other flags; or no task can be run.
        KeyboardInterrupt: After Ctrl-C. Policies that were under way begin again with the same command.

    Warns:
        UserWarning: A task is left out, for its environment or its demonstrations are missing, or it has no variants.
    """
    _check(options)
    check_free([*suite.flags, *(flag for task in suite.tasks for flag in task.flags), *flags], _OWN)
    out, tasks = suite_folder(suite, options), chosen_tasks(suite, options)
    lessons, left = _lessons(tasks, options, out)
    jobs = {
        task.name: list(_jobs(suite, task, lessons[task.name], options, flags, out))
        for task in tasks
        if task.name in lessons
    }
    check_apart(job for each in jobs.values() for job in each)
    for each in jobs.values():
        for job in each:
            job.check()
    missing = {name: [job for job in each if not job.is_done] for name, each in jobs.items()}
    _open_eyes(job for each in missing.values() for job in each)
    for task in tasks:
        if missing.get(task.name):
            try:
                _prepare(task, lessons[task.name], options, console)
            except InputError as error:
                left[task.name] = str(error)
    for name, why in left.items():
        warnings.warn(f"{suite.name}: {name} is left out: {why}", stacklevel=2)
    if len(left) == len(tasks):
        raise InputError(f"{suite.name}: no task can be run: {'; '.join(f'{name}: {left[name]}' for name in left)}")

    notes = [f"{name} is learned from {lesson.what}" for name, lesson in lessons.items() if name not in left]
    notes += [f"{name} is left out: {why}" for name, why in left.items()]

    def write() -> list[CloneCell]:
        cells = _cells(tasks, options, out)
        _write(suite, options, cells, notes, out)
        return cells

    todo = [job for name, each in missing.items() if name not in left for job in each]
    failures = run_on(todo, options, console, lambda job: write()) if todo else []
    return write(), failures


def _check(options: CloneSuiteOptions) -> None:
    check_each_once("sees", options.sees)
    check_each_once("kinds", options.kinds)
    check_seeds(options.seeds)
    check_demo_dir(options.demo_dir)
    for flag, value, least in (
        ("demos", options.demos, 1),
        ("looks", options.looks, 0),
        ("episodes", options.episodes, 1),
        ("stop-after-success", options.stop_after_success, 0),
    ):
        if value is not None and value < least:
            raise InputError(f"--{flag} is {value}; expected at least {least}")


def _lessons(tasks: Sequence[Task], options: CloneSuiteOptions, out: Path) -> tuple[dict[str, _Lesson], dict[str, str]]:
    """What tasks are learned from, by name, and why there is nothing for the others."""
    found: dict[str, _Lesson] = {}
    left = {}
    for task in tasks:
        given = task.find_demo(options.demo_dir)
        if given is not None:
            files = tuple(map(str, sorted(Path(given).glob("*.hdf5")))) or (given,)
            found[task.name] = _Lesson(files, f"what was given, {given}")
        elif task.expert:
            recordings = plan_recordings(task, options.kinds, options.looks, options.demos, out / "demos" / task.name)
            check_recordings(recordings, task)
            looks = f" and in {counted(options.looks, 'seen variant')} of each kind" if options.looks else ""
            what = f"{counted(options.demos, 'episode')} of the expert, as the task is{looks}"
            found[task.name] = _Lesson(tuple(str(each.file) for each in recordings), what, tuple(recordings))
        else:
            where = (
                "give a folder with --demo-dir"
                if options.demo_dir is None
                else f"{options.demo_dir} has neither it nor it.hdf5"
            )
            left[task.name] = f"its demonstration {' or '.join(task.demo)} is not there: {where}"
    return found, left


def _jobs(
    suite: Suite, task: Task, lesson: _Lesson, options: CloneSuiteOptions, flags: Sequence[str], out: Path
) -> list[CloneJob]:
    jobs = []
    for sees in options.sees:
        chosen = flags_for(sees, [*suite.flags, *task.flags, *flags])
        for seed, folder in _folders(task.name, sees, options, out).items():
            words = ["--env", task.env, "--demo", *lesson.files, "--sees", sees, "--seed", str(seed)]
            words += ["--protocol", suite.protocol, "--out", str(folder), *chosen]
            name = f"{task.name}/{sees}/{seed}"
            jobs.append(CloneJob.read(name, words, options.kinds, options.episodes, options.stop_after_success))
    return jobs


def _folders(task: str, sees: str, options: CloneSuiteOptions, out: Path) -> dict[int, Path]:
    """Seed to folder of its run."""
    return {seed: job_folder(out, task, sees, f"seed {seed}") for seed in several_seeds(options.seeds)}


def _open_eyes(jobs: Iterable[CloneJob]) -> None:
    """Has every eye import its libraries early: some crash once anything was rendered, and some may be missing."""
    for config in {job.config.sees: job.config for job in jobs}.values():
        EYES[config.sees](getattr(config, config.sees, None))


def _prepare(task: Task, lesson: _Lesson, options: CloneSuiteOptions, console: Console | None) -> None:
    """Checks that the task has all looks, and records its missing demonstrations, before anything is learned."""
    from rich.console import Console
    from rich.markup import escape

    drawn = bool(lesson.recordings) or any(EYES[sees].takes_frames for sees in options.sees)
    for kind in options.kinds:
        look = f"{task.env}@{Variant(kind, 0)}"
        (drawable_env(look, "standard") if drawn else make_env(look)).close()
    with (console or Console(quiet=True)).status("") as status:
        record_missing(lesson.recordings, task, lambda doing: status.update(escape(doing)))


def _cells(tasks: Sequence[Task], options: CloneSuiteOptions, out: Path) -> list[CloneCell]:
    return [
        CloneCell.read(
            task.name,
            sees,
            list(_folders(task.name, sees, options, out).values()),
            options.kinds,
            options.episodes,
            options.stop_after_success,
        )
        for task in tasks
        for sees in options.sees
    ]


def _write(
    suite: Suite, options: CloneSuiteOptions, cells: Sequence[CloneCell], notes: Sequence[str], out: Path
) -> None:
    measured = measure(cells)
    found = {
        (cell.task, cell.sees, look): measured.of(cell, look) for cell in cells for look in looks_of(options.kinds)
    }
    picture = looks_figure(
        list(dict.fromkeys(cell.task for cell in cells)),
        options.sees,
        options.kinds,
        {names: reached for names, reached in found.items() if reached is not None},
        f"{suite.name}: cloned policies, seeds {options.seeds}",
        measured.name,
    )
    table = looks_table(suite, cells, options.kinds, notes, options.seeds, options.episodes)
    write_results(out, table, picture)


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo evaluate SUITE`` for a suite of clones."""
    return suite_command(argv, CloneSuiteOptions, _ABOUT, _run_and_show)


def _run_and_show(suite: Suite, options: CloneSuiteOptions, flags: Sequence[str], console: Console) -> list[Failure]:
    from rich.markdown import Markdown

    cells, failures = evaluate_clones(suite, options, flags, console)
    console.print(Markdown(means_table(cells, options.kinds)))
    out = suite_folder(suite, options)
    written = f"written to {out}: table.md (every kind and task), picture.png"
    console.print(written, highlight=False, markup=False, soft_wrap=True)
    return failures
