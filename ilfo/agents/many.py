"""Agents of one seed or of many, behind the same calls."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ilfo.agents._population import stack_states, unstack_state
from ilfo.agents.base import Agent, Batch

__all__ = ["Separate", "load_states", "make_agent", "states_of"]


def make_agent(
    kind: type[Agent],
    observation_dim: int,
    action_dim: int,
    options: Any = None,
    *,
    device: torch.device | str = "cpu",
    seed: int | Sequence[int] = 0,
    compile: bool = False,
    horizon: int | None = None,
) -> Agent:
    """One agent for a seed; for a sequence of seeds, as many at once, stacked where the class can.

    Warns:
        UserWarning: The class has no compiled form, or no stacked one; the plain form is used.
    """
    extra: dict[str, Any] = {"horizon": horizon} if kind.takes_horizon else {}
    if compile and kind.compiles:
        extra["compile"] = True
    elif compile:
        warnings.warn(f"--compile: {kind.__name__} has no compiled form; going on without", stacklevel=2)
    seed = seed if isinstance(seed, Sequence) else int(seed)  # It may be a number of NumPy's.
    if isinstance(seed, int) or kind.can_stack(options):
        return kind(observation_dim, action_dim, options, device=device, seed=seed, **extra)  # type: ignore[arg-type]
    how = " under these options" if kind.stacks else ""
    warnings.warn(f"{kind.__name__} cannot stack seeds{how}: they are updated in turn", stacklevel=2)
    return Separate([kind(observation_dim, action_dim, options, device=device, seed=own, **extra) for own in seed])


class Separate(Agent):
    """Many agents of a class that cannot be stacked, updated in turn.

    Args:
        agents: One for each seed.
    """

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.agents = list(agents)
        first = agents[0]
        self.batch_size, self.discount = first.batch_size, first.discount
        self.refresh_priorities_every = first.refresh_priorities_every
        self.trains_between_episodes, self.plays_best = first.trains_between_episodes, first.plays_best

    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """``(S, B, D)`` to ``(S, B, A)``."""
        return torch.stack([agent.act(own, explore) for agent, own in zip(self.agents, observations, strict=True)])

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of each on its own ``batch[s]``; metrics ``(S,)``."""
        found = [agent.update(batch.of_seed(index)) for index, agent in enumerate(self.agents)]
        if self.refresh_priorities_every:
            self.priorities = torch.stack([agent.priorities for agent in self.agents])
        return {name: torch.stack([torch.as_tensor(metrics[name]) for metrics in found]) for name in found[0]}

    def state_dict(self) -> dict[str, Any]:
        """The states of all."""
        return {"agents": [agent.state_dict() for agent in self.agents]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        for agent, own in zip(self.agents, state["agents"], strict=True):
            agent.load_state_dict(own)


def states_of(agent: Agent, count: int | None) -> list[dict[str, Any]]:
    """The state of each of ``count`` agents in one object, as if it were alone; None: the object is a single agent."""
    state = agent.state_dict()
    if count is None:
        return [state]
    if isinstance(agent, Separate):
        separate: list[dict[str, Any]] = state["agents"]
        return separate
    return [unstack_state(state, index) for index in range(count)]


def load_states(agent: Agent, states: Sequence[dict[str, Any]], count: int | None) -> None:
    """Restores what :func:`states_of` returned, or the states of as many agents that were trained alone."""
    if count is None:
        agent.load_state_dict(states[0])
    elif isinstance(agent, Separate):
        agent.load_state_dict({"agents": list(states)})
    else:
        agent.load_state_dict(stack_states(states))
