"""A reward from the densities of the expert's states and transitions, by normalizing flows."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ilfo._tools.checks import check_choices, check_positive, check_share
from ilfo._tools.effects import Effects, above_zero, one_of
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.rewards._flow_model import FlowModelOptions, Progress, held_out_slices, make_flow, train_flow
from ilfo.rewards._state_density import StateDensity
from ilfo.rewards.base import Episodes, Needs, RewardGenerator, check_episodes
from ilfo.rewards.features import StateFeatures

if TYPE_CHECKING:
    from nflows.flows import Flow as NormalizingFlow

__all__ = ["Flow", "FlowOptions"]

Squash = Literal["exponential", "rational", "clip"]

BOUND = 10.0
"""Standard deviations to which everything scored is clipped, unless the expert itself goes beyond, as the time does in
a long demonstration: nobody knows what networks return where they saw nothing."""
LEAST_SPREAD = 0.1
"""Smallest distance from the median to the low quantile, in nats per feature: those of few samples may coincide."""
ROWS = 8192
"""Transitions scored at once; the bins of a spline take several kB for each."""


@dataclass(frozen=True)
class FlowOptions(FlowModelOptions):
    """The kind of flow, how it is fitted, and how its density becomes a reward."""

    TAKES_EFFECT: ClassVar[Effects] = {
        **FlowModelOptions.TAKES_EFFECT,
        "quantile": one_of("temperature", None),
        "state_noise": above_zero("state_share"),
        "state_temperature": above_zero("state_share"),
    }

    difference_floor: float = 0.02
    """Smallest standard deviation of a feature's difference s' - s, in standard deviations of the feature itself."""
    quantile: float = 0.1
    """Low quantile of the log-densities of held-out transitions: a step's shortfall x is 1 at this quantile, and 0 at
    the median."""
    squash: Squash = "exponential"
    """Exponential: exp(-x). Rational: 1 / (1 + x), which tells transitions apart however far off they are. Clip: 1 - x,
    but at least 0."""
    temperature: float | None = None
    """Shortfall, in nats per feature, that counts as 1; None: the distance from the median down to the low quantile."""
    state_share: float = 0.2
    """Share of the reward that is given for being where the expert was; the rest is for moving on from there as it did.
    0: all of it is for the move, wherever it happens, as in IL-flOw."""
    state_noise: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    """Levels of noise, in the expert's standard deviations of s', at which the density of states is learned."""
    state_temperature: float = 0.2
    """Shortfall of that density, in nats per feature, at which its reward has fallen to 1/e."""
    scale: float = 5.0
    """Reward of a step whose densities are the expert's medians or above."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"squash": Squash})
        check_positive(self, "difference_floor", "scale", "state_temperature", "temperature")
        check_share(self, "state_share")
        if not 0 < self.quantile < 0.5:
            raise InputError(f"quantile is {self.quantile}: it must lie above 0 and below 0.5, which is the median.")
        rising = all(low < high for low, high in pairwise(self.state_noise))
        if not (self.state_noise and rising and self.state_noise[0] > 0 and math.isfinite(self.state_noise[-1])):
            raise InputError(
                f"state_noise is {self.state_noise}: it must be one or more numbers above 0, each above the one before."
            )


