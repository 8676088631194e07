"""Entropic transport plans, many at once, by Sinkhorn's iterations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ilfo._tools.cores import threads
from ilfo._tools.errors import InputError
from ilfo.rewards.kernels import BlockKernel, Kernel, dense_kernel
from ilfo.rewards.row_costs import CostBlocks, RowCosts, blocks_of, check_masses

__all__ = ["potentials", "sinkhorn_costs", "sinkhorn_plan"]

MAX_BYTES = 2**32
CACHE_BYTES = 2**23
MATRICES = 6
"""Matrices of ``n`` by ``m`` that a problem takes while it is solved: costs, kernel, half of both again when problems
that have converged are dropped, and two while kernel and plan are made."""

PLAIN_ITERATIONS = 16
RELAXATION = 1.9


def sinkhorn_plan(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    regularization: float,
    max_iterations: int = 1000,
    tolerance: float = 1e-6,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """Entropic plans, many at once, by Sinkhorn's iterations.

    Each plan minimises ``<cost, plan> + regularization * KL(plan | a b)``. Its iterations stop when its column sums
    are within ``tolerance`` of ``b``, so up to rounding it does not depend on the other problems of the batch. The
    last update is one of the rows, so row sums are always exact.

    Args:
        cost: ``(B, n, m)``, finite, float32 or float64, on any device.
        a: ``(B, n)`` mass of each row. Zero marks padding: the row takes no part.
        b: ``(B, m)`` mass of each column, likewise; the same total.
        regularization: Strength of the entropy, in the units of the cost. Smaller is closer to the exact plan, and
            slower.
        max_iterations: Row and column updates at most.
        tolerance: Largest sum of absolute errors of the column sums.
        max_bytes: Memory that may be allocated besides the costs and the plans; see :func:`sinkhorn_costs`.

    Returns:
        ``(B, n, m)`` plans in the dtype and on the device of ``cost``.

    Raises:
        InputError: Rows and columns differ in their total mass, or the regularization is not above 0.

    Warns:
        RuntimeWarning: Some plan missed the tolerance after ``max_iterations``.

    Notes:
        The iterations are those of :func:`potentials`.
    """
    if not regularization > 0:
        raise InputError(f"regularization is {regularization}; expected a number above 0, or exact_plan for 0")
    check_masses(a, b)
    plans = torch.empty_like(cost)
    for problems, rows, plan, _ in _solved(
        blocks_of(cost), a.to(cost), b.to(cost), regularization, max_iterations, tolerance, max_bytes
    ):
        plans[problems, rows] = plan
    return plans


def sinkhorn_costs(
    cost: CostBlocks,
    a: Tensor,
    b: Tensor,
    *,
    regularization: float,
    max_iterations: int = 1000,
    tolerance: float = 1e-6,
    max_bytes: int = MAX_BYTES,
) -> RowCosts:
    """The costs of entropic plans, row by row, without holding the plans or the costs of all problems at once.

    Args:
        cost: Gives the costs ``(k, r, m)`` of some rows of some problems, in the dtype and on the device of ``a``.
        a: As for :func:`sinkhorn_plan`; its dtype is that of the computation.
        b: As for :func:`sinkhorn_plan`, and so are the other arguments.
        regularization: Strength of the entropy.
        max_iterations: Row and column updates at most.
        tolerance: Largest sum of absolute errors of the column sums.
        max_bytes: See below.

    Returns:
        Costs and masses of the rows, in the dtype and on the device of ``a``.

    Warns:
        RuntimeWarning: Some plan missed the tolerance after ``max_iterations``.

    Notes:
        Peak memory besides arguments and result, and what ``cost`` itself needs: ``6 * n * m`` numbers for each
        problem solved at a time. On the CPU, as many are solved at a time as have their costs fit into 8 MiB of
        cache, and at least one; elsewhere, as many as fit into ``max_bytes`` (4 GiB). If a single problem does not
        fit (more than 13,000 by 13,000 in float32), its costs are computed anew in every iteration, as many rows at a
        time as fit into ``max_bytes``: much slower, but without any matrix of ``n`` by ``m``.
    """
    found = RowCosts.empty(a)
    for problems, rows, plan, scaled in _solved(cost, a, b, regularization, max_iterations, tolerance, max_bytes):
        part = RowCosts.of(plan, scaled)
        found.put(problems, rows, RowCosts(part.moved * regularization, part.mass, part.corner))
    return found


def potentials(
    kernel: Kernel, a: Tensor, b: Tensor, *, max_iterations: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Potentials of the plans with row sums ``a`` and column sums ``b``.

    Args:
        kernel: The problems.
        a: ``(B, n)`` float64, mass of each row; zeros are allowed.
        b: ``(B, m)`` float64, mass of each column.
        max_iterations: Row and column updates at most.
        tolerance: Largest sum of absolute errors of the column sums, once the row sums are exact.

    Returns:
        ``u`` ``(B, n)`` and ``v`` ``(B, m)``, float64, -inf without mass, of plans with exact row sums; and
        ``(B,)`` bool, which problems reached the tolerance.

    Notes:
        Cuturi 2013, arXiv 1306.0895, in logarithms: Peyré and Cuturi, arXiv 1803.00567, section 4.4. Over-relaxed as
        in Thibault et al. 2017, arXiv 1711.01851: from the 17th iteration on, each update goes 1.9 times the way to
        the right sums, where this still raises the dual objective. In place of their bound, a problem computes what
        its objective gains. The total mass of a plan is never over-relaxed: every update makes it right, which also
        raises the objective. Row and column sums differ in it by rounding, and over-relaxing would multiply that
        difference by ten. An over-relaxed update leaves the rows in error too; correcting them moves no more mass
        than they were wrong by, so both errors together bound that of the columns.
    """
    rows, columns = _Marginal.of(a), _Marginal.of(b)
    u, v = rows.log_mass, torch.where(columns.empty, -torch.inf, 0.0).double()
    converged = torch.zeros(len(a), dtype=torch.bool, device=a.device)
    # These are of the problems still being solved; the answers of those that were dropped wait in u and v.
    left, some, some_rows, some_columns, p, q = torch.arange(len(a), device=a.device), kernel, rows, columns, u, v
    u, v, row_error = u.clone(), v.clone(), torch.full_like(a[:, 0], torch.inf)
    for iteration in range(max_iterations + 1):
        excess = some_columns.excess(some.columns(p, q) + q)
        done = some_columns.error(excess) + row_error <= tolerance
        count = int(done.sum())
        if count == len(done) or iteration == max_iterations:
            break
        if 2 * count >= len(done):
            # A few are carried along: dropping them takes a copy of all others.
            u[left], v[left], converged[left] = p, q, done
            stay = torch.nonzero(~done)[:, 0]
            left, p, q, excess, done = (each[stay] for each in (left, p, q, excess, done))
            some, some_rows, some_columns = some.take(stay), some_rows.take(stay), some_columns.take(stay)
        q = q - some_columns.update(excess, iteration, done)
        excess = some_rows.excess(some.rows(p, q) + p)
        change = some_rows.update(excess, iteration, done)
        p = p - change
        row_error = some_rows.error(excess - change)
    u[left], v[left], converged[left] = p, q, done
    return u - rows.excess(kernel.rows(u, v) + u), v, converged


