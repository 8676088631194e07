"""An agent on trial: what it is shown, and what it learns from."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ilfo.agents import Agent, Batch

__all__ = ["AgentTrial"]

HORIZON = 100
"""Time limit of an agent that is shown the time."""


class AgentTrial:
    """An agent on trial, and what it is shown."""

    def __init__(
        self, kind: type[Agent], options: Any, observation_dim: int, action_dim: int, device: torch.device
    ) -> None:
        self.kind, self.options, self.device = kind, options, device
        self.observation_dim, self.action_dim = observation_dim, action_dim

    def arguments(self, seed: int | list[int]) -> tuple[tuple[int, int, Any], dict[str, Any]]:
        """What the training loop calls the class with."""
        extra = {"horizon": HORIZON} if self.kind.takes_horizon else {}
        return (self.observation_dim, self.action_dim, self.options), {"device": self.device, "seed": seed, **extra}

    def make(self, seed: int | list[int] = 0) -> Agent:
        """A fresh agent, or several as one object."""
        positional, named = self.arguments(seed)
        return self.kind(*positional, **named)

    @cached_property
    def agent(self) -> Agent:
        """The agent whose attributes and actions are checked."""
        return self.make()

    def observations(self, rows: int, seed: int = 0) -> Tensor:
        """``(rows, D)``; the last column is a share of the time limit, as it is for agents that are shown the time."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(rows, self.observation_dim, generator=generator)
        drawn[:, -1] = drawn[:, -1].sigmoid()
        return drawn.to(self.device)

    def batch(self, number: int) -> Batch:
        """A different batch for each number."""
        size, generator = self.agent.batch_size, torch.Generator().manual_seed(number)
        return Batch(
            observations=self.observations(size, seed=2 * number),
            actions=(torch.rand(size, self.action_dim, generator=generator) * 2 - 1).to(self.device),
            rewards=torch.randn(size, generator=generator).to(self.device),
            next_observations=self.observations(size, seed=2 * number + 1),
            terminated=(torch.rand(size, generator=generator) < 0.1).float().to(self.device),
        )

    def practise(self, agent: Agent, updates: int, first: int = 0) -> list[dict[str, Tensor]]:
        """Updates and, if the agent trains between episodes, ends of episodes that get better each time."""
        return [self.learn(agent, self.batch(number), number) for number in range(first, first + updates)]

    def learn(self, agent: Agent, batch: Batch, number: int) -> dict[str, Tensor]:
        """The update of that number and, if the agent trains between episodes, the end of an episode."""
        found = agent.update(batch)
        if agent.trains_between_episodes:
            agent.end_episode(float(number), 10)
        return found
