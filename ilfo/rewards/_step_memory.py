"""The memory of steps that a discriminator samples from, including the absorbing ones after a termination."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["StepMemory"]


class StepMemory:
    """A ring of the latest states of whole episodes, with the number of steps that begin at each.

    One step begins at every state except the last of an episode. At that one, a termination begins any number of
    absorbing steps, which are counted, not stored: a step is drawn by its number among all. A state is stored once,
    although it ends one step and begins the next. When the ring is full, the oldest states are overwritten, and the
    steps that began at them are forgotten.

    Args:
        capacity: States that it holds, at least 2.
        width: Features ``F`` of a state.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self._states = torch.zeros(capacity, width)
        # Counts stay on the CPU: drawing then never waits for a device.
        self._beginning = torch.zeros(capacity, dtype=torch.int64)
        self._last = torch.zeros(capacity, dtype=torch.bool)
        self._next = self._written = 0
        self._count()

    def __len__(self) -> int:
        """Steps that can be drawn, absorbing ones included."""
        return int(self._ends[-1])

    def add(self, states: Tensor, absorbing: int) -> None:
        """Adds an episode; of one that is longer than the memory, only the end.

        Args:
            states: ``(T+1, F)``, its features.
            absorbing: Steps into and within the absorbing state that follow the last state.
        """
        capacity = len(self._states)
        states = states[-capacity:]
        rows = (self._next + torch.arange(len(states))) % capacity
        self._states[rows.to(states.device)] = states
        self._beginning[rows] = 1
        self._beginning[rows[-1]] = absorbing
        self._last[rows] = False
        self._last[rows[-1]] = True
        self._next = int(rows[-1] + 1) % capacity
        self._written = min(self._written + len(states), capacity)
        self._count()

    def steps(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The steps with these numbers, ``(n,)`` int64 between 0 and ``len(self) - 1``, on the CPU.

        Returns:
            The states ``(n, F)`` before them, those after, and ``(n,)`` bool, whether a step is absorbing; its states
            are then arbitrary. All on the device of the memory.
        """
        rows = torch.searchsorted(self._ends, numbers, right=True)
        absorbing = self._last[rows].to(self._states.device)
        rows = rows.to(self._states.device)
        return self._states[rows], self._states[(rows + 1) % len(self._states)], absorbing

    def to(self, device: torch.device) -> StepMemory:
        """Moves the states; returns itself."""
        self._states = self._states.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """The contents, as tensors and plain values, without rows that were never written."""
        return {
            "capacity": len(self._states),
            "next": self._next,
            "states": self._states[: self._written].clone(),
            "beginning": self._beginning[: self._written].clone(),
            "last": self._last[: self._written].clone(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> StepMemory:
        """A memory on the CPU, restored from what :meth:`state_dict` returned."""
        written, width = state["states"].shape
        memory = cls(state["capacity"], width)
        memory._states[:written] = state["states"].cpu()
        memory._beginning[:written] = state["beginning"].cpu()
        memory._last[:written] = state["last"].cpu()
        memory._next, memory._written = state["next"], written
        memory._count()
        return memory

    def _count(self) -> None:
        self._ends = self._beginning.cumsum(dim=0)
