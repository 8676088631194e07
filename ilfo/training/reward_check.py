"""What a reward says, before anything is trained, of episodes whose worth is known.

A reward that ranks these wrongly teaches something else, and no agent mends it: the expert has to be worth most, who
stops halfway much less, and the expert's states out of order, its first state alone and a random policy little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from ilfo.demos import Demonstrations, Trajectory, shuffled, stopped
from ilfo.training.training import Training

__all__ = ["Finding", "findings_of", "print_findings", "remarks"]

DEMONSTRATIONS = 10
"""Demonstrations that are scored at most: evenly many from the first to the last."""

RANDOM_EPISODES = 5

MUCH = 0.7
"""Share of the expert from which on stopping halfway is remarked upon."""

HALFWAY = "stops halfway"

IMITATIONS: dict[str, Callable[[Trajectory], Trajectory]] = {
    HALFWAY: lambda expert: stopped(expert, len(expert) // 2),
    "stands still": lambda expert: stopped(expert, 0),
    "out of order": shuffled,
}
"""What is like the expert and is not: its states until it stops on the way, its first state alone, all in any order."""

REMEDIES = (
    "Let the reward look at other columns (--features.dims, --features.relative) or at the time (--features.time), let "
    "the expert stand still once it is done (--hold-end), or make less of what is half right (with transport, "
    "--transport.temperature 0.25)."
)


@dataclass(frozen=True)
class Finding:
    """What a reward says of a kind of episode.

    Attributes:
        name: Whose episodes they are.
        reward: Mean reward a step.
        imitation_return: Mean sum of the rewards of an episode.
        length: Mean steps of an episode.
        env_return: Mean return by the environment's own reward; None where it was not recorded.
        share: Where the imitation return, which is what an agent maximises, lies between a random policy's, 0, and the
            expert's, 1; None where a random policy has as much.
    """

    name: str
    reward: float
    imitation_return: float
    length: float
    env_return: float | None
    share: float | None


def findings_of(training: Training) -> list[Finding]:
    """What the reward of a run's first seed says: of the expert first, where it imitates one; of a random policy last.

    Of many demonstrations 10 are scored, evenly many from the first to the last.
    """
    kinds: dict[str, list[Trajectory]] = {}
    returned: dict[str, list[Trajectory]] = {}
    if training.demonstrations is not None and training.reward.imitates:
        kinds["expert"] = _spread(training.as_compared(training.demonstrations))
        # What the expert got is what was recorded of it; nobody recorded how it stands still.
        returned["expert"] = _spread(training.demonstrations)
        kinds |= {name: [imitate(one) for one in kinds["expert"]] for name, imitate in IMITATIONS.items()}
    kinds["random policy"] = training.random_episodes(RANDOM_EPISODES)[0]
    scores = {name: training.rewards_of(episodes).scores for name, episodes in kinds.items()}
    sums = {name: float(each.sum(dim=1).mean()) for name, each in scores.items()}
    low, high = sums["random policy"], sums.get("expert", float("nan"))
    return [
        Finding(
            name=name,
            reward=float(scores[name].sum()) / sum(map(len, episodes)),
            imitation_return=sums[name],
            length=float(np.mean([len(episode) for episode in episodes])),
            env_return=_mean_return(returned.get(name, episodes)),
            share=(sums[name] - low) / (high - low) if high > low else None,
        )
        for name, episodes in kinds.items()
    ]


def print_findings(training: Training, console: Console) -> None:
    """Prints a table of :func:`findings_of`, and a line on what in it will mislead a learner."""
    findings = findings_of(training)
    table = Table(
        "episodes",
        "reward a step",
        "imitation return",
        "share",
        "steps",
        "return",
        title="What the reward says of the expert, of what is like it and is not, and of a random policy",
        caption="share: 0 % for a random policy, 100 % for the expert; return: the environment's, as recorded",
    )
    for one in findings:
        table.add_row(
            one.name,
            f"{one.reward:.3f}",
            f"{one.imitation_return:.1f}",
            "–" if one.share is None else f"{one.share:.0%}",
            f"{one.length:.0f}",
            "–" if one.env_return is None else f"{one.env_return:.1f}",
        )
    console.print(table)
    for line in remarks(findings):
        console.print(line)


def remarks(findings: list[Finding]) -> list[str]:
    """What in them will mislead a learner, and what to do."""
    by_name = {one.name: one for one in findings}
    if "expert" not in by_name:
        return []
    best = max(findings, key=lambda one: one.imitation_return)
    if best.name != "expert":
        return [f"The reward prefers another to the expert ({best.name}): an agent will learn that. {REMEDIES}"]
    halfway = by_name[HALFWAY]
    if halfway.share is not None and halfway.share >= MUCH:
        return [f"Stopping halfway is worth {halfway.share:.0%} of the expert: an agent may stay there. {REMEDIES}"]
    return []


def _spread(demonstrations: Demonstrations) -> list[Trajectory]:
    """At most 10 of them, from the first to the last."""
    chosen = np.unique(np.linspace(0, len(demonstrations) - 1, min(len(demonstrations), DEMONSTRATIONS)).astype(int))
    return [demonstrations[int(number)] for number in chosen]


def _mean_return(episodes: list[Trajectory]) -> float | None:
    known = [episode.env_return for episode in episodes if episode.env_return is not None]
    return float(np.mean(known)) if known else None
