"""Success at every evaluation of some runs, against the steps that they were trained for.

    python benchmarks/success.py runs/metaworld/*--transport--td3/seed_0 --out benchmarks/metaworld-transport.png

A line for each run, named after its task, and its seed where one task was trained with several.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import tyro

from ilfo._tools.atomic import atomic_path
from ilfo._tools.figures import new_figure, png, thousands, tidy
from ilfo.runs import read_config, read_metrics

STYLES = ("-", "--", ":", "-.")


def task_of(env_id: str) -> str:
    """``MetaWorld/reach-v3@150-steps`` is ``reach``."""
    return re.sub(r"-v\d+$", "", re.split("[:/]", env_id.partition("@")[0])[-1])


def curve_of(run: Path) -> tuple[list[int], list[float]]:
    """Steps, and the share of episodes that succeeded there."""
    rows = [row for row in read_metrics(run) if row.get("eval_success") is not None]
    return [row["step"] for row in rows], [row["eval_success"] for row in rows]


def main(runs: Annotated[list[Path], tyro.conf.Positional], out: Path) -> None:
    """Draw the success of runs against their steps.

    Args:
        runs: Their folders.
        out: The picture, a PNG.
    """
    configs = [read_config(run)["config"] for run in runs]
    tasks = [task_of(config["env"]) for config in configs]
    figure = new_figure(8.0, 3.6)
    axis = figure.subplots()
    for number, (run, task, config) in enumerate(zip(runs, tasks, configs, strict=True)):
        name = task if Counter(tasks)[task] == 1 else f"{task}, seed {config['seed']}"
        axis.plot(*curve_of(run), STYLES[number % len(STYLES)], marker=".", linewidth=1.5, label=name)
    axis.set_xlabel("environment steps")
    axis.set_ylabel(f"success, of {configs[0]['eval_episodes']} episodes")
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlim(left=0)
    thousands(axis)
    tidy(axis)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    with atomic_path(out) as partial:
        partial.write_bytes(png(figure))


if __name__ == "__main__":
    tyro.cli(main)
