"""Off-policy learners: one file an algorithm, its hyper-parameters beside it."""

from ilfo.agents.base import Agent, Batch
from ilfo.agents.many import make_agent

__all__ = ["BUILT_IN", "Agent", "Batch", "make_agent"]

BUILT_IN = {"td3": "ilfo.agents.td3:TD3", "td7": "ilfo.agents.td7:TD7"}
"""Name on the command line to ``module:Class``."""
