"""The perceptron on the CPU: one node of the autograd graph, with the faster of the two matrix products at hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Activation", "FusedPerceptron", "suits_fusion"]

Activation = Literal["relu", "elu"]
"""What follows every hidden layer."""

_FEW_ROWS, _NARROW = 16, 8
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_PREFERS_ONEDNN = _HAS_ONEDNN and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def suits_fusion(inputs: Tensor) -> bool:
    """Whether :class:`FusedPerceptron` applies: float32 on the CPU, more than a few rows, and no compiler at work."""
    return (
        inputs.device.type == "cpu"
        and inputs.dtype == torch.float32
        and inputs.shape[-2] >= _FEW_ROWS
        and not torch.compiler.is_compiling()
    )


class FusedPerceptron(torch.autograd.Function):
    """``apply(layer_norm, activation, pieces, *tensors)``: the perceptron of :mod:`ilfo.agents._mlp`, up to rounding.

    The first ``pieces`` tensors are the inputs, side by side; the others are the parameters.

    Forward and backward are written out, so the autograd engine visits one node instead of one per operation; the
    members of a stack are multiplied one after the other.

    PyTorch hands float32 products to MKL, which does not use the AVX-512 instructions of AMD processors. oneDNN, which
    comes with PyTorch too, does: where there are such instructions, it takes half the time at the sizes of these
    networks, and applies bias and ReLU on the way. Where there are none, MKL is the faster (``benchmarks/linear.py``).
    """

    @staticmethod
    def forward(ctx: Any, layer_norm: bool, activation: Activation, pieces: int, *tensors: Tensor) -> Tensor:
        inputs, parameters = tensors[:pieces], tensors[pieces:]
        stack = parameters[0].shape[:-2]
        depth = len(stack)
        members = list(zip(*(_members(each, depth) for each in parameters), strict=True))
        parts = zip(*(_members(each.expand(*stack, *each.shape[-2:]), depth) for each in inputs), strict=True)
        rows = [own[0] if pieces == 1 else torch.cat(own, dim=-1) for own in parts]
        found = [_forward(own, weights, layer_norm, activation) for own, weights in zip(rows, members, strict=True)]
        # Kept as they are, not by save_for_backward: none of them is the output, and there is no second backward.
        ctx.stack, ctx.layer_norm, ctx.activation = stack, layer_norm, activation
        ctx.shapes = [each.shape for each in inputs]
        ctx.members = members
        ctx.kept = [[own, *kept] for own, (_, kept) in zip(rows, found, strict=True)]
        return _together([output for output, _ in found], stack)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("FusedPerceptron has no second gradient (create_graph=True): use float64 instead.")
        _, _, _, *wants = ctx.needs_input_grad
        pieces = len(ctx.shapes)
        wanted = [index for index in range(pieces) if wants[index]]
        ends = list(accumulate(shape[-1] for shape in ctx.shapes))
        columns = slice(ends[wanted[0]] - ctx.shapes[wanted[0]][-1], ends[wanted[-1]]) if wanted else None
        found = [
            _backward(own, kept, weights, ctx.layer_norm, ctx.activation, columns, any(wants[pieces:]))
            for own, kept, weights in zip(_members(gradient, len(ctx.stack)), ctx.kept, ctx.members, strict=True)
        ]
        of_inputs: list[Tensor | None] = [None] * pieces
        if columns is not None:
            of_columns = _together([own for own, _ in found], ctx.stack)
            for index in wanted:
                shape, end = ctx.shapes[index], ends[index] - columns.start
                of_inputs[index] = of_columns[..., end - shape[-1] : end].sum_to_size(shape)
        if not any(wants[pieces:]):
            return None, None, None, *of_inputs, *[None] * len(wants[pieces:])
        of_parameters = zip(*(own for _, own in found), strict=True)
        return None, None, None, *of_inputs, *(_together(each, ctx.stack) for each in of_parameters)


def _forward(
    inputs: Tensor, parameters: Sequence[Tensor], layer_norm: bool, activation: Activation
) -> tuple[Tensor, list[Tensor]]:
    """Outputs ``(B, out)``, and what the backward pass needs of every hidden layer, its output last."""
    hidden, kept, each = inputs, [], 4 if layer_norm else 2
    for start in range(0, len(parameters) - 2, each):
        weight, bias, *norm = parameters[start : start + each]
        if norm:
            linear = _product(hidden, weight, bias)
            normalised, mean, deviation = torch.native_layer_norm(linear, linear.shape[-1:], norm[0], norm[1], 1e-5)
            hidden = _activate_(normalised, activation)
            kept += [linear, mean, deviation]
        elif activation == "relu":
            hidden = _product(hidden, weight, bias, "relu")
        else:
            hidden = _activate_(_product(hidden, weight, bias), activation)
        kept.append(hidden)
    return _product(hidden, parameters[-2], parameters[-1]), kept


def _backward(
    gradient: Tensor,
    saved: Sequence[Tensor],
    parameters: Sequence[Tensor],
    layer_norm: bool,
    activation: Activation,
    columns: slice | None,
    wants_parameters: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of ``columns`` of the inputs, and of all parameters or none; ``saved`` starts with the inputs."""
    of_parameters: list[Tensor] = []
    each, stored = (4, 4) if layer_norm else (2, 1)
    layers = (len(parameters) - 2) // each
    weight = parameters[-2]
    for layer in reversed(range(layers + 1)):
        layer_inputs = saved[layer * stored]
        if wants_parameters:
            of_parameters[:0] = [_weight_gradient(gradient, layer_inputs), gradient.sum(0)]
        if layer == 0:
            if columns is not None:
                gradient = _product(gradient, weight[:, columns].contiguous().t())
            break
        gradient = _activation_gradient(_product(gradient, weight.t()), layer_inputs, activation)
        weight, _, *norm = parameters[(layer - 1) * each : layer * each]
        if norm:
            linear, mean, deviation = saved[layer * stored - 3 : layer * stored]
            gradient, of_gain, of_shift = torch.ops.aten.native_layer_norm_backward.default(
                gradient, linear, linear.shape[-1:], mean, deviation, norm[0], norm[1], [True] + [wants_parameters] * 2
            )
            if wants_parameters:
                of_parameters[:0] = [of_gain, of_shift]
    return gradient, of_parameters


