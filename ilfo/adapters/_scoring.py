"""What every adapter asks of a reward: to judge an episode or some transitions, for a learner of a given discount."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.adapters._transitions import FinishedEpisode
from ilfo.adapters._trial import check_fitted, width_of
from ilfo.rewards import Episodes, RewardGenerator
from ilfo.rewards._checked import NotFiniteError, observed
from ilfo.rewards.base import copied
from ilfo.rewards.labelling import Labels, imitation_rewards

__all__ = ["Scoring", "check_observation_space", "check_transitions_suffice", "rows_of"]

_TRIAL_STEPS = 3
"""Steps that a reward is tried on: some that others follow, and one that ends an episode."""


class Scoring:
    """A fitted reward, as a learner that takes ``terminated`` for the end has to see it.

    Args:
        reward: A fitted generator.
        discount: The learner's.
        absorbing: Whether terminated episodes go on in absorbing states, see
            :func:`~ilfo.rewards.labelling.imitation_rewards`. Without them, fit the reward on
            :func:`~ilfo.rewards.labelling.without_terminations` of the demonstrations.

    Raises:
        InputError: The reward passes on the environment's; or the discount is not between 0 and 1, or is 1 where
            absorbing states go on for ever.
    """

    def __init__(self, reward: RewardGenerator, *, discount: float, absorbing: bool) -> None:
        if not reward.imitates:
            raise InputError(
                f"{type(reward).__name__} passes on the environment's own reward, which every learner sees anyway: "
                "give a reward that imitates, or train without ilfo"
            )
        if not 0 <= discount <= 1 or (absorbing and discount == 1):
            below = " below 1, because absorbing states go on for ever; lower it, or use absorbing=False"
            raise InputError(
                f"discount is {discount}; expected the learner's, between 0 and 1{below if discount == 1 else ''}"
            )
        self.reward, self.discount, self.absorbing = reward, discount, absorbing
        self._tried: set[tuple[int, bool]] = set()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What was pickled by earlier code was tried on nothing."""
        self.__dict__.update({"_tried": set()} | state)

    def try_on(self, width: int | None, *, rescored: bool = False, device: torch.device | str = "cpu") -> None:
        """Has the reward score a few steps of zeros, so that nobody finds out later that it cannot; once of a kind.

        A copy does it, whose draws are not missed in the training.

        Args:
            width: ``D`` of the environment's observations; None: that which the reward was fitted on, if it says so.
            rescored: Whether stored transitions are scored again where they change, when nobody knows the time of them.
            device: Where rewards are computed.

        Raises:
            InputError: The reward is not fitted, or fitted on observations of another width; it looks at the time, and
                transitions are scored again; or it breaks its contract when it scores.

        Warns:
            UserWarning: The reward cannot be copied, and so was not tried; or it raised something else.
        """
        width = width_of(self.reward) if width is None else width
        kind = width, rescored and self.changes
        if kind in self._tried or not width:
            return
        check_fitted(self.reward)
        expected = width_of(self.reward)
        if expected not in (0, width):
            raise InputError(
                f"the environment's observations have {width} dimensions, and those of the demonstrations that "
                f"{type(self.reward).__name__} was fitted on have {expected}: use a demonstration of this environment"
            )
        reward = copied(self.reward, "so that it was not tried before it is learned from")
        if reward is not None:
            trial = copy.copy(self)
            trial.reward = reward
            try:
                trial.labels(trial._made_up(width, timeless=kind[1], device=torch.device(device)))
            # At zero and at rest: a reward of one's own may have no number for that, and for all else.
            except NotFiniteError:
                pass
            except InputError:
                raise
            except Exception as error:
                name = type(self.reward).__qualname__
                warnings.warn(
                    f"{name} was tried on steps of zeros and raised {type(error).__name__}: {error}; "
                    f"ilfo.testing.check_reward({name}) tries the whole contract of a reward",
                    stacklevel=2,
                )
        self._tried.add(kind)

    def _made_up(self, width: int, timeless: bool, device: torch.device) -> Episodes:
        """Steps of zeros as the reward will be shown them, the last of which ends an episode."""
        states = torch.zeros(_TRIAL_STEPS + 1, width, device=device)
        if self.reward.needs == "trajectory":
            return self._episode(states, True)
        steps = torch.arange(_TRIAL_STEPS, device=device)
        return self.transitions(states[:-1], states[1:], steps == _TRIAL_STEPS - 1, None if timeless else steps)

    @property
    def sees_episodes(self) -> bool:
        """Whether the reward has to be shown whole episodes, to score them or to learn from them."""
        return self.reward.needs == "trajectory" or self.reward.observes

    @property
    def changes(self) -> bool:
        """Whether transitions are to be scored again; where that takes whole episodes, they stay as they were."""
        return self.reward.needs == "transition" and not self.reward.stationary

    def observe(self, observations: Tensor, terminated: bool) -> dict[str, float]:
        """Shows the reward an episode ``(T+1, D)`` that is over; returns what it has to log."""
        return observed(self.reward, self._episode(observations, terminated))

    def finish(self, observations: Tensor, terminated: bool, env: int = 0) -> tuple[Labels, FinishedEpisode]:
        """Shows the reward an episode that is over, and then lets it judge.

        Args:
            observations: ``(T+1, D)`` float32.
            terminated: By the environment itself.
            env: Which environment it was played in.

        Returns:
            Its labels, ``(1, T)``, and what there is to log.

        Raises:
            InputError: The reward cannot score these observations.
        """
        episode = self._episode(observations, terminated)
        metrics = observed(self.reward, episode)
        labels = self.labels(episode)
        total, terms = self.returns(episode, labels)
        parts = {name: float(term) for name, term in terms.items()}
        return labels, FinishedEpisode(env, len(observations) - 1, float(total), terminated, parts, metrics)

    def _episode(self, observations: Tensor, terminated: bool) -> Episodes:
        length = torch.tensor([len(observations) - 1], device=observations.device)
        return Episodes(observations[None], length, torch.tensor([terminated and self.absorbing], device=length.device))

    def transitions(
        self, observations: Tensor, next_observations: Tensor, terminated: Tensor, starts: Tensor | None = None
    ) -> Episodes:
        """Transitions as the reward is shown them: ``B`` episodes of one step.

        Args:
            observations: ``(B, D)`` float32.
            next_observations: ``(B, D)`` float32.
            terminated: ``(B,)`` bool.
            starts: ``(B,)`` int64, steps of the episode before each; None: nobody knows.

        Raises:
            InputError: The reward needs whole episodes.
        """
        check_transitions_suffice(self.reward, "scored one by one")
        lengths = torch.ones(len(terminated), dtype=torch.int64, device=terminated.device)
        ends = terminated if self.absorbing else torch.zeros_like(terminated)
        known = -lengths if starts is None else starts
        return Episodes(torch.stack([observations, next_observations], dim=1), lengths, ends, starts=known)

    def labels(self, episodes: Episodes) -> Labels:
        """Labels ``(B, T)``.

        Raises:
            InputError: The reward cannot score these observations.
        """
        with torch.no_grad():
            return imitation_rewards(self.reward, episodes, discount=self.discount, absorbing=self.absorbing)

    def returns(self, episodes: Episodes, labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """What episodes get, ``(B,)``: in all, and from each term of a sum, which remembers what it scored last."""
        with torch.no_grad():
            terms = self.reward.terms(episodes)
        return labels.scores.sum(dim=1), {name: term.sum(dim=1) for name, term in terms.items()}


def check_transitions_suffice(reward: RewardGenerator, purpose: str) -> None:
    """Refuses a reward that needs whole episodes where there are only transitions.

    Args:
        reward: Fitted or not.
        purpose: What transitions are to be, for the message.

    Raises:
        InputError: The reward needs whole episodes.
    """
    if reward.needs == "trajectory":
        raise InputError(
            f"{type(reward).__name__} needs whole episodes, so that its transitions cannot be {purpose}; use a reward "
            "that needs transitions alone (nearest, flow), or an adapter that waits for the end of an episode: "
            "ilfo.adapters.labeller.EpisodeLabeller in a loop of your own, "
            "ilfo.adapters.stable_baselines3.ImitationReplayBuffer, or a TorchRL replay buffer with "
            "ilfo.adapters.torchrl.ImitationReward"
        )


def check_observation_space(space: Any) -> None:
    """Refuses a Gymnasium space whose observations are not one vector.

    Raises:
        InputError: It has parts, or another number of dimensions.
    """
    shape = getattr(space, "shape", None)
    if shape is None or len(shape) != 1:
        raise InputError(
            f"the observation space is {space}; expected a Box of one dimension with the columns of the "
            "demonstration: wrap the environment in gymnasium.wrappers.FlattenObservation"
        )


def rows_of(observations: Any, rows: int) -> np.ndarray:
    """Observations ``(rows, D)`` as float32, copied; a single one may come without the first dimension.

    Raises:
        InputError: They are no such array.
    """
    if isinstance(observations, Mapping):
        raise InputError(
            f"observations have the parts {', '.join(map(str, observations))}; expected one vector: wrap the "
            "environment in gymnasium.wrappers.FlattenObservation"
        )
    array = np.array(observations, np.float32)
    if array.ndim == 1 and rows == 1:
        array = array[None]
    if array.ndim != 2 or len(array) != rows:
        raise InputError(f"observations of shape {array.shape}; expected ({rows}, D), a row for each environment")
    return array
