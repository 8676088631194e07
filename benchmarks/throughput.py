"""Training steps per second of ilfo and of Stable-Baselines3's TD3, in turn in one run.

    python benchmarks/throughput.py --rounds 5

One step is one step of one environment and one update: two critics and, every second time, the actor, 256-256 units
each, on a batch of 256. All learners step the same environment, explore with the same noise and have the same threads.
A round trains each of them afresh and measures the steps after learning has begun; evaluations are left out, all else
of a training run (rewards, replay, log rows, checkpoints) is in. Nothing is written, but for a temporary folder.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rich.box
import torch
import tyro
from rich.console import Console
from rich.table import Table

from ilfo import demos
from ilfo.configs import TrainConfig, parse_train
from ilfo.demos import Demonstrations
from ilfo.envs import Protocol, describe, make_env, random_policy, rollout
from ilfo.train import train
from ilfo.training import Training

try:
    from stable_baselines3 import TD3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise
except ModuleNotFoundError:
    sys.exit("throughput: Stable-Baselines3 is not installed: pip install 'ilfo[sb3]'")

BASELINE = "SB3 TD3, environment reward"
WARM_UP_UPDATES = 200
HIDDEN, BATCH, NOISE = 256, 256, 0.1


@dataclass(frozen=True)
class Options:
    """What to measure."""

    env: str = "Hopper-v5"
    """Gymnasium id."""
    demo: Path | None = None
    """HDF5 file of expert states; by default 1000 steps of a random policy, recorded in place."""
    protocol: Protocol = "standard"
    """How episodes end, for every learner."""
    steps: int = 2000
    """Steps that a round measures, each with one update."""
    rounds: int = 5
    """How often the learners take turns."""
    random_steps: int = 1000
    """Random steps before learning, not measured."""
    threads: int = 2
    """Processor threads of PyTorch."""

    @property
    def first(self) -> int:
        """Step after which the clock starts."""
        return self.random_steps + WARM_UP_UPDATES

    @property
    def last(self) -> int:
        """Step after which it stops."""
        return self.first + self.steps


class _Measured(Exception):  # noqa: N818, it ends a training and is no error
    """The clock has stopped."""


class Stopwatch:
    """Times the steps between two; a training run shows it every step, where its progress bar would be."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._start = math.nan
        self.rate = math.nan

    def begin(self, training: Training) -> None:
        """What a progress bar would announce is not wanted here."""

    def show(self, step: int, row: dict[str, Any]) -> None:
        """Sees a step pass; after the last one there is nothing left to train."""
        if step == self._options.first:
            self._start = time.perf_counter()
        elif step == self._options.last:
            self.rate = self._options.steps / (time.perf_counter() - self._start)
            raise _Measured


def measure_ilfo(options: Options, seed: int, *flags: str) -> float:
    """Steps per second of ``ilfo train`` with these flags, until the clock stops."""
    with tempfile.TemporaryDirectory() as folder:
        config = ilfo_config(options, seed, folder, *flags)
        stopwatch = Stopwatch(options)
        with suppress(_Measured):
            train(config, stopwatch)
    return stopwatch.rate


def ilfo_config(options: Options, seed: int, folder: str, *flags: str) -> TrainConfig:
    """What the command line makes of the flags; no evaluation falls into the measured steps."""
    words: dict[str, Any] = {
        "env": options.env,
        "protocol": options.protocol,
        "seed": seed,
        "threads": options.threads,
        "steps": options.last + 1,
        "eval-every": options.last + 1,
        "random-steps": options.random_steps,
        "out": folder,
        "td3.hidden-dim": HIDDEN,
        "td3.batch-size": BATCH,
        "td3.exploration-noise": NOISE,
    }
    given = [part for name, value in words.items() for part in (f"--{name}", str(value))]
    return parse_train([*given, *flags])[0]


def measure_sb3(options: Options, seed: int) -> float:
    """Steps per second of Stable-Baselines3's TD3 of the same sizes."""
    torch.set_num_threads(options.threads)
    env = make_env(options.env, options.protocol)
    width = env.action_space.shape[0]  # type: ignore[index]
    model = TD3(
        "MlpPolicy",
        env,
        policy_kwargs={"net_arch": [HIDDEN, HIDDEN]},
        batch_size=BATCH,
        buffer_size=options.last + 1,
        learning_starts=options.random_steps,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(width), np.full(width, NOISE)),
        seed=seed,
        device="cpu",
    )
    stopwatch = Stopwatch(options)

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            stopwatch.show(self.num_timesteps, {})
            return True

    with suppress(_Measured):
        model.learn(options.last + 1, callback=Watch())
    env.close()
    return stopwatch.rate


def record(options: Options, folder: str) -> Path:
    """1000 steps of a random policy, without actions: as much work for the reward as an expert's."""
    env = make_env(options.env)
    width = env.action_space.shape[0]  # type: ignore[index]
    env.close()
    trajectory = rollout(random_policy(width, seed=0), options.env, 1, protocol="fixed-horizon")[0]
    provenance, _, _ = describe(options.env)
    return demos.write(Path(folder) / "random.hdf5", Demonstrations((trajectory,), provenance))


def learners(options: Options, demo: Path) -> dict[str, Callable[[int], float]]:
    """Name to a measurement in steps per second, given a seed."""
    imitation = ("--demo", str(demo))
    return {
        "ilfo TD3, transport": lambda seed: measure_ilfo(options, seed, *imitation),
        "ilfo TD3, transport, plain critics": lambda seed: measure_ilfo(
            options, seed, *imitation, "--td3.no-layer-norm"
        ),
        "ilfo TD3, environment reward": lambda seed: measure_ilfo(options, seed, "--reward", "environment"),
        BASELINE: lambda seed: measure_sb3(options, seed),
    }


def processor() -> str:
    """The processor's name, where the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def spread(values: list[float], form: str) -> str:
    """Median, and lowest to highest."""
    return f"{float(np.median(values)):{form}} ({min(values):{form}} to {max(values):{form}})"


def print_results(options: Options, rates: dict[str, list[float]], load: float, console: Console) -> None:
    """A Markdown table; a ratio compares two learners in the same round."""
    table = Table("learner", "steps/s: median (lowest to highest)", "ratio to SB3", box=rich.box.MARKDOWN)
    for name, values in rates.items():
        ratios = [mine / other for mine, other in zip(values, rates[BASELINE], strict=True)]
        table.add_row(name, spread(values, ".0f"), spread(ratios, ".2f"))
    console.print(table)
    libraries = ("ilfo", "stable_baselines3", "torch", "numpy", "gymnasium", "mujoco", "pot")
    console.print(
        f"{options.env}, protocol {options.protocol}, {options.rounds} rounds of {options.steps} measured steps, "
        f"{options.threads} threads. {processor()}, {os.cpu_count()} cores, load before the start "
        f"{load:.1f}. Python {platform.python_version()}, "
        + ", ".join(f"{library} {version(library)}" for library in libraries)
        + "."
    )


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=120)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        demo = options.demo or record(options, folder)
        measurements = learners(options, demo)
        rates: dict[str, list[float]] = {name: [] for name in measurements}
        for number in range(options.rounds):
            for name, measure in measurements.items():
                rates[name].append(measure(number))
                console.print(f"round {number + 1} of {options.rounds}: {name}: {rates[name][-1]:.0f} steps/s")
    print_results(options, rates, load, console)


if __name__ == "__main__":
    main()
