"""What a suite's runs reached: a cell for each task, reward and agent, and the table of all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ilfo._tools.tables import markdown_table
from ilfo._tools.words import UNKNOWN, counted, if_known
from ilfo.evaluate import read_evaluations
from ilfo.runs import read_config, read_summary
from ilfo.suites.reached import Reached, returns_in_words
from ilfo.suites.suite import Suite

__all__ = ["LeftOut", "SuiteCell", "left_out_before", "seeds_of", "suite_table"]


@dataclass(frozen=True)
class SuiteCell:
    """One task with one reward and one agent.

    Attributes:
        task: Name of the task.
        reward: Name of the reward.
        agent: Name of the agent.
        folder: The folder that its seeds train in.
        summary: Their summary; None until they are finished.
        evaluations: Of each seed, or none: see :func:`ilfo.evaluate.read_evaluations`.
        seeds: The seeds that were trained, as ``--seeds`` named them; None without a summary.
    """

    task: str
    reward: str
    agent: str
    folder: Path
    summary: dict[str, Any] | None
    evaluations: tuple[dict[str, Any], ...]
    seeds: str | None

    @classmethod
    def read(cls, folder: Path, task: str, reward: str, agent: str) -> SuiteCell:
        """A cell with what its folder holds."""
        summary = read_summary(folder)
        seeds = None if summary is None else read_config(folder)["config"]["seeds"]
        return cls(task, reward, agent, folder, summary, read_evaluations(folder), seeds)

    @property
    def method(self) -> str:
        """``reward/agent``."""
        return f"{self.reward}/{self.agent}"

    @property
    def name(self) -> str:
        """``task/reward/agent``."""
        return f"{self.task}/{self.method}"

    @property
    def played(self) -> list[dict[str, Any]]:
        """The episodes of all seeds."""
        return [episode for evaluation in self.evaluations for episode in evaluation["episodes"]]

    @property
    def episodes(self) -> list[int]:
        """How many episodes seeds played: one number, unless some were evaluated apart."""
        return sorted({len(evaluation["episodes"]) for evaluation in self.evaluations})

    @property
    def success(self) -> Reached | None:
        """Share of all episodes that succeeded, with its Wilson interval; None where the task has no success."""
        if all(episode["success"] is None for episode in self.played):
            return None
        counts, distinct = [], []
        for evaluation in self.evaluations:
            found = [bool(episode["success"]) for episode in evaluation["episodes"]]
            counts.append((sum(found), len(found)))
            distinct.append(evaluation.get("distinct_successes"))
        return Reached.of_successes(counts, distinct)

    @property
    def time_to_success(self) -> float | None:
        """Mean steps until the first success, over the episodes that have one."""
        steps = [episode["success_step"] for episode in self.played if episode["success_step"] is not None]
        return float(np.mean(steps)) if steps else None

    @property
    def returns(self) -> list[float]:
        """Mean return of each seed."""
        return [evaluation["return_mean"] for evaluation in self.evaluations]

    @property
    def ratio(self) -> float | None:
        """Mean over seeds of the return over the expert's."""
        ratios = [evaluation["ratio"] for evaluation in self.evaluations]
        return None if None in ratios or not ratios else float(np.mean(ratios))

    @property
    def scores(self) -> list[float]:
        """Of each seed, 0 for a random policy and 1 for the demonstration; none where these are unknown."""
        scores = [evaluation["score"] for evaluation in self.evaluations]
        return [] if None in scores else scores

    @property
    def score(self) -> Reached | None:
        """Interquartile mean of the scores, with its bootstrap interval."""
        return Reached.of_scores(self.scores)


@dataclass(frozen=True)
class LeftOut:
    """A task of which nothing can be run.

    Attributes:
        task: Its name.
        why: Its environment or its demonstration is missing.
    """

    task: str
    why: str


