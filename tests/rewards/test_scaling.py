"""The size of rewards, whatever a generator gives."""

import copy
import dataclasses
import io

import numpy as np
import pytest
import torch
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import shuffled
from ilfo.rewards import (
    Discriminator,
    EnvironmentReward,
    Episodes,
    OptimalTransport,
    RewardGenerator,
    ScaledReward,
    ScalingOptions,
    SumReward,
    TransportOptions,
    make_reward,
)


class Height(RewardGenerator):
    """A step is worth the first coordinate of where it leads; it can be told to reward nothing."""

    needs = "transition"
    worth = 1.0
    asked = 0

    def fit(self, demonstrations):
        self.features.fit(demonstrations)
        return self

    def score(self, episodes):
        self.asked += 1
        return self.worth * episodes.observations[:, 1:, 0] * episodes.mask

    def observe(self, episodes):
        return {"seen": float(episodes.lengths.sum())}


def scaled(generator: RewardGenerator, method: str, **options) -> ScaledReward:
    return ScaledReward(generator, ScalingOptions(method, **options)).fit(demonstrations())


def episodes(*trajectories) -> Episodes:
    return Episodes.from_trajectories(trajectories or (rollout(flail, steps=40), cut(rollout(), 30, terminated=True)))


def plain() -> OptimalTransport:
    return OptimalTransport(TransportOptions(squash="none")).fit(demonstrations())


@pytest.mark.parametrize(("method", "factor", "expected"), [("none", 1.0, 1.0), ("fixed", 3.0, 3.0)])
def test_without_a_measurement_it_is_a_factor(method, factor, expected):
    reward = scaled(OptimalTransport(TransportOptions(squash="none")), method, factor=factor)
    torch.testing.assert_close(reward.score(episodes()), expected * plain().score(episodes()))
    torch.testing.assert_close(reward.absorbing_reward(episodes()), expected * plain().absorbing_reward(episodes()))
    assert reward.stationary


def test_expert_range_puts_the_expert_at_the_factor_and_its_shuffled_self_at_zero():
    reward = scaled(OptimalTransport(TransportOptions(squash="none")), "expert-range", factor=2.0)
    expert, mixed = rollout(), shuffled(rollout())
    assert float(reward.score(episodes(expert)).mean()) == pytest.approx(2.0, abs=1e-5)
    assert float(reward.score(episodes(mixed)).mean()) == pytest.approx(0.0, abs=1e-5)


def test_the_offset_is_taken_from_the_state_after_a_termination_too():
    reward = scaled(OptimalTransport(TransportOptions(squash="none")), "expert-range", factor=2.0)
    multiplier, offset = reward.scaling.multiplier, reward.scaling.offset
    assert abs(offset) > 0.1
    ended = episodes(cut(rollout(), 30, terminated=True), cut(rollout(flail), 20, terminated=True))
    expected = multiplier * (plain().absorbing_reward(ended) - offset)
    torch.testing.assert_close(reward.absorbing_reward(ended), expected)


def test_the_offset_is_taken_once_from_all_the_terms_of_a_sum():
    generators = {"transport": OptimalTransport(TransportOptions(squash="none")), "height": Height()}
    reward = scaled(SumReward(generators, {"transport": 1.0, "height": 0.5}), "expert-range", factor=2.0)
    assert abs(reward.scaling.offset) > 0.1
    found = reward.terms(episodes())
    assert list(found) == ["transport", "height"]
    torch.testing.assert_close(sum(found.values()), reward.score(episodes()))


def test_expert_range_leaves_the_padding_at_zero():
    reward = scaled(OptimalTransport(TransportOptions(squash="none")), "expert-range")
    assert reward.score(episodes())[1, 30:].eq(0.0).all()
    assert reward.score(episodes())[1, :30].ne(0.0).any()


def test_a_reward_that_does_not_see_time_has_no_expert_range():
    blind = Height()
    blind.worth = 0.0
    with pytest.raises(InputError, match="with its time shuffled: there is no range"):
        scaled(blind, "expert-range")


