"""The cost of a step against the number of environments, in this process and in worker processes.

    python benchmarks/environments.py

A lockstep is one step of every environment, of random actions. Both ways take turns, with the same actions. The
caller's own cost is the time that ``begin`` and ``finish`` take where the workers were done long before: what a learner
pays that learns while its environments step. Prints a table and draws a picture with the fitted exponents.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rich.box
import tyro
from _machine import machine, spread, versions
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from ilfo._tools.atomic import atomic_path
from ilfo.envs import Environments, make_env

WAITS = 20


@dataclass(frozen=True)
class Options:
    """What to measure."""

    env: str = "Hopper-v5"
    """Gymnasium id."""
    counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of environments."""
    workers: int = os.cpu_count() or 1
    """Worker processes; fewer where there are fewer environments."""
    rounds: int = 5
    """How often both ways take turns."""
    seconds: float = 0.3
    """Time that a turn takes, at least."""
    out: Path = Path("environments.png")
    """Picture to write."""


@dataclass
class Point:
    """Seconds of every turn with one number of environments."""

    here: list[float] = field(default_factory=list)
    there: list[float] = field(default_factory=list)
    caller: list[float] = field(default_factory=list)


def lockstep(environments: Environments, actions: np.ndarray, seconds: float) -> float:
    """Mean seconds of a lockstep, over a turn of at least so many seconds."""
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or done < 3:
        environments.step(actions[done % len(actions)])
        done += 1
    return (time.perf_counter() - start) / done


def callers_cost(environments: Environments, actions: np.ndarray, pause: float) -> float:
    """Median seconds of ``begin`` and ``finish`` with a pause between them in which the workers get done."""
    costs = []
    for step in range(WAITS):
        start = time.perf_counter()
        environments.begin(actions[step % len(actions)])
        begun = time.perf_counter()
        time.sleep(pause)
        resumed = time.perf_counter()
        environments.finish()
        costs.append(time.perf_counter() - resumed + begun - start)
    return float(np.median(costs))


def bare_step(env_id: str, seconds: float) -> float:
    """Mean seconds of the environment's own ``step``, resets left out."""
    env = make_env(env_id)
    env.reset(seed=0)
    env.action_space.seed(0)
    spent, done = 0.0, 0
    while spent < seconds:
        action = env.action_space.sample()
        start = time.perf_counter()
        *_, terminated, truncated, _ = env.step(action)
        spent, done = spent + time.perf_counter() - start, done + 1
        if terminated or truncated:
            env.reset()
    env.close()
    return spent / done


def measure(options: Options, count: int) -> Point:
    """All turns with one number of environments."""
    point = Point()
    generator = np.random.default_rng(0)
    with (
        closing(Environments(options.env, count)) as here,
        closing(Environments(options.env, count, workers=options.workers)) as there,
    ):
        actions = generator.uniform(-1, 1, (512, count, here.action_dim)).astype(np.float32)
        for environments in (here, there):
            lockstep(environments, actions, options.seconds / 3)
        for _ in range(options.rounds):
            point.here.append(lockstep(here, actions, options.seconds))
            point.there.append(lockstep(there, actions, options.seconds))
            point.caller.append(callers_cost(there, actions, pause=0.002 + 2 * point.there[-1]))
    return point


def exponent(counts: tuple[int, ...], seconds: list[float]) -> tuple[float, float]:
    """Power law ``factor * count ** exponent`` fitted to the logarithms: exponent and factor."""
    slope, intercept = np.polyfit(np.log(counts), np.log(seconds), 1)
    return float(slope), float(np.exp(intercept))


def print_results(options: Options, points: dict[int, Point], bare: list[float], load: float, console: Console) -> None:
    """A Markdown table; a ratio compares both ways in the same round."""
    workers = f"{options.workers} worker(s)"
    table = Table(
        "environments",
        "this process: steps/s",
        f"{workers}: steps/s",
        f"ratio: {workers} to this process",
        "caller's own cost with workers, us",
        box=rich.box.MARKDOWN,
    )
    for count, point in points.items():
        table.add_row(
            str(count),
            spread([count / seconds for seconds in point.here], ",.0f"),
            spread([count / seconds for seconds in point.there], ",.0f"),
            spread([here / there for here, there in zip(point.here, point.there, strict=True)], ".2f"),
            spread([1e6 * seconds for seconds in point.caller], ".0f"),
        )
    console.print(table)
    console.print(
        f"{options.env}: median (lowest to highest) of {options.rounds} rounds of {options.seconds:g} s. The "
        f"environment's own step, alone: {spread([1e6 * seconds for seconds in bare], '.1f')} us. "
        f"{machine(load)}. {versions('ilfo', 'numpy', 'gymnasium', 'mujoco')}."
    )


def draw(options: Options, points: dict[int, Point], load: float) -> None:
    """Writes the picture."""
    figure = Figure(figsize=(7, 4.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    counts = tuple(points)
    ways: dict[str, Callable[[Point], list[float]]] = {
        "this process": lambda point: point.here,
        f"{options.workers} worker(s)": lambda point: point.there,
        "caller's own cost with workers": lambda point: point.caller,
    }
    for color, (name, of) in zip(("C0", "C1", "C2"), ways.items(), strict=True):
        turns = np.array([of(point) for point in points.values()]) * 1e3
        medians = np.median(turns, axis=1)
        power, factor = exponent(counts, list(medians))
        errors = np.abs(np.stack([turns.min(axis=1), turns.max(axis=1)]) - medians)
        axes.errorbar(counts, medians, errors, fmt="o", ms=5, capsize=3, color=color, label=f"{name}: N^{power:.2f}")
        axes.plot(counts, factor * np.array(counts) ** power, color=color, lw=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("environments N")
    axes.set_ylabel("time of a lockstep, ms")
    axes.set_title(f"{options.env}, {machine(load)}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(options.out) as temporary:
        figure.savefig(temporary)


def main() -> None:
    """Measures, prints and draws."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=200)
    load = os.getloadavg()[0]
    bare = [bare_step(options.env, options.seconds) for _ in range(options.rounds)]
    points = {count: measure(options, count) for count in options.counts}
    print_results(options, points, bare, load, console)
    draw(options, points, load)
    console.print(f"picture: {options.out}", markup=False)


if __name__ == "__main__":
    main()
