"""A replay buffer that gives Stable-Baselines3's off-policy algorithms imitation rewards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from ilfo._tools.errors import InputError
from ilfo.adapters._scoring import check_observation_space
from ilfo.adapters._transitions import FinishedEpisode, Transitions
from ilfo.adapters.labeller import EpisodeLabeller
from ilfo.rewards import RewardGenerator

try:
    from stable_baselines3.common.buffers import ReplayBuffer
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import HumanOutputFormat
    from stable_baselines3.common.type_aliases import ReplayBufferSamples
    from stable_baselines3.common.vec_env import VecNormalize
except ModuleNotFoundError as error:
    raise InputError("Stable-Baselines3 is not installed: pip install 'ilfo[sb3]'") from error

__all__ = ["ImitationCallback", "ImitationReplayBuffer"]


class ImitationReplayBuffer(ReplayBuffer):
    """Stores transitions with imitation rewards; what the environment says of rewards is never read.

    Any off-policy algorithm takes it::

        model = SAC("MlpPolicy", env, gamma=0.99, learning_starts=1000, replay_buffer_class=ImitationReplayBuffer,
                    replay_buffer_kwargs={"reward": reward, "discount": 0.99})
        model.learn(100_000, callback=ImitationCallback())

    A reward that needs whole episodes holds transitions back until theirs ends; ``learning_starts`` has to leave time
    for that. One that changes while the agent learns is asked again for every batch.

    ``model.save_replay_buffer`` saves the reward and the episodes under way too. An episode that the environments do
    not go on with, because somebody reset them or the buffer was loaded by a later process, counts as truncated.

    Args:
        buffer_size: Most transitions held.
        observation_space: A box of one dimension.
        action_space: Any that the algorithm takes.
        device: Where batches go and rewards are computed.
        n_envs: Environments that step together.
        optimize_memory_usage: Not possible here.
        handle_timeout_termination: Whether a time limit is not to be learned as an end.
        reward: A fitted generator.
        discount: The algorithm's ``gamma``. A buffer is not told that one: :class:`ImitationCallback` compares them.
        absorbing: Whether terminated episodes go on in absorbing states; else they are simply the end. Without them,
            fit the reward on ``ilfo.rewards.without_terminations(demonstrations)``: else part of a demonstration that
            terminated is in an absorbing state, which no episode can match.

    Attributes:
        on_episode: Called with every episode that is over; nothing by default. It is not saved, and
            :class:`ImitationCallback` takes its place while it logs.

    Raises:
        InputError: The reward does not imitate, is not fitted, was fitted on observations of another width, or changes
            while the agent learns and looks at the time; observations are not one vector, the discount does not fit, or
            ``optimize_memory_usage`` is on.

    Warns:
        UserWarning: The reward cannot be copied, and so was not tried before the first step.

    Notes:
        :class:`VecNormalize` scales observations as ever; its scale of the environment's rewards is not applied to
        these. It clips the last observation of an episode, which the reward then sees clipped: a column that hardly
        ever moves but at the end needs a large ``clip_obs``. Columns of the storage are transitions one after another
        whatever ``n_envs`` is, because episodes end at different times.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        reward: RewardGenerator,
        discount: float,
        absorbing: bool = True,
    ) -> None:
        if optimize_memory_usage:
            raise InputError(
                "optimize_memory_usage=True stores each observation once, in the order of the steps, and imitation "
                "rewards bring episodes in the order of their ends: leave it False"
            )
        check_observation_space(observation_space)
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs=1,
            handle_timeout_termination=handle_timeout_termination,
        )
        self._labeller = EpisodeLabeller(
            reward,
            n_envs,
            discount=discount,
            absorbing=absorbing,
            autoreset=AutoresetMode.DISABLED,
            device=self.device,
        )
        (width,) = self.obs_shape
        self._labeller.try_on(width, rescored=True)
        self._terminated = np.zeros(self.buffer_size, bool)
        self._steps = 0
        self.on_episode: Callable[[FinishedEpisode], None] | None = None

    @property
    def labeller(self) -> EpisodeLabeller:
        """What labels the steps; it computes where the batches go, which a loaded model may change."""
        self._labeller.device = self.device
        return self._labeller

    @property
    def reward(self) -> RewardGenerator:
        """The generator; of a loaded buffer its own copy."""
        return self._labeller.reward

    @property
    def discount(self) -> float:
        """As given."""
        return self._labeller.discount

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Takes a step of every environment, and stores the transitions whose rewards are known by now.

        Args:
            obs: ``(n_envs, D)``.
            next_obs: ``(n_envs, D)``; of an ended episode the final one.
            action: ``(n_envs, A)``.
            reward: The environment's, not read.
            done: ``(n_envs,)``.
            infos: Of each environment; ``TimeLimit.truncated`` says that a time limit ended the episode.

        Raises:
            InputError: The reward cannot score an observation.
        """
        labeller = self.labeller
        rows = np.asarray(action).reshape(labeller.num_envs, self.action_dim)
        truncated = np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos])
        abandoned = np.flatnonzero(labeller.gaps(obs))
        if len(abandoned):
            self._store(labeller.cut(abandoned))
        ended = np.asarray(done, bool)
        self._store(labeller.label(obs, rows, next_obs, ended & ~truncated, ended & truncated, {}))
        self._steps += labeller.num_envs

    def _store(self, transitions: Transitions) -> None:
        """Writes transitions over the oldest; of more than there is room for, the last. Tells of finished episodes."""
        dropped = max(len(transitions) - self.buffer_size, 0)
        kept = slice(dropped, None)
        count = len(transitions) - dropped
        rows = (self.pos + dropped + np.arange(count)) % self.buffer_size
        ended, terminated = transitions.ended[kept], transitions.terminated[kept]
        self.observations[rows, 0] = transitions.observations[kept]
        self.next_observations[rows, 0] = transitions.next_observations[kept]
        self.actions[rows, 0] = transitions.actions[kept]
        self.rewards[rows, 0] = transitions.rewards[kept]
        self.dones[rows, 0] = ended
        self.timeouts[rows, 0] = ended & ~terminated & self.handle_timeout_termination
        self._terminated[rows] = terminated
        self.full = self.full or self.pos + len(transitions) >= self.buffer_size
        self.pos = (self.pos + len(transitions)) % self.buffer_size
        if self.on_episode is not None:
            for episode in transitions.episodes:
                self.on_episode(episode)

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """A batch, drawn uniformly.

        Raises:
            InputError: No episode has ended yet.
        """
        if not self.size():
            raise InputError(
                f"the replay buffer is empty after {self._steps} steps: {type(self.reward).__name__} rewards an "
                f"episode when it ends, and none of {self._labeller.num_envs} has ended yet; set learning_starts to at "
                "least one episode of each environment, and let the environment have a time limit"
            )
        return super().sample(batch_size, env)

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        if self._labeller.changes:
            before, after, terminated = (
                torch.from_numpy(column[batch_inds])
                for column in (self.observations[:, 0], self.next_observations[:, 0], self._terminated)
            )
            rewards = self.labeller.rescore(before, after, terminated)
            self.rewards[batch_inds, 0] = rewards.numpy()
        return super()._get_samples(batch_inds, env)

    @staticmethod
    def _normalize_reward(reward: np.ndarray, env: VecNormalize | None = None) -> np.ndarray:
        """As it is: what ``env`` knows is the scale of the environment's rewards."""
        return reward

    def __getstate__(self) -> dict[str, Any]:
        """Everything but whom to call, with a copy of the reward that keeps nothing on a device."""
        labeller = copy.deepcopy(self._labeller)
        labeller.reward.on_progress = None
        labeller.load_state_dict(_on_cpu(labeller.state_dict()))
        labeller.device = torch.device("cpu")
        return self.__dict__ | {"_labeller": labeller, "on_episode": None}


