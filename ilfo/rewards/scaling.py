"""The size of a reward: a generator's rewards, brought to a scale that suits a learner."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.checks import check_choices, check_positive, check_share
from ilfo._tools.effects import Effects, one_of
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory, shuffled
from ilfo.rewards._checked import absorbing_of, observed, scores_of
from ilfo.rewards.base import Episodes, Explanation, RewardGenerator

__all__ = ["DISCOUNT", "ScaledReward", "Scaling", "ScalingOptions"]

Method = Literal["none", "fixed", "expert-range", "first-episode", "running"]

DISCOUNT = 0.99
"""Discount of the returns that 'running' takes the spread of, where there is no agent to take it from."""
SMALLEST_SPREAD = 1e-8
"""Smallest standard deviation of returns to divide by: that of a single step is 0, and its reward would be practically
infinite."""
SMALLEST_MEAN = 1e-8
"""Smallest mean reward per step, in absolute value, of an episode to measure a scale by: far from the expert an
exponential is next to nothing, and rewards scaled by such an episode would be practically infinite."""


@dataclass(frozen=True)
class ScalingOptions:
    """How rewards are scaled before an agent learns from them."""

    TAKES_EFFECT: ClassVar[Effects] = {
        "factor": one_of("method", "fixed", "expert-range", "first-episode", "running"),
        "discount": one_of("method", "running", silent=(DISCOUNT,)),
    }

    method: Method = "none"
    """None: as the generator gives them. Fixed: multiplied by the factor. Expert-range: shifted and scaled so that the
    expert gets the factor per step, and 0 with its states in random order. First-episode: scaled so that the rewards of
    the first episode that has any add up to the factor in absolute value (as in ROT, arXiv 2206.15469, with 10).
    Running: divided by the standard deviation of the discounted returns so far, and multiplied by the factor."""
    factor: float = 1.0
    """Size of the scaled reward; its meaning depends on the method."""
    discount: float | None = None
    """Discount of the returns whose standard deviation 'running' divides by. None: the agent's, or 0.99 without one."""

    def __post_init__(self) -> None:
        check_choices(self, {"method": Method})
        check_positive(self, "factor")
        check_share(self, "discount")


