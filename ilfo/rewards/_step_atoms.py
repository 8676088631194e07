"""A step as the networks of a learned reward see it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ilfo._tools.seeds import seeded

__all__ = ["Activation", "StepAtoms", "perceptron"]

Activation = Literal["tanh", "relu"]

SMALLEST_SPREAD = 0.02
"""Smallest standard deviation of a change to divide by, in those of the state: a dimension that the expert never moves
must not drown the others."""
LARGEST = 10.0
"""Where the entries of an atom are cut off, unless the expert itself goes beyond: there a step is no expert's anyway,
and a simulation that diverges would spoil a network, and the moments of Adam, for good."""


class StepAtoms(nn.Module):
    """Where a step starts and what it changes, ``(z(s), (z(s') - z(s)) / spread)``, entries cut off.

    It says as much as ``(z(s), z(s'))``. But successive states are nearly the same, and what tells an expert's step
    from another between the same places is the small difference, to which a network is blind until it is scaled up.

    Args:
        experts: The features ``(T+1, F)`` of each demonstration.

    Attributes:
        spread: ``(F,)`` the standard deviation (``ddof=0``) of the expert's changes, at least 0.02.
        largest: ``(2F,)`` where entries are cut off: at 10 or, like the time of a long demonstration, where the
            expert's own largest lie.
    """

    def __init__(self, experts: Sequence[Tensor]) -> None:
        super().__init__()
        changes = torch.cat([features.diff(dim=0) for features in experts])
        spread = changes.std(dim=0, correction=0).clamp(min=SMALLEST_SPREAD)
        states = torch.cat([features.abs() for features in experts])
        largest = torch.cat([states.amax(dim=0), (changes / spread).abs().amax(dim=0)]).clamp(min=LARGEST)
        self.spread: Tensor
        self.largest: Tensor
        self.register_buffer("spread", spread)
        self.register_buffer("largest", largest)

    @property
    def width(self) -> int:
        """Entries of an atom: twice the features of a state."""
        return 2 * len(self.spread)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Atoms ``(..., 2F)`` of the features ``(..., F)`` of two successive states."""
        return torch.cat([before, (after - before) / self.spread], dim=-1).clamp(-self.largest, self.largest)


def perceptron(widths: Sequence[int], activation: Activation, seed: int) -> nn.Sequential:
    """Linear layers with an activation between them, weighted as ``nn.Linear`` does it from a seed of their own.

    Args:
        widths: Units of every layer, from the input's to the output's.
        activation: What follows every hidden layer.
        seed: Seed of the weights; PyTorch's global random state is left as it was.
    """
    made: list[nn.Module] = []
    with seeded(seed):
        for inputs, outputs in pairwise(widths):
            made += [nn.Linear(inputs, outputs), nn.Tanh() if activation == "tanh" else nn.ReLU()]
    return nn.Sequential(*made[:-1])
