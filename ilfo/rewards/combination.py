"""A weighted sum of rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards._checked import absorbing_of, observed, scores_of
from ilfo.rewards.base import Episodes, Explanation, RewardGenerator
from ilfo.rewards.scaling import ScaledReward

__all__ = ["SumReward"]


class SumReward(RewardGenerator):
    """Adds the rewards of several generators, each times a weight.

    It needs whole episodes if one of its terms does; if none does, it is stationary only if all of them are.

    Args:
        generators: Name to generator, not fitted yet.
        weights: Name to weight; any sign.

    Attributes:
        generators: As given.
        weights: As given.

    Raises:
        InputError: A term is the environment's own reward; or one term changes while the agent learns, so its
            transitions have to be scored again, and another needs whole episodes.
    """

    def __init__(self, generators: Mapping[str, RewardGenerator], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.generators, self.weights = dict(generators), dict(weights)
        self._last: tuple[Episodes, dict[str, Tensor]] | None = None
        self.needs = "transition"
        for name, generator in self.generators.items():
            if not generator.imitates:
                remedy = "leave it out of the sum"
                if len(self.generators) == 1:
                    factor = f"--scaling.method fixed --scaling.factor {weights[name]:g}"
                    remedy = f"name it alone, without a weight; {factor} scales it"
                raise InputError(
                    f"the reward {name!r} does not imitate, and an imitating agent never sees the environment's "
                    f"reward: {remedy}"
                )
            if generator.needs == "trajectory":
                self.needs = "trajectory"
        moving = [name for name, generator in self.generators.items() if not _unscaled(generator).stationary]
        if moving and self.needs == "trajectory":
            whole = [name for name, generator in self.generators.items() if generator.needs == "trajectory"]
            raise InputError(
                f"{moving[0]} changes while the agent learns, so that transitions are scored again when they are "
                f"sampled, and {whole[0]} needs whole episodes: they cannot be added"
            )
        # Whole episodes are scored once, when they end, in the scale of that time.
        alike = all(generator.stationary for generator in self.generators.values())
        self.stationary = self.needs == "trajectory" or alike

    def fit(self, demonstrations: Demonstrations) -> SumReward:
        """Fits one generator after the other; returns itself."""
        self._last = None
        for number, generator in enumerate(self.generators.values()):
            generator.fit_with_progress(demonstrations, self._part_of_progress(number))
        return self

    def _part_of_progress(self, number: int) -> Callable[[float, str], None] | None:
        """What a term of the sum tells its progress."""
        whole, count = self.on_progress, len(self.generators)
        if whole is None:
            return None
        return lambda share, text: whole((number + share) / count, text)

    def score(self, episodes: Episodes) -> Tensor:
        """The weighted sum ``(B, T)`` float32."""
        return torch.stack(list(self.terms(episodes).values())).sum(dim=0)

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """The weighted sum ``(B,)`` of the terms' absorbing rewards.

        A negative weight reverses what its generator guarantees: that dying is no better than the worst step. With
        one, the sum is therefore capped at its own worst step, and at 0. Of single transitions that is the last step
        alone: a term that is taken off can then still make dying pay.
        """
        found = [self.weights[name] * absorbing_of(each, episodes) for name, each in self.generators.items()]
        total = torch.stack(found).sum(dim=0)
        if any(weight < 0 for weight in self.weights.values()):
            total = torch.minimum(total, self.score(episodes).amin(dim=1).clamp(max=0.0))
        return total

    @property
    def observes(self) -> bool:
        """Whether one of the terms learns from the agent's episodes."""
        return any(generator.observes for generator in self.generators.values())

    def observe(self, episodes: Episodes) -> dict[str, float]:
        """Lets every generator learn from the episodes; their numbers are logged under the names of the terms."""
        self._last = None
        return {
            f"{name}/{key}": value
            for name, generator in self.generators.items()
            for key, value in observed(generator, episodes).items()
        }

    def terms(self, episodes: Episodes) -> dict[str, Tensor]:
        """Name to weighted rewards ``(B, T)``; the last result is kept, so that terms and sum are scored once."""
        if self._last is None or self._last[0] is not episodes:
            found = {name: self.weights[name] * scores_of(each, episodes) for name, each in self.generators.items()}
            self._last = episodes, found
        return dict(self._last[1])

    def explain(self, trajectory: Trajectory) -> Explanation | None:
        """The explanation of the first generator that has one."""
        found = (generator.explain(trajectory) for generator in self.generators.values())
        return next((explanation for explanation in found if explanation is not None), None)

    def state_dict(self) -> dict[str, Any]:
        """The weights, and the state of every generator by its name."""
        states = {name: generator.state_dict() for name, generator in self.generators.items()}
        return {"weights": dict(self.weights), "generators": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned.

        Raises:
            InputError: It is the state of a sum of other terms.
        """
        if list(state["generators"]) != list(self.generators):
            raise InputError(
                f"the saved reward is the sum of {', '.join(state['generators'])} and this one of "
                f"{', '.join(self.generators)}: give the same --reward"
            )
        self.weights, self._last = dict(state["weights"]), None
        for name, generator in self.generators.items():
            generator.load_state_dict(state["generators"][name])


def _unscaled(generator: RewardGenerator) -> RewardGenerator:
    """Without its scaling: whole episodes can be stored under a moving scale, each in the scale of its time."""
    return generator.generator if isinstance(generator, ScaledReward) else generator
