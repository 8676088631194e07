"""A reward from the density of the expert's transitions, by a normalizing flow."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from ilfo._checks import check_choices, check_not_negative, check_positive
from ilfo._errors import InputError
from ilfo.demos import Demonstrations
from ilfo.rewards._flow_model import FlowModelOptions, held_out_slices, make_flow, train_flow
from ilfo.rewards.base import Episodes, Needs, RewardGenerator, check_episodes
from ilfo.rewards.features import StateFeatures

if TYPE_CHECKING:
    from nflows.flows import Flow as NormalizingFlow

__all__ = ["Flow", "FlowOptions"]

Squash = Literal["rational", "exponential", "clip"]

BOUND = 10.0
"""Standard deviations to which all that is scored is cut off: it is unknown what networks say further out."""
LEAST_SPREAD = 0.1
"""Smallest distance from the median to the low quantile, in nats a feature: those of a handful may coincide."""
ROWS = 8192
"""Transitions that are scored at once; the bins of a spline take some kB for each."""


@dataclass(frozen=True)
class FlowOptions(FlowModelOptions):
    """What kind of flow, how it is fitted, and how its density becomes a reward."""

    difference_floor: float = 0.02
    """Smallest standard deviation of the difference s' - s of a feature, in those of the feature itself."""
    state_weight: float = 0.0
    """Weight of log p(s'), by a second flow without a condition, beside log p(s' | s). 0 is IL-flOw's reward, which can
    be earned by standing still where the expert never was."""
    quantile: float = 0.1
    """Low quantile of the log-densities of held-out transitions. There a step's shortfall x is 1, and 0 at their
    median."""
    squash: Squash = "rational"
    """Rational: scale / (1 + x), which tells transitions apart however far they are. Exponential: scale * exp(-x).
    Clip: scale * (1 - x), cut off at 0."""
    temperature: float | None = None
    """Shortfall, in nats a feature, that counts as 1; None: as far as the low quantile is below the median."""
    scale: float = 2.0
    """Reward of a step whose density is the expert's median or above."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"squash": Squash})
        check_positive(self, "difference_floor", "scale")
        check_not_negative(self, "state_weight")
        check_positive(self, "temperature")
        if not 0 < self.quantile < 0.5:
            raise InputError(f"quantile is {self.quantile}: it must lie above 0 and below 0.5, which is the median.")


class Flow(RewardGenerator):
    """Rewards a step by the density ``p(s' | s)`` that a conditional normalizing flow has learned from the expert.

    The flow is fitted before training and then frozen (IL-flOw, arXiv 2205.09251). With features ``z``, it models the
    difference ``z(s') - z(s)``, in its own mean and standard deviation over the demonstrations, given ``z(s)``. A step
    with log-density ``l``, in nats and divided by the number of features, falls short of the expert by
    ``x = max(m - l, 0) / (m - q)``, where ``m`` and ``q`` are the median and the low quantile of transitions of the
    expert that were held out of the fit. The reward is ``scale / (1 + x)``, between 0 and ``scale``: ``scale`` to as
    dense as the expert's median, half of it at the low quantile.

    **Termination.** Rewards are never negative, so that the state after a termination has reward 0 and dying never
    pays. It follows that an expert's own early end is nothing to imitate here; ``transport`` does so.

    Args:
        options: The flow, its fit and the scale.
        features: What of the state is modelled; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        The abstract of IL-flOw says what is rewarded; family, noise, scale and clipping are ours, chosen by
        measurement on one demonstration each of HalfCheetah and Hopper and on episodes of half-trained, disturbed and
        random policies:

        * Modelling ``z(s')`` in place of the difference changes the log-density by a constant only. But noise of a
          tenth of a standard deviation is then large beside a small step: on Hopper, a transition of the expert was
          less likely than standing still in 17 % of comparisons, and in under 1 % where the difference was modelled.
        * A plain clip at the low quantile gives all of a random policy's transitions the same reward, 0. The
          exponential ranks episodes a little more like the true return than the rational squash (rank correlation 0.97
          beside 0.95 on HalfCheetah, 0.98 beside 0.99 on Hopper). But a random policy on HalfCheetah gets a hundredth
          of the reward of an expert of 7831 from it, where the rational gives a seventh, and far away there is
          nothing to learn from; so ``rational`` is the default.
        * A density of the difference, however sharp, is no judge of states that the expert never saw: TD3 found
          postures in which standing still earned nearly all there is (first runs on HalfCheetah, 20,000 steps, return
          below 0). With ``noise=2``, ``context_noise=1``, ``state_weight=100``, ``squash="exponential"`` and
          ``temperature=0.15`` it learned to run (1571 after 15,000 steps, one seed).

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.sin(np.linspace([0.0, 1.6], [12.0, 13.6], 100)).astype(np.float32))
        >>> idle = Trajectory(np.zeros((100, 2), np.float32))
        >>> reward = Flow(FlowOptions(updates=100)).fit(Demonstrations((expert,)))
        >>> alike, still = reward.score(Episodes.from_trajectories([expert, idle])).mean(dim=1)
        >>> bool(alike > 1.5), bool(still < 0.5)
        (True, True)
    """

    Options: ClassVar[type | None] = FlowOptions
    needs: Needs = "transition"
    options: FlowOptions

    def __init__(self, options: FlowOptions | None = None, features: StateFeatures | None = None) -> None:
        super().__init__(options, features)
        self._flow: NormalizingFlow | None = None
        self._state_flow: NormalizingFlow | None = None
        self._mean = torch.zeros(0)
        self._scale = torch.ones(0)
        self._median, self._low = 0.0, 0.0
        self._moved: dict[torch.device, tuple[NormalizingFlow, NormalizingFlow | None, Tensor, Tensor]] = {}

    def fit(self, demonstrations: Demonstrations) -> Flow:
        """Fits the features and the flow, and measures the held-out densities; returns itself.

        Raises:
            InputError: The features cannot be fitted on these demonstrations, they have fewer than two transitions, or
                the fit diverged; or nflows is not installed.
        """
        self.features.fit(demonstrations)
        states = [self.features(torch.as_tensor(one.observations, dtype=torch.float32)) for one in demonstrations]
        contexts = torch.cat([z[:-1] for z in states])
        differences = torch.cat([z.diff(dim=0) for z in states])
        if len(contexts) < 2:
            raise InputError(
                f"{demonstrations.path or 'The demonstrations'}: there is 1 transition; a density takes 2, one to fit "
                "and one to hold out. Use a longer demonstration."
            )
        self._mean = differences.mean(dim=0)
        self._scale = differences.std(dim=0).clamp(min=self.options.difference_floor)
        held_out = held_out_slices(len(contexts), self.options.held_out)
        self._flow = make_flow(self.features.width, self.options)
        self._moved.clear()
        targets = (differences - self._mean) / self._scale
        alone = not self.options.state_weight
        train_flow(self._flow, targets, contexts, held_out, self.options, self._told(0.0, 1.0 if alone else 0.5))
        self._state_flow = None
        if not alone:
            self._state_flow = make_flow(self.features.width, self.options, conditional=False)
            following = contexts + differences
            train_flow(self._state_flow, following, None, held_out, self.options, self._told(0.5, 0.5))
        held = self._log_density(contexts[held_out], differences[held_out])
        self._median = float(held.median())
        self._low = min(float(held.quantile(self.options.quantile)), self._median - LEAST_SPREAD)
        return self

    def _told(self, done: float, part: float) -> Callable[[float, str], None] | None:
        """Progress of one of the fits as that of the whole."""
        told = self.on_progress
        return None if told is None else lambda share, text: told(done + part * share, text)

    def score(self, episodes: Episodes) -> Tensor:
        """Rewards ``(B, T)`` float32 on the device of the episodes; 0 beyond an episode's length.

        Raises:
            InputError: An episode is not finite, has no steps, or is not as wide as the demonstrations.
        """
        return torch.where(episodes.mask, self.reward_of(self.log_density(episodes)), 0.0)

    def log_density(self, episodes: Episodes) -> Tensor:
        """Log-density ``(B, T)`` float32 of each step, in nats a feature; 0 beyond an episode's length.

        Of the standardised difference: that of ``s'`` is this plus a constant. With ``state_weight`` it is the weighted
        mean of this one and that of ``z(s')``.

        Raises:
            InputError: As :meth:`score`.
        """
        check_episodes(episodes, self.features)
        z, mask = self.features(episodes.observations).float(), episodes.mask
        density = torch.zeros(mask.shape, device=z.device)
        density[mask] = self._log_density(z[:, :-1][mask], (z[:, 1:] - z[:, :-1])[mask])
        return density

    def reward_of(self, log_density: Tensor) -> Tensor:
        """The reward of steps with such log-densities, of any shape, in nats a feature."""
        unit = self.options.temperature or self._median - self._low
        shortfall = (self._median - log_density).clamp(min=0.0) / unit
        if self.options.squash == "clip":
            return self.options.scale * (1.0 - shortfall).clamp(min=0.0)
        if self.options.squash == "exponential":
            return self.options.scale * torch.exp(-shortfall)
        return self.options.scale / (1.0 + shortfall)

    def state_dict(self) -> dict[str, Any]:
        """Options, features, the flow and what its densities are measured by, as tensors and plain values."""
        return {
            "options": asdict(self.options),
            "features": self.features.state_dict(),
            "flow": {} if self._flow is None else dict(self._flow.state_dict()),
            "state_flow": {} if self._state_flow is None else dict(self._state_flow.state_dict()),
            "mean": self._mean,
            "scale": self._scale,
            "median": self._median,
            "low": self._low,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included; no demonstration is needed."""
        self.options = FlowOptions(**state["options"])
        self.features.load_state_dict(state["features"])
        self._flow = self._state_flow = None
        if state["flow"]:
            self._flow = make_flow(self.features.width, self.options)
            self._flow.load_state_dict(state["flow"])
        if state["state_flow"]:
            self._state_flow = make_flow(self.features.width, self.options, conditional=False)
            self._state_flow.load_state_dict(state["state_flow"])
        self._mean, self._scale = state["mean"].cpu(), state["scale"].cpu()
        self._median, self._low = float(state["median"]), float(state["low"])
        self._moved.clear()

    @torch.no_grad()
    def _log_density(self, contexts: Tensor, differences: Tensor) -> Tensor:
        """Log-density ``(N,)`` in nats a feature of differences ``(N, F)``, given contexts ``(N, F)``."""
        flow, state_flow, mean, scale = self._on(contexts.device)
        targets = ((differences - mean) / scale).clamp(-BOUND, BOUND)
        parts = zip(targets.split(ROWS), contexts.clamp(-BOUND, BOUND).split(ROWS), strict=True)
        density = torch.cat([flow.log_prob(*part) for part in parts]) / targets.shape[1]
        if state_flow is not None:
            following = (contexts + differences).clamp(-BOUND, BOUND)
            of_states = torch.cat([state_flow.log_prob(part) for part in following.split(ROWS)]) / targets.shape[1]
            weight = self.options.state_weight
            density = (density + weight * of_states) / (1.0 + weight)
        # Far out, products of many factors may overflow; no true density is infinite.
        lowest = -1e30
        return density.nan_to_num(nan=lowest, posinf=lowest, neginf=lowest)

    def _on(self, device: torch.device) -> tuple[NormalizingFlow, NormalizingFlow | None, Tensor, Tensor]:
        """The flows and the statistics of differences on a device; copies are kept."""
        if device not in self._moved:
            assert self._flow is not None
            flow, states = (each and copy.deepcopy(each).to(device).eval() for each in (self._flow, self._state_flow))
            assert flow is not None
            self._moved[device] = flow, states, self._mean.to(device), self._scale.to(device)
        return self._moved[device]
