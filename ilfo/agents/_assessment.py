"""When a policy that trains between episodes is good enough to be kept: TD7's checkpoints."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ilfo._tools.errors import InputError

__all__ = ["Assessment"]


@dataclass
class Assessment:
    """Episodes of one policy, judged by the worst of them (arXiv 2306.02451, section 4.3 and algorithm 1).

    Attributes:
        wanted: Episodes that a policy must get through to be kept.
        best: The worst return of the policy that was kept.
        episodes: Those of the present policy so far.
        steps: Steps in these episodes.
        worst: The smallest of their returns.
    """

    wanted: int = 1
    best: float = -math.inf
    episodes: int = 0
    steps: int = 0
    worst: float = math.inf

    def add(self, episode_return: float, steps: int) -> tuple[int, bool]:
        """Records an episode.

        Returns:
            How many updates are due: none while the assessment goes on, then one for each of its steps; and whether
            the policy passed, so that it has to be kept before it is updated.

        Raises:
            InputError: The return is not finite.
        """
        if not math.isfinite(episode_return):
            raise InputError(f"An episode's imitation return is {episode_return}: the reward must be finite.")
        self.episodes += 1
        self.steps += steps
        self.worst = min(self.worst, episode_return)
        failed = self.worst < self.best
        passed = not failed and self.episodes >= self.wanted
        if not (failed or passed):
            return 0, False
        if passed:
            self.best = self.worst
        due = self.steps
        self.episodes, self.steps, self.worst = 0, 0, math.inf
        return due, passed

    def tighten(self, wanted: int, weight: float) -> None:
        """From now on more episodes are wanted; the best return, that of fewer episodes, is scaled by ``weight``."""
        self.wanted = wanted
        self.best *= weight

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        for field in fields(self):
            setattr(self, field.name, state[field.name])
