"""An environment whose reward is the imitation reward, for any learner."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from ilfo._tools.errors import InputError
from ilfo.adapters._scoring import check_observation_space, check_transitions_suffice
from ilfo.adapters.labeller import EpisodeLabeller
from ilfo.rewards import RewardGenerator

__all__ = ["ImitationRewardWrapper"]


class ImitationRewardWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Steps return the imitation reward, and the environment's own in ``info["env_reward"]``.

    The last step of an episode has in ``info["imitation"]`` what there is to log, by the names of ilfo's own runs:
    ``imitation_return``, of a sum also each term's, and what the reward says of what it learned. Of an episode that was
    cut from outside, by a time limit around this wrapper, the next reset's ``info`` has it.

    On-policy learners can be given any reward that needs no more than transitions. In the replay of an off-policy
    learner, one that changes while it learns (``stationary = False``) grows stale: use an adapter that scores again.

    Args:
        env: Its observations are those of the demonstration.
        reward: A fitted generator that needs no more than transitions.
        discount: The learner's; the last reward of a terminated episode holds what the absorbing state is worth.
        absorbing: Whether terminated episodes go on in absorbing states; else they are simply the end. Without them,
            fit the reward on ``ilfo.rewards.without_terminations(demonstrations)``: else part of a demonstration that
            terminated is in an absorbing state, which no episode can match.
        device: Where rewards are computed.

    Raises:
        InputError: The reward needs whole episodes, does not imitate, is not fitted, or was fitted on observations of
            another width; the observations are not one vector; or the environment resets itself (``Autoreset``).

    Warns:
        UserWarning: The reward cannot be copied, and so was not tried before the first step.

    Notes:
        In vector environments that run in processes of their own (``AsyncVectorEnv``, Stable-Baselines3's
        ``SubprocVecEnv``), every process has a copy of the reward. One that learns then learns in each from the
        episodes of that environment alone, and the one that was given here never does. Give such a reward to
        environments in one process (``SyncVectorEnv``, ``DummyVecEnv``), or label outside of them:
        :class:`~ilfo.adapters.labeller.EpisodeLabeller`.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        reward: RewardGenerator,
        *,
        discount: float,
        absorbing: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        inner: Any = env
        while isinstance(inner, gymnasium.Wrapper):
            if isinstance(inner, gymnasium.wrappers.Autoreset):
                raise InputError(
                    "Autoreset is inside of ImitationRewardWrapper, whose step would reward the reset as if it were "
                    "a transition: put it outside, Autoreset(ImitationRewardWrapper(env, ...))"
                )
            inner = inner.env
        super().__init__(env)
        check_transitions_suffice(reward, "rewarded in the step that makes them")
        check_observation_space(env.observation_space)
        self._labeller = EpisodeLabeller(
            reward, discount=discount, absorbing=absorbing, autoreset=AutoresetMode.DISABLED, device=device
        )
        (width,) = env.observation_space.shape  # type: ignore[misc]
        self._labeller.try_on(width)
        self._observation = np.zeros(0, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; one that was under way is over for the reward too."""
        over = self._labeller.cut().episodes
        observation, info = self.env.reset(seed=seed, options=options)
        self._observation = np.array(observation, np.float32)
        return observation, info | ({"imitation": over[0].numbers} if over else {})

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """The environment's step with the imitation reward.

        Raises:
            InputError: The observation is not finite.
        """
        observation, env_reward, terminated, truncated, info = self.env.step(action)
        labelled = self._labeller.label(self._observation, np.zeros(1), observation, terminated, truncated, {})
        self._observation = labelled.next_observations[0]
        info = info | {"env_reward": env_reward}
        if labelled.episodes:
            info["imitation"] = labelled.episodes[0].numbers
        return observation, float(labelled.rewards[0]), terminated, truncated, info
