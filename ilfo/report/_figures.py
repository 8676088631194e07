"""The pictures of a report, as PNG files in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ilfo._tools.figures import new_figure, png, thousands, tidy
from ilfo.rewards import Explanation
from ilfo.statistics import bootstrap_interval, interquartile_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["cloning_curve", "learning_curve", "learning_curves", "plans", "reward_traces", "training_curves"]

_POLICY, _WORST, _EXPERT, _RANDOM, _QUIET = "#2364aa", "#d1603d", "#2e7d32", "#7a7a7a", "#5b7083"
_PLAN_PIXELS = 320
_RESAMPLES = 500
"""Of the bootstrap at every evaluation: a band's edges are drawn less finely than a table prints them."""

Row = Mapping[str, Any]


def learning_curve(rows: Sequence[Row], expert_return: float | None, random_return: float | None) -> bytes:
    """Evaluation return against steps, with the range over episodes, and the expert's and a random policy's lines.

    Args:
        rows: Of ``metrics.jsonl``; those without an evaluation are passed over.
        expert_return: The upper line, where known.
        random_return: The lower line, where known.
    """
    evaluated = [row for row in rows if "eval_return" in row]
    figure, grid = _canvas(1, 1, 9.0, 4.2)
    axis = grid[0]
    steps = [row["step"] for row in evaluated]
    mean = [row["eval_return"] for row in evaluated]
    ranges = [row.get("eval_returns") or [row["eval_return"]] for row in evaluated]
    axis.fill_between(steps, [min(r) for r in ranges], [max(r) for r in ranges], color=_POLICY, alpha=0.18, linewidth=0)
    axis.plot(steps, mean, color=_POLICY, marker="o", markersize=4, linewidth=1.8)
    return _finish_learning(figure, axis, expert_return, random_return)


def learning_curves(
    runs: Mapping[int, Sequence[Row]], expert_return: float | None, random_return: float | None
) -> bytes:
    """Evaluation return of several seeds: a thin line each, their interquartile mean in bold with its interval.

    Args:
        runs: Seed to rows of ``metrics.jsonl``; those without an evaluation are passed over.
        expert_return: The upper line, where known.
        random_return: The lower line, where known.
    """
    figure, grid = _canvas(1, 1, 9.0, 4.2)
    axis = grid[0]
    curves = [
        {row["step"]: row["eval_return"] for row in rows if row.get("eval_return") is not None}
        for rows in runs.values()
    ]
    for curve in curves:
        axis.plot(list(curve), list(curve.values()), color=_QUIET, linewidth=0.9, alpha=0.6)
    steps, means, lows, highs = _mean_curve(curves)
    if len(runs) > 1 and steps:
        axis.fill_between(steps, lows, highs, color=_POLICY, alpha=0.18, linewidth=0)
    axis.plot(steps, means, color=_POLICY, marker="o", markersize=4, linewidth=2.4)
    return _finish_learning(figure, axis, expert_return, random_return)


def _mean_curve(curves: Sequence[Mapping[int, float]]) -> tuple[list[int], list[float], list[float], list[float]]:
    """Steps, interquartile means over seeds and both ends of their intervals, where all seeds have a value.

    Of a single seed, both ends are its value.

    A run that is read while it is written may be a row ahead of the others.
    """
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    measured = [[curve[step] for curve in curves] for step in steps]
    means = [interquartile_mean(values) for values in measured]
    found = [bootstrap_interval(values, interquartile_mean, resamples=_RESAMPLES) for values in measured]
    ends = [interval or (mean, mean) for interval, mean in zip(found, means, strict=True)]
    return steps, means, [low for low, _ in ends], [high for _, high in ends]


def _finish_learning(figure: Figure, axis: Axes, expert_return: float | None, random_return: float | None) -> bytes:
    """The expert's and a random policy's lines, the axes, and the picture."""
    lines = ((expert_return, "expert", _EXPERT, 4), (random_return, "random policy", _RANDOM, -12))
    for value, name, colour, offset in lines:
        if value is not None:
            axis.axhline(value, color=colour, linewidth=1.2, linestyle="--")
            axis.annotate(
                f"{name} {value:,.1f}",
                (0, value),  # on the left, where no policy is an expert yet
                xycoords=("axes fraction", "data"),
                xytext=(4, offset),
                textcoords="offset points",
                ha="left",
                color=colour,
                fontsize=9,
            )
    axis.axhline(0, color="black", linewidth=0.6)
    axis.margins(y=0.1)
    axis.set_xlim(left=0)
    axis.set(xlabel="environment steps", ylabel="return of an evaluation episode")
    thousands(axis)
    return png(figure)


def cloning_curve(rows: Sequence[Row], kept: int) -> bytes:
    """Squared error of the actions against epochs, in training and on held-out episodes, with the epoch that is kept.

    Args:
        rows: Of ``metrics.jsonl``, an epoch each.
        kept: The number of that epoch.
    """
    figure, (axis,) = _canvas(1, 1, 9.0, 4.2)
    for name, label, colour in (("loss", "training", _QUIET), ("held_out_loss", "held-out episodes", _POLICY)):
        points = [(row["epoch"], row[name]) for row in rows if row.get(name)]  # the axis is logarithmic
        if points:
            axis.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, label=label)
    axis.axvline(kept, color=_WORST, linewidth=1.2, linestyle="--", label=f"kept: epoch {kept}")
    axis.set(yscale="log", xlabel="epoch", ylabel="mean squared error of an action")
    axis.set_xlim(left=0)
    axis.legend(frameon=False)
    return png(figure)


