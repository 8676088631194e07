"""What a plan that is bound to time must do as a reward."""

import numpy as np
import ot
import pytest
import torch
from pendulum_ladder import distances, scores
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.rewards import Episodes, OptimalTransport, TransportOptions
from ilfo.rewards.temporal import TemporalOptions, TemporalTransport

PLAIN = {"squash": "none", "scale": 1.0}


def fitted(*experts: Trajectory, **options) -> TemporalTransport:
    return TemporalTransport(TemporalOptions(**options)).fit(demonstrations(*experts))


def problem(reward: TemporalTransport, agent: Trajectory) -> tuple[torch.Tensor, ...]:
    """Costs ``(T+1, M+1)`` and masses of the first demonstration."""
    pairs = reward._pairs(reward.episode_atoms(Episodes.from_trajectories([agent])))
    return pairs.costs(slice(0, 1), slice(None))[0], *(mass[0] for mass in pairs.masses())


def in_context(costs: np.ndarray, context: int) -> np.ndarray:
    """Entry by entry, from the words of the docstring."""
    found = np.zeros_like(costs)
    for i, j in np.ndindex(costs.shape):
        count = min(context, costs.shape[0] - i, costs.shape[1] - j)
        found[i, j] = np.mean([costs[i + k, j + k] for k in range(count)])
    return found


