"""Where every concept is in a frame, and how it moves through an episode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError

__all__ = ["LocationOptions", "locate", "similarity_maps"]


@dataclass(frozen=True)
class LocationOptions:
    """How a map of similarities becomes a position."""

    temperature: float = 0.05
    """Temperature of the soft-argmax, in units of the cosine: the smaller, the more the best patch dominates."""
    window: int = 2
    """Patches around the best one, in each direction, that the soft-argmax averages over; 0: the best patch alone. A
    number as large as the grid is the plain soft-argmax, which draws every keypoint towards the middle."""
    motion: float = 0.5
    """How far a concept moves from one frame to the next, in halves of the image's width across and of its height down:
    the standard deviation of a Gaussian around its last position, which keeps look-alikes from swapping. 0: each frame
    is handled alone."""

    def __post_init__(self) -> None:
        for name in ("window", "motion"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must not be below 0")
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}: it must be above 0")


def similarity_maps(descriptors: Tensor, centroids: Tensor) -> Tensor:
    """Cosines ``(..., K, rows, cols)`` of descriptors ``(..., rows, cols, C)`` and centroids ``(K, C)`` of length 1."""
    return (descriptors @ centroids.T.to(descriptors)).movedim(-1, -3)


def locate(
    maps: Tensor,
    centres: tuple[Tensor, Tensor],
    options: LocationOptions | None = None,
    start: np.ndarray | None = None,
) -> tuple[Tensor, np.ndarray]:
    """Positions and visibilities of concepts, followed through time.

    In each frame a concept's best patch maximises ``cosine / temperature``, plus, if ``motion`` is not 0, the logarithm
    of a Gaussian around the best patch of the frame before. The position is the mean of the patch centres in the
    window around the best patch, weighted by ``exp(cosine / temperature)``.

    Args:
        maps: ``(B, T, K, rows, cols)`` float32, cosines of ``B`` sequences of ``T`` frames.
        centres: ``(rows,)`` and ``(cols,)``, where patches lie, see
            :meth:`~ilfo.vision.backbones.Backbone.centres`.
        options: How.
        start: ``(B, K)`` best patches of the preceding frames, as the last call returned them; None: there were none.

    Returns:
        ``(B, T, K, 3)`` float32 on the CPU: ``u`` from -1 at the left edge of the image to 1 at the right, ``v`` from
        -1 at the top to 1 at the bottom, and visibility, the cosine of the best patch. Then the best patches of the
        last frame, ``(B, K)``.
    """
    options = options or LocationOptions()
    maps = maps.float().cpu()
    rows, cols = maps.shape[-2:]
    down, across = (each.float().cpu() for each in centres)
    if options.motion:
        peaks = torch.from_numpy(_followed(maps.numpy(), down.numpy(), across.numpy(), options, start))
    else:
        peaks = maps.flatten(-2).argmax(dim=-1)
    window = min(options.window, max(rows, cols))
    reach = torch.arange(-window, window + 1)
    near_rows, near_cols = (peaks // cols).unsqueeze(-1) + reach, (peaks % cols).unsqueeze(-1) + reach
    inside_rows, inside_cols = (near_rows >= 0) & (near_rows < rows), (near_cols >= 0) & (near_cols < cols)
    near_rows, near_cols = near_rows.clamp(0, rows - 1), near_cols.clamp(0, cols - 1)
    inside = (inside_rows.unsqueeze(-1) & inside_cols.unsqueeze(-2)).flatten(-2)
    flat = (near_rows.unsqueeze(-1) * cols + near_cols.unsqueeze(-2)).flatten(-2)
    nearby = maps.flatten(-2).gather(-1, flat).masked_fill(~inside, -torch.inf)
    weights = (nearby / options.temperature).softmax(dim=-1)
    u, v = ((weights * each[index]).sum(dim=-1) for each, index in ((across, flat % cols), (down, flat // cols)))
    visible = maps.flatten(-2).gather(-1, peaks.unsqueeze(-1)).squeeze(-1)
    return torch.stack([u, v, visible], dim=-1), peaks[:, -1].numpy()


def _followed(
    maps: np.ndarray, down: np.ndarray, across: np.ndarray, options: LocationOptions, start: np.ndarray | None
) -> np.ndarray:
    """Best patches ``(B, T, K)``: only they depend on the frame before; all else is computed for all frames at once."""
    batch, steps, count, rows, cols = maps.shape
    logits = maps / options.temperature
    far_rows = -0.5 * ((down[:, None] - down) / options.motion) ** 2
    far_cols = -0.5 * ((across[:, None] - across) / options.motion) ** 2
    peaks = np.empty((batch, steps, count), np.int64)
    last = start
    for step in range(steps):
        now = logits[:, step]
        if last is not None:
            now = now + far_rows[last // cols][..., None] + far_cols[last % cols][..., None, :]
        last = peaks[:, step] = now.reshape(batch, count, rows * cols).argmax(axis=-1)
    return peaks
