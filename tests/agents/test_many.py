"""Many agents as one object are, each for itself, what they are alone."""

import copy

import numpy as np
import pytest
import torch
from random_batches import ACTIONS, OBSERVATIONS, random_batch, stacked

from ilfo._tools.errors import InputError
from ilfo.agents import make_agent
from ilfo.agents.many import Separate, load_states, states_of
from ilfo.agents.td3 import TD3, TD3Options

SEEDS = [3, 0, 7]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Alone(TD3):
    """One that neither stacks nor compiles, as a user's first agent."""

    stacks = False
    compiles = False


def make(kind, seed, **options):
    return make_agent(kind, OBSERVATIONS, ACTIONS, TD3Options(hidden_dim=64, **options), seed=seed)


def together(kind, **options):
    if kind.stacks:
        return make(kind, SEEDS, **options)
    with pytest.warns(UserWarning, match="Alone cannot stack seeds"):
        return make(kind, SEEDS, **options)


def batches(number: int, size: int = 32):
    """Of each seed its own."""
    return [random_batch(size, seed=100 * number + seed) for seed in SEEDS]


def assert_same_update(many, singles, number: int, size: int = 32):
    own = batches(number, size)
    found, expected = many.update(stacked(own)), [agent.update(each) for agent, each in zip(singles, own, strict=True)]
    assert found.keys() == expected[0].keys()
    for name, values in found.items():
        assert values.shape == (len(SEEDS),)
        torch.testing.assert_close(values, torch.stack([metrics[name] for metrics in expected]), **CLOSE)


def assert_same_actions(many, singles, explore: bool, rows: int):
    observations = torch.randn(len(SEEDS), rows, OBSERVATIONS, generator=torch.Generator().manual_seed(rows))
    expected = [agent.act(own, explore) for agent, own in zip(singles, observations, strict=True)]
    torch.testing.assert_close(many.act(observations, explore), torch.stack(expected), **CLOSE)


@pytest.mark.parametrize("kind", [TD3, Alone])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("size", [8, 32])
def test_agents_together_are_what_each_is_alone(kind, layer_norm, size):
    many = together(kind, layer_norm=layer_norm)
    singles = [make(kind, seed, layer_norm=layer_norm) for seed in SEEDS]
    for number in range(10):
        assert_same_update(many, singles, number, size)
        assert_same_actions(many, singles, explore=True, rows=4)
    assert_same_actions(many, singles, explore=False, rows=40)


@pytest.mark.parametrize("kind", [TD3, Alone])
def test_a_member_taken_out_goes_on_as_it_would_have(kind):
    many = together(kind)
    for number in range(4):
        many.update(stacked(batches(number)))
    states = copy.deepcopy(states_of(many, len(SEEDS)))
    singles = [make(kind, 99) for _ in SEEDS]
    for single, state in zip(singles, states, strict=True):
        load_states(single, [state], None)
    for number in range(4, 8):
        assert_same_update(many, singles, number)
    assert_same_actions(many, singles, explore=True, rows=4)


def test_agents_that_took_over_a_state_do_not_share_it():
    """Adam counts its steps in place, in a tensor that a stack has one of."""
    many = make(TD3, SEEDS)
    many.update(stacked(batches(0)))
    singles = [make(TD3, 99) for _ in SEEDS]
    for single, state in zip(singles, states_of(many, len(SEEDS)), strict=True):
        load_states(single, [state], None)
    for number in range(1, 4):
        assert_same_update(many, singles, number)


@pytest.mark.parametrize("kind", [TD3, Alone])
def test_agents_trained_alone_go_on_together(kind):
    singles = [make(kind, seed) for seed in SEEDS]
    for number in range(3):
        for single, own in zip(singles, batches(number), strict=True):
            single.update(own)
    many = together(kind)
    load_states(many, [states_of(single, None)[0] for single in singles], len(SEEDS))
    for number in range(3, 6):
        assert_same_update(many, singles, number)
    assert_same_actions(many, singles, explore=True, rows=4)


@pytest.mark.parametrize("kind", [TD3, Alone])
def test_a_restored_stack_goes_on_bit_for_bit(kind, tmp_path):
    many = together(kind)
    for number in range(3):
        many.update(stacked(batches(number)))
    torch.save(many.state_dict(), tmp_path / "agents.pt")
    restored = together(kind)
    restored.load_state_dict(torch.load(tmp_path / "agents.pt", weights_only=True))
    for number in range(3, 6):
        found, expected = restored.update(stacked(batches(number))), many.update(stacked(batches(number)))
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
    seen = torch.ones(len(SEEDS), 4, OBSERVATIONS)
    assert torch.equal(restored.act(seen, explore=True), many.act(seen, explore=True))


def test_agents_of_different_ages_do_not_go_on_together():
    singles = [make(TD3, seed) for seed in SEEDS]
    singles[1].update(random_batch())
    with pytest.raises(InputError, match="share one value"):
        load_states(make(TD3, SEEDS), [single.state_dict() for single in singles], len(SEEDS))


def test_one_seed_in_a_list_is_a_stack_of_one():
    many, single = make(TD3, [5]), make(TD3, 5)
    observations = torch.ones(4, OBSERVATIONS)
    found = many.act(observations.unsqueeze(0), explore=True)
    torch.testing.assert_close(found, single.act(observations, explore=True).unsqueeze(0), **CLOSE)


def test_agents_one_after_the_other_speak_for_all_of_them():
    many = together(Alone, batch_size=17, discount=0.5)
    assert isinstance(many, Separate)
    assert (many.batch_size, many.discount) == (17, 0.5)
    assert [len(state["actor"]["bias2"]) for state in states_of(many, len(SEEDS))] == [ACTIONS] * len(SEEDS)


def test_a_class_that_does_not_compile_is_made_plain_after_a_warning():
    with pytest.warns(UserWarning, match="--compile: Alone has no compiled form") as caught:
        agent = make_agent(Alone, OBSERVATIONS, ACTIONS, seed=1, compile=True)
    assert len(caught) == 1
    assert isinstance(agent, Alone)
    plain = make_agent(Alone, OBSERVATIONS, ACTIONS, seed=1)
    found, expected = agent.update(random_batch()), plain.update(random_batch())
    assert torch.equal(found["critic_loss"], expected["critic_loss"])


def test_a_seed_may_be_a_number_of_numpys():
    observations = torch.zeros(1, 3)
    mine, own = (make_agent(TD3, 3, 2, seed=seed).act(observations, False) for seed in (np.int64(5), 5))
    assert torch.equal(mine, own)
