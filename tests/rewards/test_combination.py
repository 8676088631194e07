"""Weighted sums of rewards."""

import copy
import io
import re

import pytest
import torch
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.rewards import (
    Episodes,
    OptimalTransport,
    RewardGenerator,
    ScaledReward,
    ScalingOptions,
    SumReward,
    TransportOptions,
    make_reward,
)
from ilfo.rewards.registry import option_groups, scalings_of, terms_of


class Height(RewardGenerator):
    """A step is worth the first coordinate of where it leads."""

    needs = "transition"

    def fit(self, demonstrations):
        self.features.fit(demonstrations)
        if self.on_progress is not None:
            self.on_progress(0.5, "half")
        return self

    def score(self, episodes):
        return episodes.observations[:, 1:, 0] * episodes.mask

    def observe(self, episodes):
        return {"seen": float(episodes.lengths.sum())}


class Moving(Height):
    """One that learns from the agent."""

    stationary = False


class Growing(Height):
    """A step is worth as much as there were demonstrations and, from then on, episodes of the agent."""

    worth = 0.0

    def fit(self, demonstrations):
        self.worth = float(len(demonstrations))
        return self

    def score(self, episodes):
        return self.worth * episodes.mask

    def observe(self, episodes):
        self.worth += len(episodes.lengths)
        return {}

    def state_dict(self):
        return {"worth": self.worth}

    def load_state_dict(self, state):
        self.worth = state["worth"]


def together(**weights: float) -> SumReward:
    generators = {"transport": OptimalTransport(TransportOptions(squash="none")), "height": Height()}
    return SumReward({name: generators[name] for name in weights}, weights).fit(demonstrations())


def episodes() -> Episodes:
    return Episodes.from_trajectories([rollout(flail, steps=40), cut(rollout(), 30, terminated=True)])


def test_the_score_is_the_weighted_sum_of_the_terms():
    reward = together(transport=1.0, height=-0.5)
    transport = OptimalTransport(TransportOptions(squash="none")).fit(demonstrations())
    expected = {"transport": transport.score(episodes()), "height": -0.5 * Height().score(episodes())}
    found = reward.terms(episodes())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(reward.score(episodes()), sum(expected.values()))


def test_the_absorbing_state_is_the_weighted_sum_too():
    reward = together(transport=2.0, height=0.5)
    parts = [each.absorbing_reward(episodes()) for each in reward.generators.values()]
    torch.testing.assert_close(reward.absorbing_reward(episodes()), 2.0 * parts[0] + 0.5 * parts[1])


def test_a_negative_weight_does_not_make_dying_pay():
    reward = together(height=-1.0)
    worst = reward.score(episodes()).amin(dim=1)
    assert (reward.absorbing_reward(episodes()) <= worst).all()


def test_one_term_that_needs_whole_episodes_is_enough():
    assert together(height=1.0).needs == "transition"
    assert together(height=1.0, transport=1.0).needs == "trajectory"


def test_it_moves_if_a_term_moves():
    assert not SumReward({"moving": Moving(), "height": Height()}, {"moving": 1.0, "height": 1.0}).stationary
    with pytest.raises(InputError, match=r"moving changes while the agent learns.*transport needs whole episodes"):
        SumReward({"moving": Moving(), "transport": OptimalTransport()}, {"moving": 1.0, "transport": 1.0})


def test_a_scale_that_moves_goes_with_whole_episodes():
    moving_scale = ScaledReward(Height(), ScalingOptions("running"))
    assert SumReward({"height": moving_scale, "transport": OptimalTransport()}, {"height": 1.0, "transport": 1.0})


def test_a_scale_that_moves_scores_no_episode_again():
    running = make_reward("transport + nearest", scaling=ScalingOptions("running"))
    assert (running.needs, running.stationary) == ("trajectory", True)


def test_the_environments_reward_with_a_weight_is_told_how_it_is_scaled():
    with pytest.raises(InputError, match=r"name it alone, .* --scaling\.method fixed --scaling\.factor 2 scales it"):
        make_reward("2*environment")


def test_the_environments_reward_is_no_term():
    with pytest.raises(InputError, match="'environment' does not imitate"):
        make_reward("environment + transport")


def test_numbers_and_progress_carry_the_names_of_the_terms():
    reward = SumReward({"low": Height(), "high": Height()}, {"low": 1.0, "high": 2.0})
    told = []
    reward.on_progress = lambda share, text: told.append((share, text))
    reward.fit(demonstrations())
    assert told == [(0.25, "half"), (0.75, "half")]
    assert reward.observe(episodes()) == {"low/seen": 70.0, "high/seen": 70.0}


def test_the_state_of_every_term_is_kept():
    reward = together(transport=2.0, height=-0.5)
    stored = io.BytesIO()
    torch.save(reward.state_dict(), stored)
    stored.seek(0)
    fresh = SumReward({"transport": OptimalTransport(), "height": Height()}, {"transport": 1.0, "height": 1.0})
    fresh.load_state_dict(torch.load(stored, weights_only=True))
    assert torch.equal(fresh.score(episodes()), reward.score(episodes()))
    assert torch.equal(copy.deepcopy(reward).score(episodes()), reward.score(episodes()))
    with pytest.raises(InputError, match="saved reward is the sum of transport, height and this one of height"):
        together(height=1.0).load_state_dict(reward.state_dict())


