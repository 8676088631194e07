"""Summaries of a few measurements: the interquartile mean, and intervals that say how sure it is.

The definitions are those of "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (arXiv
2108.13264), whose library is rliable.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ilfo._tools.errors import InputError

__all__ = ["bootstrap_interval", "interquartile_mean", "normalized_score", "wilson_interval"]


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half: the lowest and the highest quarter of all values are left out.

    Args:
        values: Any shape; runs and tasks are pooled. The count left out at either end is rounded down.

    Raises:
        InputError: There is no value.

    Examples:
        >>> interquartile_mean([0, 1, 2, 3, 4, 5, 6, 1000])
        3.5
    """
    ordered = np.sort(_flat(values))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def normalized_score(value: float, random: float | None, expert: float | None) -> float | None:
    """A return, normalised so that a random policy scores 0 and the expert 1.

    Returns:
        The score; None where an end of the scale is unknown, or the expert is no better than random.

    Examples:
        >>> normalized_score(75.0, random=50.0, expert=100.0)
        0.5
    """
    if random is None or expert is None or expert <= random:
        return None
    return (value - random) / (expert - random)


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a statistic: how much it would vary over other draws of as many values.

    Args:
        values: The measurements, pooled; resampled with replacement, without strata.
        statistic: One number from an array ``(N,)``.
        confidence: Share of the resampled statistics inside the interval.
        resamples: How many times.
        seed: Of the resampling.

    Returns:
        Lower and upper end; None for a single value, which says nothing of the spread.

    Raises:
        InputError: There is no value.

    Examples:
        >>> low, high = bootstrap_interval([9.0, 10.0, 11.0, 10.0, 10.0])
        >>> low < 10.0 < high
        True
    """
    flat = _flat(values)
    if len(flat) < 2:
        return None
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(flat), size=(resamples, len(flat)))
    resampled = [float(statistic(flat[draw])) for draw in draws]
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a success rate, which stays honest at 0 and at 1.

    Args:
        successes: How many of the trials succeeded.
        n: How many trials there were.
        confidence: Of the interval.

    Raises:
        InputError: No trial, or more successes than trials.

    Examples:
        >>> low, high = wilson_interval(10, 10)
        >>> round(low, 3), round(high, 3)
        (0.722, 1.0)
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{successes} successes in {n} trials: expected at least 1 trial, and 0 to {n} successes")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, spread = successes / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = z * float(np.sqrt(rate * (1 - rate) / n + spread / (4 * n))) / (1 + spread)
    # At 0 and at 1 an end is the rate itself, up to rounding.
    return max(min(centre - half, rate), 0.0), min(max(centre + half, rate), 1.0)


def _flat(values: ArrayLike) -> np.ndarray:
    flat = np.asarray(values, dtype=np.float64).ravel()
    if not len(flat):
        raise InputError("no values to summarise; expected at least one")
    return flat
