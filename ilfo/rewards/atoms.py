"""Episodes and demonstrations as sequences of atoms, which is what is compared: a state, or a pair ``(s, s')``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["ExpertAtoms", "Sequences", "lone_shares"]


@dataclass(frozen=True)
class Sequences:
    """Episodes as sequences of atoms of different lengths, padded at the end.

    Attributes:
        atoms: ``(B, T, F)``, 0 in the padding.
        lengths: ``(B,)`` int64, number of atoms of each sequence.
        terminated: ``(B,)`` bool; the absorbing state follows.
    """

    atoms: Tensor
    lengths: Tensor
    terminated: Tensor

    def last(self) -> Tensor:
        """The last atom ``(B, F)`` of each sequence."""
        return self.atoms[torch.arange(len(self.lengths), device=self.lengths.device), self.lengths - 1]


@dataclass(frozen=True)
class ExpertAtoms:
    """The atoms of all demonstrations, one demonstration after the other, without padding.

    Attributes:
        atoms: ``(N, F)``.
        lengths: ``(E,)`` int64, number of atoms of each demonstration.
        terminated: ``(E,)`` bool; the absorbing state follows.
        counts: The lengths as plain numbers, which are known without waiting for a device.
    """

    atoms: Tensor
    lengths: Tensor
    terminated: Tensor
    counts: tuple[int, ...]

    @classmethod
    def join(cls, sequences: Sequence[Tensor], terminated: Sequence[bool]) -> ExpertAtoms:
        """From sequences ``(T, F)``."""
        counts = tuple(len(sequence) for sequence in sequences)
        return cls(torch.cat(list(sequences)), torch.tensor(counts), torch.tensor(list(terminated)), counts)

    def like(self, atoms: Tensor) -> ExpertAtoms:
        """In the dtype and on the device of other atoms."""
        where = atoms.device
        return replace(
            self, atoms=self.atoms.to(atoms), lengths=self.lengths.to(where), terminated=self.terminated.to(where)
        )

    @property
    def longest(self) -> int:
        """Atoms of the longest demonstration."""
        return max(self.counts)

    def of(self, expert: int) -> Tensor:
        """The atoms ``(M, F)`` of one demonstration."""
        return self.atoms.narrow(0, sum(self.counts[:expert]), self.counts[expert])

    def last(self) -> Tensor:
        """The last atom ``(E, F)`` of each demonstration."""
        return self.atoms[self.lengths.cumsum(dim=0) - 1]

    def padded(self, experts: Tensor, width: int) -> Tensor:
        """Atoms ``(k, width, F)`` of some demonstrations, which may repeat; the last atom of each fills its padding."""
        lengths, starts = self.lengths[experts], (self.lengths.cumsum(dim=0) - self.lengths)[experts]
        places = torch.arange(width, device=lengths.device)
        return self.atoms[starts[:, None] + torch.minimum(places, lengths[:, None] - 1)]


def lone_shares(episodes: Sequences, experts: ExpertAtoms) -> Tensor:
    """Share ``(E, B)`` of the time from each episode's end to the horizon during which each demonstration lives on.

    The horizon is the longest demonstration's, or the episode's own if that is longer. For an episode that ends at the
    horizon, no time is left, and what counts is how the demonstration ended: 0 where it terminated too, 1 where it did
    not.
    """
    horizon = episodes.lengths.clamp(min=experts.longest)
    ends = torch.where(experts.terminated[:, None], experts.lengths[:, None], horizon)
    left = (horizon - episodes.lengths).to(episodes.atoms)
    alone = (ends - episodes.lengths).clamp(min=0) / left.clamp(min=1)
    return torch.where(left > 0, alone, (~experts.terminated[:, None]).to(alone))