@dataclass(frozen=True)
class _Marginal:
    """What the rows, or the columns, of plans have to sum to.

    Its ``excess`` is the logarithm of the ratio of actual to required sums; 0 where there is no mass. ``whole``,
    ``(B, 1)``, is the total mass.
    """

    mass: Tensor
    log_mass: Tensor
    empty: Tensor
    whole: Tensor

    @classmethod
    def of(cls, mass: Tensor) -> _Marginal:
        return cls(mass, mass.log(), mass <= 0, mass.sum(dim=1, keepdim=True))

    def take(self, problems: Tensor) -> _Marginal:
        return _Marginal(*(each[problems] for each in (self.mass, self.log_mass, self.empty, self.whole)))

    def excess(self, log_sums: Tensor) -> Tensor:
        return (log_sums - self.log_mass).masked_fill_(self.empty, 0.0)

    def error(self, excess: Tensor) -> Tensor:
        """Sum of the absolute errors, ``(B,)``."""
        return excess.expm1().mul_(self.mass).abs_().sum(dim=1)

    def update(self, excess: Tensor, iteration: int, done: Tensor) -> Tensor:
        """What to subtract from the potentials, ``(B, m)``."""
        step = self._step(excess, iteration, done)
        beyond = (1.0 - step) * excess
        surplus = beyond.expm1().mul_(self.mass).sum(dim=1, keepdim=True) / self.whole
        return step * excess + torch.where(step > 1.0, surplus.log1p(), 0.0)

    def _step(self, excess: Tensor, iteration: int, done: Tensor) -> Tensor:
        """How far an update goes, ``(B, 1)``: 0 not at all, 1 to the right sums, more than 1 beyond them.

        An update by ``step`` raises the dual objective by ``sum mass (h(excess) - h((1 - step) excess))`` with
        ``h(z) = exp(z) - 1 - z``, which is never negative for a step of 1.
        """
        step = torch.where(done, 0.0, 1.0).double()[:, None]
        if iteration < PLAIN_ITERATIONS:
            return step
        beyond = (1.0 - RELAXATION) * excess
        gain = ((excess.expm1() - excess) - (beyond.expm1() - beyond)).mul_(self.mass).sum(dim=1, keepdim=True)
        return torch.where(gain > 0, RELAXATION * step, step)


def _solved(
    cost: CostBlocks,
    a: Tensor,
    b: Tensor,
    regularization: float,
    max_iterations: int,
    tolerance: float,
    max_bytes: int,
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yields problems, some of their rows, and the plans and scaled costs of these, until all are solved."""
    (batch, n), m = a.shape, b.shape[1]
    matrix, room = n * m * a.element_size(), max_bytes // MATRICES
    together = max(1, min(room, CACHE_BYTES if a.device.type == "cpu" else room) // matrix)
    missed = False
    for start in range(0, batch, together):
        problems = slice(start, min(start + together, batch))
        kernel: Kernel
        if matrix > room:
            kernel = BlockKernel(_scaled(cost, problems, regularization), n, max(1, room // (m * a.element_size())))
        else:
            kernel = dense_kernel(_scaled(cost, problems, regularization)(slice(0, n)))
        masses = a[problems].double(), b[problems].double()
        # Products of 0.1 ms gain little from a second thread, and lose many times that where the two wait for each
        # other on cores that other processes use too.
        with threads(1 if min(matrix, room) <= CACHE_BYTES else torch.get_num_threads()):
            u, v, converged = potentials(kernel, *masses, max_iterations=max_iterations, tolerance=tolerance)
        missed |= not converged.all()
        for rows, plan, scaled in kernel.parts(u, v):
            yield problems, rows, plan, scaled
    if missed:
        # The text is the same each time, so Python shows it once, not once per episode.
        warnings.warn(
            f"Sinkhorn missed its tolerance of {tolerance} within {max_iterations} iterations: raise "
            "max_iterations, tolerance or regularization.",
            RuntimeWarning,
            stacklevel=3,
        )


def _scaled(cost: CostBlocks, problems: slice, regularization: float) -> Callable[[slice], Tensor]:
    """The costs of some problems over the regularisation, by rows."""
    return lambda rows: cost(problems, rows) / regularization
