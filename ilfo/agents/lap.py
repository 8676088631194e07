"""Loss-adjusted prioritised replay, and the loss that does the same under uniform replay (arXiv 2007.06049)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["huber_loss", "lap_priorities", "pal_loss"]


def huber_loss(errors: Tensor, threshold: float = 1.0) -> Tensor:
    """``x**2 / 2`` below the threshold and ``threshold * |x|`` above: the loss that belongs to LAP's sampling.

    Args:
        errors: Differences of values and targets, any shape.
        threshold: Where the square ends.

    Returns:
        A loss for each error.

    Notes:
        As in the authors' code, the linear part has no offset: at the threshold the loss jumps by half the threshold's
        square, but the gradient, which is all that counts, does not.
    """
    sizes = errors.abs()
    return torch.where(sizes < threshold, sizes.square() / 2, threshold * sizes)


def lap_priorities(errors: Tensor, alpha: float = 0.4, min_priority: float = 1.0) -> Tensor:
    """``max(|x_1|, ..., |x_K|, min_priority) ** alpha``, section 4.2.

    Args:
        errors: ``(..., K, B)``, those of ``K`` critics.
        alpha: 0 samples uniformly, 1 in proportion to the error.
        min_priority: Smaller errors count as this.

    Returns:
        ``(..., B)``, detached.
    """
    return errors.detach().abs().amax(dim=-2).clamp(min=min_priority).pow(alpha)


def pal_loss(errors: Tensor, alpha: float = 0.4, min_priority: float = 1.0) -> Tensor:
    """The loss whose gradient under uniform replay is LAP's expected one, equation 15.

    Args:
        errors: ``(..., K, B)``, those of ``K`` critics.
        alpha: As in :func:`lap_priorities`.
        min_priority: As in :func:`lap_priorities`.

    Returns:
        ``(...,)``: the mean over the batch, summed over the critics and divided by the mean priority.
    """
    sizes = errors.abs()
    near = min_priority**alpha * sizes.square() / 2
    far = min_priority * sizes.pow(1 + alpha) / (1 + alpha)
    losses = torch.where(sizes < min_priority, near, far).mean(dim=-1).sum(dim=-1)
    return losses / lap_priorities(errors, alpha, min_priority).mean(dim=-1)
