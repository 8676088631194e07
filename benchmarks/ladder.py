"""Does a reward recover the true one? How each ranks a ladder of episodes that it never saw.

    python benchmarks/ladder.py record ladder0.hdf5
    python benchmarks/ladder.py record ladder1.hdf5 --seed 1
    python benchmarks/ladder.py rank ladder0.hdf5 ladder1.hdf5 --rewards transport flow nearest --picture ladder.png

The ladder: an agent learns HalfCheetah-v5 on the environment's reward, and episodes of its policy are kept every 2,500
steps. An episode of the final policy is the demonstration, others of it the highest rung; of the stages on the way,
those are rungs whose returns come closest to even steps from 0 to the expert's. A robot that stands still and a random
policy are rungs too. Every reward is fitted on the one demonstration and scores all of them, and the demonstration with
its time shuffled. One that learns from its agent, a discriminator, is first shown episodes of a random policy.
Spearman's rank correlation between a reward's mean a step and the true return says how well the one stands for the
other; the shuffled demonstration has no true return, and only has to be below the expert. Several ladders, each of a
training run of its own, are ranked one by one; the table of episodes and the picture are of the first.
"""

from __future__ import annotations

import dataclasses
import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium
import numpy as np
import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.progress import track
from scipy.stats import spearmanr

from ilfo import demos
from ilfo._tools.atomic import atomic_path
from ilfo._tools.cores import threads
from ilfo.demos import Demonstrations, Trajectory
from ilfo.envs import Policy, describe, random_policy, rollout
from ilfo.rewards import BUILT_IN, Episodes, RewardGenerator, make_reward
from ilfo.training import Sources, Training
from ilfo.training.flags import parse_train

EVERY = 2_500
"""Steps of training between the stages."""
RUNGS = 8
"""Stages that are made rungs."""
BEGINNINGS = 10
"""Episodes of a random policy that a reward is shown if it learns from its agent; none of them is a rung."""
FLAGS = "--env HalfCheetah-v5 --reward environment --td3.layer-norm --steps 60000"


@dataclass(frozen=True)
class Record:
    """Trains, and writes the episodes of every stage."""

    out: Annotated[Path, tyro.conf.Positional]
    """File to write."""
    seed: int = 0
    """Of the training run."""
    episodes: int = 2
    """Of each stage."""
    steps: int = 1000
    """Steps kept of each episode."""


@dataclass(frozen=True)
class Rank:
    """Scores ladders with every reward, prints tables and draws the first."""

    ladders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files that 'record' wrote."""
    rewards: tuple[str, ...] = tuple(name for name in BUILT_IN if name != "environment")
    """Names of rewards; by default all."""
    picture: Path = Path("ladder.png")
    """Where the picture goes."""


@dataclass(frozen=True)
class Ladder:
    """Episodes of rising worth.

    Attributes:
        demonstration: What rewards are fitted on.
        names: Of each episode, the rung that it stands on.
        episodes: Episodes that no reward has seen.
    """

    demonstration: Demonstrations
    names: list[str]
    episodes: list[Trajectory]

    @property
    def returns(self) -> np.ndarray:
        """True return of each episode."""
        return np.array([episode.env_return for episode in self.episodes])

    @classmethod
    def open(cls, path: Path) -> Ladder:
        """Reads what :func:`record` wrote: still, random, the stages, as many episodes of each, the demonstration."""
        read = demos.open(path)
        *episodes, demonstration = read
        each = int(read.provenance.source.split()[1])
        groups = [episodes[start : start + each] for start in range(0, len(episodes), each)]
        still, random, *stages, expert = groups
        worth = [worth_of(stage) for stage in stages]
        wanted = np.linspace(0.0, worth_of(expert), RUNGS + 2)[1:-1]
        chosen = sorted({int(np.abs(np.array(worth) - height).argmin()) for height in wanted})
        named = {"standing still": still, "random policy": random}
        named |= {f"{EVERY * (stage + 1):,} steps": stages[stage] for stage in chosen} | {"expert": expert}
        return cls(
            dataclasses.replace(read, trajectories=(demonstration,)),
            [name for name, group in named.items() for _ in group],
            [episode for group in named.values() for episode in group],
        )


def worth_of(episodes: list[Trajectory]) -> float:
    """Mean true return."""
    return float(np.mean([episode.env_return for episode in episodes]))


def record(options: Record) -> None:
    """Makes the ladder."""
    config, _ = parse_train([*FLAGS.split(), "--seed", str(options.seed)])

    def played(policy: Policy) -> list[Trajectory]:
        episodes = rollout(policy, config.env, options.episodes, seed=1_000)
        return [cut(episode, options.steps) for episode in episodes]

    with threads(config.threads), closing(Training.begin(Sources(config))) as training:
        width = training.environments.action_dim
        kept = played(lambda observations, ages: np.zeros((len(observations), width), np.float32))
        kept += played(random_policy(width, seed=1_000))
        for _ in track(range(config.steps), "training"):
            training.advance()
            if training.step % EVERY == 0:
                kept += played(training.act)
        kept.append(cut(rollout(training.act, config.env, 1, seed=2_000)[0], options.steps))
    source = f"benchmarks/ladder.py: {options.episodes} episodes a stage"
    described = dataclasses.replace(describe(config.env).provenance, source=source)
    demos.write(options.out, Demonstrations(tuple(kept), described))


def cut(episode: Trajectory, steps: int) -> Trajectory:
    """The first steps of an episode, without the actions."""
    assert episode.env_rewards is not None
    return Trajectory(
        episode.observations[: steps + 1],
        env_rewards=episode.env_rewards[:steps],
        terminated=episode.terminated and len(episode) <= steps,
        truncated=not episode.terminated or len(episode) > steps,
        seed=episode.seed,
    )


def learn_from_beginners(reward: RewardGenerator) -> None:
    """Shows a reward that learns from its agent what that would do at first."""
    config, _ = parse_train(FLAGS.split())
    with closing(gymnasium.make(config.env)) as env:
        width = env.action_space.shape[0]  # type: ignore[index]
    for episode in rollout(random_policy(width, seed=3_000), config.env, BEGINNINGS, seed=3_000):
        reward.observe(Episodes.from_trajectories([episode]))


def mean_rewards(reward: RewardGenerator, trajectories: list[Trajectory]) -> np.ndarray:
    """Mean reward a step of each episode."""
    episodes = Episodes.from_trajectories(trajectories)
    with torch.no_grad():
        return (reward.score(episodes).sum(dim=1) / episodes.lengths).cpu().numpy()


def rank_correlation(rewards: np.ndarray, returns: np.ndarray) -> float:
    """Spearman's, 1 where the order is the same."""
    return float(spearmanr(rewards, returns).statistic)


