"""The fast perceptron computes what PyTorch's own layers do, one or many at once."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ilfo.agents import _fused_perceptron
from ilfo.agents._fused_perceptron import FusedPerceptron
from ilfo.agents._mlp import MLP, _plain_perceptron
from ilfo.agents._population import stack_modules

STACKS = [(), (2,), (3,), (3, 2)]
WIDTHS = [(23, 64, 3), (23, 64, 64, 1), (20, 32, 48, 32, 17), (3, 7, 20), (2, 5, 6, 1)]
ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}

needs_onednn = pytest.mark.skipif(not _fused_perceptron._HAS_ONEDNN, reason="needs a PyTorch with oneDNN")


@pytest.fixture(autouse=True, params=["mkl", pytest.param("onednn", marks=needs_onednn)])
def product(request, monkeypatch) -> str:
    """Both matrix products are tested, whichever this machine prefers."""
    monkeypatch.setattr(_fused_perceptron, "_PREFERS_ONEDNN", request.param == "onednn")
    return request.param


def make(widths, stack=(), layer_norm=False, activation="relu") -> MLP:
    torch.manual_seed(0)
    members = [MLP(widths, layer_norm, activation) for _ in range(math.prod(stack))]
    for member in members:
        for name, parameter in member.named_parameters():
            if name.startswith(("gain", "shift")):
                nn.init.normal_(parameter, mean=0.5)
    for count in reversed(stack):
        members = [stack_modules(members[start : start + count]) for start in range(0, len(members), count)]
    return members[0]


def sequential(mlp: MLP, member: tuple[int, ...]) -> nn.Sequential:
    """PyTorch's layers with the weights of one member, in double precision."""
    own = {name: parameter.detach()[member].double() for name, parameter in mlp.named_parameters()}
    depth = sum(name.startswith("weight") for name in own)
    layers: list[nn.Module] = []
    for index in range(depth):
        outputs, inputs = own[f"weight{index}"].shape
        layers.append(nn.Linear(inputs, outputs, dtype=torch.float64))
        if f"gain{index}" in own:
            layers.append(nn.LayerNorm(outputs, dtype=torch.float64))
        layers += [ACTIVATIONS[mlp.activation]()] if index < depth - 1 else []
    net = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), own.values(), strict=True):
            parameter.copy_(value)
    return net


def expected(mlp: MLP, inputs: Tensor, cotangent: Tensor) -> list[Tensor]:
    """Outputs, the gradient of the inputs and those of all parameters, by PyTorch's layers in double precision."""
    stack = mlp.weight0.shape[:-2]
    leaf = inputs.detach().double().requires_grad_()
    rows = leaf.expand(*stack, *inputs.shape[-2:])
    outputs, of_parameters = [], []
    for member in itertools.product(*map(range, stack)):
        net = sequential(mlp, member)
        outputs.append(net(rows[member]))
        outputs[-1].backward(cotangent[member].double(), retain_graph=True)
        of_parameters.append([parameter.grad for parameter in net.parameters()])
    together = [outputs, *zip(*of_parameters, strict=True)]
    values, *gradients = (torch.stack(list(parts)).view(*stack, *parts[0].shape) for parts in together)
    return [values, leaf.grad, *gradients]


def computed(function, mlp: MLP, inputs: Tensor, cotangent: Tensor) -> list[Tensor]:
    """As :func:`expected`, by a function of the inputs."""
    leaf = inputs.detach().requires_grad_()
    outputs = function(leaf)
    gradients = torch.autograd.grad(outputs, [leaf, *mlp.parameters()], cotangent)
    return [outputs, *gradients]


def assert_close(found, wanted, **close):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), other.double(), **(close or CLOSE))


def fused(mlp: MLP):
    form = (mlp.layer_norm, mlp.activation)
    return lambda *inputs: FusedPerceptron.apply(*form, len(inputs), *inputs, *mlp.parameters_in_order())


def plain(mlp: MLP):
    return lambda *inputs: _plain_perceptron(inputs, mlp.parameters_in_order(), mlp.layer_norm, mlp.activation)


PATHS = [fused, plain]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("widths", WIDTHS)
def test_both_paths_compute_what_pytorchs_layers_do(path, widths, stack, layer_norm, activation):
    mlp = make(widths, stack, layer_norm, activation)
    inputs, cotangent = torch.randn(*stack, 40, widths[0]), torch.randn(*stack, 40, widths[-1])
    assert_close(computed(path(mlp), mlp, inputs, cotangent), expected(mlp, inputs, cotangent))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("stack", "shape"), [((2,), (40, 23)), ((3, 2), (3, 1, 40, 23)), ((3, 2), (40, 23)), ((3, 2), (2, 40, 23))]
)
def test_inputs_shared_by_members_get_the_sum_of_their_gradients(path, stack, shape):
    mlp = make((23, 64, 32, 1), stack)
    inputs, cotangent = torch.randn(shape), torch.randn(*stack, 40, 1)
    found = computed(path(mlp), mlp, inputs, cotangent)
    assert found[0].shape == (*stack, 40, 1)
    assert found[1].shape == shape
    assert_close(found, expected(mlp, inputs, cotangent))


