"""Frames a second of the whole keypoint pipeline, beside the bare backbone's forward pass on the same frames.

    python benchmarks/keypoints.py
    python benchmarks/keypoints.py --device cuda --backbones vit_small_patch16_224.dino --frames 4000

The bare pass gets images that are resized and standardised already, in the same batches and the same precision, and
runs all blocks. The pipeline gets frames in uint8 and gives positions that are followed through the film. Weights are
random: they make no difference to the time. Both are timed in turns in this process.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import tyro
from _machine import machine, spread, versions
from rich.progress import track

from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards.keypoints import KeypointFeatures, KeypointOptions
from ilfo.vision import Backbone
from ilfo.vision.encoding import batch_size_of


@dataclass(frozen=True)
class Options:
    """Times pipeline and backbone."""

    backbones: tuple[str, ...] = ("ilfo_vit_tiny",)
    """Vision transformers."""
    frames: int = 256
    """Frames of the film."""
    size: int = 96
    """Pixels of a frame, height and width."""
    strides: tuple[int, ...] = (0,)
    """Pixels between patches; 0: the patch size."""
    concepts: int = 10
    """Keypoints."""
    rounds: int = 5
    """Times that each is timed, one after the other in every round."""
    threads: int = 1
    """Processor threads of PyTorch."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where."""


def bare(backbone: Backbone, batches: list[torch.Tensor]) -> None:
    with (
        torch.inference_mode(),
        torch.autocast(backbone.device.type, torch.bfloat16, backbone.precision == torch.bfloat16),
    ):
        for images in batches:
            backbone.model.forward_features(images)
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()


def main(options: Options) -> None:
    """Measures and prints."""
    load = os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    film = np.random.default_rng(0).integers(0, 256, (options.frames, options.size, options.size, 3), np.uint8)
    expert = Demonstrations((Trajectory(np.zeros((len(film), 1), np.float32), frames=film),))
    lines = []
    for name in options.backbones:
        for stride in options.strides:
            chosen = KeypointOptions(
                backbone=name, pretrained=False, stride=stride or None, k=options.concepts, votes=0.0, fit_frames=10,
                cache=False,
            )  # fmt: skip
            features = KeypointFeatures(chosen, options.device).fit(expert)
            backbone = features.backbone
            size = batch_size_of(backbone, options.size, options.size, chosen.memory_gib)
            batches = [backbone.prepare(film[at : at + size]) for at in range(0, len(film), size)]
            rates: dict[str, list[float]] = {"bare": [], "pipeline": []}
            for number in track(range(options.rounds + 1), f"{name}, stride {backbone.stride}"):
                started = time.perf_counter()
                bare(backbone, batches)
                halfway = time.perf_counter()
                features(film)
                ended = time.perf_counter()
                if number:  # The first round warms up.
                    rates["bare"].append(len(film) / (halfway - started))
                    rates["pipeline"].append(len(film) / (ended - halfway))
            share = [own / alone for own, alone in zip(rates["pipeline"], rates["bare"], strict=True)]
            rows, cols = backbone.grid(options.size, options.size)
            lines.append(
                f"| {name} | {backbone.image_size} | {backbone.stride} | {rows} x {cols} | "
                f"{spread(rates['bare'], '.0f')} | {spread(rates['pipeline'], '.0f')} | {spread(share, '.2f')} |"
            )
    print("| backbone | pixels | stride | patches | bare (frames/s) | keypoints (frames/s) | share |")
    print("| --- | --- | --- | --- | --- | --- | --- |", *lines, sep="\n")
    print(f"\n{machine(load, options.device)}; {options.threads} threads; {versions('torch', 'timm')}")


if __name__ == "__main__":
    main(tyro.cli(Options))
