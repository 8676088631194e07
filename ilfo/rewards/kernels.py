"""The sums over rows and columns of entropic plans, in ways that differ in speed and memory alone.

Sinkhorn's iterations need nothing else of the costs. With potentials ``u`` of the rows and ``v`` of the columns, a plan
is ``exp(u[i] + v[j] - scaled[i, j])``, where ``scaled`` is the cost over the regularisation. Potentials are float64
whatever the costs are: a potential of 1000 in float32 would carry an error of 1e-4 into every sum.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["BlockKernel", "Kernel", "LogKernel", "ScalingKernel", "dense_kernel"]

FURTHEST = 30.0
"""Largest logarithm of a scaling. What float32 takes for 0 (below 1e-45) would still be below 1e-18 of the mass if two
factors of ``exp(30)`` brought it back."""


class Kernel(Protocol):
    """Problems of ``n`` rows and ``m`` columns; the potentials of rows and columns without mass are -inf."""

    def columns(self, u: Tensor, v: Tensor) -> Tensor:
        """``log sum_i exp(u[i] - scaled[i, j])``, ``(B, m)`` float64; anything where ``v`` is -inf."""

    def rows(self, u: Tensor, v: Tensor) -> Tensor:
        """``log sum_j exp(v[j] - scaled[i, j])``, ``(B, n)`` float64; anything where ``u`` is -inf."""

    def take(self, problems: Tensor) -> Kernel:
        """Some of the problems, by index."""

    def parts(self, u: Tensor, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Some rows, their plans ``(B, r, m)`` and their scaled costs ``(B, r, m)``, until all rows had their turn."""


class LogKernel:
    """The textbook: sums of exponentials about their largest. Neither over- nor underflows, and is slow.

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
        # Each row's shares of its mass, times this mass: what u was rounded by cancels, and rows sum to the mass.
        plan = torch.softmax(v.to(self.scaled)[:, None] - self.scaled, dim=2)
        plan *= (u + self.rows(u, v)).exp().to(plan)[:, :, None]
        yield slice(0, plan.shape[1]), plan, self.scaled


class ScalingKernel(LogKernel):
    """Products of a matrix and a vector in place of exponentials, as long as they lose nothing.

    The matrix is ``exp(u[i] + v[j] - scaled[i, j])`` for the ``v`` of some iteration, with such ``u`` that its rows
    sum to 1. The potentials of later iterations are scalings of its rows and columns. A problem whose scalings
    leave ``exp(-30)`` to ``exp(30)``, or of which a sum is 0 or not finite, has this sum taken on logarithms and
    its matrix made anew.

    Args:
        scaled: ``(B, n, m)``.

    Notes:
        Stabilised scaling: Schmitzer 2019, arXiv 1610.06519; Chizat et al. 2018, arXiv 1607.05816. That no entry of
        the matrix is above 1, whatever ``v`` is, is ours.
    """

    def __init__(self, scaled: Tensor) -> None:
        super().__init__(scaled)
        batch, n, m = scaled.shape
        self._matrix = torch.zeros_like(scaled)
        # NaN is far from every potential: the matrices are made when they are first needed.
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
        # Not the product with a column, which is ten times slower in MKL's batches.
        sums = torch.bmm(factors.to(self.scaled)[:, None], self._matrix.mT)[:, 0].double().log_() - self._u
        lost = torch.nonzero(far | _missing(sums, u))[:, 0]
        if len(lost):
            sums[lost] = self._renew(lost, v[lost])
        return sums

    def parts(self, u: Tensor, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """See :class:`Kernel`."""
        # Sees to it that the matrix is good for these columns; their rows then are only scaled.
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
    """Factors ``(B, n)`` from the kept potentials to these, and which problems ``(B,)`` are too far from them."""
    shift = potential - kept
    return shift.exp(), ~((shift.abs() <= FURTHEST) | potential.isneginf()).all(dim=1)


def _missing(sums: Tensor, potential: Tensor) -> Tensor:
    """Which problems ``(B,)`` lack a log-sum where there is mass."""
    return ~(sums.isfinite() | potential.isneginf()).all(dim=1)


def dense_kernel(scaled: Tensor) -> Kernel:
    """The kernel for scaled costs ``(B, n, m)`` that are held in memory: scalings on the CPU, fused on a GPU.

    On a GPU, products of float32 may be taken in TF32, whose three digits are fewer than the sums need: there they are
    sums of exponentials. Where Triton is missing (it comes with PyTorch for CUDA on Linux), they are the textbook's.
    """
    if scaled.device.type == "cpu":
        return ScalingKernel(scaled)
    if scaled.device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from ilfo.rewards._fused import FusedKernel

        return FusedKernel(scaled.contiguous())
    return LogKernel(scaled)


class BlockKernel:
    """Costs that are computed a few rows at a time, at every iteration anew: for problems too large to be held.

    Args:
        block: Gives the scaled costs ``(B, r, m)`` of some rows.
        n: Number of rows.
        step: Rows of a block.
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
