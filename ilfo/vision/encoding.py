"""Frames through a network in batches: how many at once, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ilfo._tools.errors import InputError
from ilfo._tools.words import counted, duration
from ilfo.vision.backbones import Backbone, check_frames
from ilfo.vision.descriptors import DescriptorOptions, Patches, describe_patches

__all__ = ["EncodingPlan", "batch_size_of", "bytes_per_frame", "encode", "plan_encoding"]

GIB = 2**30

LARGEST_BATCH = {"cpu": 32, "cuda": 512}
"""Frames in a batch beyond which neither kind of device gets faster."""


@dataclass(frozen=True)
class EncodingPlan:
    """Expected cost of encoding frames.

    Attributes:
        frames: Number of frames.
        rows: Patches from top to bottom.
        cols: Patches from left to right.
        batch_size: Frames encoded at once.
        bytes: Estimated memory of a batch.
        passes: Times that a frame goes through the network: more than frames where some are encoded twice, fewer where
            what is to be seen in them is in the cache.
        seconds_per_pass: Expected time of each, measured on a few.
        device: Where they are encoded.
    """

    frames: int
    rows: int
    cols: int
    batch_size: int
    bytes: int
    passes: int
    seconds_per_pass: float
    device: str

    @property
    def seconds(self) -> float:
        """Expected time for all frames."""
        return self.passes * self.seconds_per_pass

    def __str__(self) -> str:
        took = f"about {duration(self.seconds)} on {self.device}" if self.passes else "all in the cache"
        return (
            f"{counted(self.frames, 'frame')} as {self.rows} x {self.cols} patches, {self.batch_size} at a time in "
            f"{self.bytes / GIB:.2f} GiB: {took}"
        )


def bytes_per_frame(backbone: Backbone, height: int, width: int, stride: int | None = None) -> int:
    """Estimates the peak memory, in bytes, of encoding a frame of this size, weights aside.

    It counts the image before and after resizing, and all that one block holds of the tokens at once: input, norm,
    queries, keys and values, the attention's output, the hidden layer, and what is kept of the block. Where attention
    is not fused, its matrix counts too.
    """
    size = backbone.input_size(height, width)
    stride = stride or backbone.stride
    patches = (1 + (size[0] - backbone.patch_size) // stride) * (1 + (size[1] - backbone.patch_size) // stride)
    tokens, number = patches + backbone.prefix_tokens, 4
    image = 3 * number * (2 * size[0] * size[1] + height * width)
    attention = backbone.model.blocks[0].attn
    matrix = 0 if getattr(attention, "fused_attn", False) else 2 * backbone.heads * tokens**2
    return image + number * (14 * tokens * backbone.width + matrix)


def batch_size_of(backbone: Backbone, height: int, width: int, memory_gib: float) -> int:
    """Frames that can be encoded at once.

    Raises:
        InputError: Not one fits; names a stride that does.
    """
    room = memory_gib * GIB
    needed = bytes_per_frame(backbone, height, width)
    if needed <= room:
        return int(min(room // needed, LARGEST_BATCH.get(backbone.device.type, 32)))
    patch = backbone.patch_size
    larger = [each for each in range(backbone.stride + 1, patch + 1) if patch % each == 0]
    fitting = [each for each in larger if bytes_per_frame(backbone, height, width, each) <= room]
    rows, cols = backbone.grid(height, width)
    fix = f"stride {fitting[0]} fits" if fitting else "no stride fits; take a smaller image_size"
    raise InputError(
        f"stride {backbone.stride} makes {rows} x {cols} patches of a frame of {width} x {height} pixels, which takes "
        f"{needed / GIB:.2f} GiB, and memory_gib is {memory_gib}: {fix}, or give more memory"
    )


def encode(
    backbone: Backbone,
    frames: np.ndarray,
    options: DescriptorOptions,
    *,
    saliency: bool = False,
    memory_gib: float = 2.0,
) -> Iterator[Patches]:
    """The patches of frames, batch after batch, in their order.

    Args:
        backbone: The network.
        frames: ``(N, H, W, 3)`` uint8 RGB, or an object whose slices are such arrays.
        options: Layer, facet, and heads of saliency.
        saliency: See :func:`~ilfo.vision.descriptors.describe_patches`.
        memory_gib: Memory that a batch may take.

    Raises:
        InputError: The frames are no such array, or not one fits into the memory.
    """
    check_frames(frames)
    batch = batch_size_of(backbone, frames.shape[1], frames.shape[2], memory_gib)
    for start in range(0, len(frames), batch):
        images = backbone.prepare(np.asarray(frames[start : start + batch]))
        yield describe_patches(backbone, images, options, saliency=saliency)


def plan_encoding(
    frames: np.ndarray,
    backbone: Backbone,
    options: DescriptorOptions | None = None,
    *,
    memory_gib: float = 2.0,
    passes: int | None = None,
) -> EncodingPlan:
    """What encoding these frames will take, measured on up to four of them.

    Args:
        frames: ``(N, H, W, 3)`` uint8 RGB, or an object whose slices are such arrays.
        backbone: The network.
        options: Layer and facet.
        memory_gib: Memory that a batch may take.
        passes: Times that a frame goes through the network; None: once each.

    Raises:
        InputError: The frames are no such array, or not one fits into the memory.
    """
    check_frames(frames)
    options = options or DescriptorOptions()
    height, width = frames.shape[1], frames.shape[2]
    batch = min(batch_size_of(backbone, height, width, memory_gib), len(frames))
    few = np.asarray(frames[: min(4, batch)])
    for _ in range(2):  # The first time, libraries choose their kernels.
        _wait(backbone)
        started = time.perf_counter()
        describe_patches(backbone, backbone.prepare(few), options)
        _wait(backbone)
        took = time.perf_counter() - started
    return EncodingPlan(
        len(frames),
        *backbone.grid(height, width),
        batch_size=batch,
        bytes=batch * bytes_per_frame(backbone, height, width),
        passes=len(frames) if passes is None else passes,
        seconds_per_pass=took / len(few),
        device=str(backbone.device),
    )


def _wait(backbone: Backbone) -> None:
    if backbone.device.type == "cuda":
        torch.cuda.synchronize(backbone.device)
