"""The cost of scoring an episode against its length, and against the number of demonstrations.

    python benchmarks/growth.py

One episode is scored by optimal transport, by exact and by entropic plans, with the defaults otherwise. Expert and
episode are as long as each other: sums of waves with noise on them, as wide as Hopper's states. Every point is a
process of its own; one that does not score once within the cap ends its curve. Prints a table with exponents, fitted to
the upper half of the points of a curve (small problems cost what calling costs), and draws a picture.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich.box
import tyro
from _machine import machine, spread, versions
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from ilfo._tools.atomic import atomic_path

PLANS = ("exact", "entropic")
STARTING = 30.0
MEASURE = """
import sys, time, warnings
import numpy as np, torch
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import Episodes, OptimalTransport, TransportOptions
plan, length, count, repeats, threads = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
def walk(seed, steps, noise):
    generator = np.random.default_rng(seed)
    speeds, phases = np.random.default_rng(0).uniform(0.02, 0.2, (2, 11))
    states = np.sin(np.arange(steps + 1)[:, None] * speeds + 30 * phases + generator.normal(0, 0.3, 11))
    return Trajectory((states + generator.normal(0, noise, states.shape)).astype(np.float32))
reward = OptimalTransport(TransportOptions(plan=plan))
reward.fit(Demonstrations(tuple(walk(1 + seed, length, 0.1) for seed in range(count))))
warnings.simplefilter("always")
for number in range(repeats):
    episodes = Episodes.from_trajectories([walk(1000 + number, length, 0.3)])
    with warnings.catch_warnings(record=True) as caught:
        start = time.perf_counter()
        reward.score(episodes)
        print(time.perf_counter() - start, len(caught), flush=True)
"""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    lengths: tuple[int, ...] = (100, 200, 500, 1000, 2000, 5000, 10_000)
    """Steps of the episode and of its one demonstration."""
    demonstrations: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    """Numbers of demonstrations."""
    length: int = 200
    """Steps of each where their number grows."""
    repeats: int = 5
    """Episodes scored for a point, after one that is not counted."""
    cap: float = 60.0
    """Seconds that a point may take, all its episodes together; at least one must be scored within them."""
    threads: int = 1
    """Processor threads of PyTorch."""
    out: Path = Path("growth.png")
    """Picture to write."""


@dataclass(frozen=True)
class Point:
    """Seconds of every episode scored, and whether an entropic plan stopped before its tolerance."""

    seconds: list[float]
    missed: bool


def measure(options: Options, plan: str, length: int, demonstrations: int) -> Point | None:
    """Scores episodes until the cap; None where not one was done by then, or the memory did not suffice."""
    arguments = [plan, *map(str, (length, demonstrations, options.repeats + 1, options.threads))]
    try:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *arguments],
            stdout=subprocess.PIPE,
            timeout=options.cap + STARTING,
        )
        output = done.stdout
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
    rows = [line.split() for line in output.decode().splitlines()]
    if not rows or float(rows[0][0]) > options.cap:
        return None
    counted = rows[1:] or rows  # the first also pays for what is done once
    return Point([float(seconds) for seconds, _ in counted], any(int(warned) for _, warned in counted))


def curve(options: Options, plan: str, sizes: tuple[int, ...], vary: str, console: Console) -> dict[int, Point]:
    """Points of growing size, up to the first that is not done in time."""
    points: dict[int, Point] = {}
    for size in sizes:
        shape = (size, 1) if vary == "steps" else (options.length, size)
        point = measure(options, plan, *shape)
        if point is None:
            console.print(f"{plan}, {size} {vary}: not done within {options.cap:g} s; the curve ends before it")
            break
        points[size] = point
        console.print(f"{plan}, {size} {vary}: {np.median(point.seconds):.4g} s")
    return points


def fit(points: dict[int, Point]) -> tuple[float, np.ndarray, np.ndarray]:
    """Power law through the medians of the upper half: its exponent, and sizes and seconds of the line."""
    sizes = np.array(list(points)[len(points) // 2 :] if len(points) > 3 else list(points))
    slope, intercept = np.polyfit(np.log(sizes), np.log([np.median(points[size].seconds) for size in sizes]), 1)
    return float(slope), sizes, np.exp(intercept) * sizes**slope


def print_table(vary: str, sizes: tuple[int, ...], curves: dict[str, dict[int, Point]], console: Console) -> None:
    """Milliseconds of an episode; the last row holds the exponents."""
    table = Table(vary, *(f"{plan} plans, ms: median (lowest to highest)" for plan in curves), box=rich.box.MARKDOWN)
    for size in sizes:
        cells = []
        for points in curves.values():
            point = points.get(size)
            text = "-" if point is None else spread([1e3 * seconds for seconds in point.seconds], ",.4g")
            cells.append(text + (" *" if point is not None and point.missed else ""))
        table.add_row(f"{size:,}", *cells)
    table.add_row("exponent", *(f"{fit(points)[0]:.2f}" if len(points) > 1 else "-" for points in curves.values()))
    console.print(table)


def draw(axes: Axes, vary: str, curves: dict[str, dict[int, Point]]) -> None:
    """Both plans on axes that are logarithmic both ways."""
    for color, (plan, points) in zip(("C0", "C1"), curves.items(), strict=True):
        if len(points) < 2:
            continue
        sizes = np.array(list(points))
        turns = [np.array(point.seconds) for point in points.values()]
        medians = np.array([np.median(turn) for turn in turns])
        errors = np.abs(np.array([[turn.min(), turn.max()] for turn in turns]).T - medians)
        power, line, seconds = fit(points)
        label = f"{plan} plans: exponent {power:.2f}"
        axes.errorbar(sizes, medians, errors, fmt="o", ms=5, capsize=3, color=color, label=label)
        axes.plot(line, seconds, color=color, lw=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted(set().union(*curves.values()))
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(vary)
    axes.set_ylabel("seconds to score an episode")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Measures, prints and draws."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=120)
    where = machine(os.getloadavg()[0])
    figure = Figure(figsize=(10, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{where}, {options.threads} thread(s)", fontsize=9)
    parts = (
        ("steps", options.lengths, "steps of the episode and of the demonstration"),
        ("demonstrations", options.demonstrations, f"demonstrations of {options.length} steps"),
    )
    for axes, (vary, sizes, label) in zip(figure.subplots(1, 2), parts, strict=True):
        curves = {plan: curve(options, plan, sizes, vary, console) for plan in PLANS}
        print_table(vary, sizes, curves, console)
        draw(axes, label, curves)
    with atomic_path(options.out) as temporary:
        figure.savefig(temporary)
    console.print(f"Starred: some plan stopped before its tolerance. A dash: not done within {options.cap:g} s.")
    console.print(f"{options.threads} thread(s). {where}. {versions('ilfo', 'torch', 'numpy', 'pot')}.")
    console.print(f"picture: {options.out}", markup=False)


if __name__ == "__main__":
    main()
