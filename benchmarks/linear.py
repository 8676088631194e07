"""Time of TD3's networks, plain PyTorch beside ilfo's by either matrix product, and of TD3's whole update.

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
from functools import partial

import numpy as np
import rich.box
import torch
import tyro
from _machine import machine, spread, versions
from rich.console import Console
from rich.table import Table
from torch import nn

from ilfo.agents import Batch, _fused_perceptron
from ilfo.agents._mlp import MLP
from ilfo.agents.td3 import TD3, TD3Options

BATCH, OBSERVATIONS, ACTIONS = 256, 11, 3
WIDTHS = {"Hopper's actor": (11, 256, 256, 3), "one of its critics": (14, 256, 256, 1), "256 x 256": (256, 256)}
PRODUCT = "256 x 256 x 256, forwards alone"
OWN = "MKL" if torch.backends.mkl.is_available() else "BLAS"
PREFERS_ONEDNN = _fused_perceptron._PREFERS_ONEDNN


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


def by_both_products(work: Callable[[], object]) -> dict[str, Callable[[], object]]:
    """The same work with PyTorch's own products and with oneDNN's, where there are any, whichever ilfo chooses."""

    def chosen(onednn: bool) -> None:
        _fused_perceptron._PREFERS_ONEDNN = onednn
        work()

    names = (OWN, "oneDNN") if _fused_perceptron._HAS_ONEDNN else (OWN,)
    return {name: partial(chosen, name == "oneDNN") for name in names}


def works(options: Options) -> dict[str, dict[str, Callable[[], object]]]:
    """Name to the same work by one or more means."""
    found: dict[str, dict[str, Callable[[], object]]] = {}
    for name, widths in WIDTHS.items():
        data = torch.randn(BATCH, widths[0])
        found[name] = {"plain": both_ways(plain(widths), data), **by_both_products(both_ways(MLP(widths), data))}
    left, right, bias = torch.randn(256, 256), torch.randn(256, 256), torch.randn(256)
    found[PRODUCT] = by_both_products(lambda: _fused_perceptron._product(left, right, bias))
    columns = {"observations": (OBSERVATIONS,), "actions": (ACTIONS,), "rewards": ()}
    columns |= {"next_observations": (OBSERVATIONS,), "terminated": ()}
    batch = Batch(**{name: torch.rand(BATCH, *width) for name, width in columns.items()})
    for layer_norm in (False, True):
        agent = TD3(OBSERVATIONS, ACTIONS, TD3Options(layer_norm=layer_norm))
        name = "TD3's update" + ", layer norm" * layer_norm
        found[name] = by_both_products(partial(agent.update, batch))
        if options.compile:
            compiled = TD3(OBSERVATIONS, ACTIONS, TD3Options(layer_norm=layer_norm), compile=True)
            found[name]["--compile"] = partial(compiled.update, batch)
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
    products: dict[str, float] = {}
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
                for which in means:
                    rate = 2 * 256**3 / float(np.median(times[which, count])) / 1e3
                    products[f"{which} with {count} thread{'s' * (count > 1)}"] = rate
        for which in means:
            table.add_row(name, which, *(spread(times[which, count], ",.0f") for count in options.threads))
    console.print(table)
    rates = ", ".join(f"{rate:.0f} GFLOP/s by {means}" for means, rate in products.items())
    chosen = "oneDNN" if PREFERS_ONEDNN else OWN
    console.print(f"Median (lowest to highest) of {options.rounds} rounds. ilfo chooses {chosen} here. {rates}.")
    console.print(f"{machine(load)}. Instructions: {torch.backends.cpu.get_cpu_capability()}.")
    console.print(versions("ilfo", "torch") + ".")


if __name__ == "__main__":
    main()
