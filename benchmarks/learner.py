"""Training steps a second of ilfo's TD3, of Stable-Baselines3's, of CleanRL's and of a plain twin, in turn in one run.

    python benchmarks/learner.py
    python benchmarks/learner.py --device cuda
    python benchmarks/learner.py --seeds 10

One step is one step of one environment and one update: two critics and, every second time, the actor, 256-256 units
each, on a batch of 256. All learners step the same environment and explore with the same noise. A round trains each of
them afresh with each number of threads, and measures the steps after learning has begun; evaluations are left out, all
else of a training run (rewards, replay, log rows, checkpoints) is in. Nothing is written, but for a temporary folder.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rich.box
import torch
import tyro
from _machine import machine, spread, versions
from rich.console import Console
from rich.table import Table

from ilfo import demos
from ilfo.demos import Demonstrations
from ilfo.envs import Protocol, describe, make_env, random_policy, rollout
from ilfo.plugins import option_group
from ilfo.train import train
from ilfo.training import Training
from ilfo.training.configs import TrainConfig
from ilfo.training.flags import parse_train

try:
    import cleanrl_td3
    from stable_baselines3 import TD3
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.noise import NormalActionNoise
except ModuleNotFoundError:
    sys.exit("learner: Stable-Baselines3 is not installed: pip install 'ilfo[sb3]'")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SB3, TWIN = "SB3 TD3", "own_agent:PlainTD3"
LEANRL = 936
"""Steps per second that LeanRL's README gives for its TD3, compiled with CUDA graphs, HalfCheetah-v4 on an H100."""
WARM_UP_UPDATES = 200
HIDDEN, BATCH, NOISE = 256, 256, 0.1
NEVER = 10**9
"""A step that no training reaches: the clock ends them all."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    env: str = "Hopper-v5"
    """Gymnasium id."""
    demo: Path | None = None
    """HDF5 file of expert states; by default 1000 steps of a random policy, recorded in place."""
    protocol: Protocol = "standard"
    """How episodes end, for every learner."""
    steps: int = 1500
    """Steps that a round measures, each with one update."""
    rounds: int = 5
    """How often the learners take turns."""
    random_steps: int = 500
    """Random steps before learning, not measured."""
    threads: tuple[int, ...] = (1, 2)
    """Processor threads of PyTorch: a column each, and each learner's best is what counts."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where all of them learn; on cuda, ilfo also compiled and with several environments."""
    seeds: int = 1
    """Above 1: this many seeds of ilfo at once beside one, and nothing else."""

    @property
    def first(self) -> int:
        """Step after which the clock starts, if learning has begun by then."""
        return self.random_steps + WARM_UP_UPDATES

    @property
    def capacity(self) -> int:
        """Transitions that a replay holds: all of them."""
        return self.first + self.steps + 1


@dataclass(frozen=True)
class Learner:
    """A row of the table.

    Attributes:
        measure: Steps per second, given the number of the round and the threads.
        beside: Name of the row that it is compared with.
    """

    measure: Callable[[int, int], float]
    beside: str


class _Measured(Exception):  # noqa: N818, it ends a training and is no error
    """The clock has stopped."""


