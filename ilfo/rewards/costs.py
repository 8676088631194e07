"""The cost of moving one atom to another."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ilfo.rewards._farthest import farthest_pair

__all__ = ["Cost", "cost_matrix", "largest_cost"]

Cost = Literal["euclidean", "sqrt_euclidean", "squared_euclidean", "cosine"]


def cost_matrix(x: Tensor, y: Tensor, cost: Cost = "euclidean", *, per_sqrt_dim: bool = True) -> Tensor:
    """Costs between all pairs of atoms, by default on a scale that does not depend on the number of dimensions.

    * ``euclidean``: root mean square difference, ``||x - y|| / sqrt(F)``.
    * ``sqrt_euclidean``: its square root, which forgives large differences.
    * ``squared_euclidean``: its square, which forgives small ones.
    * ``cosine``: ``1 - cos(x, y)``; an atom of zeros is at 1/2 from every other.

    Args:
        x: ``(B, n, F)`` or ``(n, F)``.
        y: ``(B, m, F)`` or ``(m, F)``, of the dtype and device of ``x``.
        cost: Which of the above.
        per_sqrt_dim: Divide the distance by ``sqrt(F)``. If False, it is ``||x - y||``, which grows with the number of
            dimensions. The cosine ignores this.

    Returns:
        ``(B, n, m)`` or ``(n, m)``, at least 0, and exactly 0 between equal atoms.

    Notes:
        Distances are summed difference by difference. The faster form ``|x|^2 + |y|^2 - 2 x y`` cancels
        badly in float32 and worse in TF32, so the expert would be at a distance from itself; for the
        same reason the cosine is computed from the distance of the unit vectors, ``||u - v||^2 / 2``.
    """
    if cost == "cosine":
        x, y = _directions(x), _directions(y)
    distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    if cost == "cosine":
        return distance.square() / 2
    if per_sqrt_dim:
        distance = distance / math.sqrt(x.shape[-1])
    if cost == "sqrt_euclidean":
        return distance.sqrt()
    return distance.square() if cost == "squared_euclidean" else distance


def largest_cost(atoms: Tensor, cost: Cost = "euclidean", *, per_sqrt_dim: bool = True) -> float:
    """The largest cost between any two of the atoms ``(N, F)``.

    Every cost grows with a distance, so it is the cost of the two atoms that are farthest apart or, for the cosine, of
    the two whose directions are. The full cost matrix is never computed.
    """
    one, other = farthest_pair(_directions(atoms) if cost == "cosine" else atoms)
    return float(cost_matrix(atoms[one, None], atoms[other, None], cost, per_sqrt_dim=per_sqrt_dim))


def _directions(atoms: Tensor) -> Tensor:
    return torch.nn.functional.normalize(atoms, dim=-1)