class Scaling:
    """A map ``reward -> multiplier * (reward - offset)`` that is measured, and kept in checkpoints.

    Args:
        options: The method and the factor.

    Attributes:
        multiplier: Present factor on the difference.
        offset: What is subtracted first; 0 except with ``expert-range``.

    Notes:
        An offset lowers every step alike, including those in absorbing states, so it favours no policy where absorbing
        states follow a termination. Where episodes simply end, it changes what living is worth.
    """

    def __init__(self, options: ScalingOptions) -> None:
        self.options = options
        self.multiplier = options.factor if options.method == "fixed" else 1.0
        self.offset = 0.0
        # Welford's algorithm on the discounted returns: how many, their mean, the sum of squares about it.
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    @property
    def moves(self) -> bool:
        """Whether the map is measured while the agent learns."""
        return self.options.method in ("first-episode", "running")

    @property
    def settled(self) -> bool:
        """Whether the map no longer changes with the agent's episodes."""
        return not self.moves or (self.options.method == "first-episode" and self._count > 0)

    @property
    def measured(self) -> dict[str, float]:
        """The measured parts of the map, to be logged."""
        if self.options.method == "expert-range":
            return {"reward_multiplier": self.multiplier, "reward_offset": self.offset}
        return {"reward_multiplier": self.multiplier} if self.moves else {}

    @property
    def _discount(self) -> float:
        return DISCOUNT if self.options.discount is None else self.options.discount

    def fit(self, expert: Tensor, shuffled: Tensor) -> None:
        """Measures the map from the rewards, ``(N,)`` each, of the expert's steps and of its states in random order.

        Raises:
            InputError: The method is ``expert-range``, and the two do not differ.
        """
        if self.options.method != "expert-range":
            return
        high, low = float(expert.double().mean()), float(shuffled.double().mean())
        if not high - low > 1e-6 * max(1.0, abs(high)):
            raise InputError(
                f"the expert gets {high:.6g} a step, and {low:.6g} with its time shuffled: there is no range between "
                "them to scale by; use another --scaling.method, or a reward that looks at transitions"
            )
        self.offset, self.multiplier = low, self.options.factor / (high - low)

    def observe(self, scores: Tensor, lengths: Tensor) -> None:
        """Measures the map from the generator's rewards ``(B, T)`` for the agent's episodes of ``(B,)`` steps.

        Warns:
            UserWarning: The method is ``first-episode``, and an episode has too little reward to measure a scale by.
        """
        for row, length in zip(scores.cpu().double().numpy(), lengths.tolist(), strict=True):
            if self.options.method == "first-episode" and not self._count:
                self._fix(abs(float(row[:length].sum())), length)
            elif self.options.method == "running":
                self._add_returns(row[:length])

    def _fix(self, total: float, steps: int) -> None:
        """Fixes the map so that an episode with this total gets the factor, unless the total is next to nothing."""
        if total > SMALLEST_MEAN * steps:
            self._count, self.multiplier = 1, self.options.factor / total
            return
        # The text is the same each time, so Python shows it once, not once per episode.
        warnings.warn(
            "--scaling.method first-episode: the rewards of an episode sum to less than 1e-8 a step, which is too "
            "little to measure a scale by; rewards stay as they are until an episode has more",
            stacklevel=3,
        )

    def _add_returns(self, rewards: np.ndarray) -> None:
        discounted = 0.0
        for reward in rewards.tolist():
            discounted = self._discount * discounted + reward
            self._count += 1
            apart = discounted - self._mean
            self._mean += apart / self._count
            self._squares += apart * (discounted - self._mean)
        spread = math.sqrt(self._squares / self._count)
        if spread > SMALLEST_SPREAD:
            self.multiplier = self.options.factor / spread

    def __call__(self, rewards: Tensor, share: float = 1.0) -> Tensor:
        """Scaled rewards, of any shape; from a part of a reward, only its share of the offset is subtracted."""
        return self.multiplier * (rewards - share * self.offset)

    def __str__(self) -> str:
        """The method and the map, or where to see it while it moves: ``fixed: 3 * reward``."""
        options = self.options
        if options.method == "none":
            return "none"
        name = options.method if options.method == "fixed" else f"{options.method}, factor {options.factor:g}"
        if options.method == "running":
            name += f", discount {self._discount:g}"
        if self.moves:
            return f"{name}: measured while the agent learns, see reward_multiplier in the metrics"
        away = f"(reward {'+' if self.offset < 0 else '-'} {abs(self.offset):.4g})" if self.offset else "reward"
        return f"{name}: {self.multiplier:.4g} * {away}"

    def state_dict(self) -> dict[str, Any]:
        """Options, map and the measurements behind it."""
        return {
            "options": asdict(self.options),
            "multiplier": self.multiplier,
            "offset": self.offset,
            "measured": [self._count, self._mean, self._squares],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included."""
        self.options = ScalingOptions(**state["options"])
        self.multiplier, self.offset = state["multiplier"], state["offset"]
        self._count, self._mean, self._squares = state["measured"]


class ScaledReward(RewardGenerator):
    """A generator whose rewards are scaled.

    Where the scale moves and the generator needs no more than transitions, these are scored again whenever they are
    sampled. A reward that needs whole episodes is stored in the scale of its time.

    Args:
        generator: What is scaled; not fitted yet.
        options: How it is scaled.

    Attributes:
        generator: As given.
        scaling: The map from its rewards to the scaled ones.

    Raises:
        InputError: There is nothing to measure the scale by: the generator does not imitate, or it learns from the
            agent, but ``expert-range`` measures it on the expert before training.
    """

    def __init__(self, generator: RewardGenerator, options: ScalingOptions) -> None:
        super().__init__(options, generator.features)
        self.generator, self.scaling = generator, Scaling(options)
        self.needs, self.imitates = generator.needs, generator.imitates
        if not generator.imitates and options.method not in ("none", "fixed"):
            raise InputError(
                f"--scaling.method {options.method} measures a reward that imitates, and this one does not: use "
                "fixed, with a --scaling.factor"
            )
        if not generator.stationary and options.method == "expert-range":
            raise InputError(
                "--scaling.method expert-range measures a reward before training, and this one is only learned from "
                "the agent: use fixed, first-episode or running"
            )
        self._follow_scaling()

    def _follow_scaling(self) -> None:
        self.options = self.scaling.options
        moves = self.scaling.moves and self.generator.needs == "transition"
        self.stationary = self.generator.stationary and not moves

    def fit(self, demonstrations: Demonstrations) -> ScaledReward:
        """Fits the generator, and then the scale; returns itself.

        Raises:
            InputError: See the generator's own, and :meth:`Scaling.fit`.
        """
        self.generator.fit_with_progress(demonstrations, self.on_progress)
        if self.options.method == "expert-range":
            experts = list(demonstrations)
            self.scaling.fit(self._steps_of(experts), self._steps_of([shuffled(expert) for expert in experts]))
        return self

    def _steps_of(self, trajectories: list[Trajectory]) -> Tensor:
        episodes = Episodes.from_trajectories(trajectories)
        return scores_of(self.generator, episodes)[episodes.mask]

    def score(self, episodes: Episodes) -> Tensor:
        """Scaled rewards ``(B, T)`` float32; 0 beyond an episode's length."""
        return torch.where(episodes.mask, self.scaling(scores_of(self.generator, episodes)), 0.0)

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """The generator's absorbing reward ``(B,)``, scaled."""
        return self.scaling(absorbing_of(self.generator, episodes))

    @property
    def observes(self) -> bool:
        """Whether the generator learns from the agent's episodes, or the scale is measured on them."""
        return self.scaling.moves or self.generator.observes

    def observe(self, episodes: Episodes) -> dict[str, float]:
        """Lets the generator learn from the episodes, and measures the scale on them; returns numbers to log."""
        found = observed(self.generator, episodes)
        if not self.scaling.settled:
            self.scaling.observe(scores_of(self.generator, episodes), episodes.lengths)
        return found | self.scaling.measured

    def terms(self, episodes: Episodes) -> dict[str, Tensor]:
        """The generator's terms, scaled; each bears an equal part of the offset, so that they add up to the score."""
        found = self.generator.terms(episodes)
        return {name: self.scaling(term, 1 / len(found)) * episodes.mask for name, term in found.items()}

    def explain(self, trajectory: Trajectory) -> Explanation | None:
        """The generator's own."""
        return self.generator.explain(trajectory)

    def state_dict(self) -> dict[str, Any]:
        """The generator's state and the scale's."""
        return {"generator": self.generator.state_dict(), "scaling": self.scaling.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included."""
        self.generator.load_state_dict(state["generator"])
        self.scaling.load_state_dict(state["scaling"])
        self._follow_scaling()
