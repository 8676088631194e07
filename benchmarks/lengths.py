"""Demonstrations of very different lengths, and many of them: what scoring an episode and fitting take.

    python benchmarks/lengths.py

One thread. Episodes of 500 steps are scored one by one against 19 demonstrations of 50 steps and one of 1000, all of
them random walks of 17 dimensions: the median of 3, the first aside. Fitted is once, to 20 of 1000 steps.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import torch

from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import Episodes, make_reward
from ilfo.rewards.transport import TransportOptions

REWARDS = {
    "nearest": ("nearest", None),
    "segment": ("segment", None),
    "transport, exact": ("transport", None),
    "transport, entropic": ("transport", {"transport": TransportOptions(plan="entropic")}),
    "temporal-transport": ("temporal-transport", None),
}


def walks(lengths: list[int], seed: int) -> list[Trajectory]:
    """Random walks of so many steps."""
    generator = np.random.default_rng(seed)
    return [Trajectory(generator.normal(size=(steps + 1, 17)).cumsum(axis=0).astype(np.float32)) for steps in lengths]


def main() -> None:
    torch.set_num_threads(1)
    uneven, many = (Demonstrations(tuple(walks(each, 0))) for each in ([50] * 19 + [1000], [1000] * 20))
    print("| reward | scoring, 19 x 50 + 1 x 1000 (s) | fitting, 20 x 1000 (s) |\n| --- | --- | --- |")
    for label, (name, options) in REWARDS.items():
        reward = make_reward(name, options=options).fit(uneven)
        times = []
        for seed in range(4):
            episodes = Episodes.from_trajectories(walks([500], 1 + seed))
            begun = time.perf_counter()
            reward.score(episodes)
            times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        make_reward(name, options=options).fit(many)
        print(f"| {label} | {median(times[1:]):.3f} | {time.perf_counter() - begun:.2f} |")


if __name__ == "__main__":
    main()
