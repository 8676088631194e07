"""What the nearest of the expert's steps must do as a reward, with and without regard to time."""

import dataclasses

import numpy as np
import pytest
import torch
from pendulum_ladder import absorbing, distances, scores, shuffled, still
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.rewards import Episodes, nearest
from ilfo.rewards.matching import MatchingOptions
from ilfo.rewards.nearest import NearestStep, SegmentMatch, SegmentOptions

EXPERTS = rollout(), rollout(flail, seed=7), rollout(seed=4, steps=90)


def near(*experts: Trajectory, **options) -> NearestStep:
    return NearestStep(MatchingOptions(**options)).fit(demonstrations(*experts))


def segment(*experts: Trajectory, **options) -> SegmentMatch:
    return SegmentMatch(SegmentOptions(**options)).fit(demonstrations(*experts))


def costs(reward, *agents: Trajectory) -> torch.Tensor:
    return -scores(reward, *agents)


PLAIN = {"squash": "none", "scale": 1.0}


class TestNearestStep:
    @pytest.mark.parametrize("atoms", ["transitions", "states"])
    def test_a_step_costs_the_least_distance_to_any_step_of_any_demonstration(self, atoms):
        reward, agent = near(*EXPERTS, atoms=atoms, **PLAIN), rollout(flail, seed=9)
        expected = np.min([distances(reward, agent, expert).min(axis=1) for expert in EXPERTS], axis=0)
        np.testing.assert_allclose(costs(reward, agent)[0].numpy(), expected, rtol=1e-4, atol=1e-6)

    def test_a_transition_alone_is_worth_what_it_is_in_its_episode(self):
        reward, agent = near(*EXPERTS), rollout(flail, seed=9)
        assert reward.needs == "transition"
        pairs = torch.from_numpy(np.stack([agent.observations[:-1], agent.observations[1:]], axis=1))
        alone = Episodes(pairs, torch.ones(120, dtype=torch.int64), torch.zeros(120, dtype=torch.bool))
        assert torch.equal(reward.score(alone)[:, 0], scores(reward, agent)[0])

    def test_a_few_costs_at_a_time_are_the_same_costs(self, monkeypatch):
        agents = rollout(flail, seed=9), rollout(seed=5, steps=40)
        together = scores(near(*EXPERTS), *agents), scores(segment(*EXPERTS), *agents)
        monkeypatch.setattr(nearest, "BLOCK", 1000)
        assert torch.equal(scores(near(*EXPERTS), *agents), together[0])
        assert torch.equal(scores(segment(*EXPERTS), *agents), together[1])

    def test_nobody_has_to_leave_a_good_state(self):
        """Single states: any of the expert's, for ever. Pairs: only where the expert hardly moves."""
        slow, fast = still(rollout()), still(rollout(), step=20)
        assert abs(rollout().observations[0, 2]) < 0.1 < abs(rollout().observations[20, 2])
        assert scores(near(atoms="states"), fast).eq(2.0).all()
        pairs = scores(near(), slow, fast).mean(dim=1)
        assert 2.0 > pairs[0] > pairs[1]

    def test_single_states_do_not_tell_the_order_of_time(self):
        mixed = shuffled(rollout())
        assert scores(near(atoms="states"), mixed).mean() > 1.99
        assert scores(near(atoms="transitions"), mixed).mean() < 1.2

    def test_the_explanation_names_the_closest_steps_of_the_closest_demonstration(self):
        reward, agent = near(*EXPERTS, **PLAIN), rollout(flail, seed=7, steps=60)
        told = reward.explain(agent)
        assert told.demonstration == 1
        assert told.expert_steps.tolist() == list(range(60))
        assert told.costs.max() == 0.0
        other = rollout(flail, seed=9)
        found = distances(reward, other, EXPERTS[reward.explain(other).demonstration])
        np.testing.assert_array_equal(reward.explain(other).expert_steps, found.argmin(axis=1))

    def test_the_costs_explained_are_those_rewarded_to_the_nearest_step_of_any_demonstration(self):
        reward, other = near(*EXPERTS, **PLAIN), rollout(flail, seed=9)
        found = np.min([distances(reward, other, expert).min(axis=1) for expert in EXPERTS], axis=0)
        np.testing.assert_allclose(reward.explain(other).costs, found, rtol=1e-4)
        np.testing.assert_allclose(-scores(reward, other)[0], found, rtol=1e-4)
        chosen = distances(reward, other, EXPERTS[reward.explain(other).demonstration]).min(axis=1)
        assert np.any(found < chosen - 0.01), "here the demonstrations differ"

    def test_where_experts_terminate_an_end_is_worth_its_likeness_to_theirs(self):
        ends, lives = rollout(steps=50, terminated=True), rollout(seed=3)
        reward = near(ends, lives, **PLAIN)
        died = [cut(rollout(), steps, terminated=True) for steps in (50, 49, 40)]
        expected = [distances(reward, agent, ends)[-1, -1] for agent in died]
        np.testing.assert_allclose(-absorbing(reward, *died).numpy(), expected, rtol=1e-4, atol=1e-6)
        assert 0 == expected[0] < expected[1] < expected[2]
        assert absorbing(near(ends, lives), died[0])[0] == 2.0

    def test_the_absorbing_cost_can_be_given(self):
        died = cut(rollout(), 40, terminated=True)
        assert absorbing(near(absorbing_cost=9.0, squash="none"), died).tolist() == [-18.0]
        assert absorbing(near(absorbing_cost=9.0), died).tolist() == [0.0]

    def test_where_dying_may_pay_it_is_said(self):
        """An agent shows it the last step alone, which may be the best of its life."""
        last = cut(rollout(), 1, terminated=True)
        with pytest.warns(UserWarning, match=r"so that dying may pay. Give an absorbing_cost that no step exceeds"):
            absorbing(near(squash="none"), last)
        absorbing(near(squash="none", absorbing_cost=50.0), last)
        absorbing(near(), last)
        absorbing(near(squash="none"), cut(rollout(), 2, terminated=True))


