"""``ilfo evaluate``: plays a trained policy on episodes that its training has not seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ilfo._errors import InputError
from ilfo._video import check_video_path, write_video
from ilfo.demos import Trajectory
from ilfo.envs import Protocol
from ilfo.runs import read_summary
from ilfo.statistics import bootstrap_interval, wilson_interval
from ilfo.training import Training, load

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Evaluation", "evaluate", "fresh_seed", "main", "play"]


@dataclass(frozen=True)
class Evaluation:
    """What a policy did on episodes without exploration noise.

    Attributes:
        env_id: The environment.
        protocol: How its episodes ended.
        seed: Seed of their initial states; the same seed gives the same episodes again.
        steps: Environment steps that the policy had been trained for.
        trajectories: The episodes, with the environment's rewards.
        expert_return: Mean return of the demonstrations, or None where there are none.
        random_return: Mean return of a random policy, known once a run is finished.
    """

    env_id: str
    protocol: Protocol
    seed: int
    steps: int
    trajectories: tuple[Trajectory, ...]
    expert_return: float | None = None
    random_return: float | None = None

    @property
    def returns(self) -> list[float]:
        """The environment's return of every episode."""
        return [trajectory.env_return or 0.0 for trajectory in self.trajectories]

    @property
    def return_mean(self) -> float:
        """Their mean."""
        return float(np.mean(self.returns))

    @property
    def return_interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the mean; None for a single episode, of which nothing can be said."""
        return bootstrap_interval(self.returns) if len(self.returns) > 1 else None

    @property
    def return_text(self) -> str:
        """Mean and interval in words."""
        if self.return_interval is None:
            return f"{self.return_mean:,.1f}"
        low, high = self.return_interval
        return f"{self.return_mean:,.1f}, 95 % interval {low:,.1f} to {high:,.1f} (bootstrap)"

    @property
    def length_mean(self) -> float:
        """Mean number of steps of an episode."""
        return float(np.mean([len(trajectory) for trajectory in self.trajectories]))

    @property
    def ratio(self) -> float | None:
        """Mean return over the expert's, or None without an expert of positive return."""
        return (
            self.return_mean / self.expert_return if self.expert_return is not None and self.expert_return > 0 else None
        )

    @property
    def successes(self) -> tuple[int, int] | None:
        """Episodes that succeeded, of how many; None where the task has no success."""
        known = [trajectory.success for trajectory in self.trajectories if trajectory.success is not None]
        return (sum(known), len(known)) if known else None

    @property
    def success_interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the success rate, or None."""
        return None if self.successes is None else wilson_interval(*self.successes)

    def ranked(self) -> list[int]:
        """Indices of the episodes, the best first: successful ones before others, then by return."""
        worth = [(bool(trajectory.success), trajectory.env_return or 0.0) for trajectory in self.trajectories]
        return sorted(range(len(worth)), key=worth.__getitem__, reverse=True)


def evaluate(run: str | os.PathLike[str], episodes: int = 10, *, seed: int | None = None) -> Evaluation:
    """Plays fresh episodes with the policy of a run, under the run's protocol.

    Args:
        run: Folder of a run, finished or under way.
        episodes: How many, at least 1.
        seed: Seed of their initial states; by default one that depends on the run's seed and is not the one of
            the evaluations during training.

    Raises:
        InputError: Not a run, a run without a checkpoint, no episodes, or a negative seed.
    """
    check_episodes(episodes)
    check_seed(seed)
    return play(load(run), run, episodes, seed)


def play(training: Training, run: str | os.PathLike[str], episodes: int, seed: int | None = None) -> Evaluation:
    """:func:`evaluate` for a run that is loaded already."""
    seed = fresh_seed(training.config.seed, 0) if seed is None else seed
    summary = read_summary(run) or {}
    return Evaluation(
        env_id=training.config.env,
        protocol=training.config.protocol,
        seed=seed,
        steps=summary.get("steps", training.step),
        trajectories=tuple(training.evaluate(episodes, seed)),
        expert_return=training.expert_return,
        random_return=summary.get("random_return"),
    )


def fresh_seed(run_seed: int, purpose: int) -> int:
    """A seed that no part of a run's training uses, another for every purpose."""
    return int(np.random.SeedSequence(run_seed, spawn_key=(purpose,)).generate_state(1)[0])


def check_episodes(episodes: int) -> None:
    """Refuses a number of episodes below 1."""
    if episodes < 1:
        raise InputError(f"--episodes is {episodes}; expected at least 1")


def check_seed(seed: int | None) -> None:
    """Refuses a seed below 0."""
    if seed is not None and seed < 0:
        raise InputError(f"--seed is {seed}; expected 0 or more")


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo evaluate``."""
    import tyro

    tyro.cli(_command, args=list(argv), prog="ilfo evaluate")
    return 0


def _command(run: Path, /, *, episodes: int = 10, seed: int | None = None, video: Path | None = None) -> None:
    """Play a trained policy: return, success, ratio to the expert.

    Args:
        run: Folder of a run, finished or under way.
        episodes: Episodes to play, without exploration noise, under the run's protocol.
        seed: Seed of their initial states; by default one that the evaluations in training do not use.
        video: Film the best of them: a file that ends in .webm or .mp4.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    check_episodes(episodes)
    if video is not None:
        check_video_path(video)
    with console.status(f"playing {episodes} episodes"):
        found = evaluate(run, episodes, seed=seed)
    _print(found, console)
    if video is not None:
        best = found.trajectories[found.ranked()[0]]
        with console.status("filming the best episode"):
            write_video(video, best, found.env_id, found.protocol)
        console.print(f"video     {video} (the best episode)", markup=False)


def _print(found: Evaluation, console: Console) -> None:
    rows = [
        ("policy", f"{found.env_id} after {found.steps:,} steps"),
        ("return", found.return_text),
    ]
    if found.successes is not None and found.success_interval is not None:
        low, high = found.success_interval
        count, played = found.successes
        rows.append(("success", f"{count} of {played}, 95 % interval {low:.0%} to {high:.0%} (Wilson)"))
    rows.append(("length", f"{found.length_mean:,.1f} steps"))
    if found.ratio is not None:
        rows.append(("ratio", f"{found.ratio:.3f} of the expert's {found.expert_return:,.1f}"))
    if found.random_return is not None:
        rows.append(("random", f"{found.random_return:,.1f} (random policy)"))
    rows.append(("episodes", f"{len(found.trajectories)}, protocol {found.protocol}, seed {found.seed}"))
    for name, text in rows:
        console.print(f"{name:<10}{text}", markup=False)