class Stopwatch:
    """Times the steps between two; a training run shows it every step, where its progress bar would be."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._first = options.first
        self._began: tuple[int, float] | None = None
        self._training: Training | None = None
        self.rate = math.nan

    def begin(self, training: Training) -> None:
        """Hears of the training, which learns once its replay holds something: maybe not before an episode ends."""
        self._training = training

    def show(self, step: int, row: dict[str, Any]) -> None:
        """Sees a step pass; after the last one there is nothing left to train."""
        if self._began is not None:
            before, start = self._began
            if step >= before + self._options.steps:
                self.rate = (step - before) / (self._now() - start)
                raise _Measured
        elif self._training is not None and not len(self._training.replay):
            self._first = max(self._options.first, step + WARM_UP_UPDATES)
        elif step >= self._first:
            self._began = step, self._now()

    def _now(self) -> float:
        if self._options.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure_ilfo(options: Options, seeds: range, threads: int, *flags: str, agent: str = "td3") -> float:
    """Steps per second of each seed of ``ilfo train`` with these flags, until the clock stops."""
    if "--compile" in flags:
        torch.compiler.reset()
    with tempfile.TemporaryDirectory() as folder:
        config = ilfo_config(options, seeds, threads, folder, *flags, agent=agent)
        stopwatch = Stopwatch(options)
        with suppress(_Measured):
            train(config, stopwatch)
    return stopwatch.rate


def ilfo_config(
    options: Options, seeds: range, threads: int, folder: str, *flags: str, agent: str = "td3"
) -> TrainConfig:
    """What the command line makes of the flags; no evaluation falls into the measured steps."""
    group = option_group(agent).replace("_", "-")
    words: dict[str, Any] = {
        "env": options.env,
        "protocol": options.protocol,
        "agent": agent,
        "device": options.device,
        "threads": threads,
        "steps": NEVER,
        "eval-every": NEVER,
        "replay-size": options.capacity,
        "random-steps": options.random_steps,
        "out": folder,
        f"{group}.hidden-dim": HIDDEN,
        f"{group}.batch-size": BATCH,
        f"{group}.exploration-noise": NOISE,
    }
    words |= {"seed": seeds[0]} if len(seeds) == 1 else {"seeds": f"{seeds[0]}-{seeds[-1]}"}
    given = [part for name, value in words.items() for part in (f"--{name}", str(value))]
    return parse_train([*given, *flags])[0]


def measure_sb3(options: Options, seed: int, threads: int) -> float:
    """Steps per second of Stable-Baselines3's TD3 of the same sizes."""
    torch.set_num_threads(threads)
    env = make_env(options.env, options.protocol)
    width = env.action_space.shape[0]  # type: ignore[index]
    model = TD3(
        "MlpPolicy",
        env,
        policy_kwargs={"net_arch": [HIDDEN, HIDDEN]},
        batch_size=BATCH,
        buffer_size=options.capacity,
        learning_starts=options.random_steps,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(width), np.full(width, NOISE)),
        seed=seed,
        device=options.device,
    )
    stopwatch = Stopwatch(options)

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            stopwatch.show(self.num_timesteps, {})
            return True

    with suppress(_Measured):
        model.learn(options.capacity, callback=Watch())
    env.close()
    return stopwatch.rate


def measure_cleanrl(options: Options, seed: int, threads: int) -> float:
    """Steps per second of CleanRL's loop."""
    torch.set_num_threads(threads)
    settings = cleanrl_td3.Settings(
        options.random_steps, HIDDEN, BATCH, NOISE, capacity=options.capacity, device=options.device, seed=seed
    )
    stopwatch = Stopwatch(options)
    with tempfile.TemporaryDirectory() as folder, suppress(_Measured):
        cleanrl_td3.train(
            lambda: make_env(options.env, options.protocol), settings, folder, lambda step: stopwatch.show(step, {})
        )
    return stopwatch.rate


def record(options: Options, folder: str) -> Path:
    """1000 steps of a random policy, without actions: as much work for the reward as an expert's."""
    env = make_env(options.env)
    width = env.action_space.shape[0]  # type: ignore[index]
    env.close()
    trajectory = rollout(random_policy(width, seed=0), options.env, 1, protocol="fixed-horizon")[0]
    provenance = describe(options.env).provenance
    return demos.write(Path(folder) / "random.hdf5", Demonstrations((trajectory,), provenance))


