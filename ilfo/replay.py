"""Replay: the transitions that an agent learns from, on its device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ilfo.agents import Batch

__all__ = ["Replay"]


class Replay:
    """A ring of transitions, preallocated on one device and sampled uniformly with replacement.

    Args:
        capacity: Most transitions held; beyond it the oldest give way.
        observation_dim: Width ``D``.
        action_dim: Width ``A``.
        device: Where the arrays live and batches are made.
        seed: Seed of the sampling.
    """

    _COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminated")

    def __init__(
        self,
        capacity: int,
        observation_dim: int,
        action_dim: int,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.capacity = capacity
        self.device = torch.device(device)
        widths: dict[str, tuple[int, ...]] = {
            "observations": (observation_dim,),
            "actions": (action_dim,),
            "rewards": (),
            "next_observations": (observation_dim,),
            "terminated": (),
        }
        self._data = {name: torch.zeros((capacity, *widths[name]), device=self.device) for name in self._COLUMNS}
        self._next = 0
        self._size = 0
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def __len__(self) -> int:
        return self._size

    @property
    def num_bytes(self) -> int:
        """Bytes of all the arrays."""
        return sum(column.nbytes for column in self._data.values())

    def add(self, batch: Batch) -> None:
        """Appends the transitions of a batch, oldest first. A batch longer than the ring keeps its last rows."""
        count = len(batch.rewards)
        for name, column in self._data.items():
            rows = getattr(batch, name)[-self.capacity :].to(self.device)
            first = min(len(rows), self.capacity - self._next)
            column[self._next : self._next + first] = rows[:first]
            column[: len(rows) - first] = rows[first:]
        self._next = (self._next + min(count, self.capacity)) % self.capacity
        self._size = min(self._size + count, self.capacity)

    def sample(self, batch_size: int) -> Batch:
        """Draws ``batch_size`` transitions.

        Raises:
            IndexError: Nothing has been added yet.
        """
        if not self._size:
            raise IndexError("the replay is empty: add transitions before sampling")
        rows = torch.randint(self._size, (batch_size,), generator=self._generator, device=self.device)
        return Batch(**{name: column.index_select(0, rows) for name, column in self._data.items()})

    def state_dict(self) -> dict[str, Any]:
        """The filled part of the arrays, the write position and the sampling generator."""
        data: dict[str, Tensor] = {name: column[: self._size].clone() for name, column in self._data.items()}
        return {"data": data, "next": self._next, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        self._size = len(state["data"]["rewards"])
        for name, column in self._data.items():
            column[: self._size] = state["data"][name]
        self._next = state["next"]
        self._generator.set_state(state["generator"].cpu())
