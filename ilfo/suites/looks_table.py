"""Results of cloned policies in every look of every task: a cell for each task and eye, and their tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ilfo._tools.tables import markdown_table
from ilfo._tools.words import UNKNOWN, counted, if_known
from ilfo.cloning import PLAIN, KindAndSplit, looks_of, read_looks
from ilfo.suites.reached import Reached, returns_in_words
from ilfo.suites.suite import Suite
from ilfo.variants import Kind

__all__ = ["CloneCell", "Measure", "looks_table", "means_table", "measure"]


@dataclass(frozen=True)
class CloneCell:
    """Results of one task and one eye.

    Attributes:
        task: Name of the task.
        sees: What the policy sees.
        found: For each seed, look to results; empty unless all seeds were played.
    """

    task: str
    sees: str
    found: tuple[Mapping[KindAndSplit, Mapping[str, Any]], ...]

    @classmethod
    def read(
        cls,
        task: str,
        sees: str,
        runs: Sequence[Path],
        kinds: Sequence[Kind],
        episodes: int,
        stop_after_success: int | None,
    ) -> CloneCell:
        """A cell with what the folders of its seeds hold, see :func:`read_looks`."""
        read = (read_looks(run, kinds, episodes, stop_after_success) for run in runs)
        found = [played for played in read if played is not None]
        return cls(task, sees, tuple(found) if len(found) == len(runs) else ())

    def success(self, look: KindAndSplit) -> Reached | None:
        """Share of the episodes of all seeds that succeeded, with its Wilson interval; None: no task with success."""
        said = [each[look]["successes"] for each in self.found]
        if all(counts is None for counts in said):
            return None
        played = (len(each[look]["episodes"]) for each in self.found)
        counts = [(0, episodes) if found is None else found for found, episodes in zip(said, played, strict=True)]
        return Reached.of_successes(counts, [each[look].get("distinct_successes") for each in self.found])

    def score(self, look: KindAndSplit) -> Reached | None:
        """Interquartile mean of the seeds' scores, 0 random and 1 the expert, with its bootstrap interval."""
        scores = [each[look]["score"] for each in self.found]
        return None if None in scores else Reached.of_scores(scores)

    def returns(self, look: KindAndSplit) -> list[float]:
        """Mean return of each seed."""
        return [each[look]["return_mean"] for each in self.found]

    def time_to_success(self, look: KindAndSplit) -> float | None:
        """Mean steps until the first success, over the episodes of all seeds that have one."""
        played = [episode["success_step"] for each in self.found for episode in each[look]["episodes"]]
        steps = [step for step in played if step is not None]
        return float(np.mean(steps)) if steps else None


class Measure(NamedTuple):
    """How good a policy is in a look.

    Attributes:
        of: What gives it.
        name: One word.
        says: What the number and its interval are.
    """

    of: Callable[[CloneCell, KindAndSplit], Reached | None]
    name: str
    says: str


_SUCCESS = Measure(
    CloneCell.success,
    "success",
    "Success: over the episodes of all seeds, with its 95 % Wilson interval, for which identical ones count once.",
)
_SCORE = Measure(
    CloneCell.score,
    "score",
    "Score, 0 % a random policy and 100 % the expert: interquartile mean over seeds, with its 95 % bootstrap interval "
    "(where episodes end after their success, those of the random policy are whole all the same, and collect reward "
    "for longer).",
)


def measure(cells: Sequence[CloneCell]) -> Measure:
    """Success where all tasks have one, else the score."""
    finished = [cell for cell in cells if cell.found]
    return _SUCCESS if finished and all(cell.success(PLAIN) is not None for cell in finished) else _SCORE


def looks_table(
    suite: Suite, cells: Sequence[CloneCell], kinds: Sequence[Kind], notes: Sequence[str], seeds: str, episodes: int
) -> str:
    """The cells as Markdown tables, of success or score, means, returns and times to success, and what the numbers are.

    Args:
        suite: What the tasks are.
        cells: Task by task.
        kinds: What varies.
        notes: What else there is to say, a line each.
        seeds: Of every cell.
        episodes: Of every seed and look.
    """
    measured, _, says = measure(cells)
    columns = looks_of(kinds)
    lines = _grid(cells, columns, lambda cell, look: _text(measured(cell, look)))
    returns = _grid(cells, columns, lambda cell, look: returns_in_words(cell.returns(look)))
    more = [
        "Return, mean over seeds, with its 95 % bootstrap interval, of the episodes as they ended:",
        "",
        *returns,
        "",
    ]
    if measured is _SUCCESS.of:
        times = _grid(cells, columns, lambda cell, look: if_known(cell.time_to_success(look), "{:,.0f}"))
        more += ["Mean steps until the first success, of the episodes that have one:", "", *times, ""]
    about = (
        f"{suite.title}. Seeds {seeds}, {counted(episodes, 'episode')} of each in every look, "
        f"from the same initial states in all looks; protocol {suite.protocol}. {says} Seen: the variants that "
        "demonstrations show, in turn, or for a kind that they do not show, others of the same ranges; unseen: "
        "variants of held-out ranges, a different one for each episode."
    )
    told = [*(f"- {note}" for note in notes), ""] if notes else []
    return "\n".join([f"# {suite.name}", "", about, "", *lines, "", means_table(cells, kinds), *more, *told])


def _grid(
    cells: Sequence[CloneCell], columns: Sequence[KindAndSplit], text: Callable[[CloneCell, KindAndSplit], str]
) -> list[str]:
    """Lines of a table with a row for each cell and a column for each look."""
    head = ["task", "sees", *(" ".join(filter(None, look)) for look in columns)]
    return markdown_table(head, ([cell.task, cell.sees, *(text(cell, look) for look in columns)] for cell in cells))


def means_table(cells: Sequence[CloneCell], kinds: Sequence[Kind]) -> str:
    """For what each policy sees: plain, and the means over kinds seen and unseen, all of them over the tasks too."""
    measured = measure(cells).of
    rows = []
    for sees in dict.fromkeys(cell.sees for cell in cells):
        alike = [cell for cell in cells if cell.sees == sees and measured(cell, PLAIN) is not None]
        groups = [PLAIN], [(kind, "seen") for kind in kinds], [(kind, "unseen") for kind in kinds]
        means = [_mean(measured(cell, look) for cell in alike for look in looks) for looks in groups]
        rows.append([sees, str(len(alike)), *means])
    lines = markdown_table(["sees", "tasks", "plain", "seen", "unseen"], rows)
    return "\n".join([f"Means over {counted(len(kinds), 'kind')}, and over tasks:", "", *lines, ""])


def _text(found: Reached | None) -> str:
    return UNKNOWN if found is None else found.in_percent


def _mean(found: Iterator[Reached | None]) -> str:
    values = [each.value for each in found if each is not None]
    return f"{np.mean(values):.0%}" if values else UNKNOWN
