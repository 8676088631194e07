"""The small square as it is filmed: who pushes it, and runs that see keypoints of it."""

import numpy as np
from small_clones import SQUARE

from ilfo.training.configs import TrainConfig
from ilfo.training.flags import parse_train

SEES = [
    *("--features", "keypoints", "--keypoints.no-pretrained", "--keypoints.image-size", "32"),
    *("--keypoints.layer", "1", "--keypoints.stride", "4", "--keypoints.k", "4"),
]


def push(observations, ages):
    """To the right, always alike."""
    return np.full((len(observations), 1), 0.7, np.float32)


def configure(demo, out, *flags, sees=SEES, steps=120) -> TrainConfig:
    given = ["--env", SQUARE, "--demo", str(demo), "--out", str(out), "--steps", str(steps), "--random-steps", "60"]
    small = ["--td3.hidden-dim", "16", "--td3.batch-size", "16", "--eval-every", "60", "--eval-episodes", "2"]
    return parse_train([*given, *small, "--log-every", "40", *sees, *flags])[0]
