"""How a step is presented to the networks of a learned reward."""

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
"""Smallest standard deviation of a change to divide by, in standard deviations of the state: a dimension that the
expert never moves must not drown out the others."""
LARGEST = 10.0
"""Where the entries of an atom are clipped, unless the expert itself goes beyond: a step out there is not the expert's
anyway, and a simulation that diverges would ruin a network, and Adam's moments, for good."""


class StepAtoms(nn.Module):
    """Where a step starts and what it changes, ``(z(s), (z(s') - z(s)) / spread)``, entries clipped.

    It holds the same information as ``(z(s), z(s'))``. But successive states are nearly equal: what tells an expert's
    step from another at the same place is their small difference, which a network cannot see until it is scaled up.

    Args:
        experts: The features ``(T+1, F)`` of each demonstration.

    Attributes:
        spread: ``(F,)`` the standard deviation (``ddof=0``) of the expert's changes, at least 0.02.
        largest: ``(2F,)`` where entries are clipped: at 10, or at the expert's own largest value if that is more, as
            for the time in a long demonstration.
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
    """Linear layers with an activation between them, initialised as by ``nn.Linear`` from a seed of their own.

    Args:
        widths: Width of every layer, from input to output.
        activation: What follows every hidden layer.
        seed: Seed of the weights; PyTorch's global random state is left as it was.
    """
    made: list[nn.Module] = []
    with seeded(seed):
        for inputs, outputs in pairwise(widths):
            made += [nn.Linear(inputs, outputs), nn.Tanh() if activation == "tanh" else nn.ReLU()]
    return nn.Sequential(*made[:-1])
