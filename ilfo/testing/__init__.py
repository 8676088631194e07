"""Checks for authors of rewards and agents: does yours keep the contract?"""

from ilfo.testing._contract import ContractError
from ilfo.testing.agents import check_agent
from ilfo.testing.rewards import RewardSummary, check_reward

__all__ = ["ContractError", "RewardSummary", "check_agent", "check_reward"]
