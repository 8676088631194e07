"""Running means of metrics, kept on the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Averages"]


class Averages:
    """Sums metrics between two log points without a synchronisation; reading them empties it.

    Args:
        members: How many seeds are measured side by side, ``S``.
    """

    def __init__(self, members: int = 1) -> None:
        self._members = members
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, list[int]] = {}
        self._own: list[dict[str, tuple[float, int]]] = [{} for _ in range(members)]

    def add(self, metrics: Mapping[str, Tensor | float], member: int | None = None) -> None:
        """Adds a value of each metric for every seed, ``(S,)``; a scalar for one seed, or where there is one only."""
        members = range(self._members) if member is None else [member]
        for name, value in metrics.items():
            value = torch.as_tensor(value).reshape(len(members))
            if len(members) < self._members:
                value = torch.nn.functional.pad(value, (members[0], self._members - 1 - members[0]))
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            counts = self._counts.setdefault(name, [0] * self._members)
            for each in members:
                counts[each] += 1

    def add_own(self, member: int, metrics: Mapping[str, float]) -> None:
        """Adds a value of each metric for one seed, such as those of an episode that ended: any type of number."""
        for name, value in metrics.items():
            total, count = self._own[member].get(name, (0.0, 0))
            self._own[member][name] = total + float(value), count + 1

    def read(self) -> list[dict[str, float]]:
        """Of each seed, the means since the last reading by name."""
        totals = {name: total.tolist() for name, total in self._sums.items()}
        means = [
            {
                name: total[member] / self._counts[name][member]
                for name, total in totals.items()
                if self._counts[name][member]
            }
            | {name: total / count for name, (total, count) in own.items()}
            for member, own in enumerate(self._own)
        ]
        self._sums, self._counts, self._own = {}, {}, [{} for _ in range(self._members)]
        return means

    def state_dicts(self) -> list[dict[str, Any]]:
        """The sums under way, of each seed."""
        return [
            {
                "sums": {name: total[member].clone() for name, total in self._sums.items()},
                "counts": {name: counts[member] for name, counts in self._counts.items()},
                "own": {name: list(pair) for name, pair in own.items()},
            }
            for member, own in enumerate(self._own)
        ]

    def load_state_dicts(self, states: Sequence[Mapping[str, Any]], device: torch.device | str = "cpu") -> None:
        """Restores what :meth:`state_dicts` returned, with the sums on the device that more will come from.

        The states may be of different moments, and some lack a metric that others have.
        """
        names = dict.fromkeys(name for state in states for name in state["counts"])
        self._counts = {name: [state["counts"].get(name, 0) for state in states] for name in names}
        self._sums = {
            name: torch.stack([torch.as_tensor(state["sums"].get(name, 0.0), device=device) for state in states])
            for name in names
        }
        self._own = [{name: (total, count) for name, (total, count) in state["own"].items()} for state in states]
