"""Batches of transitions that mean nothing, for one agent and for many."""

from dataclasses import fields

import torch

from ilfo.agents import Batch

OBSERVATIONS, ACTIONS = 5, 2


def random_batch(size: int = 32, seed: int = 0, terminated: float | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    ended = (torch.rand(size, generator=generator) < 0.3).float()
    return Batch(
        observations=torch.randn(size, OBSERVATIONS, generator=generator),
        actions=torch.rand(size, ACTIONS, generator=generator) * 2 - 1,
        rewards=torch.randn(size, generator=generator),
        next_observations=torch.randn(size, OBSERVATIONS, generator=generator),
        terminated=ended if terminated is None else torch.full((size,), terminated),
    )


def stacked(batches: list[Batch]) -> Batch:
    """One batch of many agents, from one of each."""
    return Batch(*(torch.stack([getattr(batch, field.name) for batch in batches]) for field in fields(Batch)))


def moved(batch: Batch, device: str) -> Batch:
    return Batch(*(getattr(batch, field.name).to(device) for field in fields(Batch)))