class ImitationCallback(BaseCallback):
    """Logs what the reward says of the episodes, beside the algorithm's own numbers.

    Under ``imitation/`` stand, as means over the episodes that ended since the logger wrote last and by the names of
    ilfo's own runs: ``imitation_return``, of a sum also ``imitation_return/TERM``, and what the reward says of what it
    learned. Where training starts, it makes sure that the buffer and the algorithm discount alike.

    Raises:
        InputError: From ``learn``: the model has no :class:`ImitationReplayBuffer`, or its ``gamma`` is not the
            buffer's ``discount``.
    """

    def _on_training_start(self) -> None:
        model: Any = self.model
        buffer = getattr(model, "replay_buffer", None)
        if not isinstance(buffer, ImitationReplayBuffer):
            found = "no replay buffer" if buffer is None else f"a {type(buffer).__name__}"
            raise InputError(
                f"{type(model).__name__} has {found}, and ImitationCallback expects an ImitationReplayBuffer: give an "
                "off-policy algorithm replay_buffer_class=ImitationReplayBuffer"
            )
        if buffer.discount != model.gamma:
            raise InputError(
                f"{type(model).__name__}'s gamma is {model.gamma}, and the discount of its replay buffer "
                f"{buffer.discount}, by which rewards hold what follows a termination: give both the same, "
                f"gamma={buffer.discount} or replay_buffer_kwargs={{'discount': {model.gamma}, ...}}"
            )
        self._buffer, self._told_before = buffer, buffer.on_episode
        buffer.on_episode = self._record

    def _on_training_end(self) -> None:
        self._buffer.on_episode = self._told_before

    def _record(self, episode: FinishedEpisode) -> None:
        for name, value in episode.numbers.items():
            key = f"imitation/{name}"
            for output in self.logger.output_formats:
                # The printed table cuts names at its width, and stops the training where two are then the same.
                if isinstance(output, HumanOutputFormat):
                    output.max_length = max(output.max_length, len(key))
            self.logger.record_mean(key, value)

    def _on_step(self) -> bool:
        return True


def _on_cpu(state: Any) -> Any:
    """A state with all its tensors in the memory of the host."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    return type(state)(map(_on_cpu, state)) if isinstance(state, (list, tuple)) else state
