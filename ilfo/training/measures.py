"""What a run records: rows of ``metrics.jsonl``, and the summary of one seed and of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ilfo.demos import Trajectory
from ilfo.envs import successes_of
from ilfo.statistics import bootstrap_interval, interquartile_mean, normalized_score
from ilfo.training.training import Training

__all__ = ["evaluation_row", "mean_row", "mean_success", "summarize", "summarize_together"]


def evaluation_row(training: Training, episodes: Sequence[Trajectory], member: int = 0) -> dict[str, Any]:
    """What an evaluation of one seed measured, as plain values for ``metrics.jsonl``.

    With a reward that sees frames there is no imitation return: rendering the episodes would take longer than playing.
    """
    returns = [trajectory.env_return or 0.0 for trajectory in episodes]
    imitation_return = None
    if training.sight is None:
        imitation_return = float(training.rewards_of(episodes, member).scores.sum(dim=1).mean())
    expert = training.expert_return
    successes = successes_of(episodes)
    times = [trajectory.success_step for trajectory in episodes if trajectory.success_step is not None]
    return {
        "eval_return": float(np.mean(returns)),
        "eval_returns": returns,
        "eval_length": float(np.mean([len(trajectory) for trajectory in episodes])),
        "eval_imitation_return": imitation_return,
        "eval_success": None if successes is None else float(np.mean(successes)),
        "eval_time_to_success": float(np.mean(times)) if times else None,
        "eval_ratio": float(np.mean(returns)) / expert if expert is not None and expert > 0 else None,
    }


def mean_success(rates: Iterable[float | None]) -> float | None:
    """The mean over seeds of success rates, None where nothing was said of it; None where nothing was of any seed."""
    rates = list(rates)
    return None if all(rate is None for rate in rates) else float(np.mean([rate or 0.0 for rate in rates]))


def mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean over seeds of every number that a row of metrics holds, to show while they train."""
    if len(rows) == 1:
        return rows[0]
    names = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, float))
    columns = {name: [row[name] for row in rows if isinstance(row.get(name), float)] for name in names}
    means: dict[str, Any] = {name: float(np.mean(column)) for name, column in columns.items()}
    if "eval_success" in means:
        means["eval_success"] = mean_success(row.get("eval_success") for row in rows)
    return {"step": rows[0].get("step")} | means


def summarize(training: Training, row: dict[str, Any], seed: int, random_return: float) -> dict[str, Any]:
    """``summary.json`` of one seed, from its last row of metrics."""
    config = training.config
    return {
        "env": config.env,
        "reward": config.reward,
        "agent": config.agent,
        "expert_return": training.expert_return,
        "random_return": random_return,
        "policy_return": row["eval_return"],
        "ratio": row["eval_ratio"],
        "success": row["eval_success"],
        "steps": training.step,
        "seconds": row["seconds"],
        "seed": seed,
        "protocol": config.protocol,
        "demo_sha256": training.demo_sha256,
    }


def summarize_together(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``summary.json`` of several seeds: what they share, the mean, and each seed's own under ``each``.

    The score of a seed is 0 for its random policy and 1 for the expert; its interquartile mean over the seeds comes
    with a 95 % bootstrap interval, if there are several. There is no score where the expert is unknown or no better
    than random.
    """
    first = summaries[0]
    alike = ("env", "reward", "agent", "expert_return", "steps", "seconds", "protocol", "demo_sha256")
    expert = first["expert_return"]
    found = [normalized_score(each["policy_return"], each["random_return"], expert) for each in summaries]
    scores = [score for score in found if score is not None]
    known = len(scores) == len(summaries)
    interval = bootstrap_interval(scores, interquartile_mean) if known else None
    columns = {name: [each[name] for each in summaries] for name in ("random_return", "policy_return", "ratio")}
    return {
        **{name: first[name] for name in alike},
        **{name: None if None in column else float(np.mean(column)) for name, column in columns.items()},
        "success": mean_success(each["success"] for each in summaries),
        "score_iqm": interquartile_mean(scores) if known else None,
        "score_interval": list(interval) if interval else None,
        "seeds": [each["seed"] for each in summaries],
        "each": list(summaries),
    }
