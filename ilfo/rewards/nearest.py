"""Rewards by the distance to the nearest expert step: among all of them, or among those at about the same time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from ilfo._tools.checks import check_at_least
from ilfo.demos import Trajectory
from ilfo.rewards.atoms import ExpertAtoms, Sequences, lone_shares
from ilfo.rewards.base import Episodes, Explanation, Needs
from ilfo.rewards.matching import MatchingOptions
from ilfo.rewards.step_matching import BLOCK, Match, StepMatching

__all__ = ["NearestStep", "SegmentMatch", "SegmentOptions"]


class _Closest(StepMatching):
    """What both rewards share: the nearest expert step of a segment."""

    @property
    def _segments(self) -> int:
        """Number of segments that a demonstration is divided into."""
        return 1

    def _closest(self, episodes: Sequences) -> tuple[Tensor, Tensor]:
        """The nearest step of each demonstration's segment, and the costs, ``(E, B, T)`` each; 0 in the padding."""
        experts = self.experts_like(episodes.atoms)
        own, theirs = self._segments_of(episodes, experts)
        segments, nearest, lowest = own.flatten(1).split(self._together, dim=1), [], []
        for costs, segment in zip(self._cost_blocks(episodes, experts), segments, strict=True):
            of_each = zip(costs.split(experts.counts, dim=1), segment, theirs, strict=True)
            found = [each.masked_fill_(mine[:, None] != their, torch.inf).min(dim=1) for each, mine, their in of_each]
            nearest.append(torch.stack([each.indices for each in found]))
            lowest.append(torch.stack([each.values for each in found]))
        steps, lows = (torch.cat(each, dim=1).view(own.shape) for each in (nearest, lowest))
        happened = torch.arange(own.shape[2], device=lows.device) < episodes.lengths[:, None]
        return steps, torch.where(happened, lows, 0.0)

    def _cost_blocks(self, episodes: Sequences, experts: ExpertAtoms) -> Iterator[Tensor]:
        """Costs ``(r, N)`` between some of the episodes' ``B * T`` atoms and all of the expert's, a block at a time."""
        return (self.cost_matrix(some, experts.atoms) for some in episodes.atoms.flatten(0, 1).split(self._together))

    @property
    def _together(self) -> int:
        """Rows of a block."""
        return max(1, BLOCK // len(self.experts.atoms))

    def _segments_of(self, episodes: Sequences, experts: ExpertAtoms) -> tuple[Tensor, list[Tensor]]:
        """The segment of each step of the episodes, ``(E, B, T)``, and of each demonstration, ``(M,)``."""
        lengths, device = experts.lengths[:, None], experts.lengths.device
        theirs = [torch.arange(count, device=device) * min(count, self._segments) // count for count in experts.counts]
        time = torch.arange(episodes.atoms.shape[1], device=device)
        horizon = torch.maximum(episodes.lengths, lengths)
        return time * lengths.clamp(max=self._segments)[:, :, None] // horizon[:, :, None], theirs

    def _cheapest(self, costs: Tensor, alone: Tensor, episodes: Sequences) -> Tensor:
        """The demonstration ``(B,)`` of lowest total cost, including the state after a termination."""
        left = episodes.lengths.clamp(min=self.experts.longest) - episodes.lengths
        apart = costs.amax(dim=2).clamp(min=self._absorbing_cost)
        dead = torch.where(episodes.terminated, left * alone * apart, 0.0)
        return (costs.double().sum(dim=2) + dead).argmin(dim=0)

    def explain(self, trajectory: Trajectory) -> Explanation:
        """The match with the demonstration of lowest total cost."""
        episodes = self.episode_atoms(Episodes.from_trajectories([trajectory]))
        steps, costs = self._closest(episodes)
        best = int(self._cheapest(costs, lone_shares(episodes, self.experts), episodes))
        return Explanation(best, steps[best, 0].numpy(), costs[best, 0].numpy())


class NearestStep(_Closest):
    """Rewards a step by its distance to the nearest step of any demonstration.

    Step ``t`` costs ``c_t = min_j d(x_t, y_j)`` over the atoms ``y_j`` of all demonstrations, and is rewarded by
    ``scale * exp(-c_t / temperature)`` or ``-scale * c_t``. A transition is all that it takes, so rewards come at
    every step.

    An expert step may be matched any number of times, and at any time. With ``atoms="states"`` it pays to stay in any
    state of the expert's, and temporal order does not count. With transitions, a pause is the pair ``(s, s)``, which
    is as far from the expert's as the expert moves in a step: it costs a little, where :class:`OptimalTransport`
    charges for the whole part of the demonstration that was left out.

    **Termination.** Where no demonstration terminated, the state after a termination is worth what the worst step
    would be: ``-scale * absorbing_cost``, or the reward of the episode's own worst step if that is less, and 0 with
    ``squash="exponential"``. (An agent learns from single transitions, whose worst step is the last one: with
    ``squash="none"``, give ``absorbing_cost`` a value that no step exceeds.) Where some did, it is worth as much as a
    step that costs the distance between the last transition and the nearest of their last ones: the more an end is
    like an expert's, the more it is worth.

    Args:
        options: The comparison and the scale.
        features: What part of the state is compared; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        Min-Dist of arXiv 2506.06793, whose reward is ``-c_t`` on states: ``atoms="states"``, ``squash="none"``,
        ``scale=1``. What then differs: distances are between standardised features and divided by the square root of
        their number, and absorbing states follow a termination.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.linspace([0.0], [1.0], 6, dtype=np.float32))
        >>> idle = Trajectory(np.zeros((6, 1), np.float32))
        >>> reward = NearestStep().fit(Demonstrations((expert,)))
        >>> reward.score(Episodes.from_trajectories([expert, idle])).mean(dim=1)
        tensor([2.0000, 1.3705])
    """

    needs: Needs = "transition"
    options: MatchingOptions

    def match(self, episodes: Sequences) -> Match:
        """The costs of the nearest steps."""
        blocks = self._cost_blocks(episodes, self.experts_like(episodes.atoms))
        costs = torch.cat([block.amin(dim=1) for block in blocks]).view(episodes.atoms.shape[:2])
        return Match(costs, torch.ones_like(costs[:, 0]))

    def explain(self, trajectory: Trajectory) -> Explanation:
        """The steps of the demonstration of lowest total cost; the costs are those rewarded, to the nearest of any."""
        costs = self.match(self.episode_atoms(Episodes.from_trajectories([trajectory]))).costs
        return replace(super().explain(trajectory), costs=costs[0].numpy())

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """Reward per step, ``(B,)``, of the state that follows a termination; 0 for other episodes.

        Warns:
            UserWarning: With ``squash="none"`` and no ``absorbing_cost`` it is shown a last step alone, although steps
                before that may cost more than the state after it.
        """
        if not any(self._expert_terminated):
            unbounded = self.options.squash == "none" and self.options.absorbing_cost is None
            if unbounded and episodes.observations.shape[1] == 2 and bool(episodes.terminated.any()):
                warnings.warn(
                    f"nearest with squash none: the state after a termination costs {self._absorbing_cost:.3g}, the "
                    "most that two steps of the expert do, and an agent's steps may cost more, so that dying may pay. "
                    "Give an absorbing_cost that no step exceeds, or squash exponential",
                    stacklevel=1,  # Always from here, so that it is shown once.
                )
            return super().absorbing_reward(episodes)
        atoms = self.episode_atoms(episodes)
        experts = self.experts_like(atoms.atoms)
        apart = self.cost_matrix(atoms.last(), experts.last())
        costs = apart.masked_fill(~experts.terminated, torch.inf).amin(dim=1)
        return torch.where(episodes.terminated, self.reward_of(costs), 0.0).float()


@dataclass(frozen=True)
class SegmentOptions(MatchingOptions):
    """How an episode is divided, how a step is compared with the expert's, and how the cost becomes a reward."""

    segments: int = 10
    """Parts of equal length that a demonstration is divided into; with one part, the nearest of all steps counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "segments")


class SegmentMatch(_Closest):
    """Rewards a step by its distance to the nearest of the demonstration's steps at about the same time.

    A demonstration of ``M`` steps and an episode of ``L`` are divided into ``segments`` parts each, the episode by its
    position in the horizon, which is the longer of the two: an episode that ends early is compared with the beginning
    of the demonstration, not with all of it played fast. Step ``t`` costs the distance to the nearest expert step in
    the part of the same number, and is rewarded as by :class:`NearestStep`. With several demonstrations, the one of
    lowest total cost counts.

    Within a part, an expert step may be matched any number of times.

    **Termination.** The state after a termination costs ``absorbing_cost``, or as much as the episode's worst step if
    that is more, for the share of the time until the horizon of the longest demonstration in which the expert lived
    on; for the rest, nothing. See :class:`~ilfo.rewards.step_matching.StepMatching`.

    Args:
        options: The comparison and the scale.
        features: What part of the state is compared; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        Seg-Match of arXiv 2506.06793: steps are compared with the segment of the demonstration that matches their
        relative position. The number of segments, the horizon that positions are relative to, the choice among
        demonstrations and the absorbing states are ours.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.linspace([0.0], [1.0], 6, dtype=np.float32))
        >>> idle = Trajectory(np.zeros((6, 1), np.float32))
        >>> reward = SegmentMatch(SegmentOptions(segments=3)).fit(Demonstrations((expert,)))
        >>> reward.score(Episodes.from_trajectories([expert, idle])).mean(dim=1)
        tensor([2.0000, 0.7885])
    """

    Options: ClassVar[type | None] = SegmentOptions
    options: SegmentOptions

    @property
    def _segments(self) -> int:
        return self.options.segments

    def match(self, episodes: Sequences) -> Match:
        """The costs of the nearest steps of the same segments."""
        costs, alone = self._closest(episodes)[1], lone_shares(episodes, self.experts_like(episodes.atoms))
        return Match.with_one(self._cheapest(costs, alone, episodes), costs, alone)
