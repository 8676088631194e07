"""Which transitions of a replay are drawn more often than others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Priorities"]


class Priorities:
    """A priority for every place of ``S`` rings: places are drawn in proportion to it, and empty ones never.

    New transitions enter with the largest priority that their ring has seen. That maximum is measured anew from time to
    time, or one early outlier would set it for good (TD7, arXiv 2306.02451, appendix A).

    Args:
        members: Number of rings ``S``.
        capacity: Places of each.
        refresh_every: Updates between two measurements of the largest priority.
        device: Where the priorities live.

    Notes:
        Drawing takes a running sum over all places, which for a million still takes less time than an agent's update.
        The sum is float64: in float32, rounding would decide whether the last of a million places are drawn.
    """

    def __init__(self, members: int, capacity: int, refresh_every: int, device: torch.device | str = "cpu") -> None:
        self._capacity, self._refresh_every = capacity, refresh_every
        self._values = torch.zeros((members, capacity), device=device)
        self._largest = torch.ones(members, device=device)
        self._updates = [0] * members

    def enter(self, places: Tensor) -> None:
        """Gives the largest priority to places ``(n,)``, numbered through all the rings."""
        largest = self._largest[torch.div(places, self._capacity, rounding_mode="floor")]
        self._values.view(-1).index_copy_(0, places, largest)

    def leave(self, places: Tensor) -> None:
        """Stops places ``(n,)``, numbered through all the rings, from being drawn."""
        self._values.view(-1).index_fill_(0, places, 0.0)

    def draw(self, members: Sequence[int], filled: int, uniform: Tensor) -> Tensor:
        """Draws places from some rings.

        Args:
            members: ``M`` rings.
            filled: No place from here on was ever entered.
            uniform: ``(M, B)`` float64 in [0, 1), on the device.

        Returns:
            ``(M, B)`` int64, each counted within its ring.
        """
        sums = self._values[list(members), :filled].cumsum(dim=1, dtype=torch.float64)
        return torch.searchsorted(sums, uniform * sums[:, -1:], right=True).clamp_(max=filled - 1)

    def update(self, members: Sequence[int], places: Tensor, priorities: Tensor, filled: int) -> None:
        """Sets new priorities for what was drawn.

        Args:
            members: ``M`` rings.
            places: ``(M, B)``, each counted within its ring; of a place that occurs twice, one priority counts.
            priorities: ``(M, B)``, above 0.
            filled: As in :meth:`draw`.
        """
        for row, member in enumerate(members):
            values = self._values[member]
            values.index_copy_(0, places[row], priorities[row])
            torch.maximum(self._largest[member], priorities[row].max(), out=self._largest[member])
            self._updates[member] += 1
            if self._updates[member] % self._refresh_every == 0:
                self._largest[member] = values[:filled].max()

    def state_dict(self, member: int, filled: int) -> dict[str, Any]:
        """One ring's priorities, as far as it is filled."""
        return {
            "values": self._values[member, :filled].clone(),
            "largest": float(self._largest[member]),
            "updates": self._updates[member],
        }

    def load_state_dict(self, member: int, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        self._values[member] = 0.0
        self._values[member, : len(state["values"])] = state["values"].to(self._values)
        self._largest[member] = state["largest"]
        self._updates[member] = state["updates"]
