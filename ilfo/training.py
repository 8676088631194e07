"""The parts of a run, and the one step that they take together."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ilfo import demos
from ilfo._averages import Averages
from ilfo._errors import InputError
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.agents import Agent, Batch
from ilfo.configs import TrainConfig, config_from_dict
from ilfo.demos import Demonstrations, Trajectory
from ilfo.envs import Environments, Steps, describe, random_policy, rollout
from ilfo.labelling import imitation_rewards
from ilfo.plugins import option_group, resolve
from ilfo.replay import Replay
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.rewards import Episodes, RewardGenerator, StateFeatures
from ilfo.runs import read_checkpoint, read_config

__all__ = ["Training", "load"]


class Training:
    """The parts of a run and the one step that they take together.

    Args:
        config: The resolved configuration.
        fitted: What a checkpoint holds; the reward and the policy's features are then restored from it instead of
            being fitted, and the demonstrations are not opened.

    Raises:
        InputError: The demonstrations cannot be read or do not fit the environment, or a part cannot be made.
    """

    def __init__(self, config: TrainConfig, fitted: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.device = torch.device(config.device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: this machine's PyTorch sees no GPU; use --device cpu")
        torch.set_num_threads(config.threads)
        self.absorbing = config.absorbing and config.protocol == "standard"
        seeds = [int(seed) for seed in np.random.SeedSequence(config.seed).generate_state(5)]
        self._agent_seed, self._replay_seed, self._random_seed, self._env_seed, self.eval_seed = seeds

        self.demonstrations = self._open_demonstrations() if fitted is None else None
        self.expert_return = self.demonstrations.expert_return if self.demonstrations else None
        self.reward = self._make_reward()
        self.policy_features = self._make_policy_features()
        if fitted is None:
            self._fit()
        else:
            self._restore_fitted(fitted)
        self.environments = Environments(config.env, config.num_envs, config.protocol, self._env_seed)
        self.agent = self._make_agent()
        self.replay = Replay(
            min(config.replay_size, config.steps + config.num_envs),
            self.environments.observation_dim,
            self.environments.action_dim,
            device=self.device,
            seed=self._replay_seed,
        )
        self.averages = Averages()
        self.step = 0
        self._generator = torch.Generator().manual_seed(self._random_seed)

    def _open_demonstrations(self) -> Demonstrations | None:
        if self.config.demo is None:
            return None
        found = demos.open(self.config.demo)
        provenance, low, high = describe(self.config.env)
        for difference in demos.check_fits(found, provenance, low, high):
            warnings.warn(difference, stacklevel=2)
        return found

    def _make_reward(self) -> RewardGenerator:
        config = self.config
        made = resolve(config.reward, REWARDS, "reward", RewardGenerator)
        if made.imitates and config.demo is None:
            raise InputError(f"--reward {config.reward} learns from demonstrations: give --demo FILE")
        options = getattr(config, option_group(config.reward)) if made.Options else None
        reward: RewardGenerator = made(options, StateFeatures(config.features))
        return reward

    def _make_policy_features(self) -> StateFeatures | None:
        standardised = self.config.demo is not None and self.config.normalize_observations
        return StateFeatures(self.config.policy_features) if standardised else None

    def _fit(self) -> None:
        expert = self.demonstrations
        if expert is None:
            return
        if self.policy_features is not None:
            self.policy_features.fit(expert)
        if not self.absorbing:
            endless = (dataclasses.replace(one, terminated=False, truncated=True) for one in expert)
            expert = dataclasses.replace(expert, trajectories=tuple(endless))
        self.reward.fit(expert)

    def _restore_fitted(self, fitted: Mapping[str, Any]) -> None:
        self.expert_return = fitted["expert_return"]
        self.reward.load_state_dict(fitted["reward"])
        if self.policy_features is not None:
            self.policy_features.load_state_dict(fitted["policy_features"])

    def fitted_state(self) -> dict[str, Any]:
        """What was learned before training, which is all that a trained agent needs besides itself."""
        features = None if self.policy_features is None else self.policy_features.state_dict()
        return {
            "reward": self.reward.state_dict(),
            "policy_features": features,
            "expert_return": self.expert_return,
        }

    def _make_agent(self) -> Agent:
        made = resolve(self.config.agent, AGENTS, "agent", Agent)
        options = getattr(self.config, option_group(self.config.agent)) if made.Options else None
        width, actions = self.environments.observation_dim, self.environments.action_dim
        agent: Agent = made(width, actions, options, device=self.device, seed=self._agent_seed)
        if self.absorbing and not 0 <= agent.discount < 1:
            raise InputError(
                f"the agent's discount is {agent.discount}; absorbing states need one below 1: "
                "lower it, or use --no-absorbing or --protocol fixed-horizon"
            )
        return agent

    def advance(self) -> None:
        """One step of every environment, and as many updates of the agent."""
        warm_up = self.step < self.config.random_steps
        actions = self._random_actions() if warm_up else self.act(self.environments.observations, explore=True)
        steps = self.environments.step(actions)
        self.step += len(self.environments)
        if self.reward.needs == "transition":
            self._remember_transitions(steps)
        for trajectory in steps.finished:
            self._remember_episode(trajectory)
        if self.step >= self.config.random_steps and len(self.replay):
            for _ in range(len(self.environments)):
                self.averages.add(self.agent.update(self.replay.sample(self.agent.batch_size)))

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The agent's actions ``(N, A)`` for raw observations ``(N, D)``."""
        actions = self.agent.act(self._policy_input(torch.from_numpy(observations).to(self.device)), explore)
        return actions.cpu().numpy()

    def evaluate(self, episodes: int, seed: int | None = None) -> list[Trajectory]:
        """Episodes of the policy without exploration noise."""
        seed = self.eval_seed if seed is None else seed
        return rollout(self.act, self.config.env, episodes, protocol=self.config.protocol, seed=seed)

    def random_episodes(self, episodes: int) -> list[Trajectory]:
        """Episodes of uniformly random actions, starting where the evaluation's do."""
        policy = random_policy(self.environments.action_dim, self._random_seed)
        return rollout(policy, self.config.env, episodes, protocol=self.config.protocol, seed=self.eval_seed)

    def rewards_of(self, trajectories: Sequence[Trajectory]) -> tuple[Tensor, Tensor]:
        """The reward generator's scores ``(B, T)`` of whole episodes, and what the agent learns from."""
        return self._label(Episodes.from_trajectories(trajectories, self.device))

    def _label(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        if self.reward.imitates:
            episodes = dataclasses.replace(episodes, env_rewards=None)
        return imitation_rewards(
            self.reward,
            episodes,
            discount=self.agent.discount,
            absorbing=self.absorbing and self.reward.imitates,
        )

    def _policy_input(self, observations: Tensor) -> Tensor:
        return observations if self.policy_features is None else self.policy_features(observations)

    def _random_actions(self) -> np.ndarray:
        shape = (len(self.environments), self.environments.action_dim)
        return (torch.rand(shape, generator=self._generator) * 2 - 1).numpy()

    def _remember_transitions(self, steps: Steps) -> None:
        pairs = np.stack([steps.observations, steps.next_observations], axis=1)
        episodes = Episodes(
            observations=torch.from_numpy(pairs).to(self.device),
            lengths=torch.ones(len(pairs), dtype=torch.int64, device=self.device),
            terminated=torch.from_numpy(steps.terminated).to(self.device),
            env_rewards=torch.from_numpy(steps.env_rewards[:, None]).to(self.device),
        )
        _, rewards = self._label(episodes)
        self._add(
            episodes.observations[:, 0],
            steps.actions,
            rewards[:, 0],
            episodes.observations[:, 1],
            steps.terminated,
        )

    def _remember_episode(self, trajectory: Trajectory) -> None:
        scores, rewards = self.rewards_of([trajectory])
        self.averages.add(
            {
                "imitation_return": scores.sum(),
                "train_return": trajectory.env_return or 0.0,
                "train_length": float(len(trajectory)),
            }
        )
        if self.reward.needs == "trajectory":
            terminated = np.zeros(len(trajectory), bool)
            terminated[-1] = trajectory.terminated
            states = torch.from_numpy(trajectory.observations).to(self.device)
            assert trajectory.actions is not None
            self._add(states[:-1], trajectory.actions, rewards[0], states[1:], terminated)

    def _add(self, before: Tensor, actions: np.ndarray, rewards: Tensor, after: Tensor, terminated: np.ndarray) -> None:
        self.replay.add(
            Batch(
                observations=self._policy_input(before),
                actions=torch.from_numpy(actions),
                rewards=rewards,
                next_observations=self._policy_input(after),
                terminated=torch.from_numpy(terminated).float(),
            )
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return self.fitted_state() | {
            "step": self.step,
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "environments": self.environments.state_dict(),
            "averages": self.averages.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        self.step = state["step"]
        self._restore_fitted(state)
        for name in ("agent", "replay", "environments", "averages"):
            getattr(self, name).load_state_dict(state[name])
        self._generator.set_state(state["generator"])


def load(folder: str | os.PathLike[str]) -> Training:
    """A run as it was last saved, to play its policy or score with its reward; it needs no demonstration file.

    Raises:
        InputError: The folder is not a run, or nothing was saved in it yet.
    """
    config = config_from_dict(read_config(folder)["config"], f"{folder}/config.json")
    state = read_checkpoint(folder)
    device = config.device if torch.cuda.is_available() else "cpu"
    training = Training(dataclasses.replace(config, out=str(folder), device=device), fitted=state)
    training.agent.load_state_dict(state["agent"])
    training.step = state.get("step", config.steps)
    return training
