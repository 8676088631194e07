"""The picture of a comparison: scores and learning curves of every reward with every agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ilfo._tools.figures import new_figure, png, thousands, tidy
from ilfo._tools.words import UNKNOWN
from ilfo.statistics import interquartile_mean

__all__ = ["comparison"]

Curves = Sequence[Mapping[int, float]]
"""Of each seed, step to score."""


def comparison(
    rewards: Sequence[str],
    agents: Sequence[str],
    scores: np.ndarray,
    trained: np.ndarray,
    curves: Mapping[tuple[str, str], Curves],
    title: str,
) -> bytes:
    """A map of all cells above, and below it a panel of learning curves for each agent, as PNG.

    Args:
        rewards: The rows ``R``.
        agents: The columns ``C``.
        scores: ``(R, C)``, NaN where there is none; 0 is a random policy, 1 the demonstration.
        trained: ``(R, C)`` bool; one that is trained has no score where the demonstration's return is not known, or is
            no better than a random policy's.
        curves: Reward and agent to the curves of their seeds.
        title: What all of it is about.
    """
    from matplotlib import colormaps

    rows, columns = len(rewards), len(agents)
    figure = new_figure(max(7.0, 3.4 * columns), 1.4 + 0.34 * rows + 3.4)
    figure.suptitle(title, fontsize=11)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.9 + 0.34 * rows, 3.4])[:, 0]
    cells = above.subplots()
    colours = colormaps["viridis"].with_extremes(bad="#f2f2f2")
    image = cells.imshow(np.ma.masked_invalid(scores), cmap=colours, vmin=0.0, vmax=1.0, aspect="auto")
    for (row, column), score in np.ndenumerate(scores):
        known = bool(np.isfinite(score))
        text, colour = (f"{score:.2f}", "white" if score < 0.6 else "black") if known else (UNKNOWN, "#8a8a8a")
        if trained[row, column] and not known:
            text = "no score"
        cells.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    cells.set_xticks(range(columns), agents)
    cells.set_yticks(range(rows), rewards)
    cells.tick_params(length=0)
    cells.spines[:].set_visible(False)
    above.colorbar(image, ax=cells, label="score, IQM over seeds", shrink=0.9)
    palette = colormaps["tab20" if rows > 10 else "tab10"]
    panels = below.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    for column, (axis, agent) in enumerate(zip(panels, agents, strict=True)):
        for index, reward in enumerate(rewards):
            steps, means = _mean_curve(curves[reward, agent])
            if steps:
                style = ("-", "--", ":")[index // palette.N % 3]
                axis.plot(steps, means, style, color=palette(index % palette.N), linewidth=1.6, label=reward)
        if not axis.lines:
            why = "no scores" if trained[:, column].any() else "not trained"
            axis.text(0.5, 0.5, why, transform=axis.transAxes, ha="center", color="#8a8a8a", fontsize=9)
        axis.axhline(1.0, color="#2e7d32", linewidth=1.0, linestyle="--")
        axis.axhline(0.0, color="#7a7a7a", linewidth=1.0, linestyle="--")
        axis.set_title(agent, fontsize=10)
        axis.set_xlabel("environment steps")
        thousands(axis)
        tidy(axis)
    panels[0].set_ylabel("score (0 random, 1 expert)")
    drawn = {label: handle for axis in panels for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if drawn:
        room = {"ncols": -(-len(drawn) // 18), "frameon": False, "fontsize": 8}
        below.legend(drawn.values(), drawn.keys(), loc="outside right upper", **room)
    return png(figure)


def _mean_curve(curves: Curves) -> tuple[list[int], list[float]]:
    """Interquartile mean over seeds at the steps that all of them have."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return steps, [interquartile_mean([curve[step] for curve in curves]) for step in steps]