@dataclass(frozen=True)
class Ranking:
    """What a reward says of a ladder.

    Attributes:
        rewards: Mean a step of each episode.
        shuffled: The same of the demonstration with its time shuffled.
        correlation: Spearman's, of the rewards with the true returns.
    """

    rewards: np.ndarray
    shuffled: float
    correlation: float

    @classmethod
    def of(cls, name: str, ladder: Ladder) -> Ranking:
        """Fits a reward on the ladder's demonstration and has it score everything else."""
        reward = make_reward(name).fit(ladder.demonstration)
        if not reward.stationary:
            learn_from_beginners(reward)
        rewards = mean_rewards(reward, ladder.episodes)
        mixed = [demos.shuffled(trajectory) for trajectory in ladder.demonstration]
        return cls(rewards, float(mean_rewards(reward, mixed).mean()), rank_correlation(rewards, ladder.returns))


def rank(options: Rank) -> None:
    """Scores, prints and draws."""
    torch.set_num_threads(1)
    ladders = [Ladder.open(path) for path in options.ladders]
    pairs = track([(name, ladder) for name in options.rewards for ladder in ladders], "rewards")
    rankings = [Ranking.of(name, ladder) for name, ladder in pairs]
    of_reward = {
        name: rankings[start : start + len(ladders)]
        for name, start in zip(options.rewards, range(0, len(rankings), len(ladders)), strict=True)
    }
    first = {name: each[0] for name, each in of_reward.items()}
    print_episodes(ladders[0], first)
    print("| reward | rank correlation | " + " | ".join(path.stem for path in options.ladders) + " |")
    print("| --- " * (len(ladders) + 2) + "|")
    for name, each in sorted(of_reward.items(), key=lambda item: -mean_correlation(item[1])):
        numbers = " | ".join(f"{ranking.correlation:.3f}" for ranking in each)
        print(f"| `{name}` | **{mean_correlation(each):.3f}** | {numbers} |")
    draw(options.picture, ladders[0].returns, first)


def mean_correlation(rankings: list[Ranking]) -> float:
    """Over ladders."""
    return float(np.mean([ranking.correlation for ranking in rankings]))


def print_episodes(ladder: Ladder, scored: dict[str, Ranking]) -> None:
    """One line an episode, the worst first."""
    print("| episode | true return | " + " | ".join(scored) + " |")
    print("| --- " * (len(scored) + 2) + "|")
    for row in np.argsort(ladder.returns):
        numbers = " | ".join(f"{ranking.rewards[row]:.3f}" for ranking in scored.values())
        print(f"| {ladder.names[row]} | {ladder.returns[row]:.0f} | {numbers} |")
    mixed = " | ".join(f"{ranking.shuffled:.3f}" for ranking in scored.values())
    print(f"| demonstration, time shuffled | | {mixed} |\n")


def draw(path: Path, returns: np.ndarray, scored: dict[str, Ranking]) -> None:
    """One panel a reward: its mean a step against the true return of every episode."""
    columns = math.ceil(math.sqrt(len(scored)))
    lines = -(-len(scored) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.7 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, (name, ranking) in zip(axes.flat, scored.items(), strict=False):
        axis.scatter(returns, ranking.rewards, s=22, color="#2364aa", alpha=0.8)
        axis.axhline(
            ranking.shuffled, color="#d1603d", linestyle="--", linewidth=1.2, label="demonstration, time shuffled"
        )
        axis.set_title(f"{name}: {ranking.correlation:.3f}", fontsize=10)
        axis.tick_params(labelsize=8)
    for axis in axes.flat[len(scored) :]:
        axis.set_visible(False)
    figure.supxlabel("true return of the episode", fontsize=10)
    figure.supylabel("mean reward a step", fontsize=10)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper left", frameon=False, fontsize=8)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


if __name__ == "__main__":
    match tyro.extras.subcommand_cli_from_dict({"record": Record, "rank": Rank}):
        case Record() as options:
            record(options)
        case Rank() as options:
            rank(options)