def left_out_before(table: Path) -> list[LeftOut]:
    """What was left out when a table was written, by its own words; nothing where there is no table."""
    text = table.read_text() if table.is_file() else ""
    return [LeftOut(task, why) for task, why in re.findall(r"^- (.+?) is left out: (.+)$", text, re.MULTILINE)]


def seeds_of(cells: Sequence[SuiteCell]) -> str:
    """The seeds of the cells that are finished, all of them if cells differ; empty where none is."""
    return " or ".join(dict.fromkeys(cell.seeds for cell in cells if cell.seeds is not None))


def suite_table(suite: Suite, cells: Sequence[SuiteCell], left: Sequence[LeftOut]) -> str:
    """The cells as a Markdown table, a second one over all tasks, and what the numbers are."""
    head = ["task", "reward", "agent", "steps", "success", "return", "ratio", "score", "time to success"]
    lines = markdown_table(
        head,
        (
            [
                *(cell.task, cell.reward, cell.agent, _steps(cell)),
                cell.success.in_percent if cell.success else UNKNOWN,
                returns_in_words(cell.returns),
                if_known(cell.ratio, "{:.2f}"),
                cell.score.in_decimals if cell.score else UNKNOWN,
                if_known(cell.time_to_success, "{:,.0f}"),
            ]
            for cell in cells
        ),
    )
    over_all = _over_all_tasks(cells) if len({cell.task for cell in cells}) > 1 else []
    protocols = sorted({cell.summary["protocol"] for cell in cells if cell.summary})
    says = (
        f"{suite.title}. {_played(cells)}, protocol {' and '.join(protocols) or suite.protocol}. "
        "Success: over all episodes, with its 95 % Wilson interval, for which identical ones count once; "
        "return and score: over seeds, mean and interquartile mean, of several with their 95 % bootstrap intervals; "
        "ratio: return over the demonstration's; score: 0 is a random policy and 1 the demonstration (where a "
        "demonstration was cut after its success, compare successes: whole episodes collect reward for longer); time "
        "to success: mean steps until the first success of the episodes that have one."
    )
    missed = [f"- {each.task} is left out: {' '.join(each.why.split())}" for each in left]
    return "\n".join([f"# {suite.name}", "", says, "", *lines, "", *over_all, *missed, *([""] if missed else [])])


def _played(cells: Sequence[SuiteCell]) -> str:
    """Seeds and episodes in words, as the cells have them."""
    seeds, episodes = seeds_of(cells), sorted({number for cell in cells for number in cell.episodes})
    if not seeds:
        return "Nothing is finished yet"
    *others, most = episodes or [0]
    return f"Seeds {seeds}, {' or '.join([*map(str, others), counted(most, 'episode')])} of each"


def _over_all_tasks(cells: Sequence[SuiteCell]) -> list[str]:
    rows = []
    for reward, agent in dict.fromkeys((cell.reward, cell.agent) for cell in cells):
        alike = [cell for cell in cells if (cell.reward, cell.agent) == (reward, agent) and cell.evaluations]
        rates = [cell.success.value for cell in alike if cell.success is not None]
        scores = [cell.scores for cell in alike if cell.scores]
        score = Reached.of_scores([score for each in scores for score in each])
        rate_text = f"{np.mean(rates):.0%}{_of_some(rates, alike)}" if rates else UNKNOWN
        score_text = f"{score.in_decimals}{_of_some(scores, alike)}" if score else UNKNOWN
        rows.append([reward, agent, str(len(alike)), rate_text, score_text])
    lines = markdown_table(["reward", "agent", "tasks", "mean success", "score"], rows)
    return ["Over all tasks; tasks and seeds are pooled in the score:", "", *lines, ""]


def _of_some(known: Sequence[object], tasks: Sequence[SuiteCell]) -> str:
    """Of how many tasks a mean is, where these are not all."""
    return "" if len(known) == len(tasks) else f", of {counted(len(known), 'task')}"


def _steps(cell: SuiteCell) -> str:
    return UNKNOWN if cell.summary is None else f"{cell.summary['steps']:,}"
