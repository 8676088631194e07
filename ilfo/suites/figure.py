"""The picture of a suite: how far every method came on every task."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ilfo._tools.figures import new_figure, png, tidy
from ilfo.suites.reached import Reached

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_suite", "suite_figure"]

NAME_WIDTH = 14
"""Characters in a line of a task's name, which is broken at its hyphens."""


def suite_figure(
    tasks: Sequence[str], methods: Sequence[str], reached: Mapping[tuple[str, str], Reached], title: str, label: str
) -> bytes:
    """Bars in groups, one group a task and one colour a method, as PNG.

    Args:
        tasks: Left to right.
        methods: Bars of each group, left to right.
        reached: Task and method to result; a missing one leaves a gap.
        title: Title of the figure.
        label: Label of the vertical axis.
    """
    return png(draw_suite(tasks, methods, reached, title, label))


def draw_suite(
    tasks: Sequence[str], methods: Sequence[str], reached: Mapping[tuple[str, str], Reached], title: str, label: str
) -> Figure:
    """The figure of :func:`suite_figure`, which takes the same."""
    from matplotlib import colormaps

    figure = new_figure(max(6.0, 1.2 + len(tasks) * (0.7 + 0.28 * len(methods))), 3.8)
    axis = figure.subplots()
    palette = colormaps["tab20" if len(methods) > 10 else "tab10"]
    width = 0.8 / len(methods)
    for index, method in enumerate(methods):
        known = [(place, reached[task, method]) for place, task in enumerate(tasks) if (task, method) in reached]
        axis.bar(
            [place + (index + 0.5) * width - 0.4 for place, _ in known],
            [found.value for _, found in known],
            width * 0.92,
            yerr=np.array([found.error_bar for _, found in known]).reshape(-1, 2).T,
            color=palette(index % palette.N),
            hatch=("", "//", "..")[index // palette.N % 3],
            error_kw={"linewidth": 1.0, "capsize": 2.5, "ecolor": "#404040"},
            label=method,
        )
    names = [textwrap.fill(task, NAME_WIDTH) for task in tasks]
    axis.set_xticks(range(len(tasks)), names, rotation=0 if len(tasks) < 6 else 30, fontsize=9)
    axis.set_xlim(-0.5, len(tasks) - 0.5)  # Also where the outermost bars are missing.
    axis.set_ylabel(label)
    axis.set_title(title, fontsize=11)
    axis.axhline(1.0, color="#2e7d32", linewidth=1.0, linestyle="--")
    axis.axhline(0.0, color="#7a7a7a", linewidth=1.0)
    tidy(axis, "y")
    figure.legend(loc="outside right upper", ncols=-(-len(methods) // 20), frameon=False, fontsize=8)
    return figure
