"""One change at a time to how ilfo imitates by default, and what each does to the policy's return.

    python benchmarks/ablations.py --env Hopper-v5 --demo hopper-expert-1.hdf5 --seeds 0-2
    python benchmarks/ablations.py --env Hopper-v5 --demo hopper-expert-1.hdf5 --only default "no squashing"

Every variant is `ilfo train` with a few flags, in a folder of its own, and all of its seeds train as one. Started
again, it goes on where it stopped, and prints the table of what is finished. One evaluation says little where policies
are found and lost again, as on Hopper; the mean over those of the second half of training says more.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console

from ilfo._tools.errors import InputError, closest
from ilfo.fleet import TrainJob
from ilfo.runs import read_metrics, read_summary
from ilfo.training.run_group import seed_runs

OOPS_FEATURES = "--features.std-floor 0.33 --features.divisor 3 --features.constant-std 1 --features.leave-out 2"
VARIANTS = {
    "default": "",
    "entropic plan (0.05)": "--transport.plan entropic --transport.regularization 0.05",
    "cost: square root of the distance": "--transport.cost sqrt_euclidean",
    "cost: squared distance": "--transport.cost squared_euclidean",
    "cost: cosine": "--transport.cost cosine",
    "feature floor 0.1": "--features.std-floor 0.1",
    "features of OOPS (floor 0.33, three deviations)": OOPS_FEATURES,
    "atoms: states alone": "--transport.atoms states",
    "no squashing": "--transport.squash none",
    "squashing twice as sharp": "--transport.temperature 0.5",
    "time-aware": "--time-aware",
    "time-aware, times drawn anew": "--time-aware --td3.resample-time",
    "PAL": "--td3.critic-loss pal",
    "LAP": "--td3.critic-loss lap",
    "discount 0.98": "--td3.discount 0.98",
    "exploration noise 0.2": "--td3.exploration-noise 0.2",
    "tau 0.003": "--td3.tau 0.003",
    "tau 0.01": "--td3.tau 0.01",
    "reward scale 0.5": "--transport.scale 0.5",
    "reward scale 8": "--transport.scale 8",
    "rewards less the absorbing one": "--transport.subtract-absorbing",
    "no layer norm": "--td3.no-layer-norm",
    "raw observations for the policy": "--normalize-observations none",
    "critics of 1024 units": "--td3.critic-hidden-dim 1024",
    "four updates a step": "--updates-per-step 4",
    "checkpoints": "--td3.checkpoints",
    "fixed horizon": "--protocol fixed-horizon",
}


@dataclass(frozen=True)
class Options:
    """Trains every variant and prints one table."""

    env: str
    """Gymnasium id."""
    demo: str
    """The demonstration."""
    steps: int = 50_000
    """Steps of each seed."""
    seeds: str = "0-2"
    """Seeds of every variant."""
    only: tuple[str, ...] = ()
    """Names of variants to train; by default all."""
    out: Path = Path("runs/ablations")
    """Where the runs go."""
    show: bool = False
    """Print what is finished, and train nothing."""


def flags(options: Options, variant: str) -> list[str]:
    """The arguments of ``ilfo train`` for a variant."""
    slug = re.sub(r"[^a-z0-9]+", "-", variant.lower()).strip("-")
    folder = options.out / options.env.lower() / slug
    given = ["--env", options.env, "--demo", options.demo, "--steps", str(options.steps), "--seeds", options.seeds]
    return [*given, "--out", str(folder), *VARIANTS[variant].split()]


def row(job: TrainJob) -> str | None:
    """A row of the table; None where the variant is not finished."""
    summary = read_summary(job.folder)
    if summary is None:
        return None
    returns = [each["policy_return"] for each in summary["each"]]
    later = [later_mean(run, job.config.steps) for run in seed_runs(job.folder).values()]
    listed = ", ".join(f"{value:.0f}" for value in returns)
    command = f"`{VARIANTS[job.name]}`" if VARIANTS[job.name] else ""
    ratios = " | ".join(over_seeds(np.array(each) / summary["expert_return"]) for each in (returns, later))
    return f"| {job.name} | {command} | {listed} | {ratios} |"


def later_mean(run: Path, steps: int) -> float:
    """Mean return of a run's evaluations after the first half of its steps."""
    return float(
        np.mean(
            [each["eval_return"] for each in read_metrics(run) if each["step"] > steps / 2 and "eval_return" in each]
        )
    )


def over_seeds(ratios: np.ndarray) -> str:
    """Their mean, and from where to where they lie."""
    return f"{ratios.mean():.2f} ({f'{ratios.min():.2f} to {ratios.max():.2f}' if len(ratios) > 1 else 'one seed'})"


def main(options: Options) -> None:
    """Trains what is missing, and prints the table."""
    wanted = options.only or tuple(VARIANTS)
    for variant in wanted:
        if variant not in VARIANTS:
            raise InputError(f"there is no variant {variant!r}; {closest(variant, VARIANTS)}")
    jobs = [TrainJob.read(variant, flags(options, variant)) for variant in wanted]
    for job in jobs:
        job.check_finished(every_flag=True, may_grow=not options.show)
    for job in jobs:
        if not options.show and not job.is_done:
            job.run(Console())
    print(f"{options.env}, {options.steps:,} steps, seeds {options.seeds}\n")
    print(
        "| change | flags | return, seed by seed | its ratio to the expert: mean (range) | ratio over the second half |"
    )
    print("| --- | --- | --- | --- | --- |")
    print("\n".join(line for line in map(row, jobs) if line))


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except InputError as error:
        sys.exit(f"ablations: {error}")