def learners(options: Options, demo: Path) -> dict[str, Learner]:
    """The rows of a run with one seed, all beside Stable-Baselines3's."""

    def ilfo(*flags: str, agent: str = "td3") -> Learner:
        return Learner(
            lambda seed, threads: measure_ilfo(options, range(seed, seed + 1), threads, *flags, agent=agent), SB3
        )

    environment = ("--reward", "environment")
    imitation = ("--demo", str(demo))
    rows = {
        SB3: Learner(lambda seed, threads: measure_sb3(options, seed, threads), SB3),
        "CleanRL's TD3": Learner(lambda seed, threads: measure_cleanrl(options, seed, threads), SB3),
        "plain twin of ilfo's TD3": ilfo(*environment, agent=TWIN),
        "ilfo TD3": ilfo(*environment),
        "ilfo TD3, environment in a worker": ilfo(*environment, "--env-workers", "1"),
        "ilfo TD3, transport": ilfo(*imitation, "--td3.no-layer-norm"),
        "ilfo TD3, transport, layer norm": ilfo(*imitation),
    }
    if options.device == "cuda":
        many = ("--compile", "--num-envs", "16", "--env-workers", "8")
        rows |= {
            "ilfo TD3, --compile": ilfo(*environment, "--compile"),
            "ilfo TD3, transport, --compile": ilfo(*imitation, "--td3.no-layer-norm", "--compile"),
            "ilfo TD3, --compile, 16 environments on 8 workers": ilfo(*environment, *many),
            "ilfo TD3, transport, --compile, 16 environments on 8 workers": ilfo(
                *imitation, "--td3.no-layer-norm", *many
            ),
        }
    return rows


def many_seeds(options: Options) -> dict[str, Learner]:
    """The rows of a run with several seeds: each beside one seed trained in the same way."""

    def ilfo(count: int, flags: tuple[str, ...], beside: str) -> Learner:
        def measure(number: int, threads: int) -> float:
            seeds = range(number * count, (number + 1) * count)
            return measure_ilfo(options, seeds, threads, "--reward", "environment", *flags)

        return Learner(measure, beside)

    rows = {}
    for suffix, flags in [("", ())] + [(", --compile", ("--compile",))] * (options.device == "cuda"):
        one = f"one seed{suffix}"
        rows |= {one: ilfo(1, flags, one), f"{options.seeds} seeds at once{suffix}": ilfo(options.seeds, flags, one)}
    return rows


Rates = dict[str, dict[int, list[float]]]
"""Name to threads to the steps per second of each round."""


def best(rates: dict[int, list[float]]) -> list[float]:
    """The rounds with the number of threads that suits a learner best."""
    return max(rates.values(), key=np.median)


def print_results(options: Options, rows: dict[str, Learner], rates: Rates, load: float, console: Console) -> None:
    """A Markdown table; a ratio compares the best of two learners in the same round."""
    columns = [f"steps/s, {count} thread{'s' * (count > 1)}" for count in options.threads]
    several = options.seeds > 1
    table = Table("learner", *columns, "time beside one seed" if several else "ratio to SB3's best")
    table.box = rich.box.MARKDOWN
    for name, row in rows.items():
        pairs = zip(best(rates[name]), best(rates[row.beside]), strict=True)
        ratios = [other / mine if several else mine / other for mine, other in pairs]
        table.add_row(name, *(spread(rates[name][count], ".0f") for count in options.threads), spread(ratios, ".2f"))
    console.print(table)
    if options.device == "cuda" and not several:
        quickest = max(rates, key=lambda name: np.median(best(rates[name])))
        ratio = float(np.median(best(rates[quickest]))) / LEANRL
        console.print(
            f"LeanRL publishes {LEANRL} steps/s (HalfCheetah-v4, one H100): {quickest} makes {ratio:.2f} times that."
        )
    console.print(
        f"{'Steps are those of each seed. ' * several}Median (lowest to highest) of {options.rounds} rounds of "
        f"{options.steps} measured steps; {options.env}, protocol {options.protocol}. "
        f"{machine(load, options.device)}. "
        + versions("ilfo", "stable_baselines3", "torch", "numpy", "gymnasium", "mujoco", "pot")
        + "."
    )


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description=__doc__)
    console = Console(highlight=False, soft_wrap=True, width=120)
    sys.path.insert(0, str(EXAMPLES))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = many_seeds(options) if options.seeds > 1 else learners(options, options.demo or record(options, folder))
        rates: Rates = {name: {threads: [] for threads in options.threads} for name in rows}
        for number in range(options.rounds):
            for name, row in rows.items():
                for threads in options.threads:
                    rates[name][threads].append(row.measure(number, threads))
                    console.print(
                        f"round {number + 1} of {options.rounds}: {name}, threads {threads}: "
                        f"{rates[name][threads][-1]:.0f} steps/s"
                    )
    print_results(options, rows, rates, load, console)


if __name__ == "__main__":
    main()
