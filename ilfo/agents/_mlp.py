"""Multilayer perceptrons, one or many at once, on the fastest path that the machine has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilfo.agents._onednn import FusedPerceptron, suits_onednn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with ReLU between them, and layer normalisation before each ReLU where wanted.

    Weights are ``(*stack, out, in)``, biases and norms ``(*stack, out)``. A fresh one has no stack; see
    :func:`~ilfo.agents._population.stack_modules` for the rest: ``(2,)`` for twin critics, ``(S,)`` for the actors of S
    seeds, ``(S, 2)`` for their critics.

    Args:
        widths: Units of every layer, from the input's to the output's.
        layer_norm: Whether hidden layers are normalised.

    Notes:
        Initial weights are those of ``nn.Linear``, drawn in the order of the layers.
    """

    def __init__(self, widths: Sequence[int], layer_norm: bool = False) -> None:
        super().__init__()
        self.layer_norm = layer_norm
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            layer = nn.Linear(inputs, outputs)
            self.register_parameter(f"weight{index}", nn.Parameter(layer.weight))
            self.register_parameter(f"bias{index}", nn.Parameter(layer.bias))
            if layer_norm and index < len(widths) - 2:
                self.register_parameter(f"gain{index}", nn.Parameter(torch.ones(outputs)))
                self.register_parameter(f"shift{index}", nn.Parameter(torch.zeros(outputs)))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(*stack, B, in)``, or what broadcasts to it, to ``(*stack, B, out)``."""
        return _perceptron(inputs, tuple(self.parameters_in_order()), self.layer_norm)

    def frozen(self, inputs: Tensor, member: int) -> Tensor:
        """What one member of the last stack dimension makes of ``(..., B, in)``; its weights get no gradient."""
        chosen = [
            parameter.detach().select(-3 if name.startswith("weight") else -2, member)
            for name, parameter in self._parameters.items()
            if parameter is not None
        ]
        return _perceptron(inputs, tuple(chosen), self.layer_norm)

    def parameters_in_order(self) -> list[Tensor]:
        """Layer by layer: weight, bias and, of a normalised layer, gain and shift."""
        return [parameter for parameter in self._parameters.values() if parameter is not None]


def _perceptron(inputs: Tensor, parameters: tuple[Tensor, ...], layer_norm: bool) -> Tensor:
    if suits_onednn(inputs):
        outputs: Tensor = FusedPerceptron.apply(inputs, layer_norm, *parameters)
        return outputs
    return _plain_perceptron(inputs, parameters, layer_norm)


def _plain_perceptron(inputs: Tensor, parameters: tuple[Tensor, ...], layer_norm: bool) -> Tensor:
    hidden, each = inputs, 4 if layer_norm else 2
    for start in range(0, len(parameters) - 2, each):
        weight, bias, *norm = parameters[start : start + each]
        hidden = _affine(hidden, weight, bias)
        if norm:
            gain, shift = norm
            hidden = F.layer_norm(hidden, hidden.shape[-1:]) * gain.unsqueeze(-2) + shift.unsqueeze(-2)
        hidden = F.relu(hidden)
    return _affine(hidden, *parameters[-2:])


def _affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.dim() == 2:
        return F.linear(inputs, weight, bias)
    return torch.matmul(inputs, weight.mT) + bias.unsqueeze(-2)