def pieces_of(stack, needing) -> list[Tensor]:
    """Inputs of 7, 20, 1 and 36 columns; the second is shared by all members, and the given ones need a gradient."""
    shapes = [(*stack, 40, 7), (40, 20), (*stack, 40, 1), (*stack[:-1], *[1] * len(stack[-1:]), 40, 36)]
    return [torch.randn(shape).requires_grad_(index in needing) for index, shape in enumerate(shapes)]


@pytest.mark.parametrize("path", [*PATHS, lambda mlp: mlp])
@pytest.mark.parametrize("needing", [(), (0,), (1, 3), (3,), (0, 1, 2, 3)])
@pytest.mark.parametrize("stack", STACKS)
def test_several_inputs_are_one_beside_the_other(path, stack, needing):
    mlp, pieces = make((64, 48, 32, 3), stack, activation="elu"), pieces_of(stack, needing)
    cotangent = torch.randn(*stack, 40, 3)
    joined = torch.cat([piece.detach().expand(*stack, *piece.shape[-2:]) for piece in pieces], -1)
    values, of_joined, *of_parameters = expected(mlp, joined, cotangent)
    outputs = path(mlp)(*pieces)
    wanted = [pieces[index] for index in needing]
    found = torch.autograd.grad(outputs, [*wanted, *mlp.parameters()], cotangent)
    of_pieces = of_joined.split([piece.shape[-1] for piece in pieces], -1)
    sums = [of_pieces[index].sum_to_size(pieces[index].shape) for index in needing]
    assert_close([outputs, *found], [values, *sums, *of_parameters])


