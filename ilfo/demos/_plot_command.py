"""``ilfo demos plot``: a picture of demonstrations, or keypoints over their frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import ilfo.demos
from ilfo.demos.commands import new_console, opened

__all__ = ["plot"]


@dataclass(frozen=True)
class _Seeing:
    """How keypoints are found, where they are drawn."""

    backbone: str = "ilfo_vit_tiny"
    """Vision transformer that sees the frames."""
    backbone_weights: str | None = None
    """Safetensors file with its weights, in place of those that are downloaded."""
    pretrained: bool = True
    """Without: random weights, to compare with."""
    stride: int | None = None
    """Pixels between patches."""
    image_size: int | None = None
    """Pixels that frames are resized to."""
    layer: int = -1
    """Block of the network that patches are described by."""
    k: int | None = None
    """Clusters, background among them; by default the number at which one more barely helps."""
    votes: float = 0.75
    """Share of the frames in which a cluster must be salient to be a concept; 0 keeps all."""


def plot(
    file: str,
    /,
    *,
    out: Path | None = None,
    filter_key: str | None = None,
    keypoints: Path | None = None,
    seeing: Annotated[_Seeing, tyro.conf.arg(name="keypoints")] = _Seeing(),
) -> None:
    """Draw the states over time, and the return where it is known; or keypoints over the frames.

    Args:
        file: HDF5 file, folder of a dataset, or the name of a bundled demonstration.
        out: PNG to write; by default the file's name with .png, in the current folder.
        filter_key: Draw only the demonstrations of this filter key of a robomimic file.
        keypoints: Draw this instead: what 'ilfo train --features keypoints' sees of the first episode, as a video (.mp4
            or .webm), or twelve of its frames as a .png.
        seeing: How keypoints are found, where they are drawn.
    """
    console = new_console()
    if keypoints is not None:
        from ilfo._keypoint_pictures import draw_demonstrations

        console.print(f"{draw_demonstrations(file, keypoints, **vars(seeing))}", soft_wrap=True, markup=False)
        return
    demonstrations = opened(console, file, filter_key=filter_key)
    written = ilfo.demos.plot_demonstrations(demonstrations, out or Path(f"{Path(file).stem}.png"))
    console.print(f"{written}", soft_wrap=True, highlight=False, markup=False)
