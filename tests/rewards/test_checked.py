"""A reward that breaks its contract is told so where its answer enters, by name."""

import pytest
import torch
from broken_plugins import AbsorbingEveryStep, AbsorbingNumber, Array, Double, OneTooMany, Sound
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.rewards import Episodes, ScaledReward, ScalingOptions, SumReward
from ilfo.rewards._checked import NotFiniteError, absorbing_of, observed, scores_of
from ilfo.rewards.labelling import imitation_rewards


class Undefined(Sound):
    """Knows no reward of states whose speed is above 10."""

    def rewards(self, episodes):
        return torch.where(episodes.observations[:, 1:, 2] > 10, torch.nan, super().rewards(episodes))


class AbsorbingDouble(Sound):
    def absorbing_reward(self, episodes):
        return super().absorbing_reward(episodes).double()


class AbsorbingNowhere(Sound):
    def absorbing_reward(self, episodes):
        return super().absorbing_reward(episodes) / 0


BROKEN = [
    (OneTooMany, r"OneTooMany.score returned a tensor of shape \(2, 41\); expected \(2, 40\), a reward for each step"),
    (Double, r"Double.score returned torch.float64; expected torch.float32, as rewards.float\(\) is"),
    (Array, r"Array.score returned a ndarray; expected a tensor \(2, 40\)"),
]
BROKEN_AT_THE_END = [
    (AbsorbingEveryStep, r"AbsorbingEveryStep.absorbing_reward returned a tensor of shape \(2, 40\); expected \(2,\)"),
    (AbsorbingNumber, r"AbsorbingNumber.absorbing_reward returned a float; expected a tensor \(2,\)"),
]


def episodes() -> Episodes:
    return Episodes.from_trajectories([rollout(flail, steps=40), cut(rollout(), 30, terminated=True)])


def wild() -> Episodes:
    """The speed of the second episode is 20 after its step 7."""
    found = episodes()
    found.observations[1, 8, 2] = 20
    return found


def around(kind, how: str):
    """A reward of this class: plain, scaled, or in a sum."""
    made = kind() if how == "plain" else ScaledReward(kind(), ScalingOptions("fixed"))
    return (SumReward({"it": kind()}, {"it": 2.0}) if how == "summed" else made).fit(demonstrations())


@pytest.mark.parametrize("how", ["plain", "scaled", "summed"])
@pytest.mark.parametrize(("kind", "message"), [*BROKEN, *BROKEN_AT_THE_END])
def test_what_is_wrong_is_named_with_who_said_it_and_who_can_tell_more(kind, message, how):
    with pytest.raises(InputError, match=message + rf".*ilfo.testing.check_reward\({kind.__name__}\)"):
        imitation_rewards(around(kind, how), episodes(), discount=0.9, absorbing=True)


def test_a_range_is_not_measured_on_a_broken_reward():
    with pytest.raises(InputError, match=r"OneTooMany.score returned a tensor of shape \(1, 121\)"):
        ScaledReward(OneTooMany(), ScalingOptions("expert-range")).fit(demonstrations())


def test_nor_is_an_episode():
    with pytest.raises(InputError, match=r"OneTooMany.score returned a tensor of shape \(2, 41\)"):
        ScaledReward(OneTooMany(), ScalingOptions("running")).fit(demonstrations()).observe(episodes())


@pytest.mark.parametrize("how", ["plain", "scaled", "summed"])
def test_a_reward_that_is_no_number_is_found_with_its_step(how):
    with pytest.raises(NotFiniteError, match="Episode 1, step 7: the reward of Undefined is nan; expected") as caught:
        scores_of(around(Undefined, how), wild())
    assert caught.value.row == 1


def test_so_is_an_absorbing_state_that_is_worth_no_number():
    with pytest.raises(NotFiniteError, match="after its end: the reward of AbsorbingNowhere is nan"):
        absorbing_of(around(AbsorbingNowhere, "plain"), episodes())


def test_what_keeps_the_contract_passes_as_it_is():
    reward = around(Sound, "plain")
    assert torch.equal(scores_of(reward, episodes()), reward.score(episodes()))
    assert torch.equal(absorbing_of(around(AbsorbingDouble, "plain"), episodes()), absorbing_of(reward, episodes()))


class Mute(Sound):
    def observe(self, episodes):
        self.size = self.size * 1.0


@pytest.mark.parametrize("how", ["plain", "summed", "scaled"])
def test_a_reward_that_logs_nothing_says_so_with_an_empty_dictionary(how):
    with pytest.raises(InputError, match=r"Mute.observe returned a NoneType; expected a dictionary .* \{\} for none"):
        observed(around(Mute, how), episodes())
