"""How long every reward takes to score an episode of 1000 steps, beside what it could be computed with instead.

    python benchmarks/scoring.py

One HalfCheetah-v5 episode of a random policy against the bundled demonstration of 1000 steps, both in this process.
POT's plans get the same features and include the cost matrix; scikit-learn's density is that of the `imitation`
library: a Gaussian kernel of width 0.5 on the pairs (s, s').
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ot
import torch
import tyro
from _machine import machine, spread, versions
from rich.progress import track
from sklearn.neighbors import KernelDensity

from ilfo import demos
from ilfo.demos import Demonstrations
from ilfo.envs import random_policy, rollout
from ilfo.rewards import BUILT_IN, Episodes, StateFeatures, make_reward


@dataclass(frozen=True)
class Options:
    """Times fitting and scoring."""

    rewards: tuple[str, ...] = tuple(name for name in BUILT_IN if name != "environment")
    """Names of rewards."""
    rounds: int = 5
    """Times that each is scored, one after the other in every round."""
    threads: int = 2
    """Processor threads of PyTorch."""


def pot(expert: Demonstrations, episodes: Episodes, plan: Callable[..., np.ndarray]) -> Callable[[], object]:
    """Costs of all pairs, and POT's plan on them."""
    features = StateFeatures().fit(expert)

    def score() -> object:
        atoms = [
            torch.cat([z[:-1], z[1:]], dim=1).numpy()
            for z in (features(torch.from_numpy(expert[0].observations)), features(episodes.observations[0]))
        ]
        cost = ot.dist(*atoms, metric="euclidean") / np.sqrt(atoms[0].shape[1])
        mass = [np.full(len(each), 1 / len(each)) for each in atoms]
        return (plan(*mass, cost) * cost).sum(axis=0)

    return score


def density(expert: Demonstrations, episodes: Episodes) -> Callable[[], object]:
    """Log-density of every pair under a kernel estimate of the expert's."""
    features = StateFeatures().fit(expert)
    own, others = (
        torch.cat([z[:-1], z[1:]], dim=1).numpy()
        for z in (features(torch.from_numpy(expert[0].observations)), features(episodes.observations[0]))
    )
    fitted = KernelDensity(bandwidth=0.5).fit(own)
    return lambda: fitted.score_samples(others)


def main(options: Options) -> None:
    """Measures and prints."""
    load = os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    expert = demos.open("halfcheetah")
    agent = rollout(random_policy(6, seed=0), "HalfCheetah-v5", 1, seed=0)
    episodes = Episodes.from_trajectories(agent)
    scorers: dict[str, Callable[[], object]] = {}
    fitting: dict[str, float] = {}
    for name in track(options.rewards, "fitting"):
        started = time.perf_counter()
        reward = make_reward(name).fit(expert)
        fitting[name] = time.perf_counter() - started
        # A new object each time: some rewards keep the answer to the episodes that they saw last.
        scorers[name] = lambda reward=reward: reward.score(episodes.rows(0, 1))
    scorers["POT's ot.emd"] = pot(expert, episodes, ot.emd)
    scorers["POT's ot.sinkhorn (log, 0.05)"] = pot(
        expert, episodes, lambda a, b, cost: ot.sinkhorn(a, b, cost, 0.05, method="sinkhorn_log", stopThr=1e-5)
    )
    scorers["scikit-learn's KernelDensity"] = density(expert, episodes)
    times: dict[str, list[float]] = {name: [] for name in scorers}
    with torch.no_grad():
        for _ in track(range(options.rounds), "scoring"):
            for name, score in scorers.items():
                started = time.perf_counter()
                score()
                times[name].append(1000 * (time.perf_counter() - started))
    print("| reward | fitting (s) | scoring 1000 steps (ms) |\n| --- | --- | --- |")
    for name, each in times.items():
        print(f"| {name} | {f'{fitting[name]:.1f}' if name in fitting else ''} | {spread(each, '.1f')} |")
    print(f"\n{machine(load)}; {options.threads} threads; {versions('ilfo', 'torch', 'pot', 'scikit-learn')}")


if __name__ == "__main__":
    main(tyro.cli(Options))