def _activate_(linear: Tensor, activation: Activation) -> Tensor:
    return linear.relu_() if activation == "relu" else F.elu_(linear)


def _activation_gradient(gradient: Tensor, outputs: Tensor, activation: Activation) -> Tensor:
    """The gradient at the activation's input, from the activation's output."""
    if activation == "relu":
        passed: Tensor = torch.ops.aten.threshold_backward.default(gradient, outputs, 0)
    else:
        passed = torch.ops.aten.elu_backward.default(gradient, 1.0, 1.0, 1.0, True, outputs)
    return passed


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """``left @ right.T + bias``, then ReLU where asked."""
    if not _PREFERS_ONEDNN or min(*left.shape, right.shape[0]) < _NARROW:  # the latter: too thin for its overhead
        outputs = F.linear(left, right, bias)
        return outputs.relu_() if activation == "relu" else outputs
    if not (right.is_contiguous() or right.t().is_contiguous()):
        right = right.contiguous()  # oneDNN spends a second on a right factor that is a slice of columns
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(left, right, bias, activation, [], "")
    return product


def _weight_gradient(gradient: Tensor, inputs: Tensor) -> Tensor:
    """``gradient.T @ inputs``, with the thinner factor on the left: oneDNN copies a transposed left factor."""
    if inputs.shape[1] < gradient.shape[1]:
        return _product(inputs.t(), gradient.t()).t().contiguous()
    return _product(gradient.t(), inputs.t())


def _members(stacked: Tensor, depth: int) -> list[Tensor]:
    """The members of ``depth`` leading dimensions, as views."""
    parts = [stacked]
    for _ in range(depth):
        parts = [member for part in parts for member in part.unbind(0)]
    return parts


def _together(parts: Sequence[Tensor], stack: torch.Size) -> Tensor:
    """The inverse of :func:`_members`."""
    if not stack:
        return parts[0]
    return torch.stack(list(parts)).view(*stack, *parts[0].shape)
