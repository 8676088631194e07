"""The flow reward beside zuko's flows: time to fit, time to score, and what was learned.

    python benchmarks/flows.py

Both libraries fit the bundled HalfCheetah demonstration with the reward's own loop: the same transitions, batches,
noise, optimiser and number of updates. Transforms, hidden units, bins and networks are the same too, a first layer and
a residual block of two, but that nflows feeds the context into the block once more; the table says how many parameters
that makes. All take turns in one run, and every ratio is of two times of one round. With --compile, scoring with
PyTorch's compiler is timed too; it needs a C++ compiler. Before that, the reward as it is by default, both densities,
is fitted to each of --demos and scores it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import rich.box
import torch
import tyro
import zuko
from _machine import machine, spread, versions
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ilfo import demos
from ilfo.rewards import Episodes, FlowOptions, StateFeatures, make_reward
from ilfo.rewards._flow_model import FlowModelOptions, held_out_slices, make_flow, train_flow

STEP_CALLS = 200
EPISODE_CALLS = 5


@dataclass(frozen=True)
class Options:
    rounds: int = 3
    """Rounds, in each of which every flow has its turn."""
    updates: int = 600
    """Gradient steps of a fit."""
    threads: int = 1
    """Threads of PyTorch."""
    families: tuple[str, ...] = ("maf", "spline")
    """Which families."""
    compile: bool = False
    """Time compiled scoring as well."""
    demos: tuple[str, ...] = ("halfcheetah",)
    """Demonstrations that the whole reward is timed on: files, or names of bundled ones."""


@dataclass
class Times:
    """Seconds of one flow, a number for each round."""

    fit: list[float] = field(default_factory=list)
    episode: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)


class Zuko(nn.Module):
    """A flow of zuko with nflows' call."""

    def __init__(self, width: int, options: FlowModelOptions) -> None:
        super().__init__()
        sizes = {"transforms": options.blocks, "hidden_features": [options.hidden_dim], "residual": True}
        torch.manual_seed(options.seed)
        if options.family == "maf":
            self.flow = zuko.flows.MAF(width, width, **sizes)
        else:
            self.flow = zuko.flows.NSF(width, width, bins=options.bins, **sizes)

    def log_prob(self, targets: Tensor, contexts: Tensor) -> Tensor:
        return self.flow(contexts).log_prob(targets)


def transitions() -> tuple[Tensor, Tensor]:
    """Standardised differences and states ``(N, F)`` of the demonstration, as the reward makes them."""
    demonstrations = demos.open("halfcheetah")
    z = StateFeatures().fit(demonstrations)(torch.from_numpy(demonstrations[0].observations))
    differences = z.diff(dim=0)
    spread = differences.std(dim=0).clamp(min=FlowOptions().difference_floor)
    return (differences - differences.mean(dim=0)) / spread, z[:-1]


def whole_reward(options: Options, console: Console) -> None:
    """Times the reward as users have it: fitting it, and scoring the demonstration."""
    table = Table("demonstration", "steps", "features", "fit, s", "score, ms", box=rich.box.MARKDOWN)
    for name in options.demos:
        expert = demos.open(name)
        episodes = Episodes.from_trajectories(expert.trajectories)
        fits, scores = [], []
        for _ in range(options.rounds):
            start = time.perf_counter()
            reward = make_reward("flow").fit(expert)
            fits.append(time.perf_counter() - start)
            scores.append(1e3 * clock(partial(reward.score, episodes), EPISODE_CALLS))
        steps, width = sum(map(len, expert)), expert.observation_dim
        table.add_row(Path(name).stem, f"{steps:,}", str(width), spread(fits, ".1f"), spread(scores, ".2f"))
    console.print(table)


def clock(work: Callable[[], object], calls: int) -> float:
    """Seconds of one call, the mean of several after one that does not count."""
    work()
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


@torch.no_grad()
def score(log_prob: Callable[[Tensor, Tensor], Tensor], data: tuple[Tensor, Tensor], times: Times) -> None:
    """Times an episode at once, and a step alone."""
    step = data[0][:1], data[1][:1]
    times.episode.append(clock(lambda: log_prob(*data), EPISODE_CALLS))
    times.step.append(clock(lambda: log_prob(*step), STEP_CALLS))


def compare(family: str, options: Options, console: Console) -> None:
    """Fits and scores with each library in turn, and prints a table."""
    targets, contexts = data = transitions()
    held_out = held_out_slices(len(targets), 0.1)
    settings = FlowModelOptions(family=family, updates=options.updates, patience=options.updates)  # type: ignore[arg-type]
    makers: dict[str, Callable[[], nn.Module]] = {
        "nflows (ours)": lambda: make_flow(targets.shape[1], settings),
        "zuko": lambda: Zuko(targets.shape[1], settings),
    }
    times = {name: Times() for name in makers}
    if options.compile:
        times |= {f"{name}, compiled": Times() for name in makers}
    density, parameters = {}, {}
    for make in makers.values():
        # What PyTorch imports and allocates at the first update is nobody's.
        train_flow(make(), targets, contexts, held_out, replace(settings, updates=1))
    for _ in range(options.rounds):
        for name, make in makers.items():
            flow = make()
            start = time.perf_counter()
            train_flow(flow, targets, contexts, held_out, settings)
            times[name].fit.append(time.perf_counter() - start)
            flow.eval()
            score(flow.log_prob, data, times[name])
            if options.compile:
                score(torch.compile(flow.log_prob, dynamic=True), data, times[f"{name}, compiled"])
            with torch.no_grad():
                density[name] = float(flow.log_prob(targets[held_out], contexts[held_out]).mean()) / targets.shape[1]
            parameters[name] = sum(weight.numel() for weight in flow.parameters())
    columns = "parameters", "fit, s", "1000 steps, ms", "a step alone, ms", "held-out nats a feature"
    table = Table(family, *columns, box=rich.box.MARKDOWN)
    for name, taken in times.items():
        table.add_row(
            name,
            f"{parameters[name]:,}" if name in parameters else "",
            spread(taken.fit, ".1f") if taken.fit else "",
            spread([1e3 * each for each in taken.episode], ".2f"),
            spread([1e3 * each for each in taken.step], ".2f"),
            f"{density[name]:.2f}" if name in density else "",
        )
    console.print(table)
    ours, theirs = times["nflows (ours)"], times["zuko"]
    ratios = {
        what: spread(
            [other / own for own, other in zip(getattr(ours, what), getattr(theirs, what), strict=True)], ".2f"
        )
        for what in ("fit", "episode", "step")
    }
    console.print("zuko's time over ours: " + ", ".join(f"{what} {ratio}" for what, ratio in ratios.items()))


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=160)
    where = machine(os.getloadavg()[0])
    torch.set_num_threads(options.threads)
    whole_reward(options, console)
    for family in options.families:
        compare(family, options, console)
    console.print(
        f"{options.updates} updates of 256 transitions, median (lowest to highest) of {options.rounds} rounds, "
        f"{options.threads} thread(s). {where}. {versions('ilfo', 'torch', 'nflows', 'zuko')}."
    )


if __name__ == "__main__":
    main()
