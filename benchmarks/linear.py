"""Time of TD3's networks, plain PyTorch (MKL) beside ilfo's (oneDNN), and of TD3's whole update.

    python benchmarks/linear.py
    python benchmarks/linear.py --compile   # the update with torch.compile too, on the CPU

Each with one thread and with two; what is compared takes turns.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import rich.box
import torch
import torch.nn.functional as F
import tyro
from _machine import machine, spread, versions
from rich.console import Console
from rich.table import Table
from torch import nn

from ilfo.agents import Batch
from ilfo.agents._mlp import MLP
from ilfo.agents._onednn import _product
from ilfo.agents.td3 import TD3

BATCH, OBSERVATIONS, ACTIONS = 256, 11, 3
WIDTHS = {"Hopper's actor": (11, 256, 256, 3), "one of its critics": (14, 256, 256, 1), "256 x 256": (256, 256)}
PRODUCT = "256 x 256 x 256, forwards alone"


@dataclass(frozen=True)
class Options:
    """What to measure."""

    rounds: int = 20
    """How often everything takes its turn."""
    repeats: int = 30
    """Calls in a turn."""
    threads: tuple[int, ...] = (1, 2)
    """Processor threads of PyTorch."""
    compile: bool = False
    """The update with torch.compile too."""


def plain(widths: tuple[int, ...]) -> nn.Sequential:
    layers = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def both_ways(network: nn.Module, data: torch.Tensor) -> Callable[[], object]:
    return lambda: network(data).sum().backward()


def works(options: Options) -> dict[str, dict[str, Callable[[], object]]]:
    """Name to the same work by one or more means."""
    found: dict[str, dict[str, Callable[[], object]]] = {}
    for name, widths in WIDTHS.items():
        data = torch.randn(BATCH, widths[0])
        found[name] = {"plain": both_ways(plain(widths), data), "ilfo": both_ways(MLP(widths), data)}
    left, right, bias = torch.randn(256, 256), torch.randn(256, 256), torch.randn(256)
    found[PRODUCT] = {"plain": lambda: F.linear(left, right, bias), "ilfo": lambda: _product(left, right, bias)}
    columns = {"observations": (OBSERVATIONS,), "actions": (ACTIONS,), "rewards": ()}
    columns |= {"next_observations": (OBSERVATIONS,), "terminated": ()}
    batch = Batch(**{name: torch.rand(BATCH, *width) for name, width in columns.items()})
    agents = {"ilfo": TD3(OBSERVATIONS, ACTIONS)}
    if options.compile:
        agents["ilfo, --compile"] = TD3(OBSERVATIONS, ACTIONS, compile=True)
    found["TD3's update"] = {means: (lambda agent=agent: agent.update(batch)) for means, agent in agents.items()}
    return found


def microseconds(work: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats * 1e6


def main() -> None:
    """Measures and prints."""
    options, load = tyro.cli(Options, description=__doc__), os.getloadavg()[0]
    console = Console(highlight=False, soft_wrap=True, width=140)
    columns = [f"us, {count} thread{'s' * (count > 1)}" for count in options.threads]
    table = Table("work on 256 rows", "by", *columns, box=rich.box.MARKDOWN)
    products: dict[int, float] = {}
    for name, means in works(options).items():
        times: dict[tuple[str, int], list[float]] = {}
        for count in options.threads:
            torch.set_num_threads(count)
            for work in means.values():
                microseconds(work, 4)  # warm up, and compile
            for _ in range(options.rounds):
                for which, work in means.items():
                    times.setdefault((which, count), []).append(microseconds(work, options.repeats))
            if name == PRODUCT:
                products[count] = 2 * 256**3 / float(np.median(times["ilfo", count])) / 1e3
        for which in means:
            table.add_row(name, which, *(spread(times[which, count], ",.0f") for count in options.threads))
    console.print(table)
    rates = ", ".join(f"{rate:.0f} GFLOP/s with {count} thread(s)" for count, rate in products.items())
    console.print(f"Median (lowest to highest) of {options.rounds} rounds. ilfo's product: {rates}. {machine(load)}.")
    console.print(versions("ilfo", "torch") + ".")


if __name__ == "__main__":
    main()