def test_the_first_episode_sums_to_the_factor_and_fixes_the_scale():
    reward = scaled(Height(), "first-episode", factor=10.0)
    first, second = rollout(flail, steps=40), rollout(flail, steps=60, seed=3)
    before = reward.score(episodes(second))
    assert reward.observe(episodes(first)) == {"seen": 40.0, "reward_multiplier": reward.scaling.multiplier}
    assert abs(float(reward.score(episodes(first)).sum())) == pytest.approx(10.0, rel=1e-5)
    after = reward.score(episodes(second))
    assert not torch.equal(before, after)
    reward.observe(episodes(second))
    torch.testing.assert_close(reward.score(episodes(second)), after)


def test_after_the_first_episode_no_more_are_scored_to_measure_them():
    reward = scaled(Height(), "first-episode")
    for _ in range(3):
        reward.observe(episodes())
    assert reward.generator.asked == 1


@pytest.mark.parametrize("worth", [0.0, 1e-38, 1e-12])
def test_an_episode_with_next_to_no_reward_leaves_the_scale_to_the_next(worth):
    generator = Height()
    reward = scaled(generator, "first-episode", factor=10.0)
    generator.worth = worth
    for _ in range(2):
        with pytest.warns(UserWarning, match="first-episode: .* stay as they are until an episode has more"):
            assert reward.observe(episodes())["reward_multiplier"] == 1.0
        assert not reward.scaling.settled
    generator.worth = 1.0
    first, later = rollout(flail, steps=40), rollout(flail, steps=60, seed=3)
    reward.observe(episodes(first))
    reward.observe(episodes(later))
    assert abs(float(reward.score(episodes(first)).sum())) == pytest.approx(10.0, rel=1e-5)


def test_the_size_of_a_first_episode_is_that_of_a_step():
    """A long episode may sum to more than a short one, of rewards that are too small all the same."""
    generator = Height()
    reward = scaled(generator, "first-episode")
    generator.worth = 1e-9
    with pytest.warns(UserWarning, match="less than 1e-8 a step"):
        reward.observe(episodes(rollout(steps=100)))
    assert float(generator.score(episodes(rollout(steps=100))).sum()) > 1e-8


def test_running_divides_by_the_spread_of_discounted_returns():
    reward = scaled(Height(), "running", factor=2.0, discount=0.9)
    seen = [rollout(flail, steps=40, seed=seed) for seed in range(3)]
    returns = []
    for trajectory in seen:
        reward.observe(episodes(trajectory))
        discounted = 0.0
        for value in trajectory.observations[1:, 0]:
            discounted = 0.9 * discounted + float(value)
            returns.append(discounted)
    assert reward.scaling.multiplier == pytest.approx(2.0 / float(torch.tensor(returns).std(correction=0)), rel=1e-5)


def test_without_an_agent_the_discount_is_the_stated_one():
    reward, stated = (scaled(Height(), "running", **options) for options in ({}, {"discount": 0.99}))
    other = scaled(Height(), "running", discount=0.5)
    for each in (reward, stated, other):
        each.observe(episodes())
    assert reward.scaling.multiplier == stated.scaling.multiplier != other.scaling.multiplier


def test_a_first_episode_of_one_step_has_no_spread_to_divide_by():
    reward = scaled(Height(), "running")
    reward.observe(episodes(rollout(flail, steps=1)))
    assert reward.scaling.multiplier == 1.0
    reward.observe(episodes(rollout(flail, steps=40)))
    assert 0.1 < reward.scaling.multiplier < 10.0


def test_a_reward_that_is_learned_from_the_agent_has_no_expert_range():
    """Before training it is noise, and so is the range of what it says."""
    with pytest.raises(InputError, match="expert-range measures a reward before training"):
        ScaledReward(Discriminator(), ScalingOptions("expert-range"))
    assert ScaledReward(Discriminator(), ScalingOptions("running"))


@pytest.mark.parametrize("method", ["expert-range", "first-episode", "running"])
def test_the_environments_reward_is_scaled_by_a_fixed_factor_or_not_at_all(method):
    with pytest.raises(InputError, match=f"{method} measures a reward that imitates"):
        ScaledReward(EnvironmentReward(), ScalingOptions(method))
    scored = Episodes.from_trajectories([dataclasses.replace(rollout(steps=3), env_rewards=np.ones(3, np.float32))])
    assert ScaledReward(EnvironmentReward(), ScalingOptions("fixed", factor=3.0)).score(scored).tolist() == [[3.0] * 3]


