"""Multilayer perceptrons, one or many at once, on the fastest path that the machine has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilfo.agents._fused_perceptron import Activation, FusedPerceptron, suits_fusion

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with an activation between them, and optional layer normalisation before each activation.

    Weights are ``(*stack, out, in)``, biases and norms ``(*stack, out)``. A fresh one has no stack dimensions;
    :func:`~ilfo.agents._population.stack_modules` adds them: ``(2,)`` for twin critics, ``(S,)`` for the actors of S
    seeds, ``(S, 2)`` for their critics.

    Args:
        widths: Width of every layer, from input to output.
        layer_norm: Whether hidden layers are normalised.
        activation: What follows every hidden layer.

    Notes:
        Initial weights are those of ``nn.Linear``, drawn in the order of the layers.
    """

    def __init__(self, widths: Sequence[int], layer_norm: bool = False, activation: Activation = "relu") -> None:
        super().__init__()
        self.layer_norm, self.activation = layer_norm, activation
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            layer = nn.Linear(inputs, outputs)
            self.register_parameter(f"weight{index}", nn.Parameter(layer.weight))
            self.register_parameter(f"bias{index}", nn.Parameter(layer.bias))
            if layer_norm and index < len(widths) - 2:
                self.register_parameter(f"gain{index}", nn.Parameter(torch.ones(outputs)))
                self.register_parameter(f"shift{index}", nn.Parameter(torch.zeros(outputs)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """``(*stack, B, in)``, or what broadcasts to it, to ``(*stack, B, out)``; several inputs are concatenated."""
        return self._apply_to(inputs, self.parameters_in_order())

    def frozen(self, *inputs: Tensor, member: int | None = None) -> Tensor:
        """As a call, but the weights get no gradient; with ``member``, only that one of the last stack dimension."""
        parameters = [parameter.detach() for parameter in self.parameters_in_order()]
        if member is not None:
            last = parameters[0].dim() - 3
            parameters = [parameter.select(last, member) for parameter in parameters]
        return self._apply_to(inputs, parameters)

    def _apply_to(self, inputs: tuple[Tensor, ...], parameters: list[Tensor]) -> Tensor:
        if suits_fusion(inputs[0]):
            outputs: Tensor = FusedPerceptron.apply(self.layer_norm, self.activation, len(inputs), *inputs, *parameters)
            return outputs
        return _plain_perceptron(inputs, parameters, self.layer_norm, self.activation)

    def parameters_in_order(self) -> list[Tensor]:
        """Layer by layer: weight, bias and, of a normalised layer, gain and shift."""
        return [parameter for parameter in self._parameters.values() if parameter is not None]


def _plain_perceptron(
    inputs: Sequence[Tensor], parameters: Sequence[Tensor], layer_norm: bool, activation: Activation
) -> Tensor:
    hidden, each = _side_by_side(inputs), 4 if layer_norm else 2
    for start in range(0, len(parameters) - 2, each):
        weight, bias, *norm = parameters[start : start + each]
        hidden = _affine(hidden, weight, bias)
        if norm:
            gain, shift = norm
            hidden = F.layer_norm(hidden, hidden.shape[-1:]) * gain.unsqueeze(-2) + shift.unsqueeze(-2)
        hidden = F.relu(hidden) if activation == "relu" else F.elu(hidden)
    return _affine(hidden, *parameters[-2:])


def _side_by_side(inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) == 1:
        return inputs[0]
    rows = torch.broadcast_shapes(*(each.shape[:-1] for each in inputs))
    return torch.cat([each.expand(*rows, each.shape[-1]) for each in inputs], dim=-1)


def _affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.dim() == 2:
        return F.linear(inputs, weight, bias)
    return torch.matmul(inputs, weight.mT) + bias.unsqueeze(-2)
