"""A step is Adam's on the gradient of the loss, whichever way the loss is run."""

import copy
import shutil

import pytest
import torch
from torch import nn

from ilfo.agents._descent import Descent
from ilfo.agents._mlp import MLP
from ilfo.agents._population import populate, stack_modules

RATE = 1e-2

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="needs a C++ compiler"
)


def twin_critics(layer_norm: bool = True) -> MLP:
    """Those of three seeds."""
    return populate(lambda: stack_modules([MLP((6, 32, 32, 1), layer_norm) for _ in range(2)]), [0, 1, 2])


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 1, 32, 6, generator=generator), torch.randn(3, 1, 32, generator=generator)


def squared_error(critics: nn.Module):
    def loss(inputs, targets):
        values = critics(inputs).squeeze(-1)
        losses = (values - targets).square().mean(-1).sum(-1)
        return losses, {"loss": losses, "value": values.mean((-1, -2))}

    return loss


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_steps_are_those_of_a_textbook_adam():
    critics, twin = twin_critics(), twin_critics()
    descent, loss = Descent(critics.parameters(), squared_error(critics), RATE), squared_error(twin)
    adam = torch.optim.Adam(twin.parameters(), RATE, fused=False, foreach=False)
    for number in range(5):
        losses, metrics = loss(*batch(number))
        adam.zero_grad()
        losses.sum().backward()
        adam.step()
        found = descent(*batch(number))
        assert found.keys() == metrics.keys()
        for name, value in found.items():
            assert not value.requires_grad
            torch.testing.assert_close(value, metrics[name].detach(), rtol=1e-5, atol=1e-5)
        for moved, expected in zip(critics.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-5)


def test_the_loss_of_one_seed_moves_that_seed_alone():
    critics = twin_critics()
    before, plain = weights(critics), squared_error(critics)

    def only_the_second(inputs, targets):
        losses, metrics = plain(inputs, targets)
        return losses * torch.tensor([0.0, 1.0, 0.0]), metrics

    Descent(critics.parameters(), only_the_second, RATE)(*batch(0))
    for parameter, old in zip(critics.parameters(), before, strict=True):
        moved = (parameter != old).flatten(1).any(1)
        assert moved.tolist() == [False, True, False]


def test_a_gradient_may_lie_in_memory_in_any_way():
    factors = torch.arange(6.0).view(3, 2) - 2.5
    moved, expected = (nn.Parameter(torch.zeros(2, 3)) for _ in range(2))

    def loss(parameter):
        losses = (parameter.t() * factors).sum()
        return losses, {"loss": losses}

    expected.grad = factors.t().contiguous()
    torch.optim.Adam([expected], RATE, fused=False, foreach=False).step()
    Descent([moved], lambda: loss(moved), RATE)()
    torch.testing.assert_close(moved, expected)


@needs_compiler
def test_a_compiled_loss_computes_what_the_plain_one_does():
    """Warnings are errors: had the compiler failed, so would this test."""
    plain, compiled = twin_critics(), twin_critics()
    eager = Descent(plain.parameters(), squared_error(plain), RATE)
    fast = Descent(compiled.parameters(), squared_error(compiled), RATE, compile=True)
    for number in range(5):
        expected, found = eager(*batch(number)), fast(*batch(number))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert not value.requires_grad
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def branching(critics: nn.Module):
    """No compiler can make one piece of a branch on a value."""
    plain = squared_error(critics)

    def loss(inputs, targets):
        losses, metrics = plain(inputs, targets)
        return (losses * 2 if losses.sum() > 0 else losses), metrics

    return loss


def test_what_cannot_be_compiled_runs_as_it_is_after_one_warning():
    critics, twin = twin_critics(), twin_critics()
    descent = Descent(critics.parameters(), branching(critics), RATE, compile=True)
    plain = Descent(twin.parameters(), branching(twin), RATE)
    with pytest.warns(RuntimeWarning, match="--compile: .* going on without it") as caught:
        found = descent(*batch(0))
    assert len(caught) == 1
    assert same(found.values(), plain(*batch(0)).values())
    assert same(critics.parameters(), twin.parameters())
    descent(*batch(1))
    plain(*batch(1))
    assert same(critics.parameters(), twin.parameters())


def test_a_machine_without_a_compiler_runs_it_as_it_is_and_logs_why(caplog):
    from torch._inductor import config

    critics, twin = twin_critics(layer_norm=False), twin_critics(layer_norm=False)
    descent = Descent(critics.parameters(), squared_error(critics), RATE, compile=True)
    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),
        caplog.at_level("INFO", "ilfo"),
        pytest.warns(RuntimeWarning, match="--compile: "),
    ):
        descent(*batch(0))
    assert "no-such-compiler" in next(str(each.exc_info[1]) for each in caplog.records if each.name.startswith("ilfo"))
    Descent(twin.parameters(), squared_error(twin), RATE)(*batch(0))
    assert same(critics.parameters(), twin.parameters())


def refusing(critics: nn.Module):
    plain = squared_error(critics)

    def loss(inputs, targets):
        if inputs.shape[-1] != 6:
            raise ValueError("six numbers are wanted")
        return plain(inputs, targets)

    return loss


def test_a_loss_that_fails_says_so_itself_and_nothing_moves():
    critics = twin_critics()
    before, (inputs, targets) = weights(critics), batch(0)
    with pytest.raises(ValueError, match="six numbers are wanted"):
        Descent(critics.parameters(), refusing(critics), RATE)(inputs[..., :5], targets)
    with pytest.raises(RuntimeError, match=r"size|shape"):
        Descent(critics.parameters(), squared_error(critics), RATE)(inputs[..., :5], targets)
    compiled = Descent(critics.parameters(), refusing(critics), RATE, compile=True)
    with (
        pytest.warns(RuntimeWarning, match="--compile"),
        pytest.raises(ValueError, match="six numbers are wanted"),
    ):
        compiled(inputs[..., :5], targets)
    assert same(critics.parameters(), before)


def test_a_restored_descent_goes_on_and_leaves_the_other_alone():
    critics = twin_critics()
    descent = Descent(critics.parameters(), squared_error(critics), RATE)
    for number in range(3):
        descent(*batch(number))
    twin = copy.deepcopy(critics)
    restored = Descent(twin.parameters(), squared_error(twin), 99.0)
    restored.load_state_dict(descent.state_dict())
    for number in range(3, 6):
        restored(*batch(number))
    for number in range(3, 6):
        descent(*batch(number))
    assert same(critics.parameters(), twin.parameters())


def test_a_state_from_a_gpu_fits_the_cpu():
    critics = twin_critics()
    descent = Descent(critics.parameters(), squared_error(critics), RATE)
    descent(*batch(0))
    state = copy.deepcopy(descent.state_dict())
    state["param_groups"][0]["capturable"] = True
    descent.load_state_dict(state)
    descent(*batch(1))
    assert [group["capturable"] for group in descent.optimizer.param_groups] == [False]
