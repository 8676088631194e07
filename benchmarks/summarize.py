"""One Markdown table of many runs: several seeds of one configuration become one row a step.

    python benchmarks/summarize.py runs/hopper-* --at 50000 100000

The folder of several seeds that were trained side by side stands for the runs in it. Runs belong together where
everything in their ``config.json`` is the same but the seed and the folder; the demonstration is told by its hash.
The score of a run is 0 for the random policy and 1 for the demonstration. What is not measured yet is a dash, and an
aggregate over fewer runs than the row has says over how many.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from ilfo._tools.errors import InputError
from ilfo._tools.words import UNKNOWN, estimate, if_known
from ilfo.runs import read_config, read_metrics, read_summary
from ilfo.statistics import bootstrap_interval, interquartile_mean, normalized_score
from ilfo.training.run_group import seed_runs

SHOWN = ("env", "reward", "agent", "protocol", "demo_sha256")
LEFT_OUT = ("seed", "seeds", "out", "demo")


@dataclass(frozen=True)
class One:
    """A run as its folder tells it; ``summary`` is empty while it is under way."""

    config: Mapping[str, Any]
    demo_sha256: str | None
    rows: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> One:
        """Reads a run's folder; raises InputError where it is not one."""
        told = read_config(folder)
        return cls(told["config"], told["demo_sha256"], read_metrics(folder), read_summary(folder) or {})

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that tells a group from another, flat: ``td3.tau`` for the ``tau`` of ``td3``."""
        told = {name: value for name, value in self.config.items() if name not in LEFT_OUT}
        return flat(told) | {"demo_sha256": self.demo_sha256}

    def return_at(self, step: int) -> float | None:
        """Mean return of the evaluation at a step, or at the first one that several environments took beyond it."""
        beyond = step + self.config.get("num_envs", 1)
        return next((row["eval_return"] for row in self.rows if step <= row["step"] < beyond and is_eval(row)), None)

    def score_at(self, step: int) -> float | None:
        """That return with the random policy at 0 and the demonstration at 1."""
        found, low, high = self.return_at(step), self.summary.get("random_return"), self.summary.get("expert_return")
        return None if found is None else normalized_score(found, low, high)

    def ratio_at(self, step: int) -> float | None:
        """That return over the demonstration's."""
        found, expert = self.return_at(step), self.summary.get("expert_return")
        return found / expert if found is not None and expert else None


def read(folders: Sequence[Path]) -> list[One]:
    """The runs of folders; one that is around the runs of several seeds gives all of these."""
    return [One.read(run) for folder in folders for run in (seed_runs(folder).values() or [folder])]


def is_eval(row: Mapping[str, Any]) -> bool:
    """Whether a row of the metrics holds an evaluation."""
    return "eval_return" in row


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def grouped(runs: Sequence[One]) -> list[list[One]]:
    """Runs that differ in their seed alone, by rising seed; groups in the order of their first run."""
    groups: dict[str, list[One]] = defaultdict(list)
    for run in runs:
        groups[json.dumps(run.settings, sort_keys=True)].append(run)
    return [sorted(group, key=lambda run: run.config["seed"]) for group in groups.values()]


def told_apart(groups: Sequence[Sequence[One]]) -> list[str]:
    """What tells each group from those that the columns would show as the same, for example ``td3.tau=0.01``."""
    settings = [group[0].settings for group in groups]
    found = []
    for own in settings:
        alike = [each for each in settings if all(each[name] == own[name] for name in SHOWN)]
        names = [name for name in sorted(own) if any(each.get(name) != own[name] for each in alike)]
        found.append(", ".join(f"{name}={own[name]}" for name in names) or UNKNOWN)
    return found


def over_seeds(values: Sequence[float | None], statistic: Any, interval: bool) -> str:
    """One number from those that are there, with its 95 % interval where two are, and how many where some are not."""
    known = [value for value in values if value is not None]
    if not known:
        return UNKNOWN
    text = estimate(statistic(known), bootstrap_interval(known, statistic) if interval else None, "{:.2f}")
    return text if len(known) == len(values) else f"{text}, {len(known)} of {len(values)} seeds"


def table(groups: Sequence[Sequence[One]], steps: Sequence[int]) -> str:
    """The Markdown table: a row for each group and step; without steps, at the last one that each is to reach."""
    head = ["env", "reward", "agent", "protocol", "demonstration", "apart by", "seeds", "step"]
    head += ["return of each seed", "score: IQM (95 % interval)", "ratio to the expert"]
    lines = [head, ["---"] * len(head)]
    for group, apart in zip(groups, told_apart(groups), strict=True):
        told = group[0].settings
        seeds = ", ".join(str(run.config["seed"]) for run in group)
        for step in steps or (told["steps"],):
            returns = [run.return_at(step) for run in group]
            lines.append(
                [
                    *(told[name] for name in SHOWN[:-1]),
                    (told["demo_sha256"] or UNKNOWN)[:8],
                    apart,
                    seeds,
                    f"{step:,}",
                    ", ".join(if_known(value, "{:.1f}") for value in returns),
                    over_seeds([run.score_at(step) for run in group], interquartile_mean, interval=True),
                    over_seeds([run.ratio_at(step) for run in group], np.mean, interval=False),
                ]
            )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(runs: tuple[Path, ...], /, at: tuple[int, ...] = ()) -> None:
    """Print one Markdown table of many runs.

    Args:
        runs: Folders of runs or of several seeds, finished or under way.
        at: Steps at which an evaluation is looked up; by default the last step of each run.
    """
    if not runs:
        raise InputError("no runs were given; expected their folders")
    print(table(grouped(read(runs)), at))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(f"summarize: {error}")
