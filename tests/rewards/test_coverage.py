"""What ordered coverage must do as a reward."""

import itertools

import numpy as np
import pytest
import torch
from pendulum_ladder import absorbing, distances, scores, shuffled
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.rewards import coverage
from ilfo.rewards.coverage import CoverageOptions, OrderedCoverage

PLAIN = {"squash": "none", "scale": 1.0}


def fitted(*experts: Trajectory, **options) -> OrderedCoverage:
    return OrderedCoverage(CoverageOptions(**options)).fit(demonstrations(*experts))


def goals(length: int, subgoals: int) -> list[int]:
    """Last steps of so many parts of equal length."""
    count = min(subgoals or length, length)
    return [int(np.ceil((index + 1) * length / count)) - 1 for index in range(count)]


def orca(distance: np.ndarray, tau: float) -> np.ndarray:
    """The recursion of the paper, entry by entry, on probabilities of distances ``(T, K)``."""
    chance = np.exp(-distance / tau)
    covered = np.zeros_like(chance)
    for i, j in np.ndindex(chance.shape):
        before = covered[i, j - 1] if j else 1.0
        covered[i, j] = max(covered[i - 1, j] if i else 0.0, before * chance[i, j])
    if chance.shape[1] > 1:
        covered[:, -1] = covered[:, -2] * chance[:, -1]
    else:
        covered = chance
    return covered[:, -1]


@pytest.mark.parametrize("subgoals", [0, 1, 2, 7, 500])
@pytest.mark.parametrize("agent", [rollout(flail, steps=30), rollout(seed=5), rollout(seed=6, steps=150)])
def test_it_is_the_recursion_of_the_paper(agent, subgoals):
    reward = fitted(subgoals=subgoals, scale=1.0, temperature=0.5)
    chosen = goals(120, subgoals)
    expected = orca(distances(reward, agent, rollout())[:, chosen], tau=0.5 * len(chosen))
    np.testing.assert_allclose(scores(reward, agent)[0].numpy(), expected, rtol=1e-4)


def test_no_times_in_order_cover_at_a_lower_cost():
    expert, agent = rollout(steps=4), rollout(flail, steps=5)
    reward = fitted(expert, **PLAIN)
    every = distances(reward, agent, expert)
    cheapest = min(
        np.mean([every[time, goal] for goal, time in enumerate((*times, 4))])
        for times in itertools.combinations_with_replacement(range(5), 3)
    )
    assert -float(scores(reward, agent)[0, -1]) == pytest.approx(cheapest, rel=1e-4)


def test_it_grows_along_the_demonstration_and_not_while_the_agent_waits():
    expert = rollout().observations
    rewards = scores(fitted(), rollout())[0]
    assert rewards[-1] == 2.0
    assert rewards[0] < 0.1 < rewards[90] < 1.9
    waits = Trajectory(np.concatenate([expert[:61], np.repeat(expert[60:61], 60, axis=0)]))
    waited = scores(fitted(), waits)[0]
    assert waited[59] > 5 * waited[0]
    assert waited[70:].max() < 1.05 * waited[62:70].max() < 0.5 * rewards[-1]


def test_pace_does_not_count():
    expert = rollout().observations
    fast, slow = Trajectory(expert[::2]), Trajectory(np.repeat(expert, 2, axis=0)[:-1])
    reward = fitted(atoms="states", **PLAIN)
    assert scores(reward, fast)[0, -1] > -0.05
    assert scores(reward, slow)[0, -1] == 0.0


def test_order_counts():
    expert = rollout()
    backwards, mixed = Trajectory(expert.observations[::-1].copy()), shuffled(expert)
    in_order, back, mix = scores(fitted(), expert, backwards, mixed)[:, -1]
    assert in_order == 2.0
    assert mix < 1.0
    assert back < 0.5


def test_the_coldest_tells_a_leaping_episode_from_the_expert_and_the_warmest_does_not():
    """It comes across late subgoals early; without the exponential, and at high temperatures, this is worth more."""
    expert = rollout()
    for options, ahead in (({}, True), ({"temperature": 1.0}, False), ({"squash": "none"}, False)):
        mine, leaping = scores(fitted(**options), expert, shuffled(expert)).mean(dim=1)
        assert (mine > leaping) == ahead


def test_the_last_subgoal_has_to_be_held():
    expert = rollout().observations
    leaves = Trajectory(np.concatenate([expert, expert[:1]]))
    held, left = scores(fitted(), rollout(), leaves)[[0, 1], [119, 120]]
    assert left < held


def test_of_several_demonstrations_it_is_the_one_that_is_covered_best_at_the_end():
    experts = rollout(), rollout(flail, seed=7), rollout(seed=4, steps=90)
    reward = fitted(*experts, **PLAIN)
    for agent, best in ((experts[0], 0), (rollout(flail, seed=7, steps=100), 1), (experts[2], 2)):
        every = [np.log(orca(distances(reward, agent, expert), len(expert))) for expert in experts]
        assert int(np.argmax([found[-1] for found in every])) == best
        np.testing.assert_allclose(scores(reward, agent)[0].numpy(), every[best], rtol=1e-3, atol=1e-5)
        assert reward.explain(agent).demonstration == best


def test_a_few_costs_at_a_time_are_the_same_costs(monkeypatch):
    agents = rollout(flail, seed=9), rollout(seed=5, steps=40), rollout(seed=6)
    together = scores(fitted(), *agents)
    monkeypatch.setattr(coverage, "BLOCK", 1000)
    assert torch.equal(scores(fitted(), *agents), together)


class TestExplanation:
    def test_the_expert_goes_from_subgoal_to_subgoal(self):
        assert fitted().explain(rollout()).expert_steps.tolist() == list(range(120))
        steps = fitted(subgoals=4, atoms="states").explain(rollout()).expert_steps
        assert set(steps.tolist()) == {29, 59, 89, 119}
        assert steps[[29, 58, 59, 89, 119]].tolist() == [29, 29, 59, 89, 119]

    def test_the_times_that_it_shows_cost_what_was_rewarded(self):
        agent, reward = rollout(flail, seed=9), fitted(**PLAIN)
        told = reward.explain(agent)
        np.testing.assert_allclose(told.costs, -scores(reward, agent)[0].numpy())
        assert (np.diff(told.expert_steps) >= 0).all()
        assert told.expert_steps[-1] == 119
        times = np.searchsorted(told.expert_steps, np.arange(120))
        every = distances(reward, agent, rollout())
        assert np.mean(every[times, np.arange(120)]) == pytest.approx(told.costs[-1], rel=1e-4)

    def test_a_single_subgoal(self):
        assert fitted(subgoals=1).explain(rollout(seed=5)).expert_steps.tolist() == [119] * 120


def test_an_end_like_the_experts_keeps_what_was_covered():
    expert = cut(rollout(), 50, terminated=True)
    reward = fitted(expert)
    agent = rollout(seed=5, steps=50, terminated=True)
    assert absorbing(reward, agent)[0] == scores(reward, agent)[0, -1] > 1.0
    assert absorbing(reward, cut(agent, 25, terminated=True))[0] == 0.0


def test_a_negative_number_of_subgoals_is_refused():
    with pytest.raises(InputError, match="subgoals is -1"):
        CoverageOptions(subgoals=-1)
