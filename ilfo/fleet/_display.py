"""One display for runs side by side: how far all of them are, and what each is doing."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ilfo.runs import read_metrics

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Display", "newest_rows"]

_REST = 1.0
"""Seconds between two readings of the metrics."""


def newest_rows(folder: Path) -> list[dict[str, Any]]:
    """The last row of metrics of a run, or of each seed's in a folder of several; none before the first."""
    runs = [folder, *sorted(folder.glob("seed_*"))]
    rows = [read_metrics(run)[-1:] for run in runs]
    return [row for found in rows for row in found]


class Display:
    """A bar for all runs and one for each run under way; without a terminal, a line at each begin and end.

    Args:
        console: Where to print; None: nowhere.
        runs: Number of runs.
        size: Steps, or other units, of all runs together.
        counts: The unit, which is a column of their metrics.

    Attributes:
        at_once: Whether Ctrl-C stops the runs without waiting for a save.
    """

    def __init__(self, console: Console | None, runs: int, size: int, counts: str = "step") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = console or Console(quiet=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn(f"{{task.completed:,.0f}}/{{task.total:,.0f}} {counts}s"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            refresh_per_second=2,
        )
        self._counts = counts
        self._runs, self._ended, self._size_of_ended = runs, 0, 0
        self._all = self._bars.add_task(f"0 of {runs}", total=size, numbers="")
        self._under_way: dict[str, tuple[Any, Path, int]] = {}
        self._read = 0.0
        self.at_once = False

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt:
            saved = "stopped: what was training has saved" if self._counts == "step" else "stopped"
            self._say("stopped at once, without waiting for a save" if self.at_once else saved)
        self._bars.stop()

    def begin(self, name: str, folder: Path, size: int) -> None:
        """A run begins, or goes on."""
        self._under_way[name] = self._bars.add_task(name, total=size, numbers=""), folder, size
        self._say(f"{name}: begun")

    def end(self, name: str, why: str | None = None) -> None:
        """A run has ended; ``why`` says of one that failed what became of it, which is told on a terminal too."""
        task, _, size = self._under_way.pop(name)
        self._bars.remove_task(task)
        self._ended += 1
        self._size_of_ended += size
        self._bars.update(self._all, description=f"{self._ended} of {self._runs}")
        if why is None:
            self._say(f"{name}: finished, {self._ended} of {self._runs}")
        else:
            text = f"{name}: failed, {self._ended} of {self._runs}; {why}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def refresh(self) -> None:
        """Reads how far each is, at most once a second."""
        if not self._console.is_terminal or time.monotonic() - self._read < _REST:
            return
        self._read, taken = time.monotonic(), self._size_of_ended
        for task, folder, _ in self._under_way.values():
            rows = newest_rows(folder)
            if rows:
                done = min(row[self._counts] for row in rows)
                taken += done
                self._bars.update(task, completed=done, numbers=_numbers(rows))
        self._bars.update(self._all, completed=taken)

    def _say(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _numbers(rows: list[dict[str, Any]]) -> str:
    """Means over seeds of what matters, where their last rows have it."""
    labels = (
        ("imitation_return", "imitation {:.1f}"),
        ("eval_return", "return {:.1f}"),
        ("eval_success", "success {:.0%}"),
    )
    parts = []
    for name, text in labels:
        values = [row[name] for row in rows if row.get(name) is not None]
        if len(values) == len(rows):
            parts.append(text.format(sum(values) / len(values)))
    return "  ".join(parts)