def test_the_match_is_that_of_the_first_term_that_has_one():
    explained = together(height=1.0, transport=1.0).explain(rollout())
    assert explained.expert_steps.tolist() == list(range(120))
    assert together(height=1.0).explain(rollout()) is None


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("transport", {"transport": 1.0}),
        ("transport + 0.5*flow", {"transport": 1.0, "flow": 0.5}),
        (" 2 * transport+-1e-3*my_file:MyReward ", {"transport": 2.0, "my_file:MyReward": -0.001}),
        ("transport + 1e+3*flow+2E+1*pwil", {"transport": 1.0, "flow": 1000.0, "pwil": 20.0}),
        ("temporal-transport + .5 * pwil", {"temporal-transport": 1.0, "pwil": 0.5}),
    ],
)
def test_sums_are_read(expression, terms):
    assert terms_of(expression) == terms


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "'' is no term"),
        ("transport +", "'' is no term"),
        ("transport - 0.5*flow", r"what is taken off has a weight below 0, 'one \+ -0\.5\*other'"),
        ("transport flow", "'transport flow' is no term; expected a name, or a sum of names"),
        ("x*transport", "'x\\*transport' is no term"),
        ("0*transport", "'0\\*transport' is no term"),
        ("inf*transport", "is no term"),
        ("2*3*transport", "is no term"),
        ("transport + 2*transport", "names transport twice"),
        (3, "the reward is 3; expected a name"),
        (["transport"], r"the reward is \['transport'\]; expected a name"),
    ],
)
def test_what_is_no_sum_is_refused(expression, message):
    with pytest.raises(InputError, match=message):
        terms_of(expression)


@pytest.mark.parametrize(
    ("expression", "found", "right"),
    [
        ("transport + 0.5flow", "0.5flow", "0.5*flow"),
        ("2 nearest+flow", "2 nearest", "2*nearest"),
        ("-1.5e-1flow", "-1.5e-1flow", "-1.5e-1*flow"),
        (".5exact", ".5exact", ".5*exact"),
        ("0.5my_file:MyReward", "0.5my_file:MyReward", "0.5*my_file:MyReward"),
        ("2 my_file:MyReward", "2 my_file:MyReward", "2*my_file:MyReward"),
    ],
)
def test_a_weight_without_its_star_is_put_right(expression, found, right):
    said = f"--reward is {expression!r}, of which {found!r} lacks a '*': write {right}"
    with pytest.raises(InputError, match=re.escape(said) + "$"):
        terms_of(expression)


def test_the_name_of_a_file_may_begin_with_a_number():
    assert terms_of("2nd_file:Mine") == {"2nd_file:Mine": 1.0}


def test_the_scale_of_every_term_is_found():
    scaling = ScalingOptions("fixed", factor=3.0)
    assert scalings_of(make_reward("transport + flow")) == {}
    assert {name: each.multiplier for name, each in scalings_of(make_reward("flow", scaling=scaling)).items()} == {
        "": 3.0
    }
    found = scalings_of(make_reward("transport + 2*flow", scaling=scaling))
    assert {name: each.options for name, each in found.items()} == {"transport": scaling, "flow": scaling}


def test_rewards_are_made_by_name():
    assert isinstance(make_reward("transport"), OptimalTransport)
    sharp = TransportOptions(temperature=0.5)
    weighted = make_reward("2*transport", {"transport": sharp}, scaling=ScalingOptions("expert-range"))
    assert isinstance(weighted, SumReward)
    term = weighted.generators["transport"]
    assert isinstance(term, ScaledReward)
    assert term.generator.options is sharp
    with pytest.raises(InputError, match=r"no reward is called 'transpot'.*transport"):
        make_reward("transpot")
    with pytest.raises(InputError, match=r"options names 'transpot', which is no term of .*'transport'"):
        make_reward("transport", {"transpot": sharp})


def test_the_flags_of_all_terms_are_there():
    assert option_groups("2*transport") == {"transport": TransportOptions}
    assert option_groups("environment") == {}


def test_what_it_has_learned_since_counts_for_an_episode_that_it_has_just_scored():
    reward = SumReward({"growing": Growing()}, {"growing": 2.0})
    agents = Episodes.from_trajectories([rollout(flail, steps=40)] * 3)

    def worth() -> float:
        (found,) = reward.score(agents).unique().tolist()
        assert reward.terms(agents)["growing"].unique().tolist() == [found]
        return found

    assert worth() == 0
    reward.fit(demonstrations(rollout(), rollout()))
    assert worth() == 2 * 2
    reward.observe(agents)
    assert worth() == 2 * 5
    reward.load_state_dict({"weights": {"growing": 3.0}, "generators": {"growing": {"worth": 7.0}}})
    assert worth() == 3 * 7


def test_an_episode_is_scored_once_for_the_sum_and_its_terms():
    """A term that draws while it scores would otherwise log another draw than the one that is learned from."""
    drawing = OptimalTransport(TransportOptions(aggregate="random"))
    reward = SumReward({"transport": drawing}, {"transport": 2.0}).fit(demonstrations(rollout(), rollout(flail)))
    for seed in range(5):
        episodes = Episodes.from_trajectories([rollout(flail, seed=seed)])
        assert torch.equal(reward.score(episodes), reward.terms(episodes)["transport"])
