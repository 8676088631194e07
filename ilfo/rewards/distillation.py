"""A reward from how well a network, trained on the expert alone, predicts another network that was never trained."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ilfo._tools.checks import check_at_least, check_positive
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.rewards._step_atoms import StepAtoms, perceptron
from ilfo.rewards.base import Episodes, Needs, RewardGenerator, check_episodes
from ilfo.rewards.features import StateFeatures

__all__ = ["DistillationOptions", "RandomExpertDistillation"]

CHECK_EVERY = 50
"""Updates between evaluations on the held-out steps."""
SMALLEST_ERROR = 1e-10
"""Smallest error to scale by: for demonstrations that stand still, only rounding is left."""


@dataclass(frozen=True)
class DistillationOptions:
    """The two networks, how the predictor is trained, and how its error becomes a reward."""

    hidden_dim: int = 256
    """Units in each of the two hidden layers of both networks."""
    outputs: int = 64
    """Random functions of a step that are predicted; the error is the mean over them."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    batch_size: int = 128
    """Steps per update, drawn with replacement."""
    updates: int = 2000
    """Maximum number of updates."""
    patience: int = 500
    """Updates without a smaller error on the held-out steps, after which the fit ends."""
    held_out: float = 0.1
    """Share of the expert's steps held out of the fit: they decide when to stop, and set the scale of the errors."""
    expert_reward: float = 0.95
    """Reward of a step whose error is the median of the held-out steps: it sets how wide the reward is around the
    expert. 0.37 makes the width that median itself, the usual rule of thumb."""
    seed: int = 0
    """Seed of both networks, of what is held out and of the batches."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "hidden_dim", "outputs", "batch_size", "updates", "patience")
        check_positive(self, "learning_rate")
        for name in ("held_out", "expert_reward"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must lie above 0 and below 1.")


class RandomExpertDistillation(RewardGenerator):
    """Rewards a step by ``exp(-sigma * mean((predicted(x) - target(x))^2))``, between 0 and 1.

    The target is a network with fixed random weights; the predictor has learned to agree with it on the expert's steps
    ``x``. Elsewhere nothing made it agree: the error says how far a step is from the expert's, and the reward estimates
    where the expert has been at all, rather than how often.

    ``sigma`` is such that the median error on held-out steps gets ``expert_reward``. Training steps would make it too
    large, and the reward too narrow, by as much as the predictor is overfitted.

    The reward is never negative, and the state after a termination gets 0.

    Args:
        options: The networks, their training, and the width of the reward.
        features: What part of the state it looks at, fitted by :meth:`fit`; all dimensions by default.

    Notes:
        Random Expert Distillation (arXiv 1905.06750) on state transitions instead of states and actions. What differs:

        * A step is given as features and their standardised change. On pairs of features, the predictor agreed with
          the target nearly everywhere: with a tenth of a standard deviation of noise, the steps of a single Hopper
          demonstration had 16 times the expert's error; here they have 160 times.
        * ``sigma`` comes from held-out steps and a chosen reward. With the inverse of the median, which public code
          uses, the expert's own next steps would get 0.37, and anything less like it next to nothing.
        * The target has tanh where the predictor has ReLU, so that no predictor can become its copy.

    Example:
        >>> import numpy as np
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.sin(np.linspace([0.0], [20.0], 200, dtype=np.float32)))
        >>> idle = Trajectory(np.zeros((200, 1), np.float32))
        >>> reward = RandomExpertDistillation(DistillationOptions(updates=100)).fit(Demonstrations((expert,)))
        >>> good, bad = reward.score(Episodes.from_trajectories([expert, idle])).mean(dim=1).tolist()
        >>> good > 0.9 > 0.1 > bad
        True
    """

    Options: ClassVar[type | None] = DistillationOptions
    needs: Needs = "transition"
    options: DistillationOptions

    def __init__(self, options: DistillationOptions | None = None, features: StateFeatures | None = None) -> None:
        super().__init__(options, features)
        self._sigma = 0.0
        self._atoms: StepAtoms
        self._target: nn.Sequential
        self._predictor: nn.Sequential

    def fit(self, demonstrations: Demonstrations) -> RandomExpertDistillation:
        """Trains the predictor on the expert, in seconds; returns itself.

        Raises:
            InputError: The features cannot be fitted on these demonstrations, or the training diverged.
        """
        self.features.fit(demonstrations)
        experts = self.features.of_demonstrations(demonstrations)
        self._make(StepAtoms(experts))
        with torch.enable_grad():
            held_out = self._train(torch.cat([self._atoms(each[:-1], each[1:]) for each in experts]))
        with torch.no_grad():
            usual = self._errors(held_out).median().clamp(min=SMALLEST_ERROR)
        self._sigma = -math.log(self.options.expert_reward) / float(usual)
        return self

    @torch.no_grad()
    def score(self, episodes: Episodes) -> Tensor:
        """Rewards ``(B, T)`` float32 on the device of the episodes; 0 beyond an episode's length.

        Raises:
            InputError: An episode is not finite, has no steps, or is not as wide as the demonstrations.
        """
        check_episodes(episodes, self.features)
        self._move(episodes.observations.device)
        features = self.features.of_episodes(episodes).float()
        errors = self._errors(self._atoms(features[:, :-1], features[:, 1:]))
        return torch.where(episodes.mask, torch.exp(-self._sigma * errors), 0.0)

    def _errors(self, atoms: Tensor) -> Tensor:
        """Mean squared errors ``(...)`` of the prediction for atoms ``(..., 2F)``."""
        return (self._predictor(atoms) - self._target(atoms)).square().mean(dim=-1)

    def _train(self, atoms: Tensor) -> Tensor:
        """Trains the predictor, and keeps its best weights; returns the held-out atoms."""
        options = self.options
        generator = torch.Generator().manual_seed(options.seed)
        order = torch.randperm(len(atoms), generator=generator)
        count = max(1, min(math.ceil(options.held_out * len(atoms)), len(atoms) - 1))
        # A single step is both held out and learned.
        held_out, learned = atoms[order[:count]], atoms[order[count:] if len(atoms) > 1 else order]
        adam = torch.optim.Adam(self._predictor.parameters(), lr=options.learning_rate, fused=True)
        best, best_at, best_weights = math.inf, 0, self._predictor.state_dict()
        for update in range(1, options.updates + 1):
            drawn = torch.randint(len(learned), (options.batch_size,), generator=generator)
            loss = self._errors(learned[drawn]).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            if update % CHECK_EVERY and update < options.updates:
                continue
            with torch.no_grad():
                error = float(self._errors(held_out).mean())
            if error < best:
                best, best_at, best_weights = error, update, copy.deepcopy(self._predictor.state_dict())
            if self.on_progress is not None:
                self.on_progress(update / options.updates, f"held-out error {best:.2g}")
            if update - best_at >= options.patience:
                break
        if best == math.inf:
            raise InputError(
                f"The fit of the predictor diverged within {update} updates at a learning_rate of "
                f"{options.learning_rate:g}: lower it."
            )
        self._predictor.load_state_dict(best_weights)
        return held_out

    def _make(self, atoms: StepAtoms) -> None:
        options = self.options
        widths = [atoms.width, options.hidden_dim, options.hidden_dim, options.outputs]
        seeds = torch.randint(2**31, (2,), generator=torch.Generator().manual_seed(options.seed)).tolist()
        self._atoms = atoms
        self._target = perceptron(widths, "tanh", seeds[0]).requires_grad_(False)
        self._predictor = perceptron(widths, "relu", seeds[1])

    def _move(self, device: torch.device) -> None:
        """Moves everything to the episodes' device, where it stays."""
        if device != self._atoms.spread.device:
            for module in (self._atoms, self._target, self._predictor):
                module.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Options, features, both networks and the width of the reward, as tensors and plain values; a copy of all."""
        state = {
            "options": asdict(self.options),
            "features": self.features.state_dict(),
            "atoms": self._atoms.state_dict(),
            "target": self._target.state_dict(),
            "predictor": self._predictor.state_dict(),
            "sigma": self._sigma,
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included; no demonstration is needed."""
        self.options = DistillationOptions(**state["options"])
        self.features.load_state_dict(state["features"])
        self._make(StepAtoms([torch.zeros(2, self.features.width)]))
        self._atoms.load_state_dict(state["atoms"])
        self._target.load_state_dict(state["target"])
        self._predictor.load_state_dict(state["predictor"])
        self._sigma = float(state["sigma"])
