"""What it costs to move one atom on to another."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Cost", "cost_matrix"]

Cost = Literal["euclidean", "sqrt_euclidean", "squared_euclidean", "cosine"]


def cost_matrix(x: Tensor, y: Tensor, cost: Cost = "euclidean", *, per_sqrt_dim: bool = True) -> Tensor:
    """Cost between every two atoms, the same number for the same difference in every dimension count.

    * ``euclidean``: root mean square difference, ``||x - y|| / sqrt(F)``.
    * ``sqrt_euclidean``: its square root, which forgives large differences.
    * ``squared_euclidean``: its square, which forgives small ones.
    * ``cosine``: ``1 - cos(x, y)``; an atom of zeros is at 1/2 from every other.

    Args:
        x: ``(B, n, F)`` or ``(n, F)``.
        y: ``(B, m, F)`` or ``(m, F)``, of the dtype and device of ``x``.
        cost: Which of the above.
        per_sqrt_dim: Divide the distance by ``sqrt(F)``. Without, it is ``||x - y||``, whose size grows with the number
            of dimensions. The cosine has no use for it.

    Returns:
        ``(B, n, m)`` or ``(n, m)``, at least 0, and exactly 0 between equal atoms.

    Notes:
        Distances are summed difference by difference. The quicker form ``|x|^2 + |y|^2 - 2 x y`` cancels
        badly in float32 and worse in TF32, so that the expert would be at a distance from itself; for the
        same reason the cosine is taken from the distance of the unit vectors, ``||u - v||^2 / 2``.
    """
    if cost == "cosine":
        x, y = torch.nn.functional.normalize(x, dim=-1), torch.nn.functional.normalize(y, dim=-1)
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    if cost == "cosine":
        return distance.square() / 2
    if per_sqrt_dim:
        distance = distance / math.sqrt(x.shape[-1])
    if cost == "sqrt_euclidean":
        return distance.sqrt()
    return distance.square() if cost == "squared_euclidean" else distance
