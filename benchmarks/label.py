"""Labelling a million transitions: time and memory of ``ilfo label``.

    python benchmarks/label.py                                        # some minutes
    python benchmarks/label.py --episode 50
    python benchmarks/label.py --label="--reward transport --transport.plan entropic" --transitions 50000

The dataset is made up: transitions of Hopper's size in D4RL's layout, packed as D4RL packs them, each state the
demonstration's at some time with noise. The command runs as a user types it, in a process of its own, whose largest
resident memory the system tells when it ends.
"""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tyro
from _machine import machine, versions
from rich.console import Console

from ilfo import demos
from ilfo.demos import Demonstrations, Trajectory

MIB = 1024**2
OBSERVATION_DIM, ACTION_DIM, EXPERT_STEPS, BLOCK = 11, 3, 1000, 100_000


@dataclass(frozen=True)
class Options:
    """What to measure."""

    transitions: int = 1_000_000
    """Rows of the dataset."""
    episode: int = 1000
    """Steps of each episode; every second one is ended by the environment."""
    next_observations: bool = True
    """Whether the dataset has them, as D4RL's version 2 does."""
    label: str = "--reward transport"
    """Flags of the command (--label="--reward NAME")."""


def write_expert(path: Path) -> np.ndarray:
    """A smooth periodic motion of Hopper's width; returns its states."""
    generator = np.random.default_rng(0)
    times = np.linspace(0, 60, EXPERT_STEPS + 1)[:, None]
    states = np.sin(times * generator.uniform(0.5, 2, OBSERVATION_DIM) + generator.uniform(0, 6, OBSERVATION_DIM))
    demos.write(path, Demonstrations((Trajectory(states.astype(np.float32)),)))
    return states


def noise_of(episode: np.ndarray) -> np.ndarray:
    """Size of the noise in an episode, 0.05 to 0.55; the environment's reward falls with it."""
    return 0.05 + 0.5 * (37 * episode % 101) / 100


def write_dataset(path: Path, expert: np.ndarray, options: Options) -> None:
    """Episodes that start anywhere on the expert's way and follow it, each with noise of its own size."""
    generator = np.random.default_rng(1)
    rows, columns = options.transitions, {"observations": OBSERVATION_DIM, "actions": ACTION_DIM}
    if options.next_observations:
        columns["next_observations"] = OBSERVATION_DIM
    last = (np.arange(rows) + 1) % options.episode == 0
    terminals = last & (np.arange(rows) // options.episode % 2 == 1)
    with h5py.File(path, "w") as file:
        made = {
            name: file.create_dataset(name, (rows, width), "f4", compression="gzip") for name, width in columns.items()
        }
        for start in range(0, rows, BLOCK):
            stop = min(start + BLOCK, rows)
            episode, step = np.divmod(np.arange(start, stop), options.episode)
            noise = noise_of(episode)[:, None]
            for name, later in (("observations", 0), ("next_observations", 1)):
                if name in made:
                    states = expert[(37 * episode + step + later) % EXPERT_STEPS]
                    made[name][start:stop] = states + noise * np.sin(1e3 * (episode + step + later))[:, None]
            made["actions"][start:stop] = generator.uniform(-1, 1, (stop - start, ACTION_DIM))
        for name, flags in (("terminals", terminals), ("timeouts", last & ~terminals)):
            file.create_dataset(name, data=flags, compression="gzip")
        rewards = 1 - noise_of(np.arange(rows) // options.episode) + 0.1 * generator.normal(size=rows)
        file.create_dataset("rewards", data=rewards.astype(np.float32), compression="gzip")


def main() -> None:
    """Makes the dataset, labels it and prints."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=120)
    where = f"{machine(os.getloadavg()[0])}. {versions('ilfo', 'torch', 'numpy', 'h5py')}."
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expert = write_expert(folder / "expert.hdf5")
        write_dataset(folder / "data.hdf5", expert, options)
        size = (folder / "data.hdf5").stat().st_size / MIB
        command = [
            str(Path(sys.executable).with_name("ilfo")),
            "label",
            str(folder / "data.hdf5"),
            str(folder / "out.hdf5"),
            "--demo",
            str(folder / "expert.hdf5"),
        ]
        start = time.monotonic()
        done = subprocess.run([*command, *shlex.split(options.label)], capture_output=True, text=True)
        seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(done.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    console.print(done.stdout.strip(), markup=False)
    console.print(
        f"`ilfo label {options.label}` on {options.transitions:,} transitions of {OBSERVATION_DIM} dimensions in "
        f"episodes of {options.episode:,} ({size:.0f} MiB): {seconds:.1f} s, {options.transitions / seconds:,.0f} "
        f"transitions a second, peak memory {peak:,.0f} MiB"
    )
    console.print(where)


if __name__ == "__main__":
    main()
