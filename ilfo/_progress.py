"""The progress bar of a training run, and the lines before and after it."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from ilfo._tools.words import counted, estimate_in_words, if_known
from ilfo.report import update_report
from ilfo.training import Training
from ilfo.training.configs import TrainConfig, several_seeds
from ilfo.training.plan import print_plan

__all__ = ["Progress", "Silence", "conclude", "report"]


class _Pace:
    """Steps per second over the last minutes, including the pauses in which only updates are made."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=120)

    def note(self, step: int) -> float | None:
        """The pace as of now, at this step; None in the first second."""
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= 2.0:
            self._marks.append((now, step))
        since, first = self._marks[0]
        return (step - first) / (now - since) if now - since >= 1.0 else None


class Silence:
    """Shows nothing of a run; :class:`Progress` shows all of it, by the same methods."""

    def fitting(self, share: float, numbers: str) -> None:
        """The reward is being fitted."""

    def doing(self, what: str) -> None:
        """Something else is done before the first step."""

    def begin(self, training: Training) -> None:
        """The first step comes next."""

    def show(self, step: int, row: dict[str, Any], updates_due: int = 0) -> None:
        """A step was taken."""

    def saved(self, step: int, goes_on: bool) -> None:
        """A checkpoint was written."""

    def already_finished(self) -> None:
        """Nothing is left to train."""


