"""What a greedy coupling must do as a reward."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from pendulum_ladder import absorbing, distances, scores, shuffled
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo.demos import Trajectory
from ilfo.rewards import Episodes
from ilfo.rewards.pwil import PWIL, PWILOptions, greedy_coupling

EXPERTS = rollout(steps=60), rollout(flail, seed=7, steps=25), rollout(seed=4, steps=40)


def fitted(*experts: Trajectory, **options) -> PWIL:
    return PWIL(PWILOptions(**options)).fit(demonstrations(*experts))


def paper(reward: PWIL, agent: Trajectory, experts: tuple[Trajectory, ...]) -> list[float]:
    """Algorithm 1 of the paper, step by step, with masses as fractions: alpha = beta = 5, on root mean squares."""
    horizon = max(len(expert) for expert in experts)
    every = np.concatenate([distances(reward, agent, expert) for expert in experts], axis=1)
    pool = {index: Fraction(1, every.shape[1]) for index in range(every.shape[1])}
    rewards = []
    for line in every:
        weight, cost = Fraction(1, horizon), 0.0
        while weight > 0 and pool:
            closest = min(pool, key=lambda index: line[index])
            moved = min(weight, pool[closest])
            cost += float(moved) * line[closest]
            weight -= moved
            pool[closest] -= moved
            if pool[closest] == 0:
                del pool[closest]
        rewards.append(5.0 * np.exp(-5.0 * horizon * cost) if weight == 0 else 0.0)
    return rewards


@pytest.mark.parametrize("experts", [EXPERTS[:1], EXPERTS[1:2], EXPERTS], ids=["one", "short", "three"])
@pytest.mark.parametrize(
    "agent",
    [rollout(flail, seed=9, steps=60), rollout(seed=5, steps=30), rollout(seed=6, steps=80), rollout(flail, steps=1)],
    ids=["random", "short", "long", "single"],
)
@pytest.mark.parametrize("atoms", ["states", "transitions"])
def test_it_is_the_algorithm_of_the_paper(agent, experts, atoms):
    reward = fitted(*experts, atoms=atoms)
    # Double precision on both sides, so that rounding does not decide which of two steps is nearer.
    single = Episodes.from_trajectories([agent])
    double = dataclasses.replace(single, observations=single.observations.double())
    found = reward._couple(reward.episode_atoms(double), 0)[0]
    np.testing.assert_allclose(5.0 * np.exp(-5.0 * found), paper(reward, agent, experts), rtol=1e-4, atol=1e-6)


def test_after_the_demonstrations_length_there_is_nothing_left():
    rewards = scores(fitted(*EXPERTS), rollout(flail, steps=90))[0]
    assert (rewards[:60] > 0).all()
    assert rewards[60:].eq(0).all()
    dear = scores(fitted(*EXPERTS, squash="none", absorbing_cost=30.0), rollout(flail, steps=90))[0]
    assert dear[60:].eq(-150.0).all()
    assert (dear[:60] > -150.0).all()


def test_a_step_knows_nothing_of_those_that_follow():
    reward, agent = fitted(*EXPERTS), rollout(flail, seed=9, steps=60)
    whole = scores(reward, agent)[0]
    for steps in (1, 20, 59):
        torch.testing.assert_close(scores(reward, cut(agent, steps, False))[0], whole[:steps])


def test_single_states_do_not_tell_the_order_of_time():
    """The first state is the only one of the demonstration that no step leads to."""
    expert = rollout()
    backwards = Trajectory(np.concatenate([expert.observations[:1], expert.observations[:0:-1]]))
    assert scores(fitted(), backwards).eq(5.0).all()
    assert scores(fitted(atoms="transitions"), shuffled(expert)).mean() < 1.0


def test_following_one_of_several_demonstrations_is_not_being_like_all():
    mine, theirs = rollout(), rollout(flail, seed=7)
    assert scores(fitted(mine), mine).eq(5.0).all()
    assert scores(fitted(mine, mine), mine).eq(5.0).all()
    assert scores(fitted(mine, theirs), mine).mean() < 4.0


def test_staying_in_one_good_state_uses_it_up():
    frozen = Trajectory(np.repeat(rollout().observations[20:21], 121, axis=0))
    rewards = scores(fitted(), frozen)[0]
    assert rewards[0] == 5.0
    assert (rewards.diff() <= 1e-6).all()
    assert rewards[-1] < 0.05


def test_the_explanation_is_the_plan_that_was_rewarded():
    reward, agent = fitted(EXPERTS[0], squash="none", scale=1.0), rollout(flail, seed=9, steps=60)
    told = reward.explain(agent)
    assert told.demonstration == 0
    np.testing.assert_allclose(told.plan, np.eye(60)[told.expert_steps])
    np.testing.assert_allclose(told.plan.sum(axis=0), 1.0)
    np.testing.assert_allclose(told.costs, -scores(reward, agent)[0].numpy(), rtol=1e-6)
    np.testing.assert_allclose((told.plan * distances(reward, agent, EXPERTS[0])).sum(axis=1), told.costs, rtol=1e-4)


def test_the_explanation_of_several_demonstrations_shows_the_one_of_which_most_was_taken():
    reward = fitted(*EXPERTS)
    told = reward.explain(EXPERTS[1])
    assert told.demonstration == 1
    assert told.plan.shape == (25, 25)
    assert (told.plan.sum(axis=1) <= 1.0 + 1e-6).all()
    longer = fitted(*EXPERTS[:2], squash="none").explain(rollout(flail, seed=7, steps=70))
    assert longer.plan[60:].sum() == 0
    assert np.isfinite(longer.costs).all()
    assert (longer.costs[60:] == longer.costs[60]).all()


def test_the_dead_share_the_time_in_which_experts_are_dead_too():
    first, second = cut(rollout(), 50, terminated=True), rollout(seed=1)
    reward = fitted(first, second, squash="none", scale=1.0, absorbing_cost=50.0)
    # The horizon is 120. Dead for 95 steps: for 25 of them the first expert is alive, and the second for all.
    died = absorbing(reward, cut(rollout(), 25, terminated=True))
    assert died.tolist() == pytest.approx([-50.0 * (25 / 95 + 1) / 2])


class TestGreedyCoupling:
    @pytest.mark.parametrize(("rows", "columns", "wanted", "held"), [(7, 5, 5, 7), (5, 9, 9, 5), (4, 4, 1, 1)])
    def test_whole_masses_are_used_up(self, rows, columns, wanted, held):
        costs = np.random.default_rng(0).random((rows, columns))
        means, row, column, units = greedy_coupling(costs, wanted, held)
        assert np.bincount(row, units).tolist() == [wanted] * rows
        assert np.bincount(column, units).tolist() == [held] * columns
        assert means.sum() * wanted == pytest.approx((costs[row, column] * units).sum())

    def test_the_nearest_is_taken_first_and_the_first_of_equals(self):
        costs = np.array([[3.0, 1.0, 1.0], [0.0, 0.5, 9.0], [1.0, 1.0, 1.0]])
        means, row, column, units = greedy_coupling(costs, 3, 2)
        assert list(zip(row.tolist(), column.tolist(), units.tolist(), strict=True)) == [
            (0, 1, 2),
            (0, 2, 1),
            (1, 0, 2),
            (1, 2, 1),
        ]
        assert means.tolist() == [1.0, 3.0, np.inf]
