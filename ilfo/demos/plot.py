"""A picture of demonstrations: every dimension of the states over time, and the return as it is collected."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo._tools.figures import new_figure, tidy
from ilfo._tools.target import file_to_write
from ilfo.demos.trajectory import Demonstrations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_demonstrations"]

_MOST_DIMENSIONS = 59
_MOST_EPISODES = 50


def plot_demonstrations(demonstrations: Demonstrations, path: str | os.PathLike[str]) -> Path:
    """Draws the states over time, a panel a dimension, and the environment reward collected so far.

    Args:
        demonstrations: Each episode is one thin line; time is in seconds where the time step is known, else
            in steps. At most the first 50 episodes and 59 dimensions are drawn; the title says so.
        path: The PNG to write, whole or not at all.

    Returns:
        The path written.

    Raises:
        InputError: The folder does not exist, or the path is a folder itself, no PNG, or the demonstrations' own.
    """
    target = file_to_write(path, reads=[demonstrations.path])
    if target.suffix.lower() != ".png":
        raise InputError(f"{target}: states are drawn as .png; name such a file")
    labels = _labels(demonstrations)[:_MOST_DIMENSIONS]
    shown = demonstrations[:_MOST_EPISODES]
    rewards = [trajectory.env_rewards for trajectory in shown if trajectory.env_rewards is not None]
    rewarded = len(rewards) == len(shown)
    panels = len(labels) + rewarded
    columns = min(math.ceil(math.sqrt(panels)), 4)
    rows = math.ceil(panels / columns)

    figure = new_figure(3.5 * columns + 0.4, 1.45 * rows + 1.0, dpi=110)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    axes = list(grid.flat)
    step = demonstrations.provenance.time_step
    for dimension, (axis, label) in enumerate(zip(axes, labels, strict=False)):
        series = [trajectory.observations[:, dimension] for trajectory in shown]
        _draw(axis, series, label, step, "tab:blue")
    if rewarded:
        collected = [np.concatenate([[0], np.cumsum(each, dtype=np.float64)]) for each in rewards]
        _draw(axes[len(labels)], collected, "return so far", step, "tab:orange")
    for axis in axes[panels:]:
        axis.set_axis_off()
    for column in range(columns):
        lowest = axes[column + columns * ((panels - 1 - column) // columns)]
        lowest.tick_params(labelbottom=True)
    figure.supxlabel("seconds" if step else "step", fontsize=9)
    figure.suptitle(_title(demonstrations, len(shown), len(labels)), fontsize=10)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format="png")
    return target


def _draw(axis: Axes, series: list[np.ndarray], label: str, time_step: float | None, colour: str) -> None:
    alone = len(series) == 1
    for values in series:
        times = np.arange(len(values)) * (time_step or 1)
        axis.plot(times, values, color=colour, linewidth=0.7 if alone else 0.5, alpha=1 if alone else 0.6)
    axis.set_title(label, fontsize=8, pad=2)
    axis.tick_params(labelsize=7, length=2)
    axis.locator_params(axis="both", nbins=4)
    axis.margins(x=0)
    tidy(axis)


def _labels(demonstrations: Demonstrations) -> list[str]:
    keys = demonstrations.provenance.observation_keys or {"observation": demonstrations.observation_dim}
    return [f"{key}[{index}]" for key, width in keys.items() for index in range(width)]


def _title(demonstrations: Demonstrations, episodes: int, dimensions: int) -> str:
    name = demonstrations.path.name if demonstrations.path else "demonstrations"
    lengths = [len(trajectory) for trajectory in demonstrations]
    first, last = min(lengths), max(lengths)
    facts = [
        demonstrations.provenance.env_id,
        _some(episodes, len(demonstrations), "episode"),
        f"{first} steps" if first == last else f"{first} to {last} steps",
        _some(dimensions, demonstrations.observation_dim, "dimension"),
    ]
    if demonstrations.expert_return is not None:
        facts.append(f"{'' if len(demonstrations) == 1 else 'mean '}return {demonstrations.expert_return:.1f}")
    return f"{name}\n" + " · ".join(fact for fact in facts if fact)


def _some(shown: int, count: int, noun: str) -> str:
    plural = "" if count == 1 else "s"
    return f"{count} {noun}{plural}" if shown == count else f"first {shown} of {count} {noun}{plural}"