class Progress(Silence):
    """Steps, steps per second, ETA, imitation return, evaluation return, ratio to the expert, success.

    On a terminal it is a bar; elsewhere a line at every evaluation.
    """

    def __init__(self, config: TrainConfig, console: Console | None = None) -> None:
        self._config = config
        self._console = console or Console()
        self._seeds = len(several_seeds(config.seeds))
        self._shown: dict[str, float] = {}
        self._bar = Bar(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]} left"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("train", total=config.steps, speed="-/s", left="-:--:--", numbers="")
        self._pace = _Pace()
        self._fitting = Bar(
            TextColumn("fitting the reward"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._fitting_task = self._fitting.add_task("fit", total=1.0, numbers="")
        self._fitted: str | None = None
        self._begun, self._saved, self._goes_on = False, 0, False

    def __enter__(self) -> Progress:
        return self

    def fitting(self, share: float, numbers: str) -> None:
        """Shows how far the fit of the reward has come, before the first step.

        Args:
            share: Between 0 and 1.
            numbers: Figures of the fit, as text.
        """
        if self._fitted is None:
            self._fitting.start()
        self._fitted = numbers
        self._fitting.update(self._fitting_task, completed=share, numbers=numbers)

    def doing(self, what: str) -> None:
        """Says what is done before the reward is fitted: beside the bar on a terminal, elsewhere as a line."""
        if self._console.is_terminal:
            self.fitting(0.0, what)
        else:
            self._say(what)

    def begin(self, training: Training) -> None:
        """Prints what the run is about to do, and shows the bar."""
        if self._fitted is not None:
            self._fitting.stop()
            if not self._console.is_terminal:
                self._say(f"the reward is fitted: {self._fitted}")
        print_plan(training, console=self._console)
        if training.step:
            self._say(f"Going on from step {training.step:,}.")
        self._pace.note(training.step)
        self._bar.update(self._task, completed=training.step)
        self._bar.start()
        self._begun = self._goes_on = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fitting.stop()
        self._bar.stop()

    def show(self, step: int, row: dict[str, Any], updates_due: int = 0) -> None:
        """Moves the bar on a terminal; elsewhere, prints a line for each new evaluation.

        Args:
            step: Steps taken so far.
            row: The newest row of the metrics.
            updates_due: Updates to make before the next step.
        """
        is_new = row.get("step") == step
        self._shown |= {name: value for name, value in row.items() if isinstance(value, float)}
        numbers = self._numbers()
        pace = self._pace.note(step)
        speed = f"{pace:.0f}/s" if pace else "-/s"
        left = str(timedelta(seconds=round(max(self._config.steps - step, 0) / pace))) if pace else "-:--:--"
        self._bar.update(
            self._task,
            completed=step,
            speed=speed,
            left=left,
            numbers=f"{numbers}  {counted(updates_due, 'update')} to make" if updates_due else numbers,
        )
        if is_new and "eval_return" in row and not self._console.is_terminal:
            self._say(f"step {step:,}/{self._config.steps:,}  {speed}  {left} left  {numbers}")

    def _numbers(self) -> str:
        labels = (
            ("imitation_return", "imitation {:.1f}"),
            ("eval_return", "evaluation {:.1f}"),
            ("eval_ratio", "ratio {:.2f}"),
            ("eval_success", "success {:.0%}"),
        )
        numbers = "  ".join(text.format(self._shown[name]) for name, text in labels if name in self._shown)
        return f"mean of {self._seeds} seeds: {numbers}" if numbers and self._seeds > 1 else numbers

    def saved(self, step: int, goes_on: bool) -> None:
        """Notes what the run can resume from: see :meth:`interrupted`.

        Args:
            step: The step of the newest checkpoint; 0: there is none.
            goes_on: Whether training goes on from there in this process.
        """
        self._saved, self._goes_on = step, goes_on

    def already_finished(self) -> None:
        """Says that the run in the folder is at its end."""
        self._say(f"The run in {self._config.out} is finished; nothing is left to train.")

    def interrupted(self) -> None:
        """Says after Ctrl-C how to go on, if there is anything to go on from."""
        self._fitting.stop()
        self._bar.stop()
        if self._saved and not self._goes_on:
            self._say(f"Stopped and saved in {self._config.out}. The same command goes on from here.")
        elif self._saved:
            self._say(
                f"Stopped at once. The same command goes on from step {self._saved:,}, the last that was saved in "
                f"{self._config.out}."
            )
        elif self._begun:
            self._say("Stopped at once: nothing was saved. The same command begins anew.")
        else:
            self._say("Stopped before any step was taken: nothing was saved.")

    def _say(self, text: str) -> None:
        """A line as it is: a bracket in the name of a folder is no markup."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def conclude(config: TrainConfig, summary: dict[str, Any]) -> None:
    """The result: expert's return, policy's return, ratio."""
    console = Console(highlight=False, soft_wrap=True)
    if "each" in summary:
        _conclude_seeds(summary, console)
        return
    expert, ratio, success = summary["expert_return"], summary["ratio"], summary["success"]
    console.print(f"expert's return   {'unknown' if expert is None else f'{expert:,.1f}'}")
    policy, random = summary["policy_return"], summary["random_return"]
    console.print(f"policy's return   {policy:,.1f} over {config.eval_episodes} episodes (random policy {random:,.1f})")
    missing = "unknown" if expert is None else "none, for the expert's return is not above 0"
    console.print(f"ratio             {missing if ratio is None else f'{ratio:.3f}'}")
    if success is not None:
        console.print(f"success           {success:.0%}")


def _conclude_seeds(summary: dict[str, Any], console: Console) -> None:
    table = Table("seed", "policy's return", "random policy", "ratio to the expert", "success")
    for each in summary["each"]:
        table.add_row(
            str(each["seed"]),
            f"{each['policy_return']:,.1f}",
            f"{each['random_return']:,.1f}",
            if_known(each["ratio"], "{:.3f}"),
            if_known(each["success"], "{:.0%}"),
        )
    console.print(table)
    expert, iqm = summary["expert_return"], summary["score_iqm"]
    console.print(f"expert's return   {'unknown' if expert is None else f'{expert:,.1f}'}")
    console.print(f"policy's return   {summary['policy_return']:,.1f}, the mean over {len(summary['seeds'])} seeds")
    if iqm is not None:
        score = estimate_in_words(iqm, summary["score_interval"], "{:.3f}")
        console.print(f"score             {score}: interquartile mean over seeds, 0 a random policy, 1 the expert")


def report(config: TrainConfig) -> None:
    """Writes the report, unless an up-to-date one is there, and says where it and the video are."""
    console = Console(highlight=False, soft_wrap=True)
    with console.status("report: loading the run") as status:
        page = update_report(config.out, lambda doing: status.update(f"report: {doing}"))
    console.print(f"report            {page}", markup=False)
    video = page.with_name("best.webm")
    console.print(
        f"video             {video if video.exists() else 'none: nothing can be drawn here, see the report'}",
        markup=False,
    )
