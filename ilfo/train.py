"""``ilfo train``: from a file of expert states to a policy."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from ilfo._progress import Progress, conclude, report
from ilfo.configs import TrainConfig, parse_train
from ilfo.demos import Trajectory
from ilfo.plan import print_plan
from ilfo.runs import Run, read_summary
from ilfo.training import Training

__all__ = ["main", "train"]


class _Clock:
    """Seconds of training over all the processes that a run took."""

    def __init__(self, before: float) -> None:
        self._before = before
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start


@contextmanager
def _interruptible() -> Iterator[list[bool]]:
    """Ctrl-C and SIGTERM set a mark that the loop sees between two steps, so that what is saved is consistent."""
    mark: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield mark  # signals reach the main thread alone
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: mark.append(True)) for number in signals]
    try:
        yield mark
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def evaluation_row(training: Training, episodes: Sequence[Trajectory]) -> dict[str, Any]:
    """What an evaluation measured, as plain values for ``metrics.jsonl``."""
    returns = [trajectory.env_return or 0.0 for trajectory in episodes]
    scores, _ = training.rewards_of(episodes)
    expert = training.expert_return
    successes = [trajectory.success for trajectory in episodes if trajectory.success is not None]
    return {
        "eval_return": float(np.mean(returns)),
        "eval_returns": returns,
        "eval_length": float(np.mean([len(trajectory) for trajectory in episodes])),
        "eval_imitation_return": float(scores.sum(dim=1).mean()),
        "eval_success": float(np.mean(successes)) if successes else None,
        "eval_ratio": float(np.mean(returns)) / expert if expert is not None and expert > 0 else None,
    }


def train(config: TrainConfig, progress: Any = None) -> dict[str, Any]:
    """Trains to the last step, or goes on where the run in ``config.out`` stopped.

    Args:
        config: The resolved configuration.
        progress: Shows rows as they come, see :class:`ilfo._progress.Progress`; None shows nothing.

    Returns:
        The content of ``summary.json``.

    Raises:
        InputError: See :class:`~ilfo.training.Training` and :class:`~ilfo.runs.Run`.
        KeyboardInterrupt: After Ctrl-C, once everything is saved.
    """
    training = Training(config)
    plain = {name: value for name, value in dataclasses.asdict(config).items() if name not in ("out", "report")}
    sha256 = training.demonstrations.sha256 if training.demonstrations else None
    with closing(training.environments), closing(Run(config.out, plain, sha256)) as run:
        finished = read_summary(config.out)
        if finished is None:
            return _run(training, run, progress, sha256)
        run.tidy()
        if progress is not None:
            progress.already_finished()
        return finished


def _run(training: Training, run: Run, progress: Any, sha256: str | None) -> dict[str, Any]:
    from torch.utils.tensorboard import SummaryWriter

    config = training.config
    state = run.restore()
    if state is not None:
        training.load_state_dict(state)
    clock = _Clock(state["seconds"] if state else 0.0)
    row: dict[str, Any] = state["row"] if state else {}
    if progress is not None:
        progress.begin(training)
    random_return = float(np.mean([episode.env_return for episode in training.random_episodes(10)]))
    board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=training.step + 1)

    def save() -> None:
        run.save(training.step, training.state_dict() | {"seconds": clock.seconds, "row": row})

    def due(every: int) -> bool:
        return training.step // every > (training.step - len(training.environments)) // every

    saved = time.monotonic()
    with _interruptible() as interrupted, board:
        while training.step < config.steps:
            training.advance()
            last = training.step >= config.steps
            if last or due(config.log_every) or due(config.eval_every):
                evaluated = last or due(config.eval_every)
                row = {"step": training.step, "seconds": round(clock.seconds, 3)} | training.averages.read()
                if evaluated:
                    row |= evaluation_row(training, training.evaluate(config.eval_episodes))
                run.append(row)
                for name, value in row.items():
                    if isinstance(value, float):
                        board.add_scalar(name, value, training.step)
            if progress is not None:
                progress.show(training.step, row)
            if interrupted:
                save()
                raise KeyboardInterrupt
            if time.monotonic() - saved > config.checkpoint_seconds:
                save()
                saved = time.monotonic()
    if not len(training.replay):
        warnings.warn(
            f"no episode ended within {training.step} steps, so nothing was learned: give more steps", stacklevel=2
        )
    summary = {
        "env": config.env,
        "reward": config.reward,
        "agent": config.agent,
        "expert_return": training.expert_return,
        "random_return": random_return,
        "policy_return": row["eval_return"],
        "ratio": row["eval_ratio"],
        "success": row["eval_success"],
        "steps": training.step,
        "seconds": round(clock.seconds, 1),
        "seed": config.seed,
        "protocol": config.protocol,
        "demo_sha256": sha256,
    }
    run.finish(training.fitted_state() | {"agent": training.agent.state_dict()}, summary)
    return summary


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo train``."""
    config, dry_run = parse_train(argv)
    if dry_run:
        print_plan(Training(config), measure=True)
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