class RightFactors(TorchDispatchMode):
    """Collects them, of oneDNN's products."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "_linear_pointwise" in str(func):
            self.seen.append(args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("product", ["onednn"], indirect=True)
@needs_onednn
def test_no_right_factor_is_a_slice_of_columns():
    """oneDNN takes a thousand times as long over one."""
    mlp, pieces, cotangent = make((64, 32, 48)), pieces_of((), (0, 1)), torch.randn(40, 100)[:, :48]
    with RightFactors() as right:
        torch.autograd.grad(mlp(*pieces), [*pieces[:2], *mlp.parameters()], cotangent)
    assert len(right.seen) == 6
    assert all(factor.is_contiguous() or factor.t().is_contiguous() for factor in right.seen)


@pytest.mark.parametrize("path", PATHS)
def test_tensors_may_lie_in_memory_in_any_way(path):
    mlp = make((20, 32, 48), (2,))
    inputs, cotangent = torch.randn(20, 40, 2).permute(2, 1, 0), torch.ones(()).expand(2, 40, 48)
    assert_close(computed(path(mlp), mlp, inputs, cotangent), expected(mlp, inputs, cotangent))


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_fused_path_is_as_exact_as_single_precision_can_be(layer_norm):
    mlp = make((256, 256, 256, 256), layer_norm=layer_norm)
    inputs, cotangent = torch.randn(256, 256), torch.randn(256, 256)
    for found, exact in zip(
        computed(fused(mlp), mlp, inputs, cotangent), expected(mlp, inputs, cotangent), strict=True
    ):
        assert (found.double() - exact).norm() < 2e-6 * exact.norm()


def test_many_rows_of_single_precision_take_the_fused_path_and_nothing_else_does():
    mlp = make((23, 32, 3))
    assert "FusedPerceptron" in mlp(torch.randn(16, 23)).grad_fn.name()
    assert "FusedPerceptron" not in mlp(torch.randn(15, 23)).grad_fn.name()
    assert "FusedPerceptron" not in mlp.double()(torch.randn(16, 23, dtype=torch.float64)).grad_fn.name()


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize(("rows", "dtype"), [(1, torch.float32), (40, torch.float32), (40, torch.float64)])
def test_the_module_computes_what_pytorchs_layers_do(rows, dtype, layer_norm):
    mlp = make((23, 64, 32, 3), (2,), layer_norm).to(dtype)
    inputs, cotangent = torch.randn(2, rows, 23, dtype=dtype), torch.randn(2, rows, 3, dtype=dtype)
    close = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else CLOSE
    assert_close(computed(mlp, mlp, inputs, cotangent), expected(mlp, inputs, cotangent), **close)


def test_the_compiler_sees_plain_operations():
    mlp, seen = make((23, 32, 3), (2,), layer_norm=True), []

    def look(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    inputs = torch.randn(2, 40, 23)
    found = torch.compile(mlp, fullgraph=True, backend=look)(inputs)
    torch.testing.assert_close(found, mlp(inputs), **CLOSE)
    assert any("matmul" in target for target in seen)
    assert not any("autograd" in target or "mkldnn" in target for target in seen)


@pytest.mark.parametrize("rows", [8, 40])
def test_frozen_weights_get_no_gradient_and_let_it_through(rows):
    mlp = make((23, 32, 3), (2,), layer_norm=True).requires_grad_(False)
    inputs, cotangent = torch.randn(2, rows, 23, requires_grad=True), torch.randn(2, rows, 3)
    mlp(inputs).backward(cotangent)
    assert all(parameter.grad is None for parameter in mlp.parameters())
    assert_close([inputs.grad], [expected(mlp, inputs, cotangent)[1]])


def test_weights_are_frozen_one_by_one():
    mlp, inputs, cotangent = make((23, 32, 3), (2,)), torch.randn(2, 40, 23), torch.randn(2, 40, 3)
    mlp.weight0.requires_grad_(False)
    mlp(inputs).backward(cotangent)
    found = [parameter.grad for parameter in mlp.parameters()]
    assert found[0] is None
    assert_close(found[1:], expected(mlp, inputs, cotangent)[3:])


@pytest.mark.parametrize("rows", [8, 40])
def test_inputs_that_need_no_gradient_take_none_from_the_weights(rows):
    mlp = make((23, 32, 3), (2,))
    inputs, cotangent = torch.randn(rows, 23), torch.randn(2, rows, 3)
    mlp(inputs).backward(cotangent)
    assert_close([parameter.grad for parameter in mlp.parameters()], expected(mlp, inputs, cotangent)[2:])


@pytest.mark.parametrize("rows", [8, 40])
@pytest.mark.parametrize("stack", STACKS)
def test_frozen_it_computes_the_same_and_its_weights_get_no_gradient(stack, rows):
    mlp, inputs = make((23, 32, 32, 1), stack, activation="elu"), torch.randn(*stack, rows, 23, requires_grad=True)
    results = [call(inputs[..., :9], inputs[..., 9:]) for call in (mlp.frozen, mlp)]
    torch.testing.assert_close(*results, rtol=0, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(values.sum(), inputs)[0] for values in results), **CLOSE)
    mlp.frozen(inputs).sum().backward()
    assert all(parameter.grad is None for parameter in mlp.parameters())


@pytest.mark.parametrize("rows", [8, 40])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("stack", [(2,), (3, 2)])
def test_one_frozen_member_computes_as_it_does_among_the_others(stack, layer_norm, rows):
    mlp = make((23, 32, 32, 1), stack, layer_norm)
    inputs = torch.randn(*stack[:-1], rows, 23, requires_grad=True)
    for member in range(stack[-1]):
        own = mlp.frozen(inputs, member=member)
        among = mlp(inputs.unsqueeze(-3)).select(-3, member)
        torch.testing.assert_close(own, among, **CLOSE)
        gradients = [torch.autograd.grad(values.sum(), inputs)[0] for values in (own, among)]
        torch.testing.assert_close(*gradients, **CLOSE)
        mlp.frozen(inputs, member=member).sum().backward()
    assert all(parameter.grad is None for parameter in mlp.parameters())


@pytest.mark.parametrize("layer_norm", [False, True])
def test_every_parameter_gets_a_gradient(layer_norm):
    mlp = make((23, 32, 32, 3), (2,), layer_norm)
    mlp(torch.randn(40, 23)).square().sum().backward()
    assert len(list(mlp.parameters())) == (10 if layer_norm else 6)
    for parameter in mlp.parameters():
        assert parameter.grad.abs().flatten(1).sum(1).gt(0).all()


def test_a_second_gradient_is_refused_rather_than_wrong():
    inputs = torch.randn(16, 23, requires_grad=True)
    outputs = make((23, 32, 1))(inputs).sum()
    with pytest.raises(RuntimeError, match="no second gradient"):
        torch.autograd.grad(outputs, inputs, create_graph=True)


def test_initial_weights_are_those_of_pytorchs_layers_drawn_in_order():
    torch.manual_seed(3)
    mlp = MLP((5, 8, 4, 2), layer_norm=True)
    torch.manual_seed(3)
    for index, layer in enumerate((nn.Linear(5, 8), nn.Linear(8, 4), nn.Linear(4, 2))):
        assert torch.equal(getattr(mlp, f"weight{index}"), layer.weight)
        assert torch.equal(getattr(mlp, f"bias{index}"), layer.bias)
    assert mlp.gain1.tolist() == [1.0] * 4
    assert mlp.shift1.tolist() == [0.0] * 4
