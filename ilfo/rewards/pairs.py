"""Episodes and demonstrations as transport problems: masses, costs, and the state after a termination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pairs", "Sequences", "lone_shares"]


@dataclass(frozen=True)
class Sequences:
    """Sequences of atoms of different lengths, padded at the end.

    Attributes:
        atoms: ``(B, T, F)``, 0 in the padding.
        lengths: ``(B,)`` int64, number of atoms of each sequence.
        terminated: ``(B,)`` bool; the absorbing state follows.
    """

    atoms: Tensor
    lengths: Tensor
    terminated: Tensor

    @classmethod
    def pad(cls, sequences: Sequence[Tensor], terminated: Sequence[bool]) -> Sequences:
        """Of sequences ``(T, F)``."""
        return cls(
            torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True),
            torch.tensor([len(sequence) for sequence in sequences]),
            torch.tensor(list(terminated)),
        )

    def like(self, atoms: Tensor) -> Sequences:
        """In the dtype and on the device of other atoms."""
        return Sequences(self.atoms.to(atoms), self.lengths.to(atoms.device), self.terminated.to(atoms.device))

    def last(self) -> Tensor:
        """The last atom ``(B, F)`` of each sequence."""
        return self.atoms[torch.arange(len(self.lengths), device=self.lengths.device), self.lengths - 1]

    def durations(self, horizon: Tensor) -> Tensor:
        """Steps ``(B,)`` of each sequence and of the absorbing state that follows it until the horizon."""
        return torch.where(self.terminated, horizon, self.lengths)

    def masses(self, horizon: Tensor) -> Tensor:
        """Mass of each atom and, in the last column, of the absorbing state: rows ``(B, T+1)`` that sum to 1."""
        each = 1.0 / self.durations(horizon).to(self.atoms)
        happened = torch.arange(self.atoms.shape[1], device=each.device) < self.lengths[:, None]
        absorbing = torch.where(self.terminated, (horizon - self.lengths) * each, 0.0)
        return torch.cat([happened * each[:, None], absorbing[:, None]], dim=1)


@dataclass(frozen=True)
class Pairs:
    """Transport problems, each between one episode and one demonstration.

    The last row and the last column of a problem are the absorbing states: ``absorbing_cost`` from every atom, and
    free from one to the other.

    Attributes:
        episodes: All episodes.
        experts: All demonstrations, of the same dtype and on the same device.
        episode: ``(P,)`` int64, the episode of each problem.
        expert: ``(P,)`` int64, its demonstration.
        cost: Gives the costs ``(k, r, M)`` between atoms ``(k, r, F)`` and ``(k, M, F)``.
        absorbing_cost: Cost between the absorbing state and an atom.
    """

    episodes: Sequences
    experts: Sequences
    episode: Tensor
    expert: Tensor
    cost: Callable[[Tensor, Tensor], Tensor]
    absorbing_cost: float

    @classmethod
    def every(
        cls,
        episodes: Sequences,
        experts: Sequences,
        cost: Callable[[Tensor, Tensor], Tensor],
        absorbing_cost: float,
    ) -> Pairs:
        """Each demonstration with each episode: problem ``e * B + b`` is between episode ``b`` and expert ``e``."""
        batch, count, device = len(episodes.lengths), len(experts.lengths), episodes.atoms.device
        episode = torch.arange(batch, device=device).repeat(count)
        expert = torch.arange(count, device=device).repeat_interleave(batch)
        return cls(episodes, experts, episode, expert, cost, absorbing_cost)

    def masses(self) -> tuple[Tensor, Tensor]:
        """Masses ``(P, T+1)`` of the rows and ``(P, M+1)`` of the columns.

        An episode or a demonstration that terminated is followed by the absorbing state until the horizon: the
        longest demonstration's, or the episode's own if that is longer.
        """
        horizon, rows, columns = self._sides()
        return rows.masses(horizon), columns.masses(horizon)

    def durations(self) -> tuple[Tensor, Tensor]:
        """Steps ``(P,)`` that the mass of the rows, and of the columns, is shared by."""
        horizon, rows, columns = self._sides()
        return rows.durations(horizon), columns.durations(horizon)

    def _sides(self) -> tuple[Tensor, Sequences, Sequences]:
        """The horizon of each problem, its episode and its demonstration; all atoms are left where they are."""
        horizon = self.episodes.lengths.clamp(min=int(self.experts.lengths.max()))[self.episode]
        rows = Sequences(
            self.episodes.atoms, self.episodes.lengths[self.episode], self.episodes.terminated[self.episode]
        )
        columns = Sequences(self.experts.atoms, self.experts.lengths[self.expert], self.experts.terminated[self.expert])
        return horizon, rows, columns

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
        """Costs ``(k, r, M)`` between the steps themselves, those in the padding included."""
        x, y = self.episodes.atoms[self.episode[problems], rows], self.experts.atoms[self.expert[problems]]
        return self.cost(x, y)


def lone_shares(episodes: Sequences, experts: Sequences) -> Tensor:
    """Share ``(E, B)`` of the time from each episode's end to the horizon through which each demonstration lives on.

    The horizon is that of :meth:`Pairs.masses`. At the horizon no time is left, and what counts is how the
    demonstration ended: 0 where it terminated too, 1 where it did not.
    """
    horizon = episodes.lengths.clamp(min=int(experts.lengths.max()))
    ends = torch.where(experts.terminated[:, None], experts.lengths[:, None], horizon)
    left = (horizon - episodes.lengths).to(episodes.atoms)
    alone = (ends - episodes.lengths).clamp(min=0) / left.clamp(min=1)
    return torch.where(left > 0, alone, (~experts.terminated[:, None]).to(alone))
