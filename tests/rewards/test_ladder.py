"""Does a reward recover the true one? How each ranks episodes of an expert in the making, none of which it saw."""

import numpy as np
import pytest
from pendulum_ladder import scores, shuffled, still
from pendulum_system import ENERGY, demonstrations, flail, rollout, swing
from scipy.stats import spearmanr

from ilfo.rewards import BUILT_IN, Episodes, make_reward


def in_the_making(share):
    """Does what the expert would, but for a share of the steps, whose torque is random."""

    def act(angle, speed, rng):
        return flail(angle, speed, rng) if rng.random() < share else swing(angle, speed, rng)

    return act


def true_return(episode):
    """How near the swing's energy is to the expert's, on average."""
    cosine, _, speed = episode.observations[1:].T
    return -float(np.abs(speed**2 / 2 - cosine - ENERGY).mean())


@pytest.fixture(scope="module")
def ladder():
    """From random torques by stages of training to the expert, two episodes each; and one that stands still."""
    stages = [rollout(in_the_making(share), seed=seed) for share in (1, 0.8, 0.6, 0.4, 0.2, 0) for seed in (10, 11)]
    return [still(rollout(seed=3)), *stages]


@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - {"environment"}))
def test_what_is_worth_more_earns_more(name, ladder):
    reward = make_reward(name).fit(demonstrations())
    if not reward.stationary:
        for seed in range(100, 110):
            reward.observe(Episodes.from_trajectories([rollout(flail, seed=seed)]))
    earned = scores(reward, *ladder, shuffled(rollout())).mean(dim=1).numpy()
    assert spearmanr(earned[:-1], [true_return(episode) for episode in ladder]).statistic > 0.88
    if name != "pwil":  # It couples single states, as it was published, which a shuffled expert has all of.
        assert earned[-1] < earned[-3:-1].min()
