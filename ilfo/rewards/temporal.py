"""Optimal transport that moves no mass far in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ilfo._tools.checks import check_at_least
from ilfo.rewards.atoms import Sequences
from ilfo.rewards.matching import Atoms
from ilfo.rewards.pairs import Pairs
from ilfo.rewards.transport import OptimalTransport, TransportOptions

__all__ = ["BandedPairs", "TemporalOptions", "TemporalTransport"]


@dataclass(frozen=True)
class TemporalOptions(TransportOptions):
    """How far in time an episode may be from the expert, how they are compared, and how the cost becomes a reward."""

    atoms: Atoms = "states"
    """What is compared, and then averaged over the context: single states s', or pairs (s, s')."""
    context: int = 3
    """Atoms that a cost is averaged over, starting from the two compared: it captures temporal order."""
    band: int = 10
    """Steps of the demonstration by which a match may be early or late; at least 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "context", "band")


class TemporalTransport(OptimalTransport):
    """Rewards a step by the cost of moving its mass to the demonstration's steps at about the same time.

    It is :class:`OptimalTransport` with two changes. The cost between two atoms is the mean over them and those that
    follow, ``context`` in all, in step with each other; fewer where a sequence ends. And the plan has no mass where
    the two are more than ``band`` steps of the demonstration apart in relative time.

    The relative time of an atom is the share of the mass before it: step ``i`` of an episode of ``L`` and step ``j`` of
    a demonstration of ``M`` are at ``(i + 1/2) / L`` and ``(j + 1/2) / M``, so that lengths may differ. A sequence that
    terminated is timed by the horizon instead, like its masses: an early death is not the demonstration played fast.
    Where the episode's steps are so much longer than the demonstration's that no plan would fit, the band is widened
    until one does. The state after a termination has no time: any step may be matched with it, at ``absorbing_cost``.

    Args:
        options: The band, the comparison and the scale.
        features: What part of the state is compared; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        TemporalOT (arXiv 2410.21795) compares the features of images by the cosine, allows matches that are up to 10
        frames apart in episodes of equal length, averages over 3 frames, takes the entropic plan and rewards by
        ``-scale * c_t``. That is ``cost="cosine"``, ``plan="entropic"``, ``regularization=0.01``, ``squash="none"``. By
        default the plan here is exact: of all pairs of steps of two sequences of 1000, 2 % lie in the band, so it takes
        less time than one without a band, while an entropic plan far from the expert can take a hundred times as long.
        What also differs:

        * Lengths may differ, and a termination is followed by absorbing states.
        * Steps at the end have a shorter context.
        * TemporalOT takes its scale from the first episode; see ``--scaling.method first-episode``.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> from ilfo.rewards import Episodes
        >>> expert = Trajectory(np.linspace([0.0], [1.0], 6, dtype=np.float32))
        >>> back = Trajectory(np.linspace([1.0], [0.0], 6, dtype=np.float32))
        >>> reward = TemporalTransport(TemporalOptions(band=1)).fit(Demonstrations((expert,)))
        >>> reward.score(Episodes.from_trajectories([expert, back])).mean(dim=1)
        tensor([2.0000, 0.5331])
    """

    Options: ClassVar[type | None] = TemporalOptions
    options: TemporalOptions

    def _pairs(self, episodes: Sequences) -> Pairs:
        pairs = super()._pairs(episodes)
        return BandedPairs(**vars(pairs), context=self.options.context, band=self.options.band)


@dataclass(frozen=True)
class BandedPairs(Pairs):
    """Transport problems whose plans must stay close to the diagonal of time.

    Attributes:
        context: Atoms that a cost is averaged over.
        band: Steps of the demonstration by which two matched atoms may be apart in time.
    """

    context: int
    band: int

    def living_costs(self, problems: slice, rows: slice) -> Tensor:
        """Mean costs ``(k, r, M)`` over the context; inf outside of the band."""
        return self._in_context(problems, rows).masked_fill_(~self._in_band(problems, rows), torch.inf)

    def _in_context(self, problems: slice, rows: slice) -> Tensor:
        """Mean costs over the context; 0 in the padding."""
        steps, height = rows.stop - rows.start, self.episodes.atoms.shape[1]
        ahead = slice(rows.start, min(rows.stop + self.context - 1, height))
        costs = super().living_costs(problems, ahead)
        shared = torch.minimum(
            _steps_left(self.episodes.lengths[self.episode[problems]], ahead).to(costs)[:, :, None],
            _steps_left(self.experts.lengths[self.expert[problems]], slice(0, costs.shape[2])).to(costs)[:, None],
        )
        costs = torch.where(shared > 0, costs, 0.0)
        total = costs[:, :steps].clone()
        for late in range(1, self.context):
            following = costs[:, late : late + steps, late:]
            total[:, : following.shape[1], : following.shape[2]] += following
        return total / shared[:, :steps].clamp(min=1, max=self.context)

    def _in_band(self, problems: slice, rows: slice) -> Tensor:
        """``(k, r, M)`` bool, which atoms may be matched; all of them in the padding of the episodes."""
        own, theirs = (duration[problems, None, None] for duration in self.durations())
        places = torch.arange(rows.start, rows.stop, device=own.device)[:, None]
        expert_places = torch.arange(self.width, device=own.device)
        # Times are counted in units of 1 / (2 * own * theirs), so rounding puts none on the wrong side of the edge.
        # The plan that keeps temporal order matches steps that overlap, at most half of both masses apart.
        # With half a step more it fits in spite of the rounding of masses.
        apart = ((2 * places + 1) * theirs - (2 * expert_places + 1) * own).abs()
        inside = apart <= torch.maximum(2 * self.band * own, own + theirs) + own
        return inside | (places >= self.episodes.lengths[self.episode[problems], None, None])


def _steps_left(lengths: Tensor, places: slice) -> Tensor:
    """Steps ``(k, n)`` from some places in sequences of ``(k,)`` atoms to their ends."""
    return lengths[:, None] - torch.arange(places.start, places.stop, device=lengths.device)
