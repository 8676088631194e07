"""The picture of a suite of clones: results in the seen looks beside those in the unseen ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ilfo._tools.figures import new_figure, png, tidy
from ilfo.cloning import PLAIN, KindAndSplit
from ilfo.suites.reached import Reached

__all__ = ["looks_figure"]


def looks_figure(
    tasks: Sequence[str],
    eyes: Sequence[str],
    kinds: Sequence[str],
    reached: Mapping[tuple[str, str, KindAndSplit], Reached],
    title: str,
    label: str,
) -> bytes:
    """One panel for each task, as PNG: for each kind and eye, a hollow dot for seen and a filled one for unseen.

    Args:
        tasks: Top to bottom.
        eyes: What policies see, each in its own colour.
        kinds: What varies, left to right, after the plain look.
        reached: Task, eye and look to result; a missing one leaves a gap.
        title: Title of the figure.
        label: Label of the vertical axes.
    """
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    groups = [PLAIN[0], *kinds]
    figure = new_figure(max(6.0, 2.2 + len(groups) * (0.5 + 0.22 * len(eyes))), 0.9 + 2.5 * len(tasks))
    axes = figure.subplots(len(tasks), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    palette = colormaps["tab10"]
    room = 0.78 / len(eyes)
    for axis, task in zip(axes, tasks, strict=True):
        for place, kind in enumerate(groups):
            for index, eye in enumerate(eyes):
                middle = place - 0.39 + (index + 0.5) * room
                looks = [PLAIN] if kind == PLAIN[0] else [(kind, "seen"), (kind, "unseen")]
                found = [reached.get((task, eye, look)) for look in looks]
                shifts = [0.0] if len(looks) == 1 else [-0.22 * room, 0.22 * room]
                _draw(axis, [middle + shift for shift in shifts], found, palette(index))
        for edge in range(1, len(groups)):
            axis.axvline(edge - 0.5, color="#d0d0d0", linewidth=0.7)
        axis.set_title(task, fontsize=10)
        axis.set_ylabel(label)
        tidy(axis, "y")
    lowest = min([0.0, *(found.ends[0] for found in reached.values())])
    highest = max([1.0, *(found.ends[1] for found in reached.values())])
    axes[0].set_ylim(lowest - 0.04, highest + 0.04)
    axes[-1].set_xticks(range(len(groups)), groups)
    axes[-1].set_xlim(-0.5, len(groups) - 0.5)
    axes[-1].set_xlabel("what differs in the picture")
    dots = [("seen, or plain", "white"), ("unseen", "#404040")]
    shown = [Line2D([], [], color=palette(index), linewidth=3, label=eye) for index, eye in enumerate(eyes)]
    shown += [
        Line2D([], [], linestyle="", marker="o", color="#404040", markerfacecolor=face, label=name)
        for name, face in dots
    ]
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=shown, loc="outside lower center", ncols=len(shown), frameon=False, fontsize=8)
    return png(figure)


def _draw(axis: Any, places: Sequence[float], found: Sequence[Reached | None], colour: Any) -> None:
    """A dot for seen, one for unseen, both with their intervals, and the way between."""
    known = [(place, each) for place, each in zip(places, found, strict=True) if each is not None]
    axis.plot([place for place, _ in known], [each.value for _, each in known], color=colour, linewidth=1.2)
    for number, (place, each) in enumerate(zip(places, found, strict=True)):
        if each is None:
            continue
        axis.errorbar(
            place,
            each.value,
            [[length] for length in each.error_bar],
            fmt="o",
            markersize=4.5,
            color=colour,
            markerfacecolor="white" if number == 0 else colour,
            elinewidth=0.8,
            capsize=1.8,
        )
