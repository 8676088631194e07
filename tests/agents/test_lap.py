"""Losses and priorities after the equations, and the identity that makes PAL the twin of LAP."""

import pytest
import torch

from ilfo.agents.lap import huber_loss, lap_priorities, pal_loss


def test_the_huber_loss_is_a_square_and_then_a_line():
    errors = torch.tensor([-3.0, -0.5, 0.0, 0.5, 1.0, 4.0])
    assert huber_loss(errors).tolist() == [3.0, 0.125, 0.0, 0.125, 1.0, 4.0]
    assert huber_loss(errors, threshold=2.0).tolist() == [6.0, 0.125, 0.0, 0.125, 0.5, 8.0]


def test_its_gradient_has_no_jump():
    errors = torch.tensor([0.999, 1.001, -1.001], requires_grad=True)
    huber_loss(errors).sum().backward()
    assert errors.grad.tolist() == pytest.approx([0.999, 1.0, -1.0])


def test_a_priority_is_that_of_the_worse_critic_and_never_too_small():
    errors = torch.tensor([[0.1, -5.0, 2.0], [0.2, 1.0, -32.0]], requires_grad=True)
    priorities = lap_priorities(errors)
    assert priorities.tolist() == pytest.approx([1.0, 5**0.4, 32**0.4])
    assert not priorities.requires_grad


@pytest.mark.parametrize(("alpha", "min_priority"), [(0.4, 1.0), (0.6, 0.5), (0.0, 1.0)])
def test_pals_gradient_is_laps_expected_one(alpha, min_priority):
    """One critic, drawn uniformly, and the same errors drawn in proportion to their priorities (section 5.1)."""
    values = torch.linspace(-4, 4, 41, dtype=torch.float64)
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    pal_loss(ours[None], alpha, min_priority).backward()
    chances = lap_priorities(theirs[None], alpha, min_priority)
    (chances / chances.sum() * huber_loss(theirs, min_priority)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_pal_sums_over_critics_and_knows_seeds():
    errors = 3 * torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    together = pal_loss(errors)
    assert together.shape == (3,)
    for seed in range(3):
        torch.testing.assert_close(together[seed], pal_loss(errors[seed]))
    worst = errors.abs().amax(1).clamp(min=1).pow(0.4).mean(-1)
    each = torch.where(errors.abs() < 1, errors.square() / 2, errors.abs().pow(1.4) / 1.4).mean(-1)
    torch.testing.assert_close(together, each.sum(-1) / worst)
