"""A linear layer that multiplies by oneDNN on the CPU, forwards and backwards."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Linear"]

_NARROW = 16


class Linear(nn.Linear):
    """``nn.Linear``, with the same weights and the same result within rounding.

    PyTorch hands float32 products to MKL, which on AMD processors does not use their widest instructions; oneDNN, which
    PyTorch carries too, does, and takes half the time at the sizes of these networks (``benchmarks/linear.py``). Where
    oneDNN cannot be used (another device or dtype, a build without it), and for layers of a few outputs, where its
    overhead shows, this is ``nn.Linear``.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, in)`` to ``(B, out)``."""
        if self.out_features >= _NARROW and inputs.dim() == 2 and _suits_onednn(inputs):
            product: Tensor = _OneDNNLinear.apply(inputs, self.weight, self.bias)
            return product
        return F.linear(inputs, self.weight, self.bias)


def _suits_onednn(inputs: Tensor) -> bool:
    return inputs.device.type == "cpu" and inputs.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """``left @ right.T + bias``; transposed views are read as they are."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return result


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        wants_inputs, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if wants_inputs else None,
            _product(gradient.t(), inputs.t()) if wants_weight else None,
            gradient.sum(0) if wants_bias else None,
        )
