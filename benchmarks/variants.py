"""What an environment's variants look like, and what they cost.

    python benchmarks/variants.py HalfCheetah-v5 --out variants.png

One row a kind: the plain environment, then three variants that are seen and three that are held out, all in the same
state. Printed: milliseconds to make an environment that is drawn, to reset it, and to draw a frame, of the plain one
and the variants in turns, and of one without shadows and reflections (``@no-shadows``).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo.envs.drawing import drawable_env, frame
from ilfo.variants import KINDS, Variant

SPLITS, EACH, STEPS, FRAMES = ("seen", "unseen"), 3, 12, 10


def look(env_id: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture ``(size, size, 3)`` after a few steps, and the milliseconds ``(3,)`` to make, reset and draw."""
    started = time.perf_counter()
    env = drawable_env(env_id, "standard", (size, size))
    made = time.perf_counter()
    env.reset(seed=0)
    reset = time.perf_counter()
    env.action_space.seed(0)
    for _ in range(STEPS):
        env.step(env.action_space.sample())
    picture = frame(env.render(), (size, size))
    before = time.perf_counter()
    for _ in range(FRAMES):
        env.render()
    drawn = (time.perf_counter() - before) / FRAMES
    env.close()
    return picture, 1000 * np.array([made - started, reset - made, drawn])


def main(env_id: str, /, out: Path, size: int = 224) -> None:
    """Draw a contact sheet of an environment's variants.

    Args:
        env_id: Gymnasium id; ``module:Id`` imports a module that registers it.
        out: PNG to write.
        size: Width and height of each picture in pixels.
    """
    figure = Figure(figsize=(1.6 * (1 + 2 * EACH), 1.72 * len(KINDS)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(KINDS), 1 + 2 * EACH)
    for axes in rows.flat:
        axes.set_axis_off()
    print(f"{env_id}, {size} x {size}: milliseconds to make, reset, draw")
    for kind, row in zip(KINDS, rows, strict=True):
        plain, cost = look(env_id, size)
        row[0].imshow(plain)
        row[0].set_title("plain", fontsize=8)
        variants = [Variant(kind, index, split) for split in SPLITS for index in range(EACH)]
        costs = []
        try:
            for variant, axes in zip(variants, row[1:], strict=True):
                picture, milliseconds = look(f"{env_id}@{variant}", size)
                costs.append(milliseconds)
                axes.imshow(picture)
                axes.set_title(str(variant), fontsize=8)
        except InputError as error:
            print(f"{kind:12} {error}")
            continue
        for name, numbers in (("plain", cost), (kind, np.median(costs, axis=0))):
            print(f"{name:12}" + "".join(f"{number:9.1f}" for number in numbers))
    for name, mark in (("plain", ""), ("no-shadows", "@no-shadows")):
        print(f"{name:12}" + "".join(f"{number:9.1f}" for number in look(f"{env_id}{mark}", size)[1]))
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png")


if __name__ == "__main__":
    tyro.cli(main)