class Flow(RewardGenerator):
    """Rewards a step by the densities of the expert's states and transitions, learned by normalizing flows.

    The flows are fitted before training and then frozen. For a step from ``s`` to ``s'``, with features ``z``:

    * ``p(s' | s)`` (IL-flOw, arXiv 2205.09251): the density of ``z(s') - z(s)``, standardised over the demonstrations,
      given ``z(s)``. A step with log-density ``l``, in nats per feature, falls short of the expert by
      ``x = max(m - l, 0) / (m - q)``, where ``m`` and ``q`` are the median and the low quantile of expert transitions
      that were held out of the fit, and is worth ``move = exp(-x)``.
    * ``p(s')`` under several levels ``k`` of noise, from sharp to blurred: ``near_k = exp(-x_k / state_temperature)``,
      where ``x_k`` is how far the log-density is below the held-out median. A sharper density is never worth more
      than the more blurred ones, because far from the expert it was never learned.

    The reward is ``scale * ((1 - state_share) * near_0 * move + state_share * mean(near_k))``, between 0 and ``scale``.
    From afar, the blurred levels lead to where the expert was; there, most of the reward is for moving on as it did.
    With a ``state_share`` of 0, no density of states is learned, and the reward is ``scale * move`` everywhere.

    **Termination.** Rewards are never negative, so the state after a termination has reward 0 and dying never pays.
    An expert's own early end is therefore not imitated; ``transport`` does imitate it.

    Args:
        options: The flows, their fit and the scale.
        features: What part of the state is modelled; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        The abstract of IL-flOw says what is rewarded; family, noise, scale and clipping are ours, and so is the density
        of states. They were chosen by measurement on one demonstration each of HalfCheetah and Hopper and on episodes
        of half-trained, disturbed and random policies:

        * Modelling ``z(s')`` in place of the difference changes the log-density by a constant only. But noise of a
          tenth of a standard deviation is then large compared with a small step: on Hopper, a transition of the expert
          was less likely than standing still in 17 % of comparisons, against under 1 % with the difference.
        * A density of the difference, however sharp, cannot judge states that the expert never visited: with
          ``state_share=0``, TD3 on HalfCheetah finds postures in which standing still earns nearly the full reward
          (return below 0 after 20,000 steps). Adding the two log-densities does not help: the transitions of a policy
          that begins to move are then far less likely than those of one that stands still.
        * With the defaults it runs: returns of 2966, 1941 and 2611 after 20,000 steps (seeds 0 to 2). A
          ``state_temperature`` of 0.4 is too mild: standing still pays too much, and the agent keeps to it.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.sin(np.linspace([0.0, 1.6], [12.0, 13.6], 100)).astype(np.float32))
        >>> idle = Trajectory(np.zeros((100, 2), np.float32))
        >>> reward = Flow(FlowOptions(updates=100)).fit(Demonstrations((expert,)))
        >>> alike, still = reward.score(Episodes.from_trajectories([expert, idle])).mean(dim=1)
        >>> bool(alike > 4.0), bool(still < 1.5)
        (True, True)
    """

    Options: ClassVar[type | None] = FlowOptions
    needs: Needs = "transition"
    options: FlowOptions

    def __init__(self, options: FlowOptions | None = None, features: StateFeatures | None = None) -> None:
        super().__init__(options, features)
        self._flow: NormalizingFlow | None = None
        self._states: StateDensity | None = None
        self._mean = torch.zeros(0)
        self._scale = torch.ones(0)
        self._farthest_state, self._farthest_move = torch.zeros(0), torch.zeros(0)
        self._median, self._low = 0.0, 0.0
        self._state_medians = torch.zeros(0)
        self._moved: dict[torch.device, _Fitted] = {}

    def fit(self, demonstrations: Demonstrations) -> Flow:
        """Fits the features and the flows, and measures the held-out densities; returns itself.

        Raises:
            InputError: The features cannot be fitted on these demonstrations, they have fewer than two transitions, or
                the fit diverged, or there is one block for several features; or nflows is not installed.
        """
        self.features.fit(demonstrations)
        if self.options.blocks < 2 <= self.features.width:
            raise InputError(
                f"blocks is {self.options.blocks}, for {self.features.width} features: the first one would be modelled "
                "without the state before; give 2 or more"
            )
        states = self.features.of_demonstrations(demonstrations)
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
        targets = (differences - self._mean) / self._scale
        reached = torch.cat(states).abs().amax(dim=0), targets.abs().amax(dim=0)
        self._farthest_state, self._farthest_move = (each.clamp(min=BOUND) for each in reached)
        self._make_flows(*reached)
        assert self._flow is not None
        parts = 1 if self._states is None else 2
        train_flow(self._flow, targets, contexts, held_out, self.options, self._told(0, parts))
        if self._states is not None:
            self._states.fit(contexts + differences, held_out, self._told(1, parts))
            self._state_medians = self._of_states((contexts + differences)[held_out]).median(dim=0).values
        held = self._log_density(contexts[held_out], differences[held_out])
        self._median = float(held.median())
        self._low = min(float(held.quantile(self.options.quantile)), self._median - LEAST_SPREAD)
        return self

    def _make_flows(self, states: Tensor | None, moves: Tensor | None) -> None:
        """Fresh flows for states and moves that reach so far; None: for those that splines reach by themselves."""
        width, options = self.features.width, self.options
        self._flow = make_flow(width, options, farthest=moves)
        self._states = StateDensity(width, options.state_noise, options, states) if options.state_share else None
        self._moved.clear()

    def _told(self, part: int, parts: int) -> Progress | None:
        """Reports the progress of one fit as part of the whole."""
        told = self.on_progress
        return None if told is None else lambda share, text: told((part + share) / parts, text)

    def score(self, episodes: Episodes) -> Tensor:
        """Rewards ``(B, T)`` float32 on the device of the episodes; 0 beyond an episode's length.

        Raises:
            InputError: An episode is not finite, has no steps, or is not as wide as the demonstrations.
        """
        states, next_states, mask = self._steps(episodes)
        worth, share = self.worth_of_moving(self._log_density(states, next_states - states)), self.options.state_share
        if share:
            near = self.worth_of_being_near(self._of_states(next_states))
            worth = (1.0 - share) * near[..., 0] * worth + share * near.mean(dim=-1)
        rewards = torch.zeros(mask.shape, device=mask.device)
        rewards[mask] = self.options.scale * worth
        return rewards

    def log_density(self, episodes: Episodes) -> Tensor:
        """Log-density ``(B, T)`` float32 of each transition, in nats per feature; 0 beyond an episode's length.

        It is that of the standardised difference; that of ``s'`` given ``s`` differs by a constant.

        Raises:
            InputError: As :meth:`score`.
        """
        states, next_states, mask = self._steps(episodes)
        density = torch.zeros(mask.shape, device=mask.device)
        density[mask] = self._log_density(states, next_states - states)
        return density

    def state_log_density(self, episodes: Episodes) -> Tensor:
        """Log-density ``(B, T, K)`` float32 of each next state, in nats per feature, at every level of noise.

        0 beyond an episode's length; no levels, ``K = 0``, with a ``state_share`` of 0.

        Raises:
            InputError: As :meth:`score`.
        """
        _, next_states, mask = self._steps(episodes)
        density = torch.zeros(*mask.shape, len(self._state_medians), device=mask.device)
        if self.options.state_share:
            density[mask] = self._of_states(next_states)
        return density

    def _steps(self, episodes: Episodes) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``(N, F)`` before and after each step that happened, and which these are, ``(B, T)`` bool."""
        check_episodes(episodes, self.features)
        z, mask = self.features.of_episodes(episodes).float(), episodes.mask
        return z[:, :-1][mask], z[:, 1:][mask], mask

    def worth_of_moving(self, log_density: Tensor) -> Tensor:
        """The worth, from 0 to 1, of transitions with these log-densities in nats per feature, of any shape."""
        unit = self.options.temperature or self._median - self._low
        shortfall = (self._median - log_density).clamp(min=0.0) / unit
        if self.options.squash == "clip":
            return (1.0 - shortfall).clamp(min=0.0)
        return torch.exp(-shortfall) if self.options.squash == "exponential" else 1.0 / (1.0 + shortfall)

    def worth_of_being_near(self, log_density: Tensor) -> Tensor:
        """The worth ``(..., K)``, from 0 to 1, of states with these log-densities ``(..., K)``, sharpest first."""
        shortfall = (self._state_medians.to(log_density.device) - log_density).clamp(min=0.0)
        worst_of_blurred = shortfall.flip(-1).cummax(dim=-1).values.flip(-1)
        return torch.exp(-worst_of_blurred / self.options.state_temperature)

    def state_dict(self) -> dict[str, Any]:
        """Options, features, the flows and the statistics of their densities, as tensors and plain values."""
        return {
            "options": asdict(self.options),
            "features": self.features.state_dict(),
            "flow": {} if self._flow is None else dict(self._flow.state_dict()),
            "states": {} if self._states is None else dict(self._states.state_dict()),
            "mean": self._mean,
            "scale": self._scale,
            "farthest_state": self._farthest_state,
            "farthest_move": self._farthest_move,
            "median": self._median,
            "low": self._low,
            "state_medians": self._state_medians,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included; no demonstration is needed."""
        self.options = FlowOptions(**state["options"])
        self.features.load_state_dict(state["features"])
        self._flow = self._states = None
        self._moved.clear()
        if state["flow"]:
            # Of any reach: the true one is among what is loaded, and earlier code had none.
            reach = torch.ones(self.features.width) if any(name.endswith("._scale") for name in state["flow"]) else None
            self._make_flows(reach, reach)
            assert self._flow is not None
            self._flow.load_state_dict(state["flow"])
        if self._states is not None:
            self._states.load_state_dict(state["states"])
        self._mean, self._scale = state["mean"].cpu(), state["scale"].cpu()
        everywhere = torch.full_like(self._mean, BOUND)  # Where earlier code clipped.
        self._farthest_state = state.get("farthest_state", everywhere).cpu()
        self._farthest_move = state.get("farthest_move", everywhere).cpu()
        self._median, self._low = float(state["median"]), float(state["low"])
        self._state_medians = state["state_medians"].cpu()

    @torch.no_grad()
    def _log_density(self, contexts: Tensor, differences: Tensor) -> Tensor:
        """Log-density ``(N,)`` in nats per feature of differences ``(N, F)``, given contexts ``(N, F)``."""
        own = self._on(contexts.device)
        targets = ((differences - own.mean) / own.scale).clamp(-own.farthest_move, own.farthest_move)
        contexts = contexts.clamp(-own.farthest_state, own.farthest_state)
        parts = zip(targets.split(ROWS), contexts.split(ROWS), strict=True)
        return _finite(torch.cat([own.flow.log_prob(*part) for part in parts]) / targets.shape[1])

    @torch.no_grad()
    def _of_states(self, states: Tensor) -> Tensor:
        """Log-density ``(N, K)`` in nats per feature of states ``(N, F)``."""
        own = self._on(states.device)
        density = own.states
        assert density is not None
        parts = states.clamp(-own.farthest_state, own.farthest_state).split(ROWS)
        return _finite(torch.cat([density.log_density(part) for part in parts]) / states.shape[1])

    def _on(self, device: torch.device) -> _Fitted:
        """The flows and the statistics of differences on a device; copies are kept."""
        if device not in self._moved:
            assert self._flow is not None
            flow, states = copy.deepcopy(self._flow).to(device).eval(), None
            if self._states is not None:
                states = copy.deepcopy(self._states).to(device).eval()
            statistics = (self._mean, self._scale, self._farthest_state, self._farthest_move)
            self._moved[device] = _Fitted(flow, states, *(each.to(device) for each in statistics))
        return self._moved[device]


class _Fitted(NamedTuple):
    """What scoring needs, on one device."""

    flow: NormalizingFlow
    states: StateDensity | None
    mean: Tensor
    scale: Tensor
    farthest_state: Tensor
    farthest_move: Tensor


def _finite(log_density: Tensor) -> Tensor:
    """Far out, products of many factors may overflow; no true density is infinite."""
    lowest = -1e30
    return log_density.nan_to_num(nan=lowest, posinf=lowest, neginf=lowest)
