"""Memory: of a replay of a million Hopper transitions, and of a long run against time.

    python benchmarks/memory.py                  # 15 minutes
    python benchmarks/memory.py --minutes 0      # the replay alone, some seconds

The replay is made and filled in a process of its own, whose resident memory before and after is compared with what one
float32 copy of all its numbers takes. The run is ``ilfo train`` as a user types it, evaluations, log and checkpoints
included; its resident memory is read each second, that of its worker processes with it.
"""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich.box
import tyro
from _machine import machine, versions
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from ilfo._tools.atomic import atomic_path

MIB = 1024**2
CAPACITY, OBSERVATION_DIM, ACTION_DIM, EPISODE = 1_000_000, 11, 3, 1000
SETTLED_AFTER = 10.0
FILL = f"""
import resource, torch
from pathlib import Path
from ilfo.training.replay import Replay
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def fill(replay, episodes):
    for _ in range(episodes):
        observations = torch.randn({EPISODE} + 1, {OBSERVATION_DIM})
        replay.extend(observations, torch.rand({EPISODE}, {ACTION_DIM}), torch.rand({EPISODE}), True, True)
    replay.sample(256)
fill(Replay(10 * {EPISODE}, {OBSERVATION_DIM}, {ACTION_DIM}), 11)
before = resident()
replay = Replay({CAPACITY}, {OBSERVATION_DIM}, {ACTION_DIM})
made = resident() - before
fill(replay, {CAPACITY // EPISODE} + 10)
print(len(replay), replay.num_bytes, made, resident() - before)
"""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    minutes: float = 15.0
    """Length of the run; 0 for the replay alone."""
    train: str = "--preset quickstart --steps 10000000"
    """Flags of the run (--train="--env ..."); it is stopped when its time is up."""
    out: Path = Path("memory.png")
    """Picture to write: resident memory against time."""


def print_replay(console: Console) -> None:
    """Bytes of a full replay: needed, allocated, resident."""
    done = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, check=True)
    held, allocated, made, full = map(int, done.stdout.split())
    needed = 4 * CAPACITY * (OBSERVATION_DIM + ACTION_DIM + 2)
    table = Table(f"replay of {held:,} transitions", "MiB", "ratio", box=rich.box.MARKDOWN)
    for name, amount in (
        ("observations once, actions, rewards, ends: one float32 each", needed),
        ("its arrays (num_bytes)", allocated),
        ("resident memory once it is made", made),
        ("resident memory once it is full", full),
        ("for comparison: observations twice", needed + 4 * CAPACITY * OBSERVATION_DIM),
    ):
        table.add_row(name, f"{amount / MIB:.1f}", f"{amount / needed:.3f}")
    console.print(table)


def family(pid: int) -> list[int]:
    """A process and those that it started, and so on."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = {int(child) for thread in threads for child in (thread / "children").read_text().split()}
    except FileNotFoundError:  # it, or a thread of it, ended while we looked
        return [pid]
    return [pid, *(member for child in children for member in family(child))]


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return 0


def watch(options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Minutes and MiB of a run, each second."""
    command = [str(Path(sys.executable).with_name("ilfo")), "train", *shlex.split(options.train), "--out"]
    times, amounts = [], []
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "output", "w+") as output:
        run = subprocess.Popen([*command, f"{folder}/run"], stdout=output, stderr=subprocess.STDOUT)
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < 60 * options.minutes and run.poll() is None:
            times.append(elapsed / 60)
            amounts.append(sum(resident(pid) for pid in family(run.pid)) / MIB)
            time.sleep(1)
        ended_early = run.poll() is not None
        if not ended_early:
            run.send_signal(signal.SIGINT)
            run.wait(60)
        output.seek(0)
        text = output.read()
    if ended_early:
        sys.exit(f"memory: the run ended after {times[-1]:.1f} of {options.minutes:g} minutes:\n{text}")
    return np.array(times), np.array(amounts)


def growth(times: np.ndarray, amounts: np.ndarray, settled: float) -> tuple[float, float]:
    """Medians of the minute after ``settled`` (or of a third of the rest) and of one as long at the end."""
    window = min(1.0, (times[-1] - settled) / 3)
    first = amounts[(times >= settled) & (times < settled + window)]
    return float(np.median(first)), float(np.median(amounts[times >= times[-1] - window]))


def draw(options: Options, times: np.ndarray, amounts: np.ndarray, settled: float, title: str) -> None:
    """Writes the picture."""
    before, after = growth(times, amounts, settled)
    figure = Figure(figsize=(8, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(times, amounts, lw=1.2)
    axes.axvline(settled, color="black", ls=":", lw=1)
    axes.plot([settled, times[-1]], [before, after], "o--", color="C1", lw=1, label=f"growth {after - before:+.1f} MiB")
    axes.set_ylim(0, 1.15 * amounts.max())
    axes.set_xlim(0, times[-1])
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory, MiB")
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(options.out) as temporary:
        figure.savefig(temporary)


def main() -> None:
    """Measures, prints and draws."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=120)
    where = f"{machine(os.getloadavg()[0])}. {versions('ilfo', 'torch', 'numpy')}."
    print_replay(console)
    if options.minutes > 0:
        times, amounts = watch(options)
        settled = min(SETTLED_AFTER, options.minutes / 3)
        before, after = growth(times, amounts, settled)
        later = amounts[times >= settled]
        words = f"ilfo train {options.train}"
        console.print(
            f"`{words}` for {options.minutes:g} minutes: {before:.1f} MiB after {settled:.3g}, {after:.1f} MiB at the "
            f"end: growth {after - before:+.1f} MiB; between {later.min():.1f} and {later.max():.1f} thereafter."
        )
        draw(options, times, amounts, settled, words)
        console.print(f"picture: {options.out}", markup=False)
    console.print(where)


if __name__ == "__main__":
    main()
