"""Transport plans of many episodes at once: time beside POT, what each means brings, and memory.

    python benchmarks/plans.py

16 episodes of 1000 steps by the bundled HalfCheetah demonstration, 1000 steps too: half of them a random policy's, half
the demonstration itself, shifted in time and under noise of 1 % to 100 % of its standard deviation, so that there are
easy problems and hard ones. Costs are the transport reward's by default. All take turns in one run, and every ratio is
of two times of one turn. Needs Linux for the memory, and measures a GPU too where there is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import ot
import rich.box
import torch
import tyro
from _machine import machine, spread, versions
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ilfo import demos
from ilfo.envs import random_policy, rollout
from ilfo.rewards import StateFeatures, cost_matrix, exact_plan, sinkhorn_plan
from ilfo.rewards.exact import default_workers, exact_costs
from ilfo.rewards.kernels import LogKernel, ScalingKernel, dense_kernel
from ilfo.rewards.row_costs import blocks_of
from ilfo.rewards.sinkhorn import potentials

EPISODES = 16
MANY = 100_000
MEMORY = """
import sys, torch
from pathlib import Path
from ilfo.rewards import cost_matrix, sinkhorn_plan
from ilfo.rewards.row_costs import RowCosts
from ilfo.rewards.sinkhorn import sinkhorn_costs
way, regularization, tolerance = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
generator = torch.Generator().manual_seed(0)
x, y = torch.randn(16, 1000, 34, generator=generator), torch.randn(1, 1000, 34, generator=generator)
mass = torch.full((16, 1000), 1e-3)
settings = {"regularization": regularization, "tolerance": tolerance}
blocks = lambda problems, rows: cost_matrix(x[problems, rows], y.expand(len(x[problems]), -1, -1))
def resident(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024
def found():
    if way == "held":
        cost = blocks(slice(None), slice(None))
        return RowCosts.of(sinkhorn_plan(cost, mass, mass, **settings), cost)
    return sinkhorn_costs(blocks, mass, mass, **settings, **({"max_bytes": 2**22} if way == "anew" else {}))
sinkhorn_plan(torch.ones(1, 2, 2), torch.ones(1, 2) / 2, torch.ones(1, 2) / 2, **settings)
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
answer = found()
print(resident("VmHWM") - before, answer.moved.double().sum().item())
"""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    rounds: int = 3
    """How often all take turns."""
    regularization: float = 0.05
    """Entropy of the entropic plans."""
    tolerance: float = 1e-3
    """Sum of the absolute errors of the column sums at which they stop."""
    threads: int = len(os.sched_getaffinity(0))
    """Processor threads, and workers of exact plans."""


@dataclass(frozen=True)
class Problems:
    """Costs ``(16, 1000, 1000)`` float32 and masses."""

    cost: Tensor
    mass: Tensor

    def of(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.cost[index], self.mass[index], self.mass[index]


def make_problems() -> Problems:
    """Between the episodes and the demonstration that this file's first lines tell of."""
    demonstrations = demos.open("halfcheetah")
    expert = demonstrations[0].observations
    features = StateFeatures().fit(demonstrations)
    episodes = rollout(random_policy(6, seed=0), "HalfCheetah-v5", EPISODES // 2, seed=0)
    generator = np.random.default_rng(0)
    observations = [episode.observations for episode in episodes]
    for number, noise in enumerate(np.geomspace(0.01, 1.0, EPISODES // 2)):
        shifted = np.roll(expert, 37 * number, axis=0)
        observations.append(shifted + noise * expert.std(axis=0) * generator.standard_normal(expert.shape))
    states = features(torch.from_numpy(np.stack(observations).astype(np.float32)))
    atoms, expert_atoms = (
        torch.cat([z[..., :-1, :], z[..., 1:, :]], dim=-1) for z in (states, features(torch.tensor(expert)))
    )
    cost = cost_matrix(atoms, expert_atoms.expand(EPISODES, -1, -1))
    return Problems(cost, torch.full(cost.shape[:2], 1.0 / cost.shape[1]))


def column_error(plan: Tensor, mass: Tensor) -> float:
    return float((plan.double().sum(dim=0) - mass).abs().sum())


def plain(cost: Tensor, mass: Tensor, options: Options, v: Tensor | None = None) -> tuple[int, Tensor]:
    """Textbook iterations from ``v`` until the column sums are right, and the potential of the columns then."""
    kernel, log_mass = ScalingKernel(cost[None].double() / options.regularization), mass[None].double().log()
    v = log_mass - kernel.columns(log_mass, log_mass) if v is None else v
    for count in range(1, MANY):
        u = log_mass - kernel.rows(log_mass, v)
        ratio = kernel.columns(u, v) + v - log_mass
        if float((ratio.expm1() * mass).abs().sum()) <= options.tolerance:
            return count, v
        v = v - ratio
    raise RuntimeError(f"no plan within {MANY} iterations")


def coarse_to_fine(cost: Tensor, mass: Tensor, options: Options) -> int:
    """Iterations from four times the regularisation down, halving; ten times the tolerance on the way."""
    total, v, factor = 0, None, 4.0
    while factor >= 1.0:
        slack = 10.0 if factor > 1.0 else 1.0
        rung = Options(regularization=factor * options.regularization, tolerance=slack * options.tolerance)
        count, v = plain(cost, mass, rung, v)
        total, v, factor = total + count, 2.0 * v, factor / 2.0
    return total


def relaxed(cost: Tensor, mass: Tensor, options: Options) -> int:
    """Iterations of the package: the fewest after which its plan is right."""
    kernel, masses = ScalingKernel(cost[None].double() / options.regularization), mass[None].double()
    calls = 0

    class Counting(LogKernel):
        def columns(self, u: Tensor, v: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return kernel.columns(u, v)

        def rows(self, u: Tensor, v: Tensor) -> Tensor:
            return kernel.rows(u, v)

    potentials(Counting(kernel.scaled), masses, masses, max_iterations=MANY, tolerance=options.tolerance)
    return calls - 1


def count_iterations(problems: Problems, options: Options, console: Console) -> list[int]:
    """Prints what each means brings; returns the textbook's iterations of each problem."""
    ways: dict[str, list[int]] = {"plain": [], "warm start": [], "coarse to fine": [], "over-relaxed (kept)": []}
    v = None
    for index in range(EPISODES):
        cost, mass, _ = problems.of(index)
        ways["plain"].append(plain(cost, mass, options)[0])
        warm, v = plain(cost, mass, options, v)
        ways["warm start"].append(warm)
        ways["coarse to fine"].append(coarse_to_fine(cost, mass, options))
        ways["over-relaxed (kept)"].append(relaxed(cost, mass, options))
    half = EPISODES // 2
    table = Table("iterations", "8 random episodes", "8 like the expert", "all", "of plain", box=rich.box.MARKDOWN)
    total = sum(ways["plain"])
    for name, counts in ways.items():
        sums = sum(counts[:half]), sum(counts[half:]), sum(counts)
        table.add_row(name, *map(str, sums), f"{sums[-1] / total:.2f}")
    console.print(table)
    return ways["plain"]


def clock(work: Callable[[], object], cuda: bool = False) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def pot_loop(problems: Problems, iterations: list[int], options: Options) -> list[np.ndarray]:
    """POT's ``sinkhorn_log``, each problem with just the iterations that it needs, which nobody knows beforehand.

    In float32, in which it takes two thirds of its time in float64.
    """
    plans = []
    for index, count in enumerate(iterations):
        cost, a, b = (tensor.numpy() for tensor in problems.of(index))
        plans.append(
            ot.sinkhorn(
                a, b, cost, options.regularization, method="sinkhorn_log", numItermax=count, stopThr=0.0, warn=False
            )
        )
    return plans


def entropic(problems: Problems, options: Options) -> Tensor:
    cost, mass = problems.cost, problems.mass
    return sinkhorn_plan(cost, mass, mass, regularization=options.regularization, tolerance=options.tolerance)


def compare(
    title: str, ways: dict[str, Callable[[], object]], rounds: int, console: Console, cuda: bool = False
) -> None:
    """Times all ways in turn; ratios are to the first."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            times[name].append(clock(work, cuda))
    first = next(iter(times.values()))
    table = Table(title, "ms an episode: median (lowest to highest)", "times as fast", box=rich.box.MARKDOWN)
    for name, seconds in times.items():
        ratios = [base / mine for base, mine in zip(first, seconds, strict=True)]
        table.add_row(name, spread([1e3 * each / EPISODES for each in seconds], ".1f"), spread(ratios, ".2f"))
    console.print(table)


def compare_entropic(problems: Problems, iterations: list[int], options: Options, console: Console) -> None:
    theirs, ours = pot_loop(problems, iterations[:2], options), entropic(problems, options)
    mass = problems.mass[0].double()
    ways: dict[str, Callable[[], object]] = {
        "a loop of POT's sinkhorn_log": lambda: pot_loop(problems, iterations, options),
        "ilfo": lambda: entropic(problems, options),
    }
    compare("entropic plans", ways, options.rounds, console)
    errors = (
        [column_error(plan, mass) for plan in ours],
        [column_error(torch.from_numpy(plan), mass) for plan in theirs],
    )
    console.print(
        f"Column sums are off by {max(errors[0]):.2g} at most (ilfo); POT by {max(errors[1]):.2g} (first two)."
    )


def compare_exact(problems: Problems, options: Options, console: Console) -> None:
    cost, mass = problems.cost, problems.mass
    batch = blocks_of(cost)
    ways: dict[str, Callable[[], object]] = {
        "a loop, one by one": lambda: [exact_plan(*problems.of(index)) for index in range(EPISODES)],
        "ilfo, 1 worker": lambda: exact_costs(batch, mass, mass, workers=1),
        f"ilfo, all cores ({default_workers()})": lambda: exact_costs(batch, mass, mass),
    }
    compare("exact plans", ways, options.rounds, console)


def compare_on_gpu(problems: Problems, options: Options, console: Console) -> None:
    """The kernels in turn: which one is the default there says :func:`ilfo.rewards.kernels.dense_kernel`."""
    scaled = problems.cost.cuda() / options.regularization
    mass = problems.mass.cuda().double()

    def solve(kernel: Callable[[Tensor], LogKernel]) -> object:
        return potentials(kernel(scaled), mass, mass, max_iterations=1000, tolerance=options.tolerance)

    kernels = {"log-sums of PyTorch": LogKernel, "scalings": ScalingKernel, "default": dense_kernel}
    ways = {name: lambda kernel=kernel: solve(kernel) for name, kernel in kernels.items()}
    for work in ways.values():
        clock(work, cuda=True)
    compare(f"entropic plans on {torch.cuda.get_device_name()}", ways, options.rounds, console, cuda=True)


def compare_memory(options: Options, console: Console) -> None:
    """Each way in a process of its own; what each cost adds up to must be the same."""
    ways = {
        "held": "all costs and plans held: sinkhorn_plan",
        "few": "a few problems at a time: sinkhorn_costs",
        "anew": "costs computed anew at every iteration: sinkhorn_costs, max_bytes of 4 MiB",
    }
    table = Table("entropic plans, standard normal atoms", "peak memory, MiB", "sum of costs", box=rich.box.MARKDOWN)
    for way, name in ways.items():
        words = [sys.executable, "-c", MEMORY, way, str(options.regularization), str(options.tolerance)]
        result = subprocess.run(words, capture_output=True, text=True, check=True)
        peak, total = map(float, result.stdout.split())
        table.add_row(name, f"{peak:.0f}", f"{total:.5f}")
    console.print(table)


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=120)
    where = machine(os.getloadavg()[0])
    torch.set_num_threads(options.threads)
    problems = make_problems()
    iterations = count_iterations(problems, options, console)
    compare_entropic(problems, iterations, options, console)
    compare_exact(problems, options, console)
    if torch.cuda.is_available():
        compare_on_gpu(problems, options, console)
    compare_memory(options, console)
    console.print(
        f"Regularization {options.regularization:g}, tolerance {options.tolerance:g}, {options.rounds} rounds, "
        f"{options.threads} thread(s). {where}. {versions('ilfo', 'torch', 'numpy', 'pot')}."
    )


if __name__ == "__main__":
    main()