def training_curves(*runs: Sequence[Row]) -> bytes | None:
    """All remaining float metrics against steps, one small panel each; None if there are none.

    Args:
        runs: The rows of one run, or of several that are drawn over each other.
    """
    skipped = {"step", "seconds", "eval_return", "eval_ratio"}
    numbers = {name for rows in runs for row in rows for name, value in row.items() if isinstance(value, float)}
    names = sorted(numbers - skipped)
    names.sort(key=lambda name: (name.endswith("loss"), not name.startswith("imitation")))
    if not names:
        return None
    columns = min(len(names), 4)
    figure, axes = _canvas(math.ceil(len(names) / columns), columns, 9.0, 1.75 * math.ceil(len(names) / columns))
    for axis, name in zip(axes, names, strict=False):
        for rows in runs:
            points = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), float)]
            steps, values = zip(*points, strict=True) if points else ((), ())
            width, opacity = (1.2, 1.0) if len(runs) == 1 else (0.8, 0.6)
            marker = "." if len(points) < 30 and len(runs) == 1 else ""
            axis.plot(steps, values, color=_QUIET, linewidth=width, alpha=opacity, marker=marker)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xlim(left=0)
        axis.locator_params(axis="both", nbins=4)
        axis.tick_params(labelsize=7)
        thousands(axis)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    return png(figure)


def reward_traces(
    episodes: Mapping[str, tuple[np.ndarray, np.ndarray]], *, terminated: Mapping[str, bool], imitates: bool
) -> bytes:
    """Reward along episodes: the imitation reward above, the environment's below.

    Args:
        episodes: Label to imitation rewards ``(T,)`` and environment rewards ``(T,)``.
        terminated: Labels whose episode the environment ended, marked by a cross.
        imitates: Whether the two differ; else one panel is drawn.
    """
    titles = ["imitation reward a step", "environment's reward a step"] if imitates else ["reward a step"]
    figure, axes = _canvas(len(titles), 1, 9.0, 2.3 * len(titles) + 0.5, sharex=True)
    for panel, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for (label, pair), colour in zip(episodes.items(), (_POLICY, _WORST), strict=False):
            values = pair[panel] if imitates else pair[1]
            steps = np.arange(1, len(values) + 1)
            axis.plot(steps, values, color=colour, linewidth=1.1, label=label, alpha=0.9)
            if terminated[label]:
                axis.plot(steps[-1:], values[-1:], "x", color=colour, markersize=8, markeredgewidth=2)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set_ylabel(title, fontsize=9)
        axis.set_xlim(left=0)
    axes[-1].set_xlabel("step of the episode")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    return png(figure)


def plans(explanations: Mapping[str, Explanation]) -> bytes:
    """Which expert step each step of an episode was matched to; the darker, the more of the step's mass.

    Args:
        explanations: Label to explanation, a panel each; one without a plan shows the dots alone.
    """
    figure, axes = _canvas(1, len(explanations), 4.6 * len(explanations), 4.6)
    for axis, (label, found) in zip(axes, explanations.items(), strict=True):
        steps, height = len(found.expert_steps), int(found.expert_steps.max()) + 1
        if found.plan is not None:
            height = found.plan.shape[1]
            shares = _pooled(np.nan_to_num(found.plan).T, _PLAN_PIXELS)
            axis.imshow(
                np.ma.masked_equal(np.sqrt(shares / (shares.max() or 1.0)), 0.0),
                cmap="Blues",
                origin="lower",
                aspect="auto",
                extent=(0, steps, 0, height),
                interpolation="nearest",
            )
        longest = max(steps, height)
        axis.plot([0, longest], [0, longest], color=_RANDOM, linewidth=0.8, linestyle=":")
        axis.plot(
            np.arange(steps) + 0.5, found.expert_steps + 0.5, ".", color=_WORST, markersize=2 if steps > 200 else 3
        )
        axis.set(xlim=(0, steps), ylim=(0, height), xlabel="step of the episode", ylabel="step of the expert")
        axis.set_title(f"{label}\nmean cost {np.nanmean(found.costs):.3f}", fontsize=10)
    return png(figure)


def _pooled(picture: np.ndarray, pixels: int) -> np.ndarray:
    """Max-pools to at most ``pixels`` a side: an exact plan's isolated entries must not fade away."""
    for axis in (0, 1):
        edges = np.unique(np.linspace(0, picture.shape[axis], pixels + 1).astype(int)[:-1])
        picture = np.maximum.reduceat(picture, edges, axis=axis)
    return picture


def _canvas(rows: int, columns: int, width: float, height: float, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    figure = new_figure(width, height, dpi=140)
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex).flat)
    for axis in axes:
        tidy(axis)
    return figure, axes
