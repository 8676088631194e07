"""The reward of OOPS (arXiv 2310.01632), against its equations written down once more with NumPy and POT."""

import dataclasses
from typing import Any

import numpy as np
import ot
import pytest
import torch
from scipy.spatial.distance import cdist

from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import Episodes, FeatureOptions, OptimalTransport, StateFeatures, TransportOptions
from ilfo.training.flags import parse_train

PRESET: Any = parse_train(["--preset", "oops", "--env", "any", "--demo", "any"])[0]
"""Nothing in it depends on the environment."""

FEATURES: FeatureOptions = PRESET.features
OPTIONS: TransportOptions = PRESET.transport


def written_down(agent: np.ndarray, expert: np.ndarray, experts: list[np.ndarray]) -> np.ndarray:
    """Rewards ``(T,)`` of an episode matched with one of the demonstrations, all of ``T + 1`` states, in float64."""
    agent, expert = agent.astype(np.float64), expert.astype(np.float64)
    counted = np.concatenate([states[:-2] for states in experts]).astype(np.float64)
    mean, std = counted.mean(axis=0), counted.std(axis=0, ddof=1)
    std[np.isclose(std, 0.0)] = 1.0
    std = std.clip(min=0.33)
    z_agent, z_expert = ((states - mean) / (3 * std + 1e-8) for states in (agent, expert))
    y = np.concatenate([z_agent[:-1], z_agent[1:]], axis=1)
    x = np.concatenate([z_expert[:-1], z_expert[1:]], axis=1)
    M = np.sqrt(cdist(x, y))
    steps = len(y)
    mass = np.full(steps, 1 / steps)
    P = ot.bregman.sinkhorn_log(mass, mass, M, 0.05, numItermax=20_000, stopThr=1e-9, warn=False)
    return -(P * M).sum(axis=0) * 5 * steps / np.sqrt(agent.shape[1])


def smooth(width: int, steps: int, seed: int) -> np.ndarray:
    """States ``(steps + 1, width)`` that swing widely, less than the floor or, in one dimension, not at all."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0.0, 1.0, steps + 1)[:, None]
    speed, phase = rng.uniform(5.0, 40.0, (2, width)), rng.uniform(0.0, 6.3, (2, width))
    states = np.sin(speed[0] * time + phase[0]) + 0.5 * np.sin(speed[1] * time + phase[1])
    states = states * np.geomspace(0.05, 8.0, width) + np.linspace(-2.0, 2.0, width)
    states[:, width // 2] = 1.25
    return states.astype(np.float32)


def near(states: np.ndarray, size: float, seed: int = 0) -> np.ndarray:
    """A late copy of an episode that wobbles, in the dimension that the expert holds constant too."""
    wobble = smooth(states.shape[1], len(states) - 1, seed) - np.linspace(-2.0, 2.0, states.shape[1])
    wobble[:, states.shape[1] // 2] = np.sin(np.linspace(0.0, 20.0, len(states)))
    return (np.roll(states, 30, axis=0) + size * wobble).astype(np.float32)


def fitted(*experts: np.ndarray, **options) -> OptimalTransport:
    reward = OptimalTransport(dataclasses.replace(OPTIONS, **options), StateFeatures(FEATURES))
    return reward.fit(Demonstrations(tuple(Trajectory(states) for states in experts)))


def batch(*agents: np.ndarray, dtype: torch.dtype = torch.float32) -> Episodes:
    episodes = Episodes.from_trajectories([Trajectory(states) for states in agents])
    return dataclasses.replace(episodes, observations=episodes.observations.to(dtype))


@pytest.mark.parametrize(("width", "steps"), [(3, 150), (11, 130), (17, 100)])
def test_rewards_are_those_of_the_equations(width, steps):
    expert = smooth(width, steps, seed=0)
    agents = [smooth(width, steps, seed=1), near(expert, 1.0), near(expert, 0.2), np.repeat(expert[:1], steps + 1, 0)]
    expected = np.stack([written_down(agent, expert, [expert]) for agent in agents])
    assert expected.max() < 0.0
    assert np.ptp(expected) > 1.0
    for dtype in (torch.float32, torch.float64):
        found = fitted(expert).score(batch(*agents, dtype=dtype)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_further_iterations_come_closer_to_the_equations():
    """What is left of 1e-4 is the tolerance, and not single precision."""
    expert = smooth(11, 130, seed=0)
    agents = [smooth(11, 130, seed=1), near(expert, 0.5)]
    expected = np.stack([written_down(agent, expert, [expert]) for agent in agents])
    single, double = (
        np.abs(fitted(expert, tolerance=tolerance).score(batch(*agents, dtype=dtype)).numpy() - expected).max()
        for dtype, tolerance in ((torch.float32, 3e-6), (torch.float64, 1e-9))
    )
    assert single < 2e-5
    assert double < 2e-6


def test_each_episode_is_matched_with_one_demonstration_that_is_drawn():
    experts = [smooth(6, 60, seed) for seed in (0, 1, 2)]
    agents = [smooth(6, 60, seed=7), near(experts[1], 0.5)] * 6
    expected = np.stack([[written_down(agent, expert, experts) for agent in agents[:2]] * 6 for expert in experts])
    found = fitted(*experts).score(batch(*agents)).numpy()
    gaps = np.abs(expected - found).max(axis=2)
    assert gaps.min(axis=0).max() < 1e-4
    assert set(gaps.argmin(axis=0)) == {0, 1, 2}


@pytest.mark.parametrize("change", [{"std_floor": 0.02}, {"divisor": 1.0}, {"constant_std": None}, {"leave_out": 0}])
def test_every_constant_of_the_features_counts(change):
    expert = smooth(5, 40, seed=0)
    agent = near(expert, 1.0)
    other = OptimalTransport(OPTIONS, StateFeatures(dataclasses.replace(FEATURES, **change)))
    other.fit(Demonstrations((Trajectory(expert),)))
    expected = written_down(agent, expert, [expert])
    np.testing.assert_allclose(fitted(expert).score(batch(agent))[0].numpy(), expected, atol=1e-4, rtol=0)
    assert np.abs(other.score(batch(agent))[0].numpy() - expected).max() > 5e-3


def test_an_episode_of_a_thousand_steps_is_rewarded_by_the_equations():
    expert, agent = smooth(11, 1000, seed=0), smooth(11, 1000, seed=1)
    found = fitted(expert).score(batch(agent))[0].numpy()
    np.testing.assert_allclose(found, written_down(agent, expert, [expert]), atol=1e-4, rtol=0)
