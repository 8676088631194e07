"""A reward from a greedy coupling of an episode and the demonstrations, step by step in temporal order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ilfo.demos import Trajectory
from ilfo.rewards.atoms import Sequences, lone_shares
from ilfo.rewards.base import Episodes, Explanation
from ilfo.rewards.matching import Atoms, MatchingOptions
from ilfo.rewards.step_matching import Match, StepMatching

__all__ = ["PWIL", "PWILOptions"]


@dataclass(frozen=True)
class PWILOptions(MatchingOptions):
    """How a step is compared with the expert's, and how the cost becomes a reward."""

    atoms: Atoms = "states"
    """What is compared: single states s', as in the paper, or pairs (s, s'), which capture temporal order."""
    temperature: float = 0.2
    """Cost at which the exponential has fallen to 1/e; the paper's 1/beta, with beta = 5."""
    scale: float = 5.0
    """Factor on the reward; the paper's alpha."""


class PWIL(StepMatching):
    """Rewards a step by the cost of matching it to the nearest of the expert's steps that are not taken yet.

    The steps of all demonstrations share a mass of 1 evenly, and each step of an episode takes ``1/T`` of it, one after
    the other: from the nearest expert step that has some left, then from the next, until it has enough. Its cost
    ``c_t`` is the mean over what it took, and its reward ``scale * exp(-c_t / temperature)`` or ``-scale * c_t``. ``T``
    is the length of the longest demonstration. After ``T`` steps nothing is left, and a step gets 0 or, with
    ``squash="none"``, the reward of ``absorbing_cost`` or of the episode's worst step, whichever is less.

    With several demonstrations, steps take from more than one, so following a single one does not earn the best
    reward: the episode should be like all of them together.

    The reward of a step does not depend on those that follow. With ``atoms="states"`` it does not capture temporal
    order: the expert's states are taken one by one, at no cost, in any order.

    **Termination.** As for :class:`~ilfo.rewards.nearest.SegmentMatch`, averaged over the demonstrations.

    Args:
        options: The comparison and the scale.
        features: What part of the state is compared; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        PWIL (arXiv 2006.04678, algorithm 1), from states alone. Its reward is ``alpha * exp(-beta * T / sqrt(dim) *
        c)``, where the ``c`` of its algorithm carries the step's mass ``1/T``: ours with ``alpha = scale``, ``beta =
        1 / temperature`` and distances divided by ``sqrt(dim)``. What differs:

        * ``dim`` counts what is compared. The authors' code counts actions too, even where it looks at states alone.
        * Masses are integers, so rounding leaves no step short. The authors' ``1/T - 1e-6`` leaves small remainders of
          expert steps instead.
        * A step after the mass is used up gets 0, as in Acme's version.
        * A step's state is the one that it leads to. It is standardised as everywhere here, with a floor on the
          standard deviation.
        * ``T`` follows from the demonstrations; they are not subsampled.
        * The state after a termination.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.linspace([0.0], [1.0], 6, dtype=np.float32))
        >>> idle = Trajectory(np.zeros((6, 1), np.float32))
        >>> reward = PWIL().fit(Demonstrations((expert,)))
        >>> reward.score(Episodes.from_trajectories([expert, idle])).mean(dim=1)
        tensor([5.0000, 0.0742])
    """

    Options: ClassVar[type | None] = PWILOptions
    options: PWILOptions

    def match(self, episodes: Sequences) -> Match:
        """The costs under the greedy coupling."""
        costs = torch.full(episodes.atoms.shape[:2], torch.inf, dtype=torch.float64)
        for row, length in enumerate(episodes.lengths.tolist()):
            costs[row, :length] = torch.from_numpy(self._couple(episodes, row)[0])
        alone = lone_shares(episodes, self.experts_like(episodes.atoms)).mean(dim=0)
        return Match(costs.to(episodes.atoms), alone)

    def explain(self, trajectory: Trajectory) -> Explanation:
        """The match with the demonstration that the episode took most from.

        A row of the plan sums to less than 1 where the step took from other demonstrations, or found nothing left.
        """
        episodes = Episodes.from_trajectories([trajectory])
        means, steps, experts, amounts = self._couple(self.episode_atoms(episodes), 0)
        found = torch.from_numpy(means)
        costs = torch.where(found.isinf(), self._unmatched_cost(found[None], episodes.mask), found).float().numpy()
        lengths = np.array(self.experts.counts)
        plan = np.zeros((len(costs), lengths.sum()), np.float32)
        plan[steps, experts] = amounts / lengths.sum()
        parts = np.split(plan, np.cumsum(lengths)[:-1], axis=1)
        best = int(np.argmax([part.sum() for part in parts]))
        return Explanation(best, parts[best].argmax(axis=1), costs, parts[best])

    def _couple(self, episodes: Sequences, row: int) -> tuple[np.ndarray, ...]:
        """One episode's costs ``(L,)``, and what was taken: by which step, from which expert step, how much.

        Of ``N`` expert steps in all, each holds ``T`` units, and each step of the episode wants ``N``.
        """
        atoms = episodes.atoms[row, : int(episodes.lengths[row])]
        experts = self.experts_like(atoms)
        costs = self.cost_matrix(atoms, experts.atoms).cpu().numpy()
        return greedy_coupling(costs, len(experts.atoms), experts.longest)


def greedy_coupling(costs: np.ndarray, wanted: int, held: int) -> tuple[np.ndarray, ...]:
    """Each row in turn takes what it wants from the columns that cost it least.

    Args:
        costs: ``(n, m)``, finite.
        wanted: Units that a row takes.
        held: Units that a column holds at the start.

    Returns:
        The mean costs ``(n,)`` float64 of what the rows took, inf for those that found nothing; and the row, column
        and units of each transfer, ``(k,)`` int64 each, in order.
    """
    left = np.full(costs.shape[1], held)
    taken = np.zeros(costs.shape[1], costs.dtype)
    found = []
    remaining = held * costs.shape[1]
    for row, line in enumerate(costs):
        want = min(wanted, remaining)
        remaining -= want
        # A column that is used up is infinitely far.
        line = line + taken
        while want:
            column = line.argmin()
            units = min(want, left[column])
            found.append((row, column, units))
            want -= units
            left[column] -= units
            if not left[column]:
                taken[column] = line[column] = np.inf
    rows, columns, units = np.array(found, np.int64).reshape(-1, 3).T
    took = np.bincount(rows, units, minlength=len(costs))
    moved = np.bincount(rows, units * costs[rows, columns].astype(np.float64), minlength=len(costs))
    return np.where(took > 0, moved / np.maximum(took, 1), np.inf), rows, columns, units
