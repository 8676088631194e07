"""The contract of a reward generator: fit on demonstrations, score episodes."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards.features import StateFeatures

__all__ = ["Episodes", "Explanation", "Needs", "RewardGenerator", "check_episodes", "copied"]

Needs = Literal["transition", "trajectory"]

LARGEST = 1e12
"""Larger observations are taken to mean that the simulation diverged: their squares would overflow in a sum."""


@dataclass(frozen=True)
class Episodes:
    """A batch of episodes of different lengths, padded at the end.

    Attributes:
        observations: ``(B, T+1, D)`` float32; row ``b`` is valid up to and including index ``lengths[b]``.
        lengths: ``(B,)`` int64, number of steps of each episode, at most ``T``.
        terminated: ``(B,)`` bool; the environment ended the episode and absorbing states follow. All False where
            episodes cannot terminate, or where absorbing-state handling is switched off.
        env_rewards: ``(B, T)`` float32, the environment's own rewards, or None where they were not recorded.
        starts: ``(B,)`` int64, steps of the episode before its first observation here, below 0 where unknown; None:
            these are whole episodes.
    """

    observations: Tensor
    lengths: Tensor
    terminated: Tensor
    env_rewards: Tensor | None = None
    starts: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """``(B, T)`` bool, True on the steps that happened."""
        steps = torch.arange(self.observations.shape[1] - 1, device=self.lengths.device)
        return steps < self.lengths[:, None]

    @property
    def steps(self) -> Tensor:
        """Steps of the episode before each observation, ``(B, T+1)`` int64.

        Raises:
            InputError: They are not known.
        """
        steps = torch.arange(self.observations.shape[1], device=self.lengths.device)
        if self.starts is None:
            return steps.expand(self.observations.shape[:2])
        if bool((self.starts < 0).any()):
            raise InputError(
                "The reward looks at the time (features.time), and of these transitions nobody knows which step of "
                "their episode they are: leave out features.time, or use a reward that needs whole episodes (transport)"
                "; where ilfo trains, showing the policy the time (--time-aware) helps too."
            )
        return self.starts[:, None] + steps

    def rows(self, start: int, stop: int) -> Episodes:
        """The episodes from ``start`` to before ``stop``."""
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: part[start:stop] for name, part in parts.items() if part is not None})

    @classmethod
    def from_trajectories(cls, trajectories: Sequence[Trajectory], device: torch.device | str = "cpu") -> Episodes:
        """Pads trajectories to the longest of them."""
        longest = max(len(trajectory) for trajectory in trajectories)
        width = trajectories[0].observations.shape[-1]
        observations = np.zeros((len(trajectories), longest + 1, width), np.float32)
        env_rewards = np.zeros((len(trajectories), longest), np.float32)
        for row, trajectory in enumerate(trajectories):
            observations[row, : len(trajectory) + 1] = trajectory.observations
            if trajectory.env_rewards is not None:
                env_rewards[row, : len(trajectory)] = trajectory.env_rewards
        rewarded = all(trajectory.env_rewards is not None for trajectory in trajectories)
        return cls(
            observations=torch.from_numpy(observations).to(device),
            lengths=torch.tensor([len(trajectory) for trajectory in trajectories], device=device),
            terminated=torch.tensor([trajectory.terminated for trajectory in trajectories], device=device),
            env_rewards=torch.from_numpy(env_rewards).to(device) if rewarded else None,
        )


@dataclass(frozen=True)
class Explanation:
    """Why an episode got its rewards: which expert step each of its steps was matched to, and at what cost.

    Attributes:
        demonstration: Index of the demonstration that the episode was compared with.
        expert_steps: ``(T,)`` int64, the expert step that each step was mostly matched to.
        costs: ``(T,)`` float32, the cost of each step as it was rewarded; lower is closer to the expert. It is that of
            the match, except where a reward takes the nearest step of any demonstration.
        plan: ``(T, T_expert)`` float32, share of each step's mass that went to each expert step; None for
            generators without a plan.
    """

    demonstration: int
    expert_steps: np.ndarray
    costs: np.ndarray
    plan: np.ndarray | None = None


class RewardGenerator(ABC):
    """Turns demonstrations into a reward.

    A subclass implements :meth:`fit` and :meth:`score`, and :meth:`state_dict` with :meth:`load_state_dict` for
    whatever these learn: without them a run can be neither resumed nor loaded. The training loop reads the attributes
    below and never checks for a class.

    Attributes:
        Options: Dataclass of the generator's settings, whose fields become flags, or None.
        needs: ``"trajectory"`` when a step's reward depends on its whole episode, so rewards come when the episode
            ends; ``"transition"`` when ``(s, s')`` and the time are enough, so they come at every step.
        imitates: Whether it learns from demonstrations; if so they are required, and absorbing states apply.
        stationary: Whether a transition gets the same reward throughout training. If not, the loop scores each batch
            again when it samples it; only generators with ``needs = "transition"`` may be non-stationary.
        options: As given, or the defaults.
        features: As given; :meth:`fit` fits them.
        on_progress: Called during :meth:`fit` with the fraction that is done, from 0 to 1, and a text with the numbers
            that matter; None by default.

    Args:
        options: An instance of ``Options``, or None for the defaults.
        features: What part of the state it looks at, fitted by :meth:`fit`; None for all dimensions.
    """

    Options: ClassVar[type | None] = None
    needs: Needs = "trajectory"
    imitates: bool = True
    stationary: bool = True
    on_progress: Callable[[float, str], None] | None = None

    def __init__(self, options: Any = None, features: StateFeatures | None = None) -> None:
        self.options = options if options is not None or self.Options is None else self.Options()
        self.features = features or StateFeatures()

    @abstractmethod
    def fit(self, demonstrations: Demonstrations) -> RewardGenerator:
        """Learns from the expert; returns itself. Called once, before training."""

    def fit_with_progress(
        self, demonstrations: Demonstrations, on_progress: Callable[[float, str], None] | None
    ) -> RewardGenerator:
        """:meth:`fit`, with :attr:`on_progress` called meanwhile and not afterwards."""
        self.on_progress = on_progress
        try:
            return self.fit(demonstrations)
        finally:
            self.on_progress = None

    @abstractmethod
    def score(self, episodes: Episodes) -> Tensor:
        """Rewards ``(B, T)`` float32 on the device of the episodes; entries beyond an episode's length are 0."""

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """Reward per step, ``(B,)``, of the absorbing state that follows a terminated episode, for ever after.

        The default is the worst step of the episode, and at most 0, so that dying never pays (the bias is named in
        Discriminator-Actor-Critic, arXiv 1809.02925, section 4.1). That takes whole episodes. A generator of
        transitions is shown the last step alone while an agent learns; if its rewards can be negative, it has to define
        this itself, as a value that no step falls below.

        Warns:
            UserWarning: It is shown the last step alone, whose reward is negative.
        """
        worst = self.score(episodes).amin(dim=1).clamp(max=0.0)
        if episodes.observations.shape[1] == 2 and self.needs == "transition" and bool((worst < 0).any()):
            warnings.warn(
                f"{type(self).__qualname__} scores single transitions, some below 0, and has no absorbing_reward: the "
                "state after a termination counts as the last step, so that ending an episode after a good step pays. "
                "Give it an absorbing_reward that no step falls below, or keep its scores at 0 or above; or use no "
                "absorbing states (--no-absorbing, absorbing=False)",
                stacklevel=2,
            )
        return worst

    @property
    def observes(self) -> bool:
        """Whether :meth:`observe` needs the agent's episodes: by default, if the class overrides it.

        A generator that wraps others, and only passes episodes on to them, returns whether one of those observes.
        """
        return type(self).observe is not RewardGenerator.observe

    def observe(self, episodes: Episodes) -> dict[str, float]:
        """Learns from the agent's own episodes; returns numbers to log.

        The loop passes every training episode once, when it ends; where whole episodes are scored, before that.
        ``terminated`` is the environment's where absorbing states apply, else False. The default learns nothing.
        """
        return {}

    def terms(self, episodes: Episodes) -> dict[str, Tensor]:
        """The parts ``(B, T)`` that add up to :meth:`score`, by name, each to be logged; none by default."""
        return {}

    def explain(self, trajectory: Trajectory) -> Explanation | None:
        """What the episode was matched to, for the report; None where there is nothing to show."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything that :meth:`fit` learned, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""


def check_episodes(episodes: Episodes, features: StateFeatures) -> None:
    """Refuses episodes that a generator with these features cannot score.

    Raises:
        InputError: The features were never fitted; or an episode has no steps, is not as wide as the demonstrations, or
            is not finite.
    """
    if not features.width:
        raise InputError("This reward knows no expert yet: call fit or load_state_dict first.")
    steps = episodes.observations.shape[1] - 1
    wrong = torch.nonzero((episodes.lengths < 1) | (episodes.lengths > steps))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"Episode {row} has {int(episodes.lengths[row])} steps; expected 1 to {steps}, one fewer than its "
            "observations."
        )
    width, expected = episodes.observations.shape[-1], features.observation_dim
    if width != expected:
        raise InputError(
            f"Episode 0, step 0: the observation has {width} dimensions and the demonstrations' have "
            f"{expected}; use a demonstration of this environment."
        )
    indices = torch.arange(steps + 1, device=episodes.lengths.device)
    happened = indices <= episodes.lengths[:, None]
    usable = episodes.observations.abs() < LARGEST  # NaN fails the comparison too.
    unusable = torch.nonzero(~usable & happened[..., None])
    if len(unusable):
        row, step, dimension = unusable[0].tolist()
        raise InputError(
            f"Episode {row}, step {step}: dimension {dimension} of the observation is "
            f"{episodes.observations[row, step, dimension].item()}; expected a finite number below "
            f"{LARGEST:g}. Has the simulation diverged?"
        )


def copied(reward: RewardGenerator, consequence: str) -> RewardGenerator | None:
    """A copy that draws and learns on its own.

    Args:
        reward: The generator.
        consequence: What it means if there can be none, for the warning.

    Returns:
        None where there can be none.

    Warns:
        UserWarning: There can be none.
    """
    try:
        return copy.deepcopy(reward)
    except Exception as error:
        name = type(reward).__qualname__
        warnings.warn(
            f"{name} cannot be copied ({error}), {consequence}; ilfo.testing.check_reward({name}) says more",
            stacklevel=1,  # Always from here, so that it is shown once.
        )
        return None
