"""``ilfo evaluate SUITE``: trains and evaluates every task of a suite with every reward and agent."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ilfo import demos
from ilfo._tools.checks import check_at_least, check_demo_dir, check_each_once, check_episode_count, check_seeds
from ilfo._tools.errors import InputError
from ilfo._tools.tables import write_results
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.envs import make_env
from ilfo.fleet import (
    Failure,
    TrainJob,
    check_apart,
    check_unchanged,
    flags_of_cell,
    job_folder,
    without_columns,
    words_of_cell,
)
from ilfo.record import RecordOptions, check_recorded, record, until_success
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.runs import read_config
from ilfo.suites.command import CommonOptions, chosen_tasks, run_on, suite_command, suite_folder
from ilfo.suites.figure import suite_figure
from ilfo.suites.suite import Suite, Task
from ilfo.suites.table import LeftOut, SuiteCell, left_out_before, seeds_of, suite_table
from ilfo.training.configs import config_type, several_seeds
from ilfo.training.flags import read_words

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["SuiteOptions", "evaluate_suite", "main"]

_SEEDS, _EPISODES = "0-2", 20
"""What is trained and played where nothing else is asked for."""

_ABOUT = (
    "Train and evaluate every task ({tasks}) with every reward and agent: one table, one picture. Flags after '--' "
    "go to 'ilfo train' for every cell; those of one reward or agent go to its cells alone."
)


@dataclass(frozen=True)
class SuiteOptions(CommonOptions):
    """Train and evaluate every task of a suite with every reward and agent."""

    rewards: tuple[str, ...] = ("transport",)
    """Rewards. Sums are quoted: 'transport + 0.5*flow'."""
    agents: tuple[str, ...] = ("td3",)
    """Agents; every reward is trained with each."""
    seeds: str | None = None
    """Seeds of every cell, trained side by side; by default 0-2, with --show those that were trained."""
    steps: int | None = None
    """Environment steps of every seed; by default the suite's."""
    episodes: int | None = None
    """Fresh episodes, not seen in training, that each seed's policy plays at the end; by default 20, or with --show
    those that were played."""
    show: bool = False
    """Train nothing: write table and picture of what is finished. An earlier table's notes on tasks that were left out
    are kept."""


def evaluate_suite(
    suite: Suite, options: SuiteOptions, flags: Sequence[str] = (), console: Console | None = None
) -> tuple[list[SuiteCell], list[Failure]]:
    """Trains and evaluates the missing cells, and writes table and picture after each.

    Args:
        suite: The tasks.
        options: What to train with, and where to keep it.
        flags: Flags of ``ilfo train`` for every cell, after the suite's and the task's; those of one reward or agent
            go to its cells alone. The suite's and the task's flags of built-ins that are not in the table are left
            out, and with ``--features keypoints`` those that choose parts of states.
        console: Where progress is shown; None: nowhere.

    Returns:
        All cells, task by task, and those that failed.

    Raises:
        InputError: A name is unknown or given twice; ``ilfo train`` refuses a flag, or the table decides it; two cells
            would share a folder; a finished cell has other flags than were asked for (to show: another environment,
            reward, agent, protocol, seeds, steps or episodes), or is of a demonstration that was replaced; a
            demonstration was recorded of another expert or environment; or no task can be run.
        KeyboardInterrupt: After Ctrl-C, once all runs under way have saved.

    Warns:
        UserWarning: A task is left out: its environment or its demonstration is missing.
    """
    _check(options)
    tasks = chosen_tasks(suite, options)
    out = suite_folder(suite, options)
    if options.show:
        cells = list(_cells(tasks, options, out))
        check_apart(cells)
        for cell in cells:
            _check_shown(cell, suite, options)
        _write(suite, cells, left_out_before(out / "table.md"), out)
        return cells, []
    runnable, left = _demonstrations(suite, tasks, out, options.demo_dir, flags)
    jobs = list(_jobs(suite, runnable, options, flags, out))
    check_apart(jobs)
    for job in jobs:
        job.check_finished(every_flag=True)

    def write() -> list[SuiteCell]:
        cells = list(_cells(tasks, options, out))
        _write(suite, cells, left, out)
        return cells

    missing = [job for job in jobs if not job.is_done]
    failures = run_on(missing, options, console, lambda job: write()) if missing else []
    return write(), failures


def _check(options: SuiteOptions) -> None:
    check_each_once("rewards", options.rewards)
    check_each_once("agents", options.agents)
    check_seeds(options.seeds)
    check_at_least(options, 1, "steps")
    check_episode_count(options.episodes)
    check_demo_dir(options.demo_dir)
    for reward in options.rewards:
        for agent in options.agents:
            config_type({"reward": reward, "agent": agent})  # Refuses names that are none.


