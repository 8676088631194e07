"""Transport problems between episodes and demonstrations: masses, costs, and the state after a termination."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ilfo.rewards.atoms import ExpertAtoms, Sequences

__all__ = ["Pairs"]

ALIKE = 2
"""Demonstrations that are batched together, padded to the longest of them, differ in length by less than this factor:
less is then spent on padding than on what is needed."""


@dataclass(frozen=True)
class Pairs:
    """Transport problems, each between one episode and one demonstration.

    The last row and the last column of a problem are the absorbing states: they are ``absorbing_cost`` from every
    atom, and 0 from each other.

    Attributes:
        episodes: All episodes.
        experts: All demonstrations, of the same dtype and on the same device.
        episode: ``(P,)`` int64, the episode of each problem; on the CPU, to sort problems without waiting for a device.
        expert: ``(P,)`` int64, its demonstration; likewise.
        width: Columns ``M`` of a problem without the absorbing one, at least as many as its demonstration has atoms.
        cost: Gives the costs ``(k, r, M)`` between atoms ``(k, r, F)`` and ``(k, M, F)``.
        absorbing_cost: Cost between the absorbing state and an atom.
    """

    episodes: Sequences
    experts: ExpertAtoms
    episode: Tensor
    expert: Tensor
    width: int
    cost: Callable[[Tensor, Tensor], Tensor]
    absorbing_cost: float

    @classmethod
    def every(
        cls,
        episodes: Sequences,
        experts: ExpertAtoms,
        cost: Callable[[Tensor, Tensor], Tensor],
        absorbing_cost: float,
    ) -> Pairs:
        """Each demonstration with each episode: problem ``e * B + b`` is between episode ``b`` and expert ``e``."""
        batch, count = len(episodes.lengths), len(experts.counts)
        episode, expert = torch.arange(batch).repeat(count), torch.arange(count).repeat_interleave(batch)
        return cls(episodes, experts, episode, expert, experts.longest, cost, absorbing_cost)

    @property
    def lengths(self) -> Tensor:
        """Atoms of the demonstration of each problem, ``(P,)`` int64 on the CPU."""
        return torch.tensor(self.experts.counts)[self.expert]

    def part(self, problems: slice | Tensor) -> Pairs:
        """Some of the problems, by index, no wider than the longest of their demonstrations."""
        expert = self.expert[problems]
        width = max(self.experts.counts[index] for index in expert.tolist())
        return replace(self, episode=self.episode[problems], expert=expert, width=width)

    def parts(self) -> Iterator[tuple[Tensor, Pairs]]:
        """Yields the problems in groups whose demonstrations are of similar length, after the indices of each group."""
        lengths, left = self.lengths, torch.arange(len(self.expert))
        while len(left):
            alike = ALIKE * lengths[left] > lengths[left].max()
            yield left[alike], self.part(left[alike])
            left = left[~alike]

    def masses(self) -> tuple[Tensor, Tensor]:
        """Masses ``(P, T+1)`` of the rows and ``(P, M+1)`` of the columns.

        An episode or a demonstration that terminated is followed by the absorbing state until the horizon: the
        longest demonstration's, or the episode's own if that is longer.
        """
        horizon, rows, columns = self._sides()
        steps, like = self.episodes.atoms.shape[1], self.episodes.atoms
        return rows.masses(horizon, steps, like), columns.masses(horizon, self.width, like)

    def durations(self) -> tuple[Tensor, Tensor]:
        """Steps ``(P,)`` that share the mass of the rows, and steps that share the mass of the columns."""
        horizon, rows, columns = self._sides()
        return rows.durations(horizon), columns.durations(horizon)

    def _sides(self) -> tuple[Tensor, _Ends, _Ends]:
        """The horizon of each problem, and the ends of its episode and of its demonstration."""
        horizon = self.episodes.lengths.clamp(min=self.experts.longest)[self.episode]
        rows = _Ends(self.episodes.lengths[self.episode], self.episodes.terminated[self.episode])
        return horizon, rows, _Ends(self.experts.lengths[self.expert], self.experts.terminated[self.expert])

    def costs(self, problems: slice, rows: slice) -> Tensor:
        """Costs ``(k, r, M+1)`` of some rows of some problems."""
        steps = self.episodes.atoms.shape[1]
        start, stop, _ = rows.indices(steps + 1)
        living = self.living_costs(problems, slice(start, min(stop, steps)))
        costs = living.new_full((len(living), stop - start, living.shape[2] + 1), self.absorbing_cost)
        costs[:, : living.shape[1], :-1] = living
        if stop > steps:
            costs[:, -1, -1] = 0.0
        return costs

    def living_costs(self, problems: slice, rows: slice) -> Tensor:
        """Costs ``(k, r, M)`` between the steps themselves, including the padding."""
        x = self.episodes.atoms[self.episode[problems], rows]
        return self.cost(x, self.experts.padded(self.expert[problems], self.width))


@dataclass(frozen=True)
class _Ends:
    """How long some sequences last, and whether they terminated, ``(P,)`` each."""

    lengths: Tensor
    terminated: Tensor

    def durations(self, horizon: Tensor) -> Tensor:
        """Steps ``(P,)`` of each sequence and of the absorbing state that follows it until the horizon."""
        return torch.where(self.terminated, horizon, self.lengths)

    def masses(self, horizon: Tensor, width: int, like: Tensor) -> Tensor:
        """Mass of each atom and, in the last column, of the absorbing state: rows ``(P, width+1)`` that sum to 1."""
        each = 1.0 / self.durations(horizon).to(like)
        happened = torch.arange(width, device=each.device) < self.lengths[:, None]
        absorbing = torch.where(self.terminated, (horizon - self.lengths) * each, 0.0)
        return torch.cat([happened * each[:, None], absorbing[:, None]], dim=1)
