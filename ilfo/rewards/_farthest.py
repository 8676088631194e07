"""Which two of many points are farthest apart."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["farthest_pair"]

ROWS = 256
COLUMNS = 1024
"""Distances that are held at a time, 2 MiB: what is made by a product is then still in the cache when it is read."""


def farthest_pair(points: Tensor) -> tuple[int, int]:
    """Indices of the two points whose Euclidean distance is the largest; of a single point, it twice.

    Two points are at most as far apart as both are from the centre of all, so that most pairs need not be looked at:
    of the transitions of a robot that walks, one in a hundred remains. All remain where every point is as far from the
    centre as any other, as unit vectors may be.

    Args:
        points: ``(N, F)``, finite; ``N`` at least 1.

    Notes:
        Distances are ``|x|^2 + |y|^2 - 2 x y`` in float64, by a matrix product: what cancels there is below what
        float32 resolves.
    """
    centred = points.double() - points.double().mean(dim=0)
    radii, order = centred.norm(dim=1).sort(descending=True)
    centred = centred[order]
    squares = centred.square().sum(dim=1)
    one, other, largest = _swept(centred)
    for start in range(0, len(centred), ROWS):
        rows = slice(start, start + ROWS)
        # All before it had their turn with these rows, or have it now: every pair is looked at once.
        near_enough = min(int((radii > largest**0.5 - radii[start]).sum()), start + ROWS)
        if not near_enough:
            break
        for first in range(0, near_enough, COLUMNS):
            columns = slice(first, min(first + COLUMNS, near_enough))
            apart = torch.addmm(squares[columns], centred[rows], centred[columns].T, alpha=-2.0)
            farthest, row = (apart.amax(dim=1) + squares[rows]).max(dim=0)
            if float(farthest) > largest:
                largest, one = float(farthest), start + int(row)
                other = first + int(apart[row].argmax())
    return int(order[one]), int(order[other])


def _swept(points: Tensor) -> tuple[int, int, float]:
    """Two points that are far apart, and the square of their distance: each the farthest from the other."""
    one = other = 0
    largest = 0.0
    while True:
        square, index = (points - points[other]).square().sum(dim=1).max(dim=0)
        if float(square) <= largest:
            return one, other, largest
        one, other, largest = other, int(index), float(square)
