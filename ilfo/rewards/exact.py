"""Exact transport plans, several at a time, one per core."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.cores import usable_cores
from ilfo.rewards.row_costs import CostBlocks, RowCosts, check_masses

__all__ = ["default_workers", "exact_costs", "exact_plan"]

MAX_PIVOTS = 10_000_000
STOPPED_EARLY = r"numItermax reached|Problem infeasible|Problem unbounded"
"""How POT's warnings about plans that it did not find begin."""


def exact_plan(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The plan of lowest cost, by the network simplex of POT (``ot.emd``), in float64 on the CPU.

    Args:
        cost: ``(n, m)``; inf where no mass may be moved.
        a: ``(n,)`` mass of each row; zeros are allowed.
        b: ``(m,)`` mass of each column; the same total.

    Returns:
        ``(n, m)`` plan with row sums ``a`` and column sums ``b``, in the dtype and on the device of ``cost``.

    Raises:
        InputError: Rows and columns differ in their total mass.
        RuntimeError: The solver stopped before the optimum.
    """
    check_masses(a, b)
    _mute_pot()
    return torch.from_numpy(_solve(*(tensor.cpu().numpy() for tensor in (cost, a, b)))).to(cost)


def exact_costs(cost: CostBlocks, a: Tensor, b: Tensor | Sequence[Tensor], *, workers: int | None = None) -> RowCosts:
    """The costs of exact plans, row by row, for many problems at once on all cores.

    Each problem is solved on its own, by :func:`exact_plan`'s solver, so the number of workers changes nothing but the
    time. The workers are threads: the solver does not hold Python's lock. They start when there is more than one
    problem, and end with the call.

    Args:
        cost: Gives the costs ``(k, r, m)`` of some rows of some problems; called for one problem at a time, in order,
            from this thread.
        a: ``(B, n)`` mass of each row; zeros are allowed.
        b: ``(B, m)`` mass of each column; the same total. Or one vector per problem, if they differ in columns.
        workers: Problems solved at a time, at least 1; None for :func:`default_workers`.

    Returns:
        Costs and masses of the rows, in the dtype and on the device of ``a``.

    Raises:
        RuntimeError: The solver stopped before the optimum.

    Notes:
        Peak memory: the costs of ``2 * workers`` problems, and two copies in float64 of those of ``workers`` problems.
        Where most costs are infinite, the time shrinks with the number of finite ones: the solver gets only those.
    """
    # Problem by problem, so that no more costs are computed ahead than the workers are about to need.
    problems = (
        (cost(slice(index, index + 1), slice(None))[0].cpu().numpy(), a[index].cpu().numpy(), b[index].cpu().numpy())
        for index in range(len(a))
    )
    found = RowCosts.empty(a)
    _mute_pot()
    for index, (moved, mass, corner) in enumerate(_in_order(problems, min(workers or default_workers(), len(a)))):
        found.moved[index] = torch.from_numpy(moved).to(a)
        found.mass[index] = torch.from_numpy(mass).to(a)
        found.corner[index] = corner
    return found


def default_workers() -> int:
    """The number of cores that this process may use, but no more than PyTorch's number of threads."""
    return min(usable_cores(), torch.get_num_threads())


_Problem = tuple[np.ndarray, np.ndarray, np.ndarray]
_Answer = tuple[np.ndarray, np.ndarray, float]


def _in_order(problems: Iterator[_Problem], workers: int) -> Iterator[_Answer]:
    """Answers in the order of the problems; at most two problems per worker are in flight."""
    if workers == 1:
        yield from (_row_costs(*problem) for problem in problems)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="exact-plan") as pool:
        pending: deque[Future[_Answer]] = deque()
        for problem in problems:
            if len(pending) == 2 * workers:
                yield pending.popleft().result()
            pending.append(pool.submit(_row_costs, *problem))
        yield from (future.result() for future in pending)


def _row_costs(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> _Answer:
    """In NumPy: PyTorch's operations would start a thread pool of their own in every worker."""
    plan = _solve(cost, a, b)
    moved = np.einsum("ij,ij->i", plan, np.where(np.isinf(cost), 0.0, cost))
    return moved, plan.sum(axis=1), float(plan[-1, -1])


def _solve(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The plan ``(n, m)`` in float64."""
    # POT takes a second to import, and only exact plans need it.
    import ot
    from scipy.sparse import coo_array, issparse

    rows, columns = np.flatnonzero(a > 0), np.flatnonzero(b > 0)
    part = cost[np.ix_(rows, columns)].astype(np.float64)
    allowed = np.isfinite(part)
    solved, log = ot.emd(
        a[rows].astype(np.float64),
        b[columns].astype(np.float64),
        part if allowed.all() else coo_array((part[allowed], allowed.nonzero()), shape=part.shape),
        numItermax=MAX_PIVOTS,
        log=True,
        center_dual=False,
    )
    if log["warning"] is not None:
        raise RuntimeError(
            f"The exact plan of a {cost.shape[0]} x {cost.shape[1]} problem was not found "
            f"({log['warning']}): use an entropic plan instead."
        )
    plan = np.zeros(cost.shape)
    plan[np.ix_(rows, columns)] = solved.toarray() if issparse(solved) else solved
    return plan


def _mute_pot() -> None:
    """POT only warns when it stops early; that is an error here, raised by :func:`_solve`.

    One filter, added once and left in place. Any change of the filters, even by catch_warnings, makes Python forget
    which warnings it has shown: one that is meant to appear once in a run would appear again after every episode.
    """
    entry = ("ignore", re.compile(STOPPED_EARLY, re.IGNORECASE), UserWarning, re.compile(r"ot\."), 0)
    if entry not in warnings.filters:
        warnings.filterwarnings("ignore", message=STOPPED_EARLY, category=UserWarning, module=r"ot\.")
