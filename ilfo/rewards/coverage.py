"""A reward that grows as an episode passes through the expert's states in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.rewards.atoms import Sequences, lone_shares
from ilfo.rewards.base import Episodes, Explanation
from ilfo.rewards.matching import MatchingOptions
from ilfo.rewards.step_matching import BLOCK, Match, StepMatching

__all__ = ["CoverageOptions", "OrderedCoverage"]


@dataclass(frozen=True)
class CoverageOptions(MatchingOptions):
    """What has to be covered, how a step is compared with it, and how the cost becomes a reward."""

    temperature: float = 0.3
    """Cost at which the exponential has fallen to 1/e. The lower it is, the later in an episode rewards grow; from
    about 1 upwards, an episode that jumps around the expert's states can get more than the expert itself."""
    subgoals: int = 0
    """Evenly spaced steps of a demonstration that have to be covered, including the last; 0: all. Fewer are faster and
    more forgiving. If a gait repeats itself as often as there are subgoals, they all show the same pose."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subgoals < 0:
            raise InputError(f"subgoals is {self.subgoals}: it must be at least 1, or 0 for all steps.")


class OrderedCoverage(StepMatching):
    """Rewards a step by how well the episode has covered the demonstration so far, in the demonstration's order.

    The subgoals ``y_1 .. y_K`` are steps of the demonstration. By step ``t`` the episode has covered them at the cost
    ``c_t``, the lowest mean of ``d(x[t_j], y_j)`` over times ``t_1 <= t_2 <= ... <= t_K = t``: a subgoal counts only
    after all those before it, and the last one has to be held. Step ``t`` is rewarded by
    ``scale * exp(-c_t / temperature)`` or ``-scale * c_t``. An episode may be slower or faster than the expert: one
    that progresses through the demonstration gets more and more, one that stops gets no more than before.

    The reward of a step depends on the steps before it. With several demonstrations, the one that is covered best at
    the episode's end counts.

    **Termination.** As for :class:`~ilfo.rewards.nearest.SegmentMatch`; but where the expert terminated too, the state
    that follows is worth as much as what was covered: the last reward of the episode.

    Args:
        options: The subgoals, the comparison and the scale.
        features: What of the state is compared; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        ORCA (arXiv 2502.05397) rewards by ``covered[t, K]`` with ``covered[t, j] = max(covered[t-1, j], covered[t, j-1]
        * exp(-d(x_t, y_j) / tau))``, the last column without the maximum. In logarithms this is the recursion here,
        with ``-tau * log covered[t, K]`` the lowest sum of distances. What differs:

        * ``tau = K * temperature``, the mean in place of the sum. The product of a thousand probabilities would be 0
          until the episode is nearly over; their geometric mean is not, and means the same for any ``K``.
        * ORCA compares images, by the cosine of frozen visual features; here states are compared, by default in pairs.
        * Several demonstrations, and the state after a termination.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.linspace([0.0], [1.0], 6, dtype=np.float32))
        >>> idle = Trajectory(np.zeros((6, 1), np.float32))
        >>> reward = OrderedCoverage().fit(Demonstrations((expert,)))
        >>> reward.score(Episodes.from_trajectories([expert, idle]))
        tensor([[0.0567, 0.2358, 0.6867, 1.4005, 2.0000],
                [0.0202, 0.0202, 0.0202, 0.0202, 0.0202]])
    """

    Options: ClassVar[type | None] = CoverageOptions
    options: CoverageOptions

    def match(self, episodes: Sequences) -> Match:
        """The costs of covering the demonstrations up to each step."""
        costs, alone = self._costs(episodes), lone_shares(episodes, self.experts_like(episodes.atoms))
        return Match.with_one(_last(costs, episodes.lengths).argmin(dim=0), costs, alone)

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """Reward per step, ``(B,)``, of the state that follows a termination; 0 for other episodes."""
        found = self.match(self.episode_atoms(episodes))
        alone = found.alone * self._unmatched_reward(found.costs, episodes.mask)
        together = (1.0 - found.alone) * self.reward_of(_last(found.costs, episodes.lengths))
        return torch.where(episodes.terminated, alone + together, 0.0).float()

    def explain(self, trajectory: Trajectory) -> Explanation:
        """The subgoal that each step had reached, in the demonstration that was covered best.

        A step that covers none keeps the subgoal before it, or the first one while none is covered.
        """
        episodes = self.episode_atoms(Episodes.from_trajectories([trajectory]))
        costs = self._costs(episodes)
        best = int(costs[:, 0, -1].argmin())
        goals = self._subgoals(best)
        *columns, _ = _recursion(self._distances(episodes.atoms, best))
        step = len(trajectory) - 1
        at = np.zeros(step + 1, np.int64)
        at[step] = len(columns)
        for goal in range(len(columns) - 1, -1, -1):
            step = int(columns[goal][1][0, step])
            at[step] = max(at[step], goal)
        return Explanation(best, goals[np.maximum.accumulate(at)], costs[best, 0].numpy())

    def _costs(self, episodes: Sequences) -> Tensor:
        """Costs ``(E, B, T)`` of each demonstration; 0 in the padding."""
        happened = torch.arange(episodes.atoms.shape[1], device=episodes.atoms.device) < episodes.lengths[:, None]
        found = []
        for expert in range(len(self._expert)):
            together = max(1, BLOCK // (len(self._subgoals(expert)) * episodes.atoms.shape[1]))
            covered = [self._covered(atoms, expert) for atoms in episodes.atoms.split(together)]
            found.append(torch.where(happened, torch.cat(covered), 0.0))
        return torch.stack(found)

    def _covered(self, atoms: Tensor, expert: int) -> Tensor:
        """Mean costs ``(B, T)`` of covering one demonstration."""
        distances = self._distances(atoms, expert)
        for total, _ in _recursion(distances):
            last = total
        return last / distances.shape[1]

    def _distances(self, atoms: Tensor, expert: int) -> Tensor:
        """Costs ``(B, K, T)`` between the subgoals of a demonstration and the atoms ``(B, T, F)`` of episodes."""
        goals = self.experts_like(atoms).of(expert)[self._subgoals(expert)]
        return self.cost_matrix(goals.expand(len(atoms), -1, -1), atoms)

    def _subgoals(self, expert: int) -> np.ndarray:
        """Steps ``(K,)`` of a demonstration that are subgoals."""
        length = self.experts.counts[expert]
        count = min(self.options.subgoals or length, length)
        return -(-np.arange(1, count + 1) * length // count) - 1


def _last(costs: Tensor, lengths: Tensor) -> Tensor:
    """The costs of the last steps, ``(..., B)`` of ``(..., B, T)``."""
    return costs[..., torch.arange(len(lengths), device=lengths.device), lengths - 1]


def _recursion(distances: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields, per subgoal, the lowest total cost ``(B, T)`` of it and all before it by each step, and when it was met.

    One subgoal after the other, over all steps at once: the better of now and earlier is a running minimum.

    Args:
        distances: ``(B, K, T)``.
    """
    now = torch.arange(distances.shape[2], device=distances.device).expand(len(distances), -1)
    total = torch.zeros_like(distances[:, 0])
    for goal in range(distances.shape[1] - 1):
        total, when = torch.cummin(total + distances[:, goal], dim=1)
        yield total, when
    yield total + distances[:, -1], now
