"""Off-policy learners: one file an algorithm, its hyper-parameters beside it."""

from ilfo.agents.base import Agent, Batch
from ilfo.agents.many import make_agent

__all__ = ["BUILT_IN", "Agent", "Batch", "make_agent"]

BUILT_IN = {
    "sac": "ilfo.agents.sac:SAC",
    "sb3-sac": "ilfo.adapters.stable_baselines3_agents:SB3SAC",
    "sb3-td3": "ilfo.adapters.stable_baselines3_agents:SB3TD3",
    "td3": "ilfo.agents.td3:TD3",
    "td7": "ilfo.agents.td7:TD7",
}
"""Name on the command line to ``module:Class``."""
