"""The README's picture: what a trained policy does, and how every seed got there.

    python benchmarks/picture.py runs/quickstart/seed_* --out examples/quickstart.png

Above, frames of one episode of the first run's policy; below, the evaluation return of each run against its steps, with
the expert's and the random policy's.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ilfo._tools.atomic import atomic_path
from ilfo.envs import make_env
from ilfo.runs import read_config, read_metrics, read_summary
from ilfo.training.imitation import load

FRAMES, EVERY, FIRST = 6, 1, 300


def film_strip(run: Path) -> np.ndarray:
    """``FRAMES`` pictures of one episode side by side, ``(H, FRAMES * W, 3)`` uint8."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    imitation = load(run)
    env = make_env(imitation.config.env, imitation.config.protocol, render=True)
    observation, _ = env.reset(seed=0)
    frames = []
    for step in range(FIRST + FRAMES * EVERY):
        if step >= FIRST and (step - FIRST) % EVERY == 0:
            frames.append(np.asarray(env.render()))
        action = imitation.act(np.asarray(observation, np.float32)[None], np.array([step]))[0]
        observation, *_ = env.step(action)
    env.close()
    height = frames[0].shape[0]
    return np.concatenate([frame[height // 4 : -height // 10] for frame in frames], axis=1)


def draw(runs: list[Path], out: Path) -> None:
    """Writes the picture."""
    figure = Figure(figsize=(9, 5.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=[1, 2.4])
    above.imshow(film_strip(runs[0]))
    above.set_axis_off()
    for run in runs:
        rows = [row for row in read_metrics(run) if "eval_return" in row]
        seed = read_config(run)["config"]["seed"]
        below.plot([row["step"] for row in rows], [row["eval_return"] for row in rows], label=f"seed {seed}", lw=1.5)
    config, summary = read_config(runs[0])["config"], read_summary(runs[0]) or {}
    for name, style in (("expert_return", "--"), ("random_return", ":")):
        label = f"{name.removesuffix('_return')} ({summary[name]:,.0f})"
        below.axhline(summary[name], color="black", ls=style, lw=1, label=label)
    below.set_xlabel("environment steps")
    below.set_ylabel(f"return, mean of {config['eval_episodes']} episodes")
    below.set_title(
        f"{config['env']}: {config['agent']} on the {config['reward']} reward, one demonstration without actions"
    )
    below.grid(alpha=0.3)
    below.legend(frameon=False, ncols=2)
    below.spines[["top", "right"]].set_visible(False)
    with atomic_path(out) as temporary:
        figure.savefig(temporary)


def main(runs: tuple[Path, ...], /, out: Path) -> None:
    """Draw the README's picture from finished runs.

    Args:
        runs: Folders of runs that differ in their seed alone.
        out: PNG to write.
    """
    draw(sorted(runs), out)


if __name__ == "__main__":
    tyro.cli(main)
