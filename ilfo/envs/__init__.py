"""Environments: made by their ids, in lockstep, drawn and filmed; episodes that a policy plays in them."""

from ilfo.envs.drawing import RenderError
from ilfo.envs.environments import Environments, Steps
from ilfo.envs.making import (
    Description,
    Protocol,
    describe,
    goal_of,
    has_script,
    has_success,
    make_env,
    success_of,
)
from ilfo.envs.rollouts import Policy, Stage, random_policy, rollout, successes_of
from ilfo.envs.wrappers import FixedHorizon, RepeatAction, SameStart, TellGoal

__all__ = [
    "Description",
    "Environments",
    "FixedHorizon",
    "Policy",
    "Protocol",
    "RenderError",
    "RepeatAction",
    "SameStart",
    "Stage",
    "Steps",
    "TellGoal",
    "describe",
    "goal_of",
    "has_script",
    "has_success",
    "make_env",
    "random_policy",
    "rollout",
    "success_of",
    "successes_of",
]