class TestSegmentMatch:
    agents = rollout(flail, seed=9), rollout(seed=5, steps=37), rollout(seed=6, steps=150), rollout(flail, steps=2)

    @staticmethod
    def expected(reward: SegmentMatch, agent: Trajectory, expert: Trajectory) -> np.ndarray:
        """Step by step, from the words of the docstring."""
        every, count = distances(reward, agent, expert), min(reward.options.segments, len(expert))
        horizon = max(len(agent), len(expert))
        found = []
        for t in range(len(agent)):
            own = int(count * t / horizon)
            found.append(min(every[t, j] for j in range(len(expert)) if int(count * j / len(expert)) == own))
        return np.array(found)

    @pytest.mark.parametrize("segments", [1, 4, 10, 500])
    @pytest.mark.parametrize("agent", range(4))
    def test_a_step_costs_the_least_distance_to_the_segment_at_its_time(self, agent, segments):
        reward = segment(segments=segments, **PLAIN)
        expected = self.expected(reward, self.agents[agent], rollout())
        np.testing.assert_allclose(costs(reward, self.agents[agent])[0].numpy(), expected, rtol=1e-4, atol=1e-6)

    def test_of_several_demonstrations_it_is_that_of_lowest_total_cost(self):
        reward = segment(*EXPERTS, **PLAIN)
        for agent in (*self.agents, rollout(flail, seed=7)):
            apart = [self.expected(reward, agent, expert) for expert in EXPERTS]
            best = int(np.argmin([found.sum() for found in apart]))
            np.testing.assert_allclose(costs(reward, agent)[0].numpy(), apart[best], rtol=1e-4, atol=1e-6)
            assert reward.explain(agent).demonstration == best

    def test_a_demonstration_shorter_than_the_longest_is_followed_at_its_own_pace(self):
        assert costs(segment(*EXPERTS), EXPERTS[2])[0].eq(-2.0).all()

    def test_one_segment_is_the_nearest_step(self):
        for agent in self.agents:
            assert torch.equal(scores(segment(segments=1), agent), scores(near(), agent))

    @pytest.mark.parametrize("terminated", [False, True])
    def test_an_early_end_is_not_the_whole_demonstration_played_fast(self, terminated):
        expert = rollout()
        hurried = Trajectory(expert.observations[::4], terminated=terminated)
        begun = cut(expert, 30, terminated)
        found = costs(segment(atoms="states", **PLAIN), begun, hurried)
        assert found[0].eq(0.0).all()
        assert found[1].mean() > 0.3

    def test_what_comes_at_the_wrong_time_costs_more_than_to_the_nearest_step(self):
        late = Trajectory(np.roll(rollout().observations, 40, axis=0))
        assert costs(near(**PLAIN), late).mean() < 0.02
        assert costs(segment(**PLAIN), late).mean() > 0.3

    def test_the_explanation_stays_in_the_segment(self):
        told = segment().explain(rollout(flail, seed=9))
        np.testing.assert_array_equal(told.expert_steps // 12, np.arange(120) // 12)
        assert segment().explain(rollout()).expert_steps.tolist() == list(range(120))

    def test_an_end_sooner_than_the_experts_costs_in_proportion(self):
        expert = cut(rollout(), 50, terminated=True)
        reward = segment(expert, rollout(seed=1), absorbing_cost=50.0, **PLAIN)
        # The horizon is 120: the agent is dead for 95 steps, and for 25 of them the expert is alive.
        assert absorbing(reward, cut(rollout(), 25, terminated=True)).tolist() == pytest.approx([-50.0 * 25 / 95])

    def test_no_segment_is_refused(self):
        with pytest.raises(InputError, match="segments is 0"):
            SegmentOptions(segments=0)

    def test_a_state_brings_its_segments(self):
        reward, other = segment(segments=3), SegmentMatch()
        other.load_state_dict(reward.state_dict())
        assert other.options == dataclasses.replace(SegmentOptions(), segments=3)
        assert torch.equal(scores(other, *self.agents), scores(reward, *self.agents))
