"""The names of the reward generators that come with the package."""

from __future__ import annotations

__all__ = ["BUILT_IN"]

BUILT_IN: dict[str, str] = {
    "environment": "ilfo.rewards.environment:EnvironmentReward",
    "transport": "ilfo.rewards.transport:OptimalTransport",
}
"""Name on the command line to ``module:Class``."""
