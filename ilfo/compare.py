"""``ilfo compare``: every reward with every agent, as a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ilfo._tools.checks import check_each_once, check_seeds
from ilfo._tools.errors import InputError
from ilfo._tools.tables import markdown_table, write_results
from ilfo._tools.words import UNKNOWN, estimate
from ilfo.fleet import (
    TrainJob,
    check_apart,
    failures_in_words,
    flags_of_cell,
    job_folder,
    read_table,
    run_jobs,
    words_of_cell,
)
from ilfo.report import comparison_figure
from ilfo.runs import read_metrics, read_summary
from ilfo.statistics import normalized_score
from ilfo.training.run_group import seed_runs

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Cell", "CompareOptions", "compare", "main", "table"]

DESCRIPTION = (
    "Train every reward with every agent, from one demonstration, and say how far each came. What follows '--' are "
    "flags of 'ilfo train' for every cell; those of one reward or agent, like --td3.layer-norm, reach its cells alone."
)


@dataclass(frozen=True)
class CompareOptions:
    """Train every reward with every agent, from one demonstration, and say how far each came."""

    env: str
    """Gymnasium id of the environment."""
    demo: str
    """Expert states, as for 'ilfo train'."""
    rewards: tuple[str, ...] = ("transport",)
    """Rewards: the rows of the table. Sums are quoted: 'transport + 0.5*flow'."""
    agents: tuple[str, ...] = ("td3",)
    """Agents: the columns."""
    only: tuple[str, ...] = ()
    """Cells to train, by their rewards and agents, like transport/td7; by default all. The others stay empty, unless
    they were trained before."""
    seeds: str = "0-2"
    """Seeds of every cell, like 0-9 or 0,3,7."""
    steps: int = 50_000
    """Environment steps of every seed of a cell."""
    out: Path = Path("runs/compare")
    """Folder of the runs, of table.md and of picture.png. The same command goes on where it stopped."""
    jobs: int = 1
    """Cells to train at a time, each a process of its own with --threads cores; 1: one after the other in this one."""
    show: bool = False
    """Train nothing: write table and picture of what is finished."""


@dataclass(frozen=True)
class Cell:
    """One reward with one agent.

    Attributes:
        reward: Its name.
        agent: Its name.
        folder: Where its seeds train.
        summary: What they reached in as many steps as are compared, or None.
    """

    reward: str
    agent: str
    folder: Path
    summary: dict[str, Any] | None

    @property
    def name(self) -> str:
        """``reward/agent``."""
        return f"{self.reward}/{self.agent}"

    @property
    def text(self) -> str:
        """The interquartile mean of the scores with its interval, if it has one; a dash where there is no score."""
        if self.summary is None or self.summary["score_iqm"] is None:
            return UNKNOWN
        return estimate(self.summary["score_iqm"], self.summary["score_interval"], "{:.2f}")

    @property
    def returns(self) -> str:
        """The environment's return of each seed's last evaluation, in three digits or more; a dash where none is."""
        if self.summary is None:
            return UNKNOWN
        found = (each["policy_return"] for each in self.summary["each"])
        return ", ".join(f"{each:.0f}" if abs(each) >= 100 else f"{each:.3g}" for each in found)

    def curves(self) -> list[dict[int, float]]:
        """Of each seed, the score at the steps of its evaluations; nothing where there are no scores."""
        if self.summary is None or self.summary["score_iqm"] is None:
            return []
        found = []
        for each, run in zip(self.summary["each"], seed_runs(self.folder).values(), strict=True):
            rows = [row for row in read_metrics(run) if row.get("eval_return") is not None]
            scores = {
                row["step"]: normalized_score(row["eval_return"], each["random_return"], each["expert_return"])
                for row in rows
            }
            found.append({step: score for step, score in scores.items() if score is not None})
        return found


def compare(options: CompareOptions, flags: Sequence[str] = (), console: Console | None = None) -> list[Cell]:
    """Trains the cells that are missing, and writes table and picture after each.

    Args:
        options: What is compared, and where it is kept.
        flags: Of ``ilfo train``, for every cell; those of one reward or agent go to its cells alone.
        console: Where progress is shown; None: nowhere.

    Returns:
        All cells, reward by reward.

    Raises:
        InputError: A name that is unknown or given twice, a cell that is not in the table, a flag that the table
            decides, what ``ilfo train`` refuses, a finished cell of other flags (to show: environment, steps, protocol
            or seeds) or of another demonstration, or, once the others are trained, a cell that failed.
    """
    _check(options)
    # All flags are read before the first cell is trained: a wrong one is not found an hour later.
    jobs = {name: _job(options, flags, *name) for name in _pairs(options)}
    check_apart(jobs.values())
    chosen = options.only or list(map("/".join, _pairs(options)))
    for (reward, agent), job in jobs.items():
        trained = not options.show and f"{reward}/{agent}" in chosen
        job.check_finished(every_flag=not options.show, may_grow=trained)
    missing = [job for job in jobs.values() if job.name in chosen and not job.is_done]
    failures = run_jobs(
        [] if options.show else missing,
        options.jobs,
        console,
        ended=lambda job: _write(options, _cells(options)),
    )
    cells = _cells(options)
    _write(options, cells)
    if failures:
        raise InputError(failures_in_words(failures))
    return cells


def _check(options: CompareOptions) -> None:
    check_each_once("rewards", options.rewards)
    check_each_once("agents", options.agents)
    check_seeds(options.seeds)
    known = [f"{reward}/{agent}" for reward, agent in _pairs(options)]
    for name in options.only:
        if name not in known:
            raise InputError(f"--only names {name!r}, which is no cell; expected some of {', '.join(known)}")


def _pairs(options: CompareOptions) -> Iterator[tuple[str, str]]:
    return ((reward, agent) for reward in options.rewards for agent in options.agents)


def _job(options: CompareOptions, flags: Sequence[str], reward: str, agent: str) -> TrainJob:
    decided = {"env": options.env, "demo": options.demo, "reward": reward, "agent": agent, "seeds": options.seeds}
    decided |= {"steps": str(options.steps), "out": str(job_folder(options.out, reward, agent))}
    chosen = flags_of_cell(flags, reward, agent, options.rewards, options.agents)
    return TrainJob.read(f"{reward}/{agent}", words_of_cell(decided, chosen))


def _cells(options: CompareOptions) -> list[Cell]:
    """All cells; one that is to be trained further has no summary of so many steps yet."""
    cells = []
    for reward, agent in _pairs(options):
        folder = job_folder(options.out, reward, agent)
        summary = read_summary(folder)
        done = summary is not None and summary["steps"] >= options.steps
        cells.append(Cell(reward, agent, folder, summary if done else None))
    return cells


def table(options: CompareOptions, cells: Sequence[Cell]) -> str:
    """The cells as two Markdown tables, scores and returns, with what it takes to repeat them."""
    scores, returns = (
        _markdown(options, {(cell.reward, cell.agent): text(cell) for cell in cells})
        for text in (attrgetter("text"), attrgetter("returns"))
    )
    finished = [cell.summary for cell in cells if cell.summary]
    protocols = sorted({summary["protocol"] for summary in finished})
    says = (
        f"{options.env}, {options.steps:,} steps, seeds {options.seeds}, protocol {' and '.join(protocols) or '–'}: "
        "interquartile mean of the score over seeds, of several with its 95 % bootstrap interval; the score is 0 for a "
        "random policy and 1 for the demonstration."
    )
    return "\n".join([says, "", *scores, "", "Returns of the last evaluation, seed by seed:", "", *returns, ""])


def _markdown(options: CompareOptions, texts: Mapping[tuple[str, str], str]) -> list[str]:
    """Lines of a table with a row for each reward and a column for each agent."""
    rows = ([reward, *(texts[reward, agent] for agent in options.agents)] for reward in options.rewards)
    return markdown_table(["reward", *options.agents], rows)


def _write(options: CompareOptions, cells: Sequence[Cell]) -> None:
    scores = np.array([cell.summary["score_iqm"] if cell.summary else None for cell in cells], float)
    curves = {(cell.reward, cell.agent): cell.curves() for cell in cells}
    picture = comparison_figure.comparison(
        options.rewards,
        options.agents,
        scores.reshape(len(options.rewards), -1),
        np.array([cell.summary is not None for cell in cells]).reshape(len(options.rewards), -1),
        curves,
        f"{options.env}, {options.steps:,} steps, seeds {options.seeds}",
    )
    write_results(options.out, table(options, cells), picture)


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo compare``."""
    from rich.console import Console
    from rich.markdown import Markdown

    options, flags = read_table(CompareOptions, argv, "ilfo compare", DESCRIPTION)
    console = Console()
    cells = compare(options, flags, console)
    console.print(Markdown(table(options, cells)))
    console.print(f"written to {options.out}: table.md, picture.png", highlight=False, markup=False, soft_wrap=True)
    return 0
