"""Trajectories of the pendulum that are worse than the expert's, and what rewards say of them."""

import numpy as np
import torch

from ilfo.demos import Trajectory
from ilfo.rewards import Episodes, RewardGenerator


def shuffled(trajectory: Trajectory) -> Trajectory:
    """The same states in a random order."""
    order = np.random.default_rng(0).permutation(len(trajectory.observations))
    return Trajectory(trajectory.observations[order])


def still(trajectory: Trajectory, step: int = 0) -> Trajectory:
    """As long, and never leaves one of its states."""
    return Trajectory(np.repeat(trajectory.observations[step : step + 1], len(trajectory.observations), axis=0))


def scores(reward: RewardGenerator, *trajectories: Trajectory) -> torch.Tensor:
    return reward.score(Episodes.from_trajectories(trajectories))


def absorbing(reward: RewardGenerator, *trajectories: Trajectory) -> torch.Tensor:
    return reward.absorbing_reward(Episodes.from_trajectories(trajectories))


def atoms(reward: RewardGenerator, trajectory: Trajectory) -> np.ndarray:
    """Features ``(T, F)`` of what is compared, in float64."""
    z = reward.features(torch.from_numpy(trajectory.observations).double()).numpy()
    return z[1:] if reward.options.atoms == "states" else np.concatenate([z[:-1], z[1:]], axis=1)


def distances(reward: RewardGenerator, x: Trajectory, y: Trajectory) -> np.ndarray:
    """Root mean square differences ``(T, M)`` between atoms, in float64."""
    gap = atoms(reward, x)[:, None] - atoms(reward, y)[None]
    return np.sqrt((gap**2).mean(axis=-1))
