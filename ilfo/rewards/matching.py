"""What rewards that match steps with the expert's share: atoms, costs, and how a cost becomes a reward."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ilfo._tools.checks import check_choices, check_positive
from ilfo._tools.effects import Effects, one_of
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.rewards.atoms import ExpertAtoms, Sequences
from ilfo.rewards.base import Episodes, RewardGenerator, check_episodes
from ilfo.rewards.costs import Cost, cost_matrix, largest_cost
from ilfo.rewards.features import StateFeatures

__all__ = ["Matching", "MatchingOptions"]

Atoms = Literal["transitions", "states"]
Squash = Literal["exponential", "none"]


@dataclass(frozen=True)
class MatchingOptions:
    """How a step is compared with the expert's, and how the cost becomes a reward."""

    TAKES_EFFECT: ClassVar[Effects] = {
        "distance_per_sqrt_dim": one_of("cost", "euclidean", "sqrt_euclidean", "squared_euclidean"),
        "temperature": one_of("squash", "exponential"),
    }

    atoms: Atoms = "transitions"
    """What is compared: pairs (s, s'), which capture temporal order, or single states s'."""
    cost: Cost = "euclidean"
    """Cost between two atoms; euclidean: root mean square difference in the expert's standard deviations."""
    distance_per_sqrt_dim: bool = True
    """Divide the distance by the square root of the number of dimensions of an atom, so that the other numbers
    here mean the same in every environment. OOPS (arXiv 2310.01632) does not."""
    squash: Squash = "exponential"
    """Exponential: scale * exp(-cost / temperature), between 0 and scale. None: -scale * cost, at most 0."""
    temperature: float = 1.0
    """Cost at which the exponential has fallen to 1/e."""
    scale: float = 2.0
    """Factor on the reward; with the exponential, the reward of a step that is exactly the expert's."""
    absorbing_cost: float | None = None
    """Cost between the state after a termination and real states; None: the largest cost between expert atoms, or 1 if
    all of these are alike."""

    def __post_init__(self) -> None:
        check_choices(self, {"atoms": Atoms, "cost": Cost, "squash": Squash})
        check_positive(self, "temperature", "scale")
        apart = self.absorbing_cost
        if apart is not None and not (math.isfinite(apart) and apart >= 0):
            raise InputError(f"absorbing_cost is {apart}: it must be finite and at least 0, or None.")


class Matching(RewardGenerator):
    """A reward that falls with the cost of a step's match.

    A subclass finds the match in :meth:`score`, with the expert's atoms and the helpers here.

    Args:
        options: The comparison and the scale, an instance of the subclass's ``Options``.
        features: What part of the state is compared; fitted by :meth:`fit`. All dimensions by default.

    Attributes:
        experts: The expert's atoms, on the CPU.
    """

    Options: ClassVar[type | None] = MatchingOptions
    options: Any

    def __init__(self, options: Any = None, features: StateFeatures | None = None) -> None:
        super().__init__(options, features)
        self._expert: list[Tensor] = []
        self._expert_terminated: list[bool] = []
        self._absorbing_cost = 0.0
        self.experts: ExpertAtoms
        self._moved: dict[tuple[torch.device, torch.dtype], ExpertAtoms] = {}

    def fit(self, demonstrations: Demonstrations) -> Matching:
        """Fits the features and keeps the expert's; returns itself.

        Raises:
            InputError: The features cannot be fitted on these demonstrations.

        Warns:
            UserWarning: All steps of the demonstrations are alike, and no ``absorbing_cost`` is given.
        """
        self.features.fit(demonstrations)
        self._expert = self.features.of_demonstrations(demonstrations)
        self._expert_terminated = [trajectory.terminated for trajectory in demonstrations]
        self._join()
        given = self.options.absorbing_cost
        self._absorbing_cost = self.largest_expert_cost() if given is None else given
        if given is None and not self._absorbing_cost:
            self._absorbing_cost = 1.0
            warnings.warn(
                "all steps of the demonstrations are alike, so that they do not say what the state after a termination "
                "costs: it is taken as 1, in the units of the other costs. Give absorbing_cost to choose",
                stacklevel=2,
            )
        return self

    def reward_of(self, costs: Tensor) -> Tensor:
        """The rewards of steps with these costs, of any shape."""
        if self.options.squash == "none":
            return -self.options.scale * costs
        return self.options.scale * torch.exp(-costs / self.options.temperature)

    def cost_matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """Costs ``(..., n, m)`` between atoms ``(..., n, F)`` and ``(..., m, F)``."""
        return cost_matrix(x, y, self.options.cost, per_sqrt_dim=self.options.distance_per_sqrt_dim)

    def atoms_of(self, features: Tensor) -> Tensor:
        """Atoms ``(..., T, F)`` of features ``(..., T+1, ·)``."""
        following = features[..., 1:, :]
        if self.options.atoms == "states":
            return following
        return torch.cat([features[..., :-1, :], following], dim=-1)

    def episode_atoms(self, episodes: Episodes) -> Sequences:
        """Atoms of episodes, 0 in the padding.

        Raises:
            InputError: An episode cannot be scored, see :func:`~ilfo.rewards.base.check_episodes`.
        """
        check_episodes(episodes, self.features)
        atoms = self.atoms_of(self.features.of_episodes(episodes))
        return Sequences(torch.where(episodes.mask[..., None], atoms, 0.0), episodes.lengths, episodes.terminated)

    def experts_like(self, atoms: Tensor) -> ExpertAtoms:
        """The expert's atoms in the dtype and on the device of other atoms; copies are kept."""
        like = atoms.device, atoms.dtype
        if like not in self._moved:
            self._moved[like] = self.experts.like(atoms)
        return self._moved[like]

    def largest_expert_cost(self) -> float:
        """The largest cost between two atoms of the demonstrations."""
        return largest_cost(self.experts.atoms, self.options.cost, per_sqrt_dim=self.options.distance_per_sqrt_dim)

    def state_dict(self) -> dict[str, Any]:
        """Options, features and the expert's features, as tensors and plain values."""
        return {
            "options": asdict(self.options),
            "features": self.features.state_dict(),
            "expert": list(self._expert),
            "expert_terminated": list(self._expert_terminated),
            "absorbing_cost": self._absorbing_cost,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included; no demonstration is needed."""
        self.options = type(self.options)(**state["options"])
        self.features.load_state_dict(state["features"])
        self._expert = [features.cpu() for features in state["expert"]]
        self._expert_terminated = list(state["expert_terminated"])
        self._absorbing_cost = float(state["absorbing_cost"])
        self._join()

    def _join(self) -> None:
        self._moved.clear()
        self.experts = ExpertAtoms.join([self.atoms_of(features) for features in self._expert], self._expert_terminated)
