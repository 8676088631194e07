"""What plug-ins are tried on: demonstrations of a small smooth system, and episodes like and unlike them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ilfo import demos
from ilfo.demos import Demonstrations, Provenance, Trajectory

__all__ = ["PROBE_STEPS", "cut", "random_walk", "shuffled", "small_demonstrations", "still"]

PROBE_STEPS = 100
"""Most steps of an episode that is scored again and again: enough to tell, and quick."""


def small_demonstrations() -> Demonstrations:
    """Two trajectories, of 60 and of 45 steps, of a point on a circle: cosine, sine, speed, and a constant."""
    trajectories = tuple(_round_trip(start, steps) for start, steps in ((0.0, 60), (0.7, 45)))
    return Demonstrations(trajectories, Provenance(observation_keys={"place": 2, "speed": 1, "goal": 1}))


def _round_trip(start: float, steps: int) -> Trajectory:
    times = np.arange(steps + 1)
    speed = 0.1 + 0.02 * np.sin(start + 0.25 * times)
    angle = start + np.cumsum(speed)
    observations = np.stack([np.cos(angle), np.sin(angle), speed, np.ones(steps + 1)], axis=1)
    return _with_env_rewards(Trajectory(observations.astype(np.float32)))


def cut(trajectory: Trajectory, steps: int, terminated: bool = False) -> Trajectory:
    """Its first steps, as an episode of their own."""
    kept = None if trajectory.env_rewards is None else trajectory.env_rewards[:steps]
    return _with_env_rewards(
        Trajectory(
            trajectory.observations[: steps + 1], env_rewards=kept, terminated=terminated, truncated=not terminated
        )
    )


def shuffled(trajectory: Trajectory) -> Trajectory:
    """Its states in a random order."""
    return _with_env_rewards(demos.shuffled(trajectory))


def still(trajectory: Trajectory) -> Trajectory:
    """Its first state, repeated for as many steps."""
    return _with_env_rewards(Trajectory(np.repeat(trajectory.observations[:1], len(trajectory) + 1, axis=0)))


def random_walk(trajectory: Trajectory) -> Trajectory:
    """From its first state, steps in random directions that are as large as its own."""
    steps = np.diff(trajectory.observations, axis=0)
    drawn = np.random.default_rng(1).normal(size=steps.shape) * np.sqrt(np.mean(steps**2, axis=0))
    walked = np.concatenate([trajectory.observations[:1], trajectory.observations[0] + np.cumsum(drawn, axis=0)])
    return _with_env_rewards(Trajectory(walked.astype(np.float32)))


def _with_env_rewards(trajectory: Trajectory) -> Trajectory:
    """Rewards of an environment where none were recorded, for a generator that passes them on."""
    if trajectory.env_rewards is not None:
        return trajectory
    drawn = np.random.default_rng(len(trajectory)).normal(size=len(trajectory))
    return replace(trajectory, env_rewards=drawn.astype(np.float32))
