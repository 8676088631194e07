"""Row and column sums of entropic plans, in several ways that differ only in speed and memory.

Sinkhorn's iterations need nothing else from the costs. With potentials ``u`` of the rows and ``v`` of the columns, a
plan is ``exp(u[i] + v[j] - scaled[i, j])``, where ``scaled`` is the cost over the regularisation. Potentials are
float64 whatever the costs are: a potential of 1000 in float32 would carry an error of 1e-4 into every sum.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["BlockKernel", "Kernel", "LogKernel", "ScalingKernel", "dense_kernel"]

FURTHEST = 30.0
"""Largest logarithm of a scaling. What float32 rounds to 0 (below 1e-45) would still be below 1e-18 of the mass after
two factors of ``exp(30)``."""


class Kernel(Protocol):
    """Problems of ``n`` rows and ``m`` columns; the potentials of rows and columns without mass are -inf."""

    def columns(self, u: Tensor, v: Tensor) -> Tensor:
        """``log sum_i exp(u[i] - scaled[i, j])``, ``(B, m)`` float64; arbitrary where ``v`` is -inf."""

    def rows(self, u: Tensor, v: Tensor) -> Tensor:
        """``log sum_j exp(v[j] - scaled[i, j])``, ``(B, n)`` float64; arbitrary where ``u`` is -inf."""

    def take(self, problems: Tensor) -> Kernel:
        """Some of the problems, by index."""

    def parts(self, u: Tensor, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yields blocks of rows, their plans ``(B, r, m)`` and their scaled costs ``(B, r, m)``, until all are done."""


