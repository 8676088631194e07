"""Time to start: of the interpreter, of ``import numpy`` and of ilfo, in turn in one run.

    python benchmarks/startup.py

Each is a process of its own, timed from its start to its end, on a disk whose files are in memory. ``ilfo train`` ends
after the first step of its environment: by then it has read and fitted the demonstration, made environments, agent,
replay, folder and log, and printed its plan.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import rich.box
import tyro
from _machine import machine, spread, versions
from rich.console import Console
from rich.table import Table

NUMPY = "python -c 'import numpy'"
FIRST_STEP = """
import sys
from ilfo._progress import Progress
from ilfo.training.flags import parse_train
from ilfo.train import train
class Stop(Progress):
    def show(self, *_):
        sys.exit()
config, _ = parse_train(sys.argv[1:])
with Stop(config) as progress:
    train(config, progress)
"""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    rounds: int = 9
    """How often the commands take turns."""
    train: str = "--preset quickstart"
    """Flags of the training (--train="--env ...")."""


def commands(options: Options) -> dict[str, list[str]]:
    """Name to command line; the training's last word, its folder, is missing."""
    command = Path(sys.executable).with_name("ilfo")
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        NUMPY: [sys.executable, "-c", "import numpy"],
        "python -c 'import ilfo'": [sys.executable, "-c", "import ilfo"],
        "ilfo --help": [str(command), "--help"],
        "ilfo demos list": [str(command), "demos", "list"],
        "ilfo train --help": [str(command), "train", "--help"],
        "ilfo train, first step": [sys.executable, "-c", FIRST_STEP, *shlex.split(options.train), "--out"],
    }


def seconds(command: list[str]) -> float:
    """Wall time of a process, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*command, folder] if command[-1] == "--out" else command
        start = time.perf_counter()
        done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"startup: {' '.join(words)} failed:\n{done.stderr}")
    return taken


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=120)
    load = os.getloadavg()[0]
    timed = commands(options)
    for command in timed.values():
        seconds(command)  # brings the files into memory
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(options.rounds):
        for name, command in timed.items():
            times[name].append(seconds(command))
    table = Table("command", "ms: median (lowest to highest)", "ratio to import numpy", box=rich.box.MARKDOWN)
    for name, values in times.items():
        ratios = [mine / other for mine, other in zip(values, times[NUMPY], strict=True)]
        table.add_row(name, spread([1000 * value for value in values], ",.0f"), spread(ratios, ".2f"))
    console.print(table)
    console.print(
        f"{options.rounds} rounds in turn; ratios within a round. `ilfo train {options.train}`. "
        f"{machine(load)}. {versions('ilfo', 'numpy', 'torch', 'gymnasium', 'mujoco', 'tyro')}."
    )


if __name__ == "__main__":
    main()
