"""Figures of matplotlib that need no display: made, tidied, and written as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["new_figure", "png", "thousands", "tidy"]


def new_figure(width: float, height: float, dpi: int = 130) -> Figure:
    """An empty figure of so many inches, laid out by constraints; pyplot, which keeps figures, has no part in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def tidy(axis: Axes, grid: Literal["both", "y"] = "both") -> None:
    """Leaves the lines above and on the right out, and puts a thin grid behind what is drawn."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, linewidth=0.4, alpha=0.5)
    axis.set_axisbelow(True)


def thousands(axis: Axes) -> None:
    """Writes large numbers of steps like ``50k``."""
    from matplotlib.ticker import EngFormatter

    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def png(figure: Figure) -> bytes:
    """The figure as PNG. Names that its user chose are shown as they are: a ``$`` begins no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_text():  # A scale's own labels are still empty, and may be formulas.
            text.set_parse_math(False)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()
