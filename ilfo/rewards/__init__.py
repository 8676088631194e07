"""Reward generators: turn demonstrations into a reward."""

from ilfo.rewards.base import Episodes, Explanation, RewardGenerator
from ilfo.rewards.combination import SumReward
from ilfo.rewards.costs import cost_matrix
from ilfo.rewards.coverage import CoverageOptions, OrderedCoverage
from ilfo.rewards.discriminator import Discriminator, DiscriminatorOptions
from ilfo.rewards.distillation import DistillationOptions, RandomExpertDistillation
from ilfo.rewards.environment import EnvironmentReward
from ilfo.rewards.exact import exact_plan
from ilfo.rewards.features import ColumnOptions, FeatureOptions, StateFeatures
from ilfo.rewards.flow import Flow, FlowOptions
from ilfo.rewards.labelling import without_terminations
from ilfo.rewards.matching import Matching, MatchingOptions
from ilfo.rewards.nearest import NearestStep, SegmentMatch, SegmentOptions
from ilfo.rewards.pwil import PWIL, PWILOptions
from ilfo.rewards.registry import BUILT_IN, make_reward
from ilfo.rewards.scaling import ScaledReward, Scaling, ScalingOptions
from ilfo.rewards.sinkhorn import sinkhorn_plan
from ilfo.rewards.temporal import TemporalOptions, TemporalTransport
from ilfo.rewards.transport import OptimalTransport, TransportOptions

__all__ = [
    "BUILT_IN",
    "PWIL",
    "ColumnOptions",
    "CoverageOptions",
    "Discriminator",
    "DiscriminatorOptions",
    "DistillationOptions",
    "EnvironmentReward",
    "Episodes",
    "Explanation",
    "FeatureOptions",
    "Flow",
    "FlowOptions",
    "Matching",
    "MatchingOptions",
    "NearestStep",
    "OptimalTransport",
    "OrderedCoverage",
    "PWILOptions",
    "RandomExpertDistillation",
    "RewardGenerator",
    "ScaledReward",
    "Scaling",
    "ScalingOptions",
    "SegmentMatch",
    "SegmentOptions",
    "StateFeatures",
    "SumReward",
    "TemporalOptions",
    "TemporalTransport",
    "TransportOptions",
    "cost_matrix",
    "exact_plan",
    "make_reward",
    "sinkhorn_plan",
    "without_terminations",
]
