"""For whoever writes a reward or an agent of their own: does it keep the contract?"""

from ilfo.testing._contract import ContractError
from ilfo.testing.agents import check_agent
from ilfo.testing.rewards import RewardSummary, check_reward

__all__ = ["ContractError", "RewardSummary", "check_agent", "check_reward"]
