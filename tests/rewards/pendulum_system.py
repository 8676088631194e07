"""A small deterministic system with an expert: a pendulum that a controller keeps on one swing."""

from collections.abc import Callable

import numpy as np

from ilfo.demos import Demonstrations, Provenance, Trajectory

STEP = 0.05
ENERGY = 0.5


def swing(angle: float, speed: float, rng: np.random.Generator) -> float:
    """The expert's torque: pumps the energy up to a set value, and leaves the pendulum to itself there."""
    energy = 0.5 * speed**2 - np.cos(angle)
    return float(np.clip(2.0 * (ENERGY - energy) * speed, -1.0, 1.0))


def flail(angle: float, speed: float, rng: np.random.Generator) -> float:
    """A random torque."""
    return float(rng.uniform(-1.0, 1.0))


def rollout(
    policy: Callable[[float, float, np.random.Generator], float] = swing,
    steps: int = 120,
    seed: int = 0,
    terminated: bool = False,
) -> Trajectory:
    """One episode; a state is the cosine and the sine of the angle, and the speed."""
    rng = np.random.default_rng(seed)
    angle, speed = 0.8 + 0.1 * rng.normal(), 0.1 * rng.normal()
    states = [[np.cos(angle), np.sin(angle), speed]]
    for _ in range(steps):
        speed += STEP * (policy(angle, speed, rng) - np.sin(angle)) + 0.002 * rng.normal()
        angle += STEP * speed
        states.append([np.cos(angle), np.sin(angle), speed])
    return Trajectory(np.array(states, np.float32), terminated=terminated, truncated=not terminated)


def demonstrations(*trajectories: Trajectory) -> Demonstrations:
    """Demonstrations of the pendulum; by default the one that seed 0 records."""
    keys = {"angle": 2, "speed": 1}
    return Demonstrations(trajectories or (rollout(),), Provenance(observation_keys=keys))


def cut(trajectory: Trajectory, steps: int, terminated: bool) -> Trajectory:
    """The first steps of a trajectory."""
    return Trajectory(trajectory.observations[: steps + 1], terminated=terminated, truncated=not terminated)
