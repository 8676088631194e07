"""The pieces of SALE, each by what it promises."""

import itertools

import pytest
import torch

from ilfo.agents._population import stack_modules
from ilfo.agents._sale import Actor, Critic, Encoder, average_l1_norm

SIZES = (5, 2, 32, 24)


def rows(*widths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(20, width, generator=generator) for width in widths]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_mean_size_of_a_row_is_one_and_its_direction_stays(scale):
    inputs = scale * torch.randn(3, 7, 40)
    normalised = average_l1_norm(inputs)
    torch.testing.assert_close(normalised.abs().mean(-1), torch.ones(3, 7))
    torch.testing.assert_close(torch.cosine_similarity(normalised, inputs, dim=-1), torch.ones(3, 7))


def test_rows_near_zero_are_divided_by_the_floor():
    inputs = torch.tensor([[0.0, 0.0], [1e-9, -3e-9]], requires_grad=True)
    normalised = average_l1_norm(inputs)
    torch.testing.assert_close(normalised, torch.tensor([[0.0, 0.0], [0.1, -0.3]]))
    normalised.sum().backward()
    assert inputs.grad.isfinite().all()


def test_the_embedding_of_a_state_is_normalised_and_that_of_a_pair_is_not():
    encoder, (observations, actions) = Encoder(*SIZES), rows(5, 2)
    states = encoder.embed_states(observations)
    torch.testing.assert_close(states.abs().mean(-1), torch.ones(20))
    pairs = encoder.embed_pairs(states, actions)
    assert states.shape == pairs.shape == (20, 24)
    assert (pairs.abs().mean(-1) - 1).abs().min() > 0.1
    assert not torch.allclose(pairs, encoder.embed_pairs(states, -actions), atol=1e-3)


def test_the_activations_are_elu_but_for_the_actor():
    encoder, actor, critic = Encoder(*SIZES), Actor(*SIZES), Critic(*SIZES)
    assert [net.activation for net in (encoder.f, encoder.g, critic.rest, actor.rest)] == ["elu", "elu", "elu", "relu"]


def test_layers_have_the_authors_widths():
    sizes = (5, 2, 256, 256)
    encoder, actor, critic = Encoder(*sizes), Actor(*sizes), Critic(*sizes)
    for net, widths in (
        (encoder.f, (5, 256, 256, 256)),
        (encoder.g, (258, 256, 256, 256)),
        (actor.first, (5, 256)),
        (actor.rest, (512, 256, 256, 2)),
        (critic.first, (7, 256)),
        (critic.rest, (768, 256, 256, 1)),
    ):
        weights = [tuple(value.shape) for name, value in net.named_parameters() if name.startswith("weight")]
        assert weights == [(outputs, inputs) for inputs, outputs in itertools.pairwise(widths)]


def test_actions_lie_within_their_range():
    observations, states = rows(5, 24)
    actions = Actor(*SIZES)(1e6 * observations, 1e6 * states)
    assert actions.abs().max() == 1.0


@pytest.mark.parametrize("frozen", [False, True])
def test_stacked_critics_are_each_what_they_are_alone(frozen):
    members = [Critic(*SIZES) for _ in range(2)]
    inputs = [each.requires_grad_() for each in rows(5, 2, 24, 24)]
    values = stack_modules(members)(*inputs, frozen=frozen)
    alone = torch.cat([stack_modules([member])(*inputs) for member in members])
    assert values.shape == (2, 20)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(values, alone, **close)
    of_values, of_alone = (torch.autograd.grad(each.square().sum(), inputs) for each in (values, alone))
    for found, expected in zip(of_values, of_alone, strict=True):
        torch.testing.assert_close(found, expected, **close)


@pytest.mark.parametrize("rows_of", [8, 20])
def test_frozen_critics_pass_the_gradient_on_and_take_none(rows_of):
    critics = stack_modules([Critic(*SIZES) for _ in range(2)])
    inputs = [each[:rows_of].requires_grad_() for each in rows(5, 2, 24, 24)]
    critics(*inputs, frozen=True).sum().backward()
    assert all(each.grad.abs().sum() > 0 for each in inputs)
    assert all(parameter.grad is None for parameter in critics.parameters())