@pytest.mark.parametrize(("method", "moves"), [("fixed", False), ("expert-range", False), ("running", True)])
def test_transitions_are_scored_again_where_the_scale_moves(method, moves):
    assert ScaledReward(Height(), ScalingOptions(method)).stationary is not moves
    assert ScaledReward(OptimalTransport(), ScalingOptions(method)).stationary


@pytest.mark.parametrize("method", ["none", "fixed", "expert-range", "first-episode", "running"])
def test_the_scale_is_in_the_checkpoint(method):
    reward = scaled(OptimalTransport(), method, factor=3.0)
    reward.observe(episodes())
    stored = io.BytesIO()
    torch.save(reward.state_dict(), stored)
    stored.seek(0)
    fresh = ScaledReward(OptimalTransport(), ScalingOptions())
    fresh.load_state_dict(torch.load(stored, weights_only=True))
    for each in (reward, fresh):
        each.observe(episodes(rollout(flail, steps=50, seed=9)))
    assert torch.equal(fresh.score(episodes()), reward.score(episodes()))


def test_a_checkpoint_says_whether_transitions_are_scored_again():
    fresh = ScaledReward(Height(), ScalingOptions())
    fresh.load_state_dict(scaled(Height(), "running", factor=3.0).state_dict())
    assert fresh.options == ScalingOptions("running", factor=3.0)
    assert not fresh.stationary


@pytest.mark.parametrize(
    ("method", "options", "text"),
    [
        ("none", {}, "none"),
        ("fixed", {"factor": 100.0}, "fixed: 100 * reward"),
        ("first-episode", {"factor": 10.0}, "first-episode, factor 10: measured while the agent learns, see reward_mu"),
        ("running", {}, "running, factor 1, discount 0.99: measured while the agent learns"),
        ("running", {"discount": 0.9, "factor": 2.0}, "running, factor 2, discount 0.9: measured while"),
    ],
)
def test_it_says_what_it_does(method, options, text):
    assert str(scaled(Height(), method, **options).scaling).startswith(text)


@pytest.mark.parametrize(("squash", "away"), [("exponential", "reward - "), ("none", "reward + ")])
def test_it_says_what_it_measured_and_logs_it(squash, away):
    reward = scaled(OptimalTransport(TransportOptions(squash=squash)), "expert-range", factor=2.0)
    multiplier, offset = reward.scaling.multiplier, reward.scaling.offset
    assert str(reward.scaling) == f"expert-range, factor 2: {multiplier:.4g} * ({away}{abs(offset):.4g})"
    assert reward.observe(episodes()) == {"reward_multiplier": multiplier, "reward_offset": offset}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 100.0}, "--scaling.factor is 100 and --scaling.method none.*give --scaling.method fixed"),
        ({"discount": 0.5}, "--scaling.discount is 0.5 and --scaling.method none.*give --scaling.method running"),
        ({"method": "expert-range", "discount": 0.5}, "--scaling.method expert-range, with which it has no effect"),
    ],
)
def test_what_the_method_would_leave_aside_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_reward("transport", scaling=ScalingOptions(**options))


@pytest.mark.parametrize("method", ["none", "fixed", "expert-range", "first-episode", "running"])
def test_what_it_uses_passes_and_so_does_what_says_nothing(method):
    used = {"discount": 0.5} if method == "running" else {"discount": 0.99}
    used["factor"] = 1.0 if method == "none" else 5.0
    made = make_reward("transport", scaling=ScalingOptions(method, **used))
    if method == "none":
        assert isinstance(made, OptimalTransport)
    else:
        assert made.scaling.options == ScalingOptions(method, **used)


def test_copies_measure_on_their_own():
    reward = scaled(Height(), "running")
    other = copy.deepcopy(reward)
    other.observe(episodes())
    assert reward.scaling.multiplier == 1.0 != other.scaling.multiplier


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "runing"}, "running"),
        ({"factor": 0.0}, "factor is 0.0: it must be a finite number above 0"),
        ({"factor": float("nan")}, "factor is nan"),
        ({"discount": 1.5}, "discount is 1.5: it must lie between 0 and 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ScalingOptions(**options)