class LogKernel:
    """The textbook way: sums of exponentials relative to their largest. It neither over- nor underflows, but is slow.

    Args:
        scaled: ``(B, n, m)``.
    """

    def __init__(self, scaled: Tensor) -> None:
        self.scaled = scaled

    def columns(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`Kernel`."""
        return torch.logsumexp(u.to(self.scaled)[:, :, None] - self.scaled, dim=1).double()

    def rows(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`Kernel`."""
        return torch.logsumexp(v.to(self.scaled)[:, None] - self.scaled, dim=2).double()

    def take(self, problems: Tensor) -> Kernel:
        """See :class:`Kernel`."""
        return type(self)(self.scaled[problems])

    def parts(self, u: Tensor, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """See :class:`Kernel`."""
        # Each row's shares of its mass, times that mass: the rounding of u cancels, and rows sum to their mass.
        plan = torch.softmax(v.to(self.scaled)[:, None] - self.scaled, dim=2)
        plan *= (u + self.rows(u, v)).exp().to(plan)[:, :, None]
        yield slice(0, plan.shape[1]), plan, self.scaled


class ScalingKernel(LogKernel):
    """Matrix-vector products in place of exponentials, as long as they lose no precision.

    The matrix is ``exp(u[i] + v[j] - scaled[i, j])`` for the ``v`` of an earlier iteration, with ``u`` such that its
    rows sum to 1. The potentials of later iterations are scalings of its rows and columns. Where a problem's scalings
    leave ``exp(-30)`` to ``exp(30)``, or one of its sums is 0 or not finite, its sums are computed in logarithms; for
    row sums, its matrix is also made anew.

    Args:
        scaled: ``(B, n, m)``.

    Notes:
        Stabilised scaling: Schmitzer 2019, arXiv 1610.06519; Chizat et al. 2018, arXiv 1607.05816. Keeping the
        entries of the matrix at most 1, whatever ``v`` is, is ours.
    """

    def __init__(self, scaled: Tensor) -> None:
        super().__init__(scaled)
        batch, n, m = scaled.shape
        self._matrix = torch.zeros_like(scaled)
        # NaN counts as far from every potential, so the matrices are made when they are first needed.
        self._u = torch.full((batch, n), torch.nan, dtype=torch.float64, device=scaled.device)
        self._v = torch.full((batch, m), torch.nan, dtype=torch.float64, device=scaled.device)

    def columns(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`Kernel`."""
        factors, far = _scaling(u, self._u)
        sums = torch.bmm(factors.to(self.scaled)[:, None], self._matrix)[:, 0].double().log_() - self._v
        lost = torch.nonzero(far | _missing(sums, v))[:, 0]
        if len(lost):
            sums[lost] = LogKernel(self.scaled[lost]).columns(u[lost], v[lost])
        return sums

    def rows(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`Kernel`."""
        factors, far = _scaling(v, self._v)
        # Not a product with a column vector, which is ten times slower in MKL's batched products.
        sums = torch.bmm(factors.to(self.scaled)[:, None], self._matrix.mT)[:, 0].double().log_() - self._u
        lost = torch.nonzero(far | _missing(sums, u))[:, 0]
        if len(lost):
            sums[lost] = self._renew(lost, v[lost])
        return sums

    def parts(self, u: Tensor, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """See :class:`Kernel`."""
        # Makes sure that the matrix suits this v; it then only needs to be scaled.
        self.rows(u, v)
        plan = self._matrix * _scaling(u, self._u)[0].to(self.scaled)[:, :, None]
        plan *= _scaling(v, self._v)[0].to(self.scaled)[:, None]
        yield slice(0, plan.shape[1]), plan, self.scaled

    def _renew(self, problems: Tensor, v: Tensor) -> Tensor:
        """Makes the matrices of some problems at ``v``; returns the log-sums of their rows."""
        exponent = v.to(self.scaled)[:, None] - self.scaled[problems]
        sums = torch.logsumexp(exponent, dim=2).double()
        self._matrix[problems] = torch.softmax(exponent, dim=2)
        self._u[problems] = -sums
        # A column without mass is 0 in the matrix, whatever is kept for it.
        self._v[problems] = v.masked_fill(v.isneginf(), 0.0)
        return sums


def _scaling(potential: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Factors ``(B, n)`` that turn the kept potentials into these, and which problems ``(B,)`` have moved too far."""
    shift = potential - kept
    return shift.exp(), ~((shift.abs() <= FURTHEST) | potential.isneginf()).all(dim=1)


def _missing(sums: Tensor, potential: Tensor) -> Tensor:
    """Which problems ``(B,)`` lack a finite log-sum where there is mass."""
    return ~(sums.isfinite() | potential.isneginf()).all(dim=1)


def dense_kernel(scaled: Tensor) -> Kernel:
    """The kernel for scaled costs ``(B, n, m)`` that are held in memory: scalings on the CPU, fused on a GPU.

    On a GPU, float32 products may run in TF32, whose three digits are too few for these sums: exponentials are summed
    there instead, in the textbook way where Triton is missing (it comes with PyTorch for CUDA on Linux).
    """
    if scaled.device.type == "cpu":
        return ScalingKernel(scaled)
    if scaled.device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from ilfo.rewards._fused import FusedKernel

        return FusedKernel(scaled.contiguous())
    return LogKernel(scaled)


class BlockKernel:
    """Computes the costs a few rows at a time, anew in every iteration: for problems too large to hold in memory.

    Args:
        block: Gives the scaled costs ``(B, r, m)`` of some rows.
        n: Number of rows.
        step: Rows per block.
    """

    def __init__(self, block: Callable[[slice], Tensor], n: int, step: int) -> None:
        self._block, self._n, self._step = block, n, step

    def columns(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`Kernel`."""
        sums = torch.full_like(v, -torch.inf)
        for rows, kernel in self._kernels():
            sums = torch.logaddexp(sums, kernel.columns(u[:, rows], v))
        return sums

    def rows(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`Kernel`."""
        return torch.cat([kernel.rows(u[:, rows], v) for rows, kernel in self._kernels()], dim=1)

    def take(self, problems: Tensor) -> Kernel:
        """See :class:`Kernel`."""
        return BlockKernel(lambda rows: self._block(rows)[problems], self._n, self._step)

    def parts(self, u: Tensor, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """See :class:`Kernel`."""
        for rows, kernel in self._kernels():
            for _, plan, scaled in kernel.parts(u[:, rows], v):
                yield rows, plan, scaled

    def _kernels(self) -> Iterator[tuple[slice, LogKernel]]:
        for start in range(0, self._n, self._step):
            rows = slice(start, min(start + self._step, self._n))
            yield rows, LogKernel(self._block(rows))
