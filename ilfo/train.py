"""``ilfo train``: from a file of expert states to a policy."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from ilfo._progress import Progress, Silence, conclude, report
from ilfo._tools.cores import threads
from ilfo._tools.interruption import interruptible
from ilfo.runs import HeldFolder
from ilfo.runs.same_run import NOT_OF_THE_RUN
from ilfo.training import Sources, Training
from ilfo.training.configs import TrainConfig, several_seeds
from ilfo.training.flags import parse_train
from ilfo.training.measures import evaluation_row, mean_row, summarize, summarize_together
from ilfo.training.plan import print_plan
from ilfo.training.run_group import RunGroup

__all__ = ["main", "train"]

_SAVING = 20
"""Least time between two saves, in durations of the last save, so that saving takes at most 5 % of the time."""


class _Clock:
    """Seconds of training over all the processes that a run took."""

    def __init__(self, before: float) -> None:
        self._before = before
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start


class _Boards:
    """TensorBoard's view of the rows, one event file a run."""

    def __init__(self, group: RunGroup, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writers = [SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1) for run in group.runs]

    def add(self, rows: Sequence[dict[str, Any] | None]) -> None:
        for writer, row in zip(self._writers, rows, strict=True):
            if row is not None:
                for name, value in row.items():
                    if isinstance(value, float):
                        writer.add_scalar(name, value, row["step"])

    def __enter__(self) -> _Boards:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()


def train(config: TrainConfig, progress: Silence | None = None) -> dict[str, Any]:
    """Trains to the last step, or goes on where the run in ``config.out`` stopped.

    Args:
        config: The resolved configuration.
        progress: Shows rows as they come, see :class:`~ilfo._progress.Progress`; None: nothing is shown.

    Returns:
        The content of ``summary.json``.

    Raises:
        InputError: See :class:`~ilfo.training.Sources`, :class:`~ilfo.training.Training` and :class:`~ilfo.runs.Run`.
        KeyboardInterrupt: After Ctrl-C, once everything is saved; after a second one at once.
    """
    progress = progress or Silence()
    plain = {name: value for name, value in dataclasses.asdict(config).items() if name not in NOT_OF_THE_RUN}
    with ExitStack() as opened:
        opened.enter_context(threads(config.threads))
        folder = opened.enter_context(closing(HeldFolder(config.out)))
        sources = Sources(config)

        def begin() -> Training:
            return opened.enter_context(closing(Training.begin(sources, progress.fitting, progress.doing)))

        # A resumed run takes what was learned from the demonstrations from its checkpoint. A new run learns it before
        # it begins, so that unusable demonstrations leave nothing behind.
        training = None if folder.begun else begin()
        seeds, digest = several_seeds(config.seeds), sources.demo_sha256
        group = opened.enter_context(closing(RunGroup(folder, plain, seeds, digest, config.keep_replay)))
        finished = group.finished()
        if finished is not None:
            progress.already_finished()
            return finished
        states = group.restore()
        rows: list[dict[str, Any]]
        if states is None:
            training = training or begin()
            clock, rows = _Clock(0.0), [{} for _ in training.seeds]
        else:
            progress.saved(states[0]["step"], goes_on=False)
            training = opened.enter_context(closing(Training.resume(sources, states)))
            clock, rows = _Clock(states[0]["seconds"]), [state["row"] for state in states]
        del states  # They hold the replay once more.
        return _run(training, clock, rows, group, progress)


def _run(
    training: Training, clock: _Clock, rows: list[dict[str, Any]], group: RunGroup, progress: Silence
) -> dict[str, Any]:
    """Takes all steps that are left, and concludes; ``rows`` are the newest of each seed's metrics."""
    config = training.config
    shown = mean_row(rows)
    progress.begin(training)

    def due(every: int) -> bool:
        return training.step // every > (training.step - config.num_envs) // every

    def save(last: bool = False) -> None:
        """Saves, and stops where that was asked for."""
        common = {"seconds": clock.seconds}
        pairs = zip(training.state_dicts(), rows, strict=True)
        group.save(training.step, [state | common | {"row": row} for state, row in pairs])
        stopping = bool(interruption)
        progress.saved(training.step, goes_on=not (last or stopping))
        if stopping:
            raise KeyboardInterrupt

    rest, saved = config.checkpoint_seconds, time.monotonic()
    with interruptible() as interruption, _Boards(group, training.step) as boards:
        while training.step < config.steps or training.owes:
            training.advance()
            last = training.step >= config.steps
            if not training.owes and (last or due(config.log_every) or due(config.eval_every)):
                fresh = _measure(training, clock, last or due(config.eval_every), rows)
                rows = [new or old for new, old in zip(fresh, rows, strict=True)]
                group.append(fresh)
                boards.add(fresh)
                shown = mean_row(rows)
            progress.show(training.step, shown, training.owes)
            if interruption or time.monotonic() - saved > rest:
                begun = time.monotonic()
                save()
                saved = time.monotonic()
                rest = seconds_until_saved_again(config.checkpoint_seconds, saved - begun)
        # Saved before the random episodes: after Ctrl-C during them, or a kill between the summaries of two seeds, the
        # run can still be finished.
        save(last=True)
    if not len(training.replay):
        warnings.warn(
            f"no episode ended within {training.step} steps, so nothing was learned: give more steps", stacklevel=2
        )
    return _finish(training, group, rows)


def seconds_until_saved_again(least: float, took: float) -> float:
    """How long to train from one save to the next.

    Args:
        least: What was asked for, ``--checkpoint-seconds``.
        took: Seconds of the last save.
    """
    return max(least, _SAVING * took)


def _measure(
    training: Training, clock: _Clock, evaluate: bool, before: Sequence[dict[str, Any]]
) -> list[dict[str, Any] | None]:
    """A row of metrics for each seed, with an evaluation where one is due.

    None where the previous row is already of this step: after a kill between the saves of two seeds, one of them
    resumes from before the last update of the step and the other from after it.
    """
    measured: list[dict[str, Any]] = list(training.averages.read())
    if evaluate:
        for member, episodes in enumerate(training.evaluate_all(training.config.eval_episodes)):
            measured[member] |= evaluation_row(training, episodes, member)
    own = {"step": training.step, "seconds": round(clock.seconds, 3)}
    # Twice: first in the row, and whatever a plug-in calls its metrics.
    return [
        None if old.get("step") == training.step else own | numbers | own
        for old, numbers in zip(before, measured, strict=True)
    ]


def _finish(training: Training, group: RunGroup, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    random_returns = [
        float(np.mean([episode.env_return for episode in episodes])) for episodes in training.random_episodes(10)
    ]
    summaries = [
        summarize(training, row, seed, random_return)
        for row, seed, random_return in zip(rows, training.seeds, random_returns, strict=True)
    ]
    parts = zip(training.fitted_states(), training.agent_states(), strict=True)
    together = summarize_together(summaries) if training.config.seeds else summaries[0]
    group.finish(summaries, [fitted | {"agent": agent} for fitted, agent in parts], together)
    return together


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo train``."""
    config, dry_run = parse_train(argv)
    if dry_run:
        with threads(config.threads), closing(Training.begin(Sources(config), doing=print)) as training:
            print_plan(training, measure=True)
        return 0
    with Progress(config) as progress:
        try:
            summary = train(config, progress)
        except KeyboardInterrupt:
            progress.interrupted()
            return 130
    conclude(config, summary)
    if config.report:
        report(config)
    return 0
