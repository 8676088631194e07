"""The fast layer computes what the plain one does."""

import copy

import pytest
import torch
from torch import nn

from ilfo.agents._linear import Linear


def twins(inputs: int, outputs: int, dtype: torch.dtype = torch.float32) -> tuple[nn.Linear, Linear]:
    torch.manual_seed(0)
    fast = Linear(inputs, outputs, dtype=dtype)
    plain = nn.Linear(inputs, outputs, dtype=dtype)
    plain.load_state_dict(copy.deepcopy(fast.state_dict()))
    return plain, fast


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("inputs", "outputs"), [(23, 256), (256, 256), (256, 1), (3, 17)])
def test_values_and_gradients_agree(inputs, outputs, dtype):
    plain, fast = twins(inputs, outputs, dtype)
    data = torch.randn(64, inputs, dtype=dtype)
    found = []
    for layer in (plain, fast):
        x = data.clone().requires_grad_()
        result = layer(x)
        result.square().sum().backward()
        found.append((result.detach(), x.grad, layer.weight.grad, layer.bias.grad))
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-3)


def test_double_precision_is_the_reference():
    plain, fast = twins(256, 256)
    exact, _ = twins(256, 256, torch.float64)
    exact.load_state_dict(plain.state_dict())
    data = torch.randn(256, 256)
    reference = exact(data.double())
    error = ((fast(data).double() - reference).norm() / reference.norm()).item()
    assert error < 1e-6


def test_frozen_weights_get_no_gradient_and_let_it_through():
    _, fast = twins(32, 32)
    fast.requires_grad_(False)
    x = torch.randn(8, 32, requires_grad=True)
    fast(x).sum().backward()
    assert fast.weight.grad is None
    torch.testing.assert_close(x.grad, fast.weight.sum(0).expand(8, -1), rtol=1e-4, atol=1e-5)
