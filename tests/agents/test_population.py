"""Many at once are, each for itself, what they are alone."""

import copy

import pytest
import torch
from torch import nn

from ilfo._tools.errors import InputError
from ilfo.agents._population import populate, seeds_of, stack_modules, stack_states, unstack_state
from ilfo.agents._random_streams import RandomStreams

SEEDS = [3, 0, 7]


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))


def trained(seed: int, updates: int = 2) -> dict:
    """The state of a small agent: weights, Adam's state, random state, a counter."""
    net, streams = populate(make, seed), RandomStreams(seed, "cpu")
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(updates):
        adam.zero_grad()
        net(streams.normal((16, 4))).square().mean().backward()
        adam.step()
    state = {"net": net.state_dict(), "adam": adam.state_dict(), "random": streams.get_state(), "updates": updates}
    return copy.deepcopy(state)


def leaves(state, path=()):
    """Every value of a state with the way to it, in order."""
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        yield path, len(state)
        for name, part in items:
            yield from leaves(part, (*path, name))
    else:
        yield path, state


def assert_equal(found, expected):
    for (path, value), (other_path, other) in zip(leaves(found), leaves(expected), strict=True):
        assert path == other_path
        if isinstance(other, torch.Tensor):
            assert value.dtype == other.dtype, path
            assert torch.equal(value, other), path
        else:
            assert value == other, path


def test_one_seed_has_no_dimension_and_several_have_one():
    assert seeds_of(5) == ([5], ())
    assert seeds_of([5]) == ([5], (1,))
    assert seeds_of((3, 4)) == ([3, 4], (2,))


def test_populating_gives_each_seed_the_weights_that_it_has_alone():
    together = populate(make, SEEDS)
    for index, seed in enumerate(SEEDS):
        torch.manual_seed(seed)
        alone = make()
        assert_equal([part[index] for part in together.parameters()], list(alone.parameters()))
        assert_equal(list(populate(make, seed).parameters()), list(alone.parameters()))


def test_populating_leaves_the_global_stream_alone():
    before = torch.random.get_rng_state()
    populate(make, SEEDS)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_stack_has_parameters_of_its_own_by_the_same_names():
    modules = [make(), make()]
    before = copy.deepcopy([module.state_dict() for module in modules])
    stacked = stack_modules(modules)
    assert {name: value.shape for name, value in stacked.named_parameters()} == {
        name: (2, *value.shape) for name, value in modules[0].named_parameters()
    }
    assert all(isinstance(parameter, nn.Parameter) and parameter.requires_grad for parameter in stacked.parameters())
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.zero_()
    assert_equal([module.state_dict() for module in modules], before)


def test_stacks_stack():
    modules = [make() for _ in range(6)]
    nested = stack_modules([stack_modules(modules[start : start + 2]) for start in (0, 2, 4)])
    assert torch.equal(nested[0].weight[2, 1], modules[5][0].weight)


def test_each_seed_draws_what_it_draws_alone():
    together, alone = RandomStreams(SEEDS, "cpu"), [RandomStreams(seed, "cpu") for seed in SEEDS]
    for shape in ((4, 2), (1, 5), (4, 2)):
        drawn = together.normal((3, *shape))
        assert drawn.shape == (3, *shape)
        for own, stream in zip(drawn, alone, strict=True):
            assert torch.equal(own, stream.normal(shape))


def test_draws_are_standard_normal():
    drawn = RandomStreams(SEEDS, "cpu").normal((3, 20_000))
    assert drawn.mean(dim=1).tolist() == pytest.approx([0.0] * 3, abs=0.03)
    assert drawn.std(dim=1).tolist() == pytest.approx([1.0] * 3, abs=0.03)
    assert torch.corrcoef(drawn).fill_diagonal_(0).abs().max() < 0.03


@pytest.mark.parametrize("seed", [4, SEEDS], ids=["one seed", "several"])
def test_a_restored_stream_goes_on(seed):
    streams, restored = RandomStreams(seed, "cpu"), RandomStreams(99 if seed == 4 else [99, 98, 97], "cpu")
    streams.normal((3, 5))
    restored.set_state(streams.get_state())
    assert torch.equal(streams.normal((3, 7)), restored.normal((3, 7)))


def test_the_state_of_a_member_is_that_of_its_stream_alone():
    together, alone = RandomStreams(SEEDS, "cpu"), RandomStreams(7, "cpu")
    together.normal((3, 5))
    alone.set_state(together.get_state()[2])
    assert torch.equal(together.normal((3, 4))[2], alone.normal((4,)))


def test_the_states_of_fewer_streams_are_refused():
    streams = RandomStreams(SEEDS, "cpu")
    with pytest.raises(ValueError, match="shorter"):
        streams.set_state(streams.get_state()[:2])


def test_a_state_comes_out_of_a_stack_as_it_went_in():
    states = [trained(seed) for seed in SEEDS]
    together = stack_states(states)
    assert together["net"]["0.weight"].shape == (3, 8, 4)
    assert together["adam"]["state"][0]["exp_avg"].shape == (3, 8, 4)
    assert together["adam"]["state"][0]["step"].shape == ()
    assert together["random"].shape == (3, len(states[0]["random"]))
    assert together["updates"] == 2
    for index, state in enumerate(states):
        assert_equal(unstack_state(together, index), state)


def test_an_unstacked_state_shares_no_memory_with_the_stack():
    together = stack_states([trained(seed) for seed in SEEDS])
    before = copy.deepcopy(together)
    for _, value in leaves(unstack_state(together, 1)):
        if isinstance(value, torch.Tensor):
            value.zero_()
    assert_equal(together, before)


def test_agents_of_different_ages_or_options_are_not_stacked():
    with pytest.raises(InputError, match=r"hold 2\.0 and 3\.0"):
        stack_states([trained(0, updates=2), trained(1, updates=3)])
    other = trained(1)
    other["adam"]["param_groups"][0]["lr"] = 0.5
    with pytest.raises(InputError, match=r"hold 0\.01 and 0\.5 .* same options"):
        stack_states([trained(0), other])
