"""What a reward says, before anything is trained, of episodes whose worth is known.

A reward that ranks these wrongly teaches something else, and no agent can make up for it: the expert should be worth
most, stopping halfway much less, and standing still in its first state or acting at random little. Its states out of
order show how much a reward depends on temporal order; one that compares single states need not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ilfo._tools.words import if_known
from ilfo.demos import Demonstrations, Trajectory, shuffled, stopped
from ilfo.rewards import RewardGenerator, ScaledReward
from ilfo.training.configs import TrainConfig
from ilfo.training.start_check import remark_on_starts
from ilfo.training.training import Training

__all__ = ["Finding", "findings_of", "print_findings", "remark_on", "remedies"]

DEMONSTRATIONS = 10
"""Most demonstrations that are scored, evenly spaced from the first to the last."""

RANDOM_EPISODES = 5

MUCH = 0.7
"""Share of the expert's worth from which stopping halfway, or standing still, is remarked upon."""

HALFWAY, STILL = "stops halfway", "stands still"


@dataclass(frozen=True)
class Finding:
    """What a reward says of a kind of episode.

    Attributes:
        name: Whose episodes they are.
        reward: Mean reward per step.
        imitation_return: Mean sum of the rewards of an episode.
        length: Mean steps of an episode.
        env_return: Mean return by the environment's own reward; None where it was not recorded.
        share: Where it lies between a random policy, 0, and the expert, 1, in what an agent maximises: the rewards of
            as many steps as the expert has, and none after the environment has ended an episode. None without an
            expert, or where a random policy gets as much or more.
    """

    name: str
    reward: float
    imitation_return: float
    length: float
    env_return: float | None
    share: float | None


def findings_of(training: Training, at_random: list[Trajectory]) -> list[Finding]:
    """What the reward of a run's first seed says: of the expert first, where it imitates one; of a random policy last.

    Of many demonstrations, 10 are scored, evenly spaced from the first to the last.

    Args:
        training: A run that has not started.
        at_random: Episodes of a random policy.
    """
    kinds: dict[str, list[Trajectory]] = {}
    returned: dict[str, list[Trajectory]] = {}
    if training.demonstrations is not None and training.reward.imitates:
        recorded = _spread(training.demonstrations)
        halfway = replace(recorded, trajectories=tuple(stopped(one, len(one) // 2) for one in recorded))
        experts = list(training.as_compared(recorded))
        kinds = {
            "expert": experts,
            HALFWAY: list(training.as_compared(halfway)),
            STILL: [stopped(one, 0) for one in experts],
            "out of order": [shuffled(one) for one in experts],
        }
        # The expert's return is the recorded one: no rewards were recorded of the steps that --hold-end adds.
        returned["expert"] = list(recorded)
    kinds["random policy"] = at_random
    scores = {name: training.rewards_of(episodes).scores for name, episodes in kinds.items()}
    steps = float(np.mean([len(one) for one in kinds.get("expert", [])])) if returned else 0.0
    worth = {name: _worth(scores[name], episodes, steps) for name, episodes in kinds.items()}
    low, high = worth["random policy"], worth.get("expert", float("nan"))
    return [
        Finding(
            name=name,
            reward=float(scores[name].sum()) / sum(map(len, episodes)),
            imitation_return=float(scores[name].sum(dim=1).mean()),
            length=float(np.mean([len(episode) for episode in episodes])),
            env_return=_mean_return(returned.get(name, episodes)),
            share=(worth[name] - low) / (high - low) if high > low else None,
        )
        for name, episodes in kinds.items()
    ]


def print_findings(training: Training, console: Console) -> None:
    """Prints a table of :func:`findings_of`, a line on what in it will mislead a learner, and on where it begins."""
    at_random = training.random_episodes(RANDOM_EPISODES)[0]
    findings = findings_of(training, at_random)
    table = Table(
        "episodes",
        "reward a step",
        "imitation return",
        "share",
        "steps",
        "return",
        title="How the reward scores the expert, variations of its episodes, and a random policy",
        caption="share: 0 % is a random policy, 100 % the expert, over equally many steps; return: the environment's",
    )
    for one in findings:
        table.add_row(
            one.name,
            f"{one.reward:.3f}",
            f"{one.imitation_return:.1f}",
            if_known(one.share, "{:.0%}"),
            f"{one.length:.0f}",
            if_known(one.env_return, "{:.1f}"),
        )
    console.print(table)
    if _learns(training.reward):
        console.print("This reward learns while the agent does: what it says now is what it starts from.")
    elif remark := remark_on(findings):
        console.print(f"{remark} {remedies(training.config)}")
    if training.demonstrations is not None and (remark := remark_on_starts(training.demonstrations, at_random)):
        console.print(remark, markup=False)


def remark_on(findings: list[Finding]) -> str | None:
    """What in them will mislead a learner; None: nothing."""
    by_name = {one.name: one for one in findings}
    if "expert" not in by_name:
        return None
    if by_name["expert"].share is None:
        return "The reward prefers a random policy to the expert: an agent will learn that."
    for name, doing in ((STILL, "Standing still"), (HALFWAY, "Stopping halfway")):
        share = by_name[name].share
        if share is not None and share >= MUCH:
            return f"{doing} is worth {share:.0%} of the expert: an agent may stay there."
    return None


def remedies(config: TrainConfig) -> str:
    """Settings that may help against a reward that misleads, beyond those that the run already has."""
    known = ["let the reward look at other columns (--features.dims, --features.relative)"]
    if config.features.time is None:
        known.append("let it look at the time (--features.time 20 --time-aware)")
    if not config.hold_end:
        known.append("let the expert stand still once it is done (--hold-end)")
    if hasattr(config, "transport"):
        known.append("reward a partial match less (a lower --transport.temperature)")
    return f"What may help: {'; '.join(known)}."


def _learns(reward: RewardGenerator) -> bool:
    """Whether it will compare episodes differently later; a scale that moves does not change how they compare."""
    generator = reward.generator if isinstance(reward, ScaledReward) else reward
    return generator.imitates and not generator.stationary


def _spread(demonstrations: Demonstrations) -> Demonstrations:
    """At most 10 of them, from the first to the last."""
    chosen = np.linspace(0, len(demonstrations) - 1, min(len(demonstrations), DEMONSTRATIONS)).astype(int)
    return replace(demonstrations, trajectories=tuple(demonstrations[int(number)] for number in chosen))


def _worth(scores: Tensor, episodes: list[Trajectory], steps: float) -> float:
    """What ``steps`` steps of the episodes are worth on average, none after the environment has ended an episode."""
    sums = scores.sum(dim=1).tolist()
    return float(
        np.mean(
            [
                total if one.terminated and len(one) < steps else total * steps / len(one)
                for total, one in zip(sums, episodes, strict=True)
            ]
        )
    )


def _mean_return(episodes: list[Trajectory]) -> float | None:
    known = [episode.env_return for episode in episodes if episode.env_return is not None]
    return float(np.mean(known)) if known else None
