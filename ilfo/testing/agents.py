"""Does an agent keep the contract of :mod:`ilfo.agents.base`?"""

from __future__ import annotations

from typing import Any

import torch

from ilfo.agents import Agent
from ilfo.testing._agent_clauses import CLAUSES
from ilfo.testing._agent_trial import AgentTrial
from ilfo.testing._contract import examine
from ilfo.testing._options import undocumented

__all__ = ["check_agent"]


def check_agent(
    agent: type[Agent],
    options: Any = None,
    *,
    observation_dim: int = 5,
    action_dim: int = 2,
    device: torch.device | str = "cpu",
) -> tuple[str, ...]:
    """Tries an agent on random observations and batches.

    It checks neither what the agent learns nor whether ``compile=True`` gives the same, which would take a minute.

    Args:
        agent: The class.
        options: An instance of its ``Options``; None for the defaults.
        observation_dim: Width of an observation.
        action_dim: Width of an action.
        device: Where it lives.

    Returns:
        Remarks: what keeps the contract, but is worth a look.

    Raises:
        ContractError: It breaks the contract; says of each broken clause what was found and what to do.

    Example:
        >>> from ilfo.agents.td3 import TD3, TD3Options
        >>> check_agent(TD3, TD3Options(hidden_dim=32))
        ()
    """
    trial = AgentTrial(agent, options, observation_dim, action_dim, torch.device(device))
    examine(trial, CLAUSES, getattr(agent, "__qualname__", repr(agent)), "an agent (ilfo.agents.Agent)")
    return tuple(undocumented(agent.Options))