@pytest.mark.parametrize("context", [1, 3, 200])
def test_a_cost_is_the_mean_over_what_follows_in_step(context):
    agent = rollout(flail, steps=60)
    reward = fitted(context=context, band=200)
    expected = in_context(distances(reward, agent, rollout()), context)
    np.testing.assert_allclose(problem(reward, agent)[0][:-1, :-1].numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("context", [1, 3, 200])
def test_the_context_of_padded_sequences_ends_where_they_do(context):
    agents, experts = [rollout(flail, steps=60), rollout(seed=2, steps=150)], (rollout(), rollout(seed=3, steps=80))
    reward = fitted(*experts, context=context, band=500)
    pairs = reward._pairs(reward.episode_atoms(Episodes.from_trajectories(agents)))
    costs = pairs.costs(slice(2, 3), slice(None))[0, :60, :80]
    expected = in_context(distances(reward, agents[0], experts[1]), context)
    np.testing.assert_allclose(costs.numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rows", [slice(0, 7), slice(7, 8), slice(50, 61), slice(59, 60), slice(60, 61)])
def test_some_rows_are_part_of_all_rows(rows):
    reward = fitted(context=4)
    pairs = reward._pairs(reward.episode_atoms(Episodes.from_trajectories([rollout(flail, steps=60)])))
    whole = pairs.costs(slice(0, 1), slice(None))
    torch.testing.assert_close(pairs.costs(slice(0, 1), rows), whole[:, rows])


class TestBand:
    @pytest.mark.parametrize("band", [1, 10])
    def test_between_equal_lengths_it_is_so_many_steps_wide(self, band):
        costs = problem(fitted(band=band), rollout(flail))[0][:-1, :-1]
        i, j = torch.meshgrid(torch.arange(120), torch.arange(120), indexing="ij")
        assert torch.equal(costs.isfinite(), (i - j).abs() <= band)

    def test_between_other_lengths_it_follows_relative_time(self):
        costs = problem(fitted(band=10), rollout(flail, steps=60))[0][:-1, :-1]
        i, j = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(120) + 0.5, indexing="ij")
        apart = (i / 60 - j / 120).abs() * 120
        assert costs.isfinite()[apart <= 10].all()
        assert costs.isinf()[apart > 10.6].all()

    def test_an_early_death_is_timed_by_the_horizon(self):
        costs = problem(fitted(band=2), cut(rollout(), 30, terminated=True))[0]
        i, j = torch.meshgrid(torch.arange(30), torch.arange(120), indexing="ij")
        assert torch.equal(costs[:-1, :-1].isfinite(), (i - j).abs() <= 2)
        assert costs[-1].isfinite().all()
        assert costs[:, -1].isfinite().all()

    @pytest.mark.parametrize("terminated", [False, True])
    @pytest.mark.parametrize("expert_terminated", [False, True])
    @pytest.mark.parametrize("steps", [1, 2, 7, 40, 119, 120, 121, 173])
    def test_a_plan_always_fits(self, steps, terminated, expert_terminated):
        experts = rollout(steps=70, terminated=expert_terminated), rollout()
        rewards = scores(fitted(*experts, band=1), rollout(flail, steps=steps, terminated=terminated))
        assert rewards.isfinite().all()
        assert (rewards >= 0).all()

    @pytest.mark.parametrize("terminated", [False, True])
    @pytest.mark.parametrize("steps", [30, 60, 120])
    def test_the_plan_is_the_cheapest_with_nothing_outside(self, steps, terminated):
        reward, agent = fitted(band=4, **PLAIN), rollout(flail, steps=steps, terminated=terminated)
        costs, a, b = (tensor.double().numpy() for tensor in problem(reward, agent))
        rows, columns = np.flatnonzero(a), np.flatnonzero(b)
        outside = np.isinf(costs)
        finite = np.where(outside, 0.0, costs)
        dear = np.where(outside, 1e4, costs)[np.ix_(rows, columns)]
        plan = np.zeros_like(costs)
        plan[np.ix_(rows, columns)] = ot.emd(a[rows] / a.sum(), b[columns] / b.sum(), dear)
        assert plan[outside].sum() == 0
        assert plan.sum() == pytest.approx(1.0)
        # Of plans that cost the same, the solver may find any.
        ours = reward._match(reward._pairs(reward.episode_atoms(Episodes.from_trajectories([agent]))))[1]
        assert float(ours[0]) == pytest.approx((plan * finite).sum(), rel=1e-5)

    def test_as_wide_as_the_episode_it_is_optimal_transport(self):
        agent = rollout(flail)
        free = OptimalTransport(TransportOptions(**PLAIN)).fit(demonstrations())
        bound = fitted(band=120, context=1, atoms="transitions", **PLAIN)
        assert torch.equal(scores(bound, agent), scores(free, agent))

    def test_the_wider_the_cheaper(self):
        agent = rollout(flail)
        total = [float(scores(fitted(band=band, **PLAIN), agent).sum()) for band in (1, 3, 10, 30, 120)]
        assert total == sorted(total)
        assert total[0] < total[-1] - 1.0

    def test_the_right_steps_at_the_wrong_time_are_no_match(self):
        late = Trajectory(np.roll(rollout().observations, 40, axis=0))
        free = OptimalTransport(TransportOptions(**PLAIN)).fit(demonstrations())
        assert scores(free, late).mean() > -0.02
        assert scores(fitted(**PLAIN), late).mean() < -0.5

    def test_an_episode_that_is_a_little_late_is_matched_within_the_band(self):
        expert = rollout(steps=120)
        waits = Trajectory(np.concatenate([np.repeat(expert.observations[:1], 5, axis=0), expert.observations[:-5]]))
        close, tight = scores(fitted(band=10), waits).mean(), scores(fitted(band=1), waits).mean()
        assert close > 1.5
        assert tight < close - 0.1


def test_the_context_tells_the_order_of_time_where_single_states_do_not():
    """Three states that the expert visits in turn, and an episode that goes the other way round."""
    expert = Trajectory(np.tile(np.array([[0.0], [1.0], [2.0]], np.float32), (20, 1)))
    other = Trajectory(expert.observations[::-1].copy())
    alone, together = (
        scores(TemporalTransport(TemporalOptions(context=context)).fit(demonstrations(expert)), other).mean()
        for context in (1, 3)
    )
    assert alone > 1.9
    assert together < 1.0


def test_the_entropic_plan_stays_in_the_band_and_nears_the_exact_one():
    agent = rollout(seed=5)
    exact = scores(fitted(**PLAIN), agent).mean()
    gaps = []
    for regularization in (0.2, 0.05, 0.01):
        reward = fitted(plan="entropic", regularization=regularization, max_iterations=20_000, **PLAIN)
        gaps.append(float((scores(reward, agent).mean() - exact).abs()))
        plan = reward.explain(agent).plan
        i, j = np.indices(plan.shape)
        assert plan[np.abs(i - j) > 10].max() == 0
        np.testing.assert_allclose(plan.sum(axis=1), 1.0, rtol=1e-4)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 5e-3


def test_the_explanation_is_the_plan_that_was_rewarded():
    reward, agent = fitted(**PLAIN), rollout(flail)
    told = reward.explain(agent)
    i, j = np.nonzero(told.plan)
    assert np.abs(i - j).max() <= 10
    np.testing.assert_allclose(told.plan.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(told.costs, -scores(reward, agent)[0].numpy(), rtol=1e-6)
    assert fitted().explain(rollout()).expert_steps.tolist() == list(range(120))


@pytest.mark.parametrize("name", ["context", "band"])
def test_impossible_options_are_refused(name):
    with pytest.raises(InputError, match=f"{name} is 0"):
        TemporalOptions(**{name: 0})
