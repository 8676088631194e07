"""The perceptron on the CPU: oneDNN's products, and one node of the autograd graph for the whole of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FusedPerceptron", "suits_onednn"]

_FEW_ROWS, _NARROW = 16, 8
_HAS_PRODUCT = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def suits_onednn(inputs: Tensor) -> bool:
    """Whether :class:`FusedPerceptron` applies: float32 on the CPU, more than a few rows, and no compiler at work."""
    return (
        _HAS_PRODUCT
        and inputs.device.type == "cpu"
        and inputs.dtype == torch.float32
        and inputs.shape[-2] >= _FEW_ROWS
        and not torch.compiler.is_compiling()
    )


class FusedPerceptron(torch.autograd.Function):
    """``apply(inputs, layer_norm, *parameters)``: the perceptron of :mod:`ilfo.agents._mlp`, within rounding.

    PyTorch hands float32 products to MKL, which on AMD processors does not use their widest instructions; oneDNN, which
    PyTorch carries too, does, takes half the time at the sizes of these networks (``benchmarks/linear.py``) and applies
    bias and ReLU on the way. Forwards and backwards are written out, so that the autograd engine walks one node in
    place of one for each operation; the members of a stack are multiplied one after the other.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer_norm: bool, *parameters: Tensor) -> Tensor:
        stack = parameters[0].shape[:-2]
        depth = len(stack)
        members = list(zip(*(_members(each, depth) for each in parameters), strict=True))
        rows = _members(inputs.expand(*stack, *inputs.shape[-2:]), depth)
        found = [_forward(own, weights, layer_norm) for own, weights in zip(rows, members, strict=True)]
        # Kept as they are, not by save_for_backward: none of them is the output, and there is no second backward.
        ctx.stack, ctx.layer_norm, ctx.input_shape = stack, layer_norm, inputs.shape
        ctx.members = members
        ctx.kept = [[own, *kept] for own, (_, kept) in zip(rows, found, strict=True)]
        return _together([output for output, _ in found], stack)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("FusedPerceptron has no second gradient (create_graph=True): use float64 instead.")
        wants_inputs, _, *wants = ctx.needs_input_grad
        wants_parameters = any(wants)
        found = [
            _backward(own, kept, weights, ctx.layer_norm, wants_inputs, wants_parameters)
            for own, kept, weights in zip(_members(gradient, len(ctx.stack)), ctx.kept, ctx.members, strict=True)
        ]
        of_inputs = None
        if wants_inputs:
            of_inputs = _together([own for own, _ in found], ctx.stack).sum_to_size(ctx.input_shape)
        if not wants_parameters:
            return of_inputs, None, *[None] * len(wants)
        of_parameters = zip(*(own for _, own in found), strict=True)
        return of_inputs, None, *(_together(each, ctx.stack) for each in of_parameters)


def _forward(inputs: Tensor, parameters: Sequence[Tensor], layer_norm: bool) -> tuple[Tensor, list[Tensor]]:
    """Outputs ``(B, out)``, and of every hidden layer what the way back needs: its output last."""
    hidden, kept, each = inputs, [], 4 if layer_norm else 2
    for start in range(0, len(parameters) - 2, each):
        weight, bias, *norm = parameters[start : start + each]
        if norm:
            linear = _product(hidden, weight, bias)
            normalised, mean, deviation = torch.native_layer_norm(linear, linear.shape[-1:], norm[0], norm[1], 1e-5)
            hidden = normalised.relu_()
            kept += [linear, mean, deviation]
        else:
            hidden = _product(hidden, weight, bias, "relu")
        kept.append(hidden)
    return _product(hidden, parameters[-2], parameters[-1]), kept


def _backward(
    gradient: Tensor,
    saved: Sequence[Tensor],
    parameters: Sequence[Tensor],
    layer_norm: bool,
    wants_inputs: bool,
    wants_parameters: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the inputs ``(B, in)`` and of the parameters, all or none; ``saved`` starts with the inputs."""
    of_parameters: list[Tensor] = []
    each, stored = (4, 4) if layer_norm else (2, 1)
    layers = (len(parameters) - 2) // each
    weight = parameters[-2]
    for layer in reversed(range(layers + 1)):
        layer_inputs = saved[layer * stored]
        if wants_parameters:
            of_parameters[:0] = [_weight_gradient(gradient, layer_inputs), gradient.sum(0)]
        if layer == 0 and not wants_inputs:
            break
        gradient = _product(gradient, weight.t())
        if layer == 0:
            break
        gradient = torch.ops.aten.threshold_backward.default(gradient, layer_inputs, 0)
        weight, _, *norm = parameters[(layer - 1) * each : layer * each]
        if norm:
            linear, mean, deviation = saved[layer * stored - 3 : layer * stored]
            gradient, of_gain, of_shift = torch.ops.aten.native_layer_norm_backward.default(
                gradient, linear, linear.shape[-1:], mean, deviation, norm[0], norm[1], [True] + [wants_parameters] * 2
            )
            if wants_parameters:
                of_parameters[:0] = [of_gain, of_shift]
    return gradient, of_parameters


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """``left @ right.T + bias``, then ReLU where asked."""
    if min(*left.shape, right.shape[0]) < _NARROW:
        # Too thin for oneDNN's overhead.
        outputs = F.linear(left, right, bias)
        return outputs.relu_() if activation == "relu" else outputs
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(left, right, bias, activation, [], "")
    return product


def _weight_gradient(gradient: Tensor, inputs: Tensor) -> Tensor:
    """``gradient.T @ inputs``, the thinner on the left: oneDNN copies a left factor that is transposed."""
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
