"""Optimal transport plans: how to turn one weighted set of atoms into another at the lowest cost."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

__all__ = ["exact_plan", "sinkhorn_plan"]

MAX_PIVOTS = 10_000_000
CHECK_EVERY = 10


def exact_plan(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The plan of lowest cost, by the network simplex of POT (``ot.emd``), in float64 on the CPU.

    Args:
        cost: ``(n, m)``, finite.
        a: ``(n,)`` mass of each row; zeros are allowed.
        b: ``(m,)`` mass of each column; the same total.

    Returns:
        ``(n, m)`` plan with row sums ``a`` and column sums ``b``, in the dtype and on the device of ``cost``.

    Raises:
        RuntimeError: The solver stopped before the optimum.
    """
    # POT takes a second to import, and only exact plans need it.
    import ot

    rows, columns = a > 0, b > 0
    solvable = cost.index_select(0, rows.nonzero()[:, 0]).index_select(1, columns.nonzero()[:, 0])
    with warnings.catch_warnings():
        # POT only warns when it stops early; that is an error here, raised below.
        warnings.simplefilter("ignore")
        solved, log = ot.emd(
            a[rows].cpu().double().numpy(),
            b[columns].cpu().double().numpy(),
            solvable.cpu().double().numpy(),
            numItermax=MAX_PIVOTS,
            log=True,
            center_dual=False,
        )
    if log["warning"] is not None:
        raise RuntimeError(
            f"The exact plan of a {cost.shape[0]} x {cost.shape[1]} problem was not found "
            f"({log['warning']}): use an entropic plan instead."
        )
    return torch.zeros_like(cost).masked_scatter_(rows[:, None] & columns, torch.from_numpy(solved).to(cost))


def sinkhorn_plan(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    regularization: float,
    max_iterations: int = 1000,
    tolerance: float = 1e-6,
) -> Tensor:
    """Entropic plans, many at once, by Sinkhorn's iterations on logarithms.

    Each is the plan of the lowest ``<cost, plan> + regularization * KL(plan | a b)``. It stops by itself when
    its column sums are within ``tolerance`` of ``b``, so that it does not depend on its neighbours in the
    batch. The last update is one of the rows, so that row sums are always exact.

    Args:
        cost: ``(B, n, m)``, finite, float32 or float64, on any device.
        a: ``(B, n)`` mass of each row. Zero marks padding: the row takes no part.
        b: ``(B, m)`` mass of each column, likewise; the same total.
        regularization: Strength of the entropy, in the units of the cost. Smaller is closer to the exact
            plan, and slower.
        max_iterations: Row and column updates at most.
        tolerance: Largest sum of absolute errors of the column sums, looked at every 10 iterations.

    Returns:
        ``(B, n, m)`` plans in the dtype and on the device of ``cost``.

    Warns:
        RuntimeWarning: Some plan missed the tolerance after ``max_iterations``.

    Notes:
        Cuturi 2013 (arXiv 1306.0895) with the log-domain stabilisation of Peyré and Cuturi (arXiv 1803.00567,
        section 4.4).
    """
    kernel = -cost / regularization
    kernel_by_column = kernel.mT.contiguous()
    # Empty rows and columns have potential -inf from the start: they drop out of every sum, without NaN.
    log_a, log_b = a.log(), b.log()
    u, v = log_a, log_b
    converged = torch.zeros(len(cost), 1, dtype=torch.bool, device=cost.device)
    for start in range(0, max_iterations, CHECK_EVERY):
        for _ in range(min(CHECK_EVERY, max_iterations - start)):
            v = torch.where(converged, v, log_b - torch.logsumexp(kernel_by_column + u[:, None, :], dim=-1))
            u = torch.where(converged, u, log_a - torch.logsumexp(kernel + v[:, None, :], dim=-1))
        column_sums = (v + torch.logsumexp(kernel_by_column + u[:, None, :], dim=-1)).exp()
        converged |= (column_sums - b).abs().sum(dim=-1, keepdim=True) <= tolerance
        if converged.all():
            break
    else:
        # The text is the same each time, so that Python shows it once and not once an episode.
        warnings.warn(
            f"Sinkhorn missed its tolerance of {tolerance} within {max_iterations} iterations: raise "
            "max_iterations, tolerance or regularization.",
            RuntimeWarning,
            stacklevel=2,
        )
    return (kernel + u[:, :, None] + v[:, None, :]).exp()
