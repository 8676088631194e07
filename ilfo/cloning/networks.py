"""Networks of a cloned policy: standardised inputs, an encoder of frames, and the layers that give actions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FrameEncoder", "PolicyNetwork", "Standardised", "soft_argmax"]

FLOOR = 0.02
"""Smallest standard deviation to divide by: columns that hardly vary in the demonstrations must not drown the rest."""

TEMPERATURE = 0.05
"""Of the soft-argmax: about how much the maps of fresh weights vary. At 1, every position starts in the middle, with
hardly any gradient, and needs hundreds of updates to leave it."""

_ROWS = 512
"""Rows whose statistics are taken at once."""

_NUMBERS = 2**24
"""Most numbers in such rows, 128 MiB as they are added up: frames are many."""


class Standardised(nn.Module):
    """Takes off the mean of each column and divides by its standard deviation; columns are the last dimension.

    Args:
        columns: How many.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def fit(self, rows: Tensor) -> None:
        """Takes the statistics of rows ``(N, ..., C)``, pooled over all but the columns."""
        if not rows.numel():
            return
        # In two passes: in one, the square of a large mean would swallow a small variance.
        count = rows.numel() // rows.shape[-1]
        parts = rows.split(max(1, min(_ROWS, _NUMBERS // rows[0].numel())))
        mean = sum((part.double().flatten(0, -2).sum(dim=0) for part in parts), torch.zeros(())) / count
        squares = ((part.double().flatten(0, -2) - mean).square().sum(dim=0) for part in parts)
        self.mean.copy_(mean)
        self.scale.copy_((sum(squares, torch.zeros(())) / count).sqrt().clamp(min=FLOOR))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows ``(N, ..., C)`` of any type as float32."""
        return (rows.float() - self.mean) / self.scale


class FrameEncoder(nn.Module):
    """A small convolutional network that says where in a frame its maps are active: spatial soft-argmax.

    Three convolutions, of which the first two halve the resolution, and positions of the last one's maps, as in
    arXiv 1504.00702 and the visual core of robomimic (arXiv 2108.03298), which has a ResNet-18 before them.

    Args:
        points: Maps, of which each becomes a position.
        shift: Pixels by which frames are shifted at random while training, edges repeated (arXiv 2004.13649); 0: none.
    """

    def __init__(self, points: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.maps = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, points, 3, padding=1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Positions ``(N, 2 * points)`` in [-1, 1], all ``u`` before all ``v``, of frames ``(N, H, W, 3)``."""
        if self.training and self.shift:
            frames = _shifted(frames, self.shift)
        # A view: the memory stays channels-last, which suits the CPU's convolutions.
        return soft_argmax(self.maps(frames.movedim(-1, 1)) / TEMPERATURE).flatten(1)


def soft_argmax(maps: Tensor) -> Tensor:
    """Where maps ``(N, K, H, W)`` are large: ``(N, 2, K)``, from -1 at the left and the top to 1.

    The mean of the positions, weighted by the softmax of the map.
    """
    height, width = maps.shape[-2:]
    weights = maps.flatten(-2).softmax(dim=-1).unflatten(-1, (height, width))
    down, across = (torch.linspace(-1, 1, size, device=maps.device) for size in (height, width))
    return torch.stack([weights.sum(dim=-2) @ across, weights.sum(dim=-1) @ down], dim=1)


def _shifted(frames: Tensor, most: int) -> Tensor:
    """Frames ``(N, H, W, C)``, each moved by up to so many pixels in both directions."""
    count, height, width, _ = frames.shape
    device = frames.device
    # Drawn on the CPU, so that the same seed shifts alike on every device.
    down, across = torch.randint(-most, most + 1, (2, count, 1)).to(device)
    rows = (torch.arange(height, device=device) + down).clamp(0, height - 1)
    cols = (torch.arange(width, device=device) + across).clamp(0, width - 1)
    each = torch.arange(count, device=device)
    return frames[each[:, None, None], rows[:, :, None], cols[:, None, :]]


class PolicyNetwork(nn.Module):
    """What a policy sees, and what it knows of its own state, to actions in [-1, 1].

    Args:
        encoder: Of what is seen, standardised, to ``(N, width)``.
        columns: Columns, the last dimension, of what is seen.
        width: What the encoder puts out.
        own: Columns of the state that come beside it.
        action_dim: Width ``A`` of an action.
        hidden_dim: Units of each of two hidden layers.
    """

    def __init__(
        self, encoder: nn.Module, columns: int, width: int, own: int, action_dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        self.seen, self.own = Standardised(columns), Standardised(own)
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(width + own, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, action_dim),
            nn.Tanh(),
        )

    def fit_units(self, seen: Tensor, own: Tensor) -> None:
        """Takes the statistics of what the expert saw, ``(N, ...)``, and of its own state, ``(N, S)``."""
        self.seen.fit(seen)
        self.own.fit(own)

    def forward(self, seen: Tensor, own: Tensor) -> Tensor:
        """Actions ``(N, A)``."""
        actions: Tensor = self.head(torch.cat([self.encoder(self.seen(seen)), self.own(own)], dim=1))
        return actions
