"""Views of an image that a network should see alike: crops, colours, blur."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ilfo.vision.backbones import TINY_MEAN, TINY_STD

__all__ = ["ViewOptions", "crop", "distort", "normalised", "views"]

_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness."""


@dataclass(frozen=True)
class ViewOptions:
    """Multi-crop, with the shares of arXiv 2104.14294; sizes are ours."""

    global_size: int = 64
    """Height and width of the two global views in pixels, which the teacher sees too."""
    local_size: int = 32
    """Height and width of the local views."""
    local_views: int = 4
    """Local views of each image."""
    global_scale: tuple[float, float] = (0.4, 1.0)
    """Share of the image's area that a global view shows."""
    local_scale: tuple[float, float] = (0.05, 0.4)
    """Share that a local view shows."""


def views(images: Tensor, options: ViewOptions, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    """Draws views of images.

    Nothing is mirrored: a keypoint on the left hand must not be one on the right hand, too.

    Args:
        images: ``(B, H, W, 3)`` uint8, on the device to compute on.
        options: How many, how large.
        generator: Of the CPU, so that the same seed draws the same crops on every device.

    Returns:
        Two global views ``(B, 3, global_size, global_size)`` and the local ones, one after the other,
        ``(local_views * B, 3, local_size, local_size)``; float32, normalised as the network expects.
    """
    pixels = images.permute(0, 3, 1, 2).float().div(255)
    blurred, solarised = (1.0, 0.1), (0.0, 0.2)
    global_views = []
    for blur, solarise in zip(blurred, solarised, strict=True):
        view = crop(pixels, options.global_size, options.global_scale, generator)
        global_views.append(normalised(distort(view, generator, blur=blur, solarise=solarise)))
    if not options.local_views:
        return global_views, pixels.new_empty(0, 3, options.local_size, options.local_size)
    repeated = pixels.repeat(options.local_views, 1, 1, 1)
    local = crop(repeated, options.local_size, options.local_scale, generator)
    return global_views, normalised(distort(local, generator, blur=0.5, solarise=0.0))


def crop(pixels: Tensor, size: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Another rectangle of each image, of side ratio 3/4 to 4/3, stretched bilinearly to a square.

    Args:
        pixels: ``(B, 3, H, W)``.
        size: Height and width in pixels of what is returned.
        scale: Least and most share of the area.
        generator: Of the CPU.
    """
    area, ratio, x, y = torch.rand(4, len(pixels), generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    ratio = torch.exp((2 * ratio - 1) * math.log(4 / 3))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    zero = torch.zeros_like(width)
    across = torch.stack([width, zero, (1 - width) * (2 * x - 1)], dim=1)
    down = torch.stack([zero, height, (1 - height) * (2 * y - 1)], dim=1)
    theta = torch.stack([across, down], dim=1).to(pixels.device)
    grid = F.affine_grid(theta, [len(pixels), 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def distort(pixels: Tensor, generator: torch.Generator, *, blur: float, solarise: float) -> Tensor:
    """Randomly jitters colours, removes them, blurs, and inverts highlights, independently for each image.

    Args:
        pixels: ``(B, 3, H, W)`` in [0, 1].
        generator: Of the CPU.
        blur: Probability of a Gaussian blur, of standard deviation 0.1 to 1 pixels.
        solarise: Probability that what is brighter than 1/2 is inverted.

    Notes:
        arXiv 2104.14294 blurs images of 224 pixels by up to 2, and shifts the hue by a turn of the colour circle; here
        views are a quarter as wide, and the hue turns around the grey axis in a linear space of colours.
    """
    batch = len(pixels)
    dice = torch.rand(9, batch, generator=generator).to(pixels.device).view(9, batch, 1, 1, 1)
    grey = torch.tensor(_GREY, device=pixels.device).view(1, 3, 1, 1)
    jittered = pixels * (0.6 + 0.8 * dice[0])
    mean = (jittered * grey).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
    jittered = mean + (jittered - mean) * (0.6 + 0.8 * dice[1])
    jittered = torch.einsum("bij,bjhw->bihw", _hue_turns(0.2 * math.pi * (2 * dice[2].flatten() - 1)), jittered)
    brightness = (jittered * grey).sum(dim=1, keepdim=True)
    jittered = (brightness + (jittered - brightness) * (0.8 + 0.4 * dice[3])).clamp(0, 1)
    pixels = torch.where(dice[4] < 0.8, jittered, pixels)
    pixels = torch.where(dice[5] < 0.2, (pixels * grey).sum(dim=1, keepdim=True), pixels)
    if blur:
        pixels = torch.where(dice[6] < blur, _blurred(pixels, 0.1 + 0.9 * dice[7].flatten()), pixels)
    if solarise:
        pixels = torch.where((dice[8] < solarise) & (pixels >= 0.5), 1 - pixels, pixels)
    return pixels


def normalised(pixels: Tensor) -> Tensor:
    """Pixels ``(B, 3, H, W)`` in [0, 1] as the network expects them."""
    mean, std = (torch.tensor(each, device=pixels.device).view(3, 1, 1) for each in (TINY_MEAN, TINY_STD))
    return (pixels - mean) / std


def _hue_turns(angles: Tensor) -> Tensor:
    """Rotations ``(B, 3, 3)`` of colours around the grey axis, by angles ``(B,)`` in radians."""
    axis = 1 / math.sqrt(3)
    cross = torch.tensor([[0, -axis, axis], [axis, 0, -axis], [-axis, axis, 0]], device=angles.device)
    cosine, sine = angles.cos().view(-1, 1, 1), angles.sin().view(-1, 1, 1)
    return cosine * torch.eye(3, device=angles.device) + sine * cross + (1 - cosine) / 3


def _blurred(pixels: Tensor, sigmas: Tensor) -> Tensor:
    """Each image convolved with a Gaussian of its own, cut off after two pixels."""
    offsets = torch.arange(-2, 3, device=pixels.device)
    weights = torch.exp(-0.5 * (offsets / sigmas.unsqueeze(1)) ** 2)
    weights = (weights / weights.sum(dim=1, keepdim=True)).view(-1, 5, 1, 1, 1)
    padded = F.pad(pixels, (2, 2, 2, 2), mode="replicate")
    height, width = pixels.shape[2:]
    rows = sum(weights[:, i] * padded[:, :, i : i + height] for i in range(5))
    assert isinstance(rows, Tensor)
    columns = sum(weights[:, i] * rows[..., i : i + width] for i in range(5))
    assert isinstance(columns, Tensor)
    return columns
