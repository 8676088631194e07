"""The results of an evaluation: returns and successes, with their confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilfo._tools.words import UNKNOWN, estimate_in_words, if_known
from ilfo.demos import Trajectory
from ilfo.envs import Protocol, successes_of
from ilfo.statistics import bootstrap_interval, normalized_score, wilson_interval

__all__ = ["Evaluation", "SeedsEvaluation"]


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
        """95 % bootstrap interval of the mean; None for a single episode, which says nothing of the spread.

        Episodes that are identical from the first state to the last count as one: they occur where all begin alike.
        """
        returns = [trajectory.env_return or 0.0 for trajectory in self.distinct]
        return bootstrap_interval(returns)

    @property
    def return_text(self) -> str:
        """Mean and interval in words."""
        return estimate_in_words(self.return_mean, self.return_interval, "{:,.1f}")

    @property
    def success_text(self) -> str:
        """How many succeeded, with the interval; a dash where the task has no success."""
        if self.successes is None or self.success_interval is None:
            return UNKNOWN
        low, high = self.success_interval
        return f"{self.successes[0]} of {self.successes[1]} ({low:.0%} to {high:.0%})"

    @property
    def in_words(self) -> str:
        """How many episodes, with which seed, and what they came to."""
        text = f"{len(self.returns)} with seed {self.seed}: return {self.return_text}; {self.length_mean:,.1f} steps"
        if self.successes is None or self.success_interval is None:
            return text
        low, high = self.success_interval
        count, played = self.successes
        return f"{text}; {count} of {played} succeeded, 95 % Wilson interval {low:.0%} to {high:.0%}"

    @property
    def time_text(self) -> str:
        """Mean steps until the first success; a dash where there is none."""
        return if_known(self.time_to_success, "{:,.1f}")

    @property
    def distinct(self) -> list[Trajectory]:
        """The episodes without duplicates, which are identical to another from the first state to the last."""
        played = {(each.observations.tobytes(), each.env_return, each.success): each for each in self.trajectories}
        return list(played.values())

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
    def score(self) -> float | None:
        """The mean return, scaled so that a random policy scores 0 and the expert 1; None where that is unknown."""
        return normalized_score(self.return_mean, self.random_return, self.expert_return)

    @property
    def successes(self) -> tuple[int, int] | None:
        """Episodes that succeeded, of how many; None where the task has no success."""
        return _successes(self.trajectories)

    @property
    def success_interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the success rate, or None; episodes that are the same count as one."""
        return _success_interval(self.distinct)

    @property
    def time_to_success(self) -> float | None:
        """Mean steps until the first success, over the episodes that have one; None where none has."""
        return _time_to_success(self.trajectories)

    def as_dict(self) -> dict[str, Any]:
        """All of it but the states, as ``evaluation.json`` holds it: each episode with its seed and its goal.

        The goal is None (``null`` in the file) where the environment states none, as in Adroit and robosuite.
        """
        return {
            "env": self.env_id,
            "protocol": self.protocol,
            "seed": self.seed,
            "steps": self.steps,
            "return_mean": self.return_mean,
            "return_interval": self.return_interval,
            "expert_return": self.expert_return,
            "random_return": self.random_return,
            "ratio": self.ratio,
            "score": self.score,
            "successes": self.successes,
            "distinct_successes": _successes(self.distinct),
            "success_interval": self.success_interval,
            "time_to_success": self.time_to_success,
            "episodes": [
                {
                    "seed": trajectory.seed,
                    "goal": None if trajectory.goal is None else trajectory.goal.tolist(),
                    "return": trajectory.env_return,
                    "length": len(trajectory),
                    "success": trajectory.success,
                    "success_step": trajectory.success_step,
                }
                for trajectory in self.trajectories
            ],
        }

    def ranked(self) -> list[int]:
        """Indices of the episodes, the best first: successful ones before others, then by return."""
        worth = [(bool(trajectory.success), trajectory.env_return or 0.0) for trajectory in self.trajectories]
        return sorted(range(len(worth)), key=worth.__getitem__, reverse=True)


@dataclass(frozen=True)
class SeedsEvaluation:
    """What the policies of several seeds did, each on episodes of its own.

    Attributes:
        each: Seed of the training to what its policy did.
    """

    each: Mapping[int, Evaluation]

    @property
    def return_mean(self) -> float:
        """Mean over the seeds of their mean returns."""
        return float(np.mean([found.return_mean for found in self.each.values()]))

    @property
    def return_interval(self) -> tuple[float, float] | None:
        """Its 95 % bootstrap interval over the seeds; None for a single one."""
        return bootstrap_interval([found.return_mean for found in self.each.values()])

    @property
    def successes(self) -> tuple[int, int] | None:
        """Episodes of all seeds that succeeded, of how many; None where the task has no success."""
        return _successes([each for found in self.each.values() for each in found.trajectories])

    @property
    def success_interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the success rate, or None; episodes of a seed that are the same count as one."""
        return _success_interval([each for found in self.each.values() for each in found.distinct])

    @property
    def time_to_success(self) -> float | None:
        """Mean steps until the first success, over the episodes of all seeds that have one; None where none has."""
        return _time_to_success([each for found in self.each.values() for each in found.trajectories])

    @property
    def scores(self) -> list[float] | None:
        """Of each seed; None unless all of them are known."""
        known = [found.score for found in self.each.values() if found.score is not None]
        return known if len(known) == len(self.each) else None

    @property
    def best(self) -> int:
        """The seed whose policy succeeds most often, and then has the highest return."""
        worth = {}
        for seed, found in self.each.items():
            count, played = found.successes or (0, 1)
            worth[seed] = count / played, found.return_mean
        return max(worth, key=worth.__getitem__)


def _successes(episodes: Iterable[Trajectory]) -> tuple[int, int] | None:
    found = successes_of(episodes)
    return None if found is None else (sum(found), len(found))


def _success_interval(episodes: Iterable[Trajectory]) -> tuple[float, float] | None:
    counts = _successes(episodes)
    return None if counts is None else wilson_interval(*counts)


def _time_to_success(episodes: Iterable[Trajectory]) -> float | None:
    steps = [each.success_step for each in episodes if each.success_step is not None]
    return float(np.mean(steps)) if steps else None
