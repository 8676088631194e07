"""How far runs came: numbers with their intervals, and how tables write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ilfo._tools.words import UNKNOWN, estimate
from ilfo.statistics import bootstrap_interval, interquartile_mean, wilson_interval

__all__ = ["Reached", "returns_in_words"]


class Reached(NamedTuple):
    """A rate or a score, and its 95 % interval; there is none of the score of a single seed."""

    value: float
    interval: tuple[float, float] | None

    @classmethod
    def of_successes(
        cls, counts: Sequence[Sequence[int]], distinct: Sequence[Sequence[int] | None] | None = None
    ) -> Reached | None:
        """The share of episodes that succeeded, with its Wilson interval; None where none was played.

        Args:
            counts: Of each seed, how many succeeded, of how many.
            distinct: The same of its distinct episodes: those that are identical count as one for the interval. Where
                that is not known of a seed, all of its episodes count.
        """
        successes, played = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        if not played:
            return None
        known = [own or all_of_it for own, all_of_it in zip(distinct or counts, counts, strict=True)]
        return cls(successes / played, wilson_interval(*(sum(column) for column in zip(*known, strict=True))))

    @classmethod
    def of_scores(cls, scores: Sequence[float]) -> Reached | None:
        """The interquartile mean of scores, with its bootstrap interval; None where there are none."""
        if not scores:
            return None
        return cls(interquartile_mean(scores), bootstrap_interval(scores, interquartile_mean))

    @property
    def ends(self) -> tuple[float, float]:
        """Those of the interval; the number itself, twice, where there is none."""
        return self.interval or (self.value, self.value)

    @property
    def error_bar(self) -> tuple[float, float]:
        """How far the interval goes below and above the number; NaN, of which nothing is drawn, where there is none."""
        if self.interval is None:
            return np.nan, np.nan
        low, high = self.interval
        return max(0.0, self.value - low), max(0.0, high - self.value)

    @property
    def in_percent(self) -> str:
        """Like ``86% (74% to 93%)``."""
        return estimate(self.value, self.interval, "{:.0%}")

    @property
    def in_decimals(self) -> str:
        """Like ``0.86 (0.74 to 0.93)``."""
        return estimate(self.value, self.interval, "{:.2f}")


def returns_in_words(returns: Sequence[float]) -> str:
    """The mean of the seeds' returns, with its bootstrap interval where there are several."""
    return estimate(float(np.mean(returns)), bootstrap_interval(returns), "{:,.1f}") if returns else UNKNOWN
