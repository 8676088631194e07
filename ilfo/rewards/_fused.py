"""The log-sums of entropic plans on a GPU: one kernel reads the costs once and stores nothing of their size."""

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from ilfo.rewards.kernels import LogKernel

__all__ = ["FusedKernel"]

# Rows are contiguous, so a tile is wide along them, whichever axis is summed.
ROW_TILE = (8, 128)
COLUMN_TILE = (32, 32)


@triton.jit
def log_sums(
    potential: tl.tensor,
    scaled: tl.tensor,
    out: tl.tensor,
    count: tl.tensor,
    length: tl.tensor,
    problem_stride: tl.tensor,
    out_stride: tl.tensor,
    sum_stride: tl.tensor,
    TILE_OUT: tl.constexpr,
    TILE_SUM: tl.constexpr,
) -> None:
    """``out[b, i] = log sum_k exp(potential[b, k] - scaled[b, i, k])``: a running sum relative to a running maximum."""
    problem = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * TILE_OUT + tl.arange(0, TILE_OUT)
    costs = scaled + problem * problem_stride + i.to(tl.int64)[:, None] * out_stride
    largest = tl.full((TILE_OUT,), -float("inf"), potential.dtype.element_ty)
    total = tl.zeros((TILE_OUT,), potential.dtype.element_ty)
    for start in range(0, length, TILE_SUM):
        k = start + tl.arange(0, TILE_SUM)
        inside = (i < count)[:, None] & (k < length)[None, :]
        weight = tl.load(potential + problem * length + k, mask=k < length, other=-float("inf"))
        exponent = weight[None, :] - tl.load(costs + k.to(tl.int64)[None, :] * sum_stride, mask=inside, other=0.0)
        above = tl.maximum(largest, tl.max(exponent, axis=1))
        # Before the first mass both are -inf, and their difference would be NaN.
        pivot = tl.where(above == -float("inf"), 0.0, above)
        total = total * tl.exp(largest - pivot) + tl.sum(tl.exp(exponent - pivot[:, None]), axis=1)
        largest = above
    tl.store(out + problem * count + i, largest + tl.log(total), mask=i < count)


class FusedKernel(LogKernel):
    """The sums of :class:`~ilfo.rewards.kernels.LogKernel` in one pass over the costs, without copying them.

    Args:
        scaled: ``(B, n, m)``, contiguous, float32 or float64, on a CUDA device.

    Notes:
        The running maximum is that of Milakov and Gimelshein 2018, arXiv 1805.02867.
    """

    def columns(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`~ilfo.rewards.kernels.Kernel`."""
        n, m = self.scaled.shape[1:]
        return self._log_sums(u, m, (n * m, 1, m), COLUMN_TILE)

    def rows(self, u: Tensor, v: Tensor) -> Tensor:
        """See :class:`~ilfo.rewards.kernels.Kernel`."""
        n, m = self.scaled.shape[1:]
        return self._log_sums(v, n, (n * m, m, 1), ROW_TILE)

    def _log_sums(self, potential: Tensor, count: int, strides: tuple[int, int, int], tile: tuple[int, int]) -> Tensor:
        potential = potential.to(self.scaled).contiguous()
        out = potential.new_empty(len(potential), count)
        grid = (triton.cdiv(count, tile[0]), len(potential))
        with torch.cuda.device_of(potential):
            log_sums[grid](
                potential, self.scaled, out, count, potential.shape[1], *strides, *tile, enable_fp_fusion=True
            )
        return out.double()
