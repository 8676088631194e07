"""Reward generators: turn demonstrations into a reward."""

from ilfo.rewards.base import Episodes, Explanation, RewardGenerator
from ilfo.rewards.costs import cost_matrix
from ilfo.rewards.environment import EnvironmentReward
from ilfo.rewards.features import FeatureOptions, StateFeatures
from ilfo.rewards.plans import exact_plan, sinkhorn_plan
from ilfo.rewards.registry import BUILT_IN
from ilfo.rewards.transport import OptimalTransport, TransportOptions

__all__ = [
    "BUILT_IN",
    "EnvironmentReward",
    "Episodes",
    "Explanation",
    "FeatureOptions",
    "OptimalTransport",
    "RewardGenerator",
    "StateFeatures",
    "TransportOptions",
    "cost_matrix",
    "exact_plan",
    "sinkhorn_plan",
]
