"""Where the time of one training step goes: by its parts, and by the operators of an update.

    python benchmarks/profile_update.py
    python benchmarks/profile_update.py --agent examples/own_agent.py:PlainTD3 --threads 2

First a training runs with a clock around each part, which adds about a microsecond to each; a part's time is its own,
without the parts inside it. Then PyTorch's profiler watches updates alone; it slows small operators, so that its shares
say more than its microseconds. On the CPU, for Hopper-v5 and the environment's reward unless told otherwise.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import rich.box
import torch
import tyro
from _machine import machine, versions
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from ilfo.training import Sources, Training
from ilfo.training.flags import parse_train

UPDATE = "update: forward passes, losses, noise"
OPTIMISER = "update: optimiser"
WARM_UP = 200


@dataclass(frozen=True)
class Options:
    """What to look at."""

    flags: tyro.conf.Positional[tuple[str, ...]] = ("--env", "Hopper-v5", "--reward", "environment")
    """Flags of 'ilfo train', after '--'."""
    agent: str = "td3"
    """A built-in's name, or 'path/to/file.py:Class'."""
    threads: int = 1
    """Processor threads of PyTorch."""
    steps: int = 1500
    """Steps, each with one update, that are timed; and as many updates that are profiled."""
    random_steps: int = 500
    """Random steps before learning, not timed; nor are the first 200 steps with updates."""
    operators: int = 12
    """Rows of the second table."""


class Spans:
    """Time spent in each part, without the parts inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._last = time.perf_counter()

    def _turn(self) -> None:
        """Books what has passed since the last turn on the innermost open part."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._last
        self._last = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Opens a part; what an optimiser calls stays the optimiser's."""
        if self._open and self._open[-1] == OPTIMISER:
            yield
            return
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with a clock around it."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return call(*arguments, **named)

        return timed


def watched(training: Training) -> tuple[tuple[str, Any, str], ...]:
    """Name of a part, and where the function is that does it."""
    return (
        ("rest of the step", training, "advance"),
        ("acting", training, "act"),
        ("environments", training.environments, "begin"),
        ("environments", training.environments, "finish"),
        ("imitation reward", training.reward, "score"),
        ("replay: adding", training.replay, "append"),
        ("replay: adding", training.replay, "extend"),
        ("replay: sampling", training.replay, "sample"),
        ("metrics", training.averages, "add"),
        (UPDATE, training.agent, "update"),
        ("update: backward passes", torch.Tensor, "backward"),
        ("update: backward passes", torch.autograd, "grad"),
        (OPTIMISER, torch.optim.Adam, "step"),
        (OPTIMISER, torch, "_fused_adam_"),
        ("update: targets", torch, "_foreach_lerp_"),
        ("update: targets", torch.Tensor, "lerp_"),
    )


def time_parts(training: Training, steps: int) -> dict[str, float]:
    """Seconds of each part over that many steps."""
    spans = Spans()
    with ExitStack() as stack:
        for name, owner, method in watched(training):
            stack.enter_context(patch.object(owner, method, spans.around(name, getattr(owner, method))))
        for _ in range(steps):
            training.advance()
    return spans.seconds


def print_parts(seconds: dict[str, float], steps: int, console: Console) -> None:
    """A Markdown table, the longest first."""
    total = sum(seconds.values())
    table = Table("part of a step", "us a step", "share", box=rich.box.MARKDOWN)
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{value / steps * 1e6:.0f}", f"{value / total:.1%}")
    table.add_row("all", f"{total / steps * 1e6:.0f}", f"{steps / total:.0f} steps/s")
    console.print(table)


def print_operators(training: Training, options: Options, console: Console) -> None:
    """A Markdown table of what PyTorch's profiler sees in updates, the longest first."""
    batch = training.replay.sample(training.agent.batch_size)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(options.steps):
            training.agent.update(batch)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    table = Table("operator of an update", "calls", "us", "share", box=rich.box.MARKDOWN)
    shown = [(event.key, event.count, event.self_cpu_time_total) for event in events[: options.operators]]
    others = events[options.operators :]
    shown.append(("others", sum(e.count for e in others), sum(e.self_cpu_time_total for e in others)))
    for name, count, microseconds in shown:
        table.add_row(
            name, f"{count / options.steps:.1f}", f"{microseconds / options.steps:.0f}", f"{microseconds / total:.1%}"
        )
    console.print(table)


def main() -> None:
    """Times, profiles and prints."""
    options = tyro.cli(Options, description=__doc__)
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler would report the lack of a GPU as an error
    console = Console(highlight=False, soft_wrap=True, width=120)
    load = os.getloadavg()[0]
    file, separator, name = options.agent.rpartition(":")
    if separator:
        sys.path.insert(0, str(Path(file).resolve().parent))
    agent = f"{Path(file).stem}:{name}" if separator else options.agent
    with tempfile.TemporaryDirectory() as folder:
        words = {"agent": agent, "threads": options.threads, "random-steps": options.random_steps, "out": folder}
        given = [part for name, value in words.items() for part in (f"--{name}", str(value))]
        config, _ = parse_train([*options.flags, *given])
        torch.set_num_threads(config.threads)
        training = Training.begin(Sources(config))
    with closing(training):
        first = options.random_steps + WARM_UP
        while training.step < first:
            training.advance()
            if not len(training.replay):  # a reward that scores whole episodes waits for one to end
                first = max(first, training.step + WARM_UP)
        print_parts(time_parts(training, options.steps), options.steps, console)
        print_operators(training, options, console)
    console.print(
        f"{agent}, {' '.join(options.flags)}, {options.steps} steps, threads {options.threads}. {machine(load)}. "
        + versions("ilfo", "torch", "numpy", "gymnasium", "mujoco")
        + "."
    )


if __name__ == "__main__":
    main()
