"""Finds the two points of a set that are farthest apart."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["farthest_pair"]

ROWS = 256
COLUMNS = 1024
"""A block of ROWS by COLUMNS distances takes 2 MiB: what the matrix product writes is still cached when it is read."""


def farthest_pair(points: Tensor) -> tuple[int, int]:
    """Indices of the two points at the largest Euclidean distance; a single point is returned twice.

    Two points are no farther apart than the sum of their distances from the common centre, so most pairs can be
    skipped: for the transitions of a walking robot, one in a hundred remains. All remain where every point is equally
    far from the centre, as unit vectors may be.

    Args:
        points: ``(N, F)``, finite; ``N`` at least 1.

    Notes:
        Distances are ``|x|^2 + |y|^2 - 2 x y`` in float64, by a matrix product: the error by cancellation is below
        what float32 resolves.
    """
    centred = points.double() - points.double().mean(dim=0)
    radii, order = centred.norm(dim=1).sort(descending=True)
    centred = centred[order]
    squares = centred.square().sum(dim=1)
    one, other, largest = _swept(centred)
    for start in range(0, len(centred), ROWS):
        rows = slice(start, start + ROWS)
        # Columns end with this block: later points meet these when they are rows, so every pair is seen once.
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
    """A first guess: two points, each the farthest from the other, and the square of their distance."""
    one = other = 0
    largest = 0.0
    while True:
        square, index = (points - points[other]).square().sum(dim=1).max(dim=0)
        if float(square) <= largest:
            return one, other, largest
        one, other, largest = other, int(index), float(square)
