"""What defines a transport problem, and what a reward needs to know of its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ilfo._tools.errors import InputError

__all__ = ["CostBlocks", "RowCosts", "blocks_of", "check_masses"]

CostBlocks = Callable[[slice, slice], Tensor]
"""Given some of the problems and some of the rows, returns their costs ``(k, r, m)``, computed on demand. An infinite
cost forbids matching a row with a column; a plan must still exist. Rows without mass must have finite costs all the
same."""


@dataclass(frozen=True)
class RowCosts:
    """What plans ``P`` cost, row by row, without the plans themselves.

    Attributes:
        moved: ``(B, n)``, cost of each row under its plan, ``sum_j P[i, j] cost[i, j]``.
        mass: ``(B, n)``, mass that left each row, ``sum_j P[i, j]``.
        corner: ``(B,)``, mass that went from the last row to the last column.
    """

    moved: Tensor
    mass: Tensor
    corner: Tensor

    @classmethod
    def of(cls, plan: Tensor, cost: Tensor) -> RowCosts:
        """From plans and costs ``(B, n, m)``; a plan has no mass where the cost is infinite."""
        moved = torch.where(cost.isinf(), 0.0, plan * cost)
        return cls(moved.sum(dim=-1), plan.sum(dim=-1), plan[:, -1, -1].clone())

    @classmethod
    def empty(cls, like: Tensor) -> RowCosts:
        """Zeros for problems with masses ``(B, n)``."""
        return cls(torch.zeros_like(like), torch.zeros_like(like), torch.zeros_like(like[:, 0]))

    def put(self, problems: slice | Tensor, rows: slice, part: RowCosts) -> None:
        """Fills in the results for some rows of some problems; the last rows must come last, to set the corner."""
        for field in fields(self):
            where = problems if field.name == "corner" else (problems, rows)
            getattr(self, field.name)[where] = getattr(part, field.name)


def blocks_of(cost: Tensor) -> CostBlocks:
    """Blocks of costs ``(B, n, m)`` that are already computed."""
    return lambda problems, rows: cost[problems, rows]


def check_masses(a: Tensor, b: Tensor) -> None:
    """Refuses rows and columns ``(..., n)`` and ``(..., m)`` of different mass, between which there is no plan."""
    rows, columns = (each.double().sum(dim=-1).cpu() for each in (a, b))
    if not torch.allclose(rows, columns, rtol=1e-4, atol=0.0):
        worst = int((rows - columns).abs().argmax())
        found = f"{rows.flatten()[worst]:g} and {columns.flatten()[worst]:g}"
        raise InputError(
            f"rows and columns have the masses {found} in all; expected the same, like 1 / n and 1 / m each"
        )