def _check_shown(cell: SuiteCell, suite: Suite, options: SuiteOptions) -> None:
    """Refuses to show a cell under names or flags that it was not trained or evaluated with."""
    if cell.summary is None or cell.seeds is None:
        return
    stored = read_config(cell.folder)["config"]
    others = [number for number in cell.episodes if number != options.episodes]
    was = {name: stored[name] for name in ("env", "reward", "agent", "protocol", "steps")}
    was |= {"seeds": several_seeds(cell.seeds), "episodes": others[0] if others else options.episodes}
    asked = {
        "env": next(task.env for task in suite.tasks if task.name == cell.task),
        "reward": cell.reward,
        "agent": cell.agent,
        "protocol": suite.protocol,
        "seeds": options.seeds and several_seeds(options.seeds),
        "steps": options.steps,
        "episodes": options.episodes,
    }
    now = {name: value for name, value in asked.items() if value is not None}
    check_unchanged(cell.folder, was, now, "finished run")


def _demonstrations(
    suite: Suite, tasks: Sequence[Task], out: Path, folder: Path | None, flags: Sequence[str]
) -> tuple[dict[str, tuple[Task, str]], list[LeftOut]]:
    """Task and demonstration of the tasks that can be run, by name, and those that are left out.

    What is missing is recorded of the task's expert, with frames where the flags have keypoints sought in them.
    """
    runnable: dict[str, tuple[Task, str]] = {}
    left = []
    for task in tasks:
        recorded = out / "demos" / f"{task.name}.hdf5"
        filmed = bool(task.expert) and read_words([*suite.flags, *task.flags, *flags]).sees == "keypoints"
        chosen = RecordOptions(env=task.env, **task.expert, frames=filmed)
        demo = task.find_demo(folder)
        if demo is None and task.expert and recorded.exists():
            check_recorded(demos.open(recorded), chosen)
            demo = str(recorded)
        try:
            make_env(task.env).close()
            if demo is None and task.expert:
                recorded.parent.mkdir(parents=True, exist_ok=True)
                record(recorded, until_success(chosen))
                demo = str(recorded)
        except InputError as error:
            left.append(LeftOut(task.name, str(error)))
            continue
        if demo is None:
            where = "give a folder with --demo-dir" if folder is None else f"{folder} has neither it nor it.hdf5"
            left.append(LeftOut(task.name, f"its demonstration {' or '.join(task.demo)} is not bundled: {where}"))
        else:
            runnable[task.name] = task, demo
    for each in left:
        warnings.warn(f"{suite.name}: {each.task} is left out: {each.why}", stacklevel=3)
    if not runnable:
        raise InputError(f"{suite.name}: no task can be run: {'; '.join(f'{each.task}: {each.why}' for each in left)}")
    return runnable, left


def _cells(tasks: Sequence[Task], options: SuiteOptions, out: Path) -> Iterator[SuiteCell]:
    for task in tasks:
        for reward in options.rewards:
            for agent in options.agents:
                yield SuiteCell.read(job_folder(out, task.name, reward, agent), task.name, reward, agent)


def _jobs(
    suite: Suite,
    runnable: dict[str, tuple[Task, str]],
    options: SuiteOptions,
    flags: Sequence[str],
    out: Path,
) -> Iterator[TrainJob]:
    for cell in _cells([task for task, _ in runnable.values()], options, out):
        task, demo = runnable[cell.task]
        decided = {"env": task.env, "demo": demo, "reward": cell.reward, "agent": cell.agent}
        decided |= {"seeds": options.seeds or _SEEDS}
        decided |= {"steps": str(options.steps or task.steps or suite.steps), "protocol": suite.protocol}
        decided |= {"out": str(cell.folder)}
        own = without_columns([*suite.flags, *task.flags], flags)
        # A suite may have flags for rewards and agents that this table does not ask for; its user's would be mistakes.
        of_suite = flags_of_cell(own, cell.reward, cell.agent, [*options.rewards, *REWARDS], [*options.agents, *AGENTS])
        chosen = flags_of_cell(flags, cell.reward, cell.agent, options.rewards, options.agents)
        yield TrainJob.read(cell.name, words_of_cell(decided, chosen, of_suite), options.episodes or _EPISODES)


def _write(suite: Suite, cells: Sequence[SuiteCell], left: Sequence[LeftOut], out: Path) -> None:
    finished = [cell for cell in cells if cell.evaluations]
    succeeds = bool(finished) and all(cell.success is not None for cell in finished)
    found = {(cell.task, cell.method): cell.success if succeeds else cell.score for cell in cells}
    seeds = seeds_of(cells)
    picture = suite_figure(
        list(dict.fromkeys(cell.task for cell in cells)),
        list(dict.fromkeys(cell.method for cell in cells)),
        {names: reached for names, reached in found.items() if reached is not None},
        f"{suite.name}, seeds {seeds}" if seeds else suite.name,
        "success" if succeeds else "score (0 random, 1 expert)",
    )
    write_results(out, suite_table(suite, cells, left), picture)


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo evaluate SUITE``."""
    return suite_command(argv, SuiteOptions, _ABOUT, _run_and_show)


def _run_and_show(suite: Suite, options: SuiteOptions, flags: Sequence[str], console: Console) -> list[Failure]:
    from rich.markdown import Markdown

    _, failures = evaluate_suite(suite, options, flags, console)
    out = suite_folder(suite, options)
    console.print(Markdown((out / "table.md").read_text()))
    console.print(f"written to {out}: table.md, picture.png", highlight=False, markup=False, soft_wrap=True)
    return failures
