"""The report on several seeds trained side by side: their curves in one picture, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ilfo._tools.words import UNKNOWN, counted, estimate_in_words, if_known
from ilfo.report import _figures as figures
from ilfo.report import _page as html
from ilfo.runs import read_config, read_metrics, read_summary
from ilfo.statistics import bootstrap_interval, interquartile_mean, normalized_score
from ilfo.training.measures import mean_success

__all__ = ["GroupReport"]


Numbers = Mapping[int, float | None]
"""Of each seed, where known."""


@dataclass
class GroupReport:
    """A report on several seeds, from what their folders hold; nothing is played.

    Attributes:
        folder: The folder around the runs.
        runs: Seed to folder of its run.
    """

    folder: Path
    runs: Mapping[int, Path]
    _files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = read_config(self.folder)
        self.summary = read_summary(self.folder)
        self.rows = {seed: read_metrics(run) for seed, run in self.runs.items()}
        self.last = {seed: _last_evaluation(rows) for seed, rows in self.rows.items()}

    @property
    def best(self) -> int:
        """The seed whose last evaluation succeeded most often, and then had the highest return."""

        def worth(seed: int) -> tuple[float, float]:
            row = self.last[seed]
            return row.get("eval_success") or 0.0, row.get("eval_return", -np.inf)

        return max(self.runs, key=worth)

    def write(
        self,
        expert_return: float | None,
        random_return: float | None,
        film: Sequence[str] = (),
        video: bytes | None = None,
    ) -> Path:
        """Writes ``report/index.html`` with its pictures beside it.

        Args:
            expert_return: Of the demonstrations, where known.
            random_return: Of a random policy; a finished seed's own measurement takes precedence.
            film: Sections of the page about the best episode of the best seed.
            video: That episode as WebM.

        Returns:
            The page.
        """
        summaries = {seed: read_summary(run) or {} for seed, run in self.runs.items()}
        random = {seed: each.get("random_return", random_return) for seed, each in summaries.items()}
        returns = {seed: row.get("eval_return") for seed, row in self.last.items()}
        scores = {seed: _score(value, random[seed], expert_return) for seed, value in returns.items()}
        body = [
            html.tiles(self._headline(_known(returns), _known(scores), expert_return, _mean(_known(random)))),
            html.table(self._facts(_known(scores))),
            *self._learning(expert_return, _mean(_known(random))),
            self._seeds(returns, random, scores),
            *self._training(),
            *film,
            html.table(self.config["config"], "Configuration"),
            html.versions(self.config),
        ]
        if video is not None:
            self._files["best.webm"] = video
        config = self.config["config"]
        title = f"{config['env']}: {config['agent']} on the {config['reward']} reward, {len(self.runs)} seeds"
        return html.write(self.folder / "report", html.page(title, str(self.folder), body), self._files)

    def _headline(
        self, returns: Sequence[float], scores: Sequence[float], expert: float | None, random: float | None
    ) -> dict[str, str]:
        success = mean_success(row.get("eval_success") for row in self.last.values() if "eval_return" in row)
        numbers = {
            "score": if_known(interquartile_mean(scores) if scores else None, "{:.2f}"),
            "mean return of the policies": if_known(_mean(returns), "{:,.1f}"),
            "expert's return": if_known(expert, "{:,.1f}"),
            "random policy's return": if_known(random, "{:,.1f}"),
            "success": if_known(success, "{:.0%}"),
            "environment steps of each seed": f"{max(row.get('step', 0) for row in self.last.values()):,}",
        }
        return {name: text for name, text in numbers.items() if text != UNKNOWN}

    def _facts(self, scores: Sequence[float]) -> dict[str, str]:
        config = self.config["config"]
        seconds = max((rows[-1]["seconds"] for rows in self.rows.values() if rows), default=None)
        score = "unknown: it needs evaluations, and an expert that is better than a random policy"
        if scores:
            interval = bootstrap_interval(scores, interquartile_mean)
            score = estimate_in_words(interquartile_mean(scores), interval, "{:.3f}")
            score += f": interquartile mean of {counted(len(scores), 'seed')}; 0 is a random policy, 1 the expert"
        return {
            "state of the runs": "finished" if self.summary else f"under way to {config['steps']:,} steps",
            "seeds": f"{config['seeds']}, trained side by side",
            "score": score,
            "protocol": config["protocol"],
            "training time": UNKNOWN if seconds is None else f"{html.duration(seconds)} for all",
            "demonstration": config["demo"] or "none",
            "demonstration's SHA-256": self.config["demo_sha256"] or UNKNOWN,
        }

    def _learning(self, expert_return: float | None, random_return: float | None) -> list[str]:
        if not any(self.last.values()):
            return []
        drawn = figures.learning_curves(self.rows, expert_return, random_return)
        text = (
            "The environment's return, mean of each evaluation's episodes without exploration noise: a thin line for "
            "each seed, in bold their interquartile mean with its 95 % bootstrap interval."
        )
        return [html.section("Learning", text, self._picture("learning.png", drawn, "learning curves"))]

    def _seeds(self, returns: Numbers, random: Numbers, scores: Numbers) -> str:
        rows = []
        for seed, run in self.runs.items():
            last = self.last[seed]
            reported = (run / "report" / "index.html").exists()
            rows.append(
                [
                    html.Link(f"seed {seed}", f"../{run.name}/report/index.html") if reported else f"seed {seed}",
                    if_known(last.get("step"), "{:,}"),
                    *(if_known(value, "{:,.1f}") for value in (returns[seed], random[seed])),
                    *(if_known(value, "{:.3f}") for value in (last.get("eval_ratio"), scores[seed])),
                    if_known(last.get("eval_success"), "{:.0%}"),
                ]
            )
        head = ["", "steps", "policy's return", "random policy's", "ratio to the expert", "score", "success"]
        text = (
            f"At the last evaluation. Seed {self.best} is the best. A linked seed has a report of its own; "
            f"'ilfo report {self.folder}/seed_N' writes another's."
        )
        return html.section("Seeds", text, html.grid(head, rows))

    def _training(self) -> list[str]:
        small = figures.training_curves(*self.rows.values())
        if small is None:
            return []
        text = "What training measured since the row before, a line for each seed."
        return [html.section("Training", text, self._picture("training.png", small, "training curves"))]

    def _picture(self, name: str, png: bytes, description: str) -> str:
        self._files[name] = png
        return html.picture(png, description)


def _last_evaluation(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last row with an evaluation; empty before the first."""
    return next((row for row in reversed(rows) if row.get("eval_return") is not None), {})


def _score(value: float | None, random: float | None, expert: float | None) -> float | None:
    return None if value is None else normalized_score(value, random, expert)


def _known(numbers: Numbers) -> list[float]:
    return [value for value in numbers.values() if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
