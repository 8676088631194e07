"""What a reward from pixels saw of the demonstration, and what its policy does: frames with keypoints, side by side.

    python benchmarks/pixels.py runs/reach-pixels --out benchmarks/pixels.png

Above, the demonstration; below, an episode of the run's policy; both at the same steps, each concept in one colour.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from ilfo import demos
from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo._tools.figures import new_figure, png
from ilfo.demos import Trajectory
from ilfo.rewards.keypoints import KeypointFeatures
from ilfo.training.imitation import load
from ilfo.vision import draw_keypoints

PICTURES = 6


def with_keypoints(episode: Trajectory, features: KeypointFeatures, steps: np.ndarray) -> np.ndarray:
    """Pictures ``(N, H, W, 3)`` of an episode at some steps, where each keypoint was in the last ten steps included."""
    assert episode.frames is not None
    return draw_keypoints(episode.frames[:], features.see(episode).observations)[steps]


def main(run: Annotated[Path, tyro.conf.Positional], out: Path) -> None:
    """Draw the demonstration and the policy of a run whose reward sees keypoints.

    Args:
        run: Its folder.
        out: The picture, a PNG.
    """
    with closing(load(run)) as imitation:
        if imitation.sight is None:
            raise InputError(f"{run}: its reward does not see frames; expected a run with --features keypoints")
        features = imitation.sight.features
        expert = demos.open(imitation.config.demo, frames=True)[0]
        policy = imitation.filmed(imitation.evaluate(1, seed=0))[0]
    steps = np.linspace(0, min(len(expert), len(policy)), PICTURES).round().astype(int)
    figure = new_figure(9.0, 3.4)
    for row, (name, episode) in enumerate([("demonstration", expert), ("policy", policy)]):
        for column, (step, picture) in enumerate(zip(steps, with_keypoints(episode, features, steps), strict=True)):
            axis = figure.add_subplot(2, PICTURES, row * PICTURES + column + 1, xticks=[], yticks=[])
            axis.imshow(picture)
            axis.set_ylabel(name if column == 0 else "")
            axis.set_title("" if row else f"step {step}", fontsize=9)
    with atomic_path(out) as partial:
        partial.write_bytes(png(figure))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(f"pixels: {error}")
