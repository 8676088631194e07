"""The parts of a run, and the one step that they take together."""

from __future__ import annotations

import copy
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
from ilfo.agents import Agent, make_agent
from ilfo.agents.many import load_states, states_of
from ilfo.configs import TrainConfig, config_from_dict, several_seeds
from ilfo.demos import Demonstrations, Trajectory
from ilfo.environments import Environments, Steps
from ilfo.envs import describe
from ilfo.labelling import imitation_rewards
from ilfo.plugins import option_group, resolve
from ilfo.replay import Replay
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.rewards import Episodes, RewardGenerator, StateFeatures
from ilfo.rollouts import Stage, random_policy, rollout
from ilfo.run_group import seed_runs
from ilfo.runs import read_checkpoint, read_config

__all__ = ["Training", "load"]


class Training:
    """The parts of a run, of one seed or of several at once, and the one step that they take together.

    Args:
        config: The resolved configuration.
        fitted: What a checkpoint of one seed holds; the reward and the policy's features are then restored from it
            instead of being fitted, and the demonstrations are not opened.

    Attributes:
        seeds: The ``S`` seeds that train side by side, usually one.
        step: Environment steps that each seed has taken.

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
        self.seeds = several_seeds(config.seeds) or (config.seed,)
        self._stack = (len(self.seeds),) if config.seeds else ()
        streams = [np.random.SeedSequence(seed).generate_state(5).tolist() for seed in self.seeds]
        agent_seeds, replay_seeds, self._random_seeds, env_seeds, self._eval_seeds = map(
            list, zip(*streams, strict=True)
        )

        self.demonstrations = self._open_demonstrations() if fitted is None else None
        self.expert_return = self.demonstrations.expert_return if self.demonstrations else None
        self.reward = self._make_reward()
        self.policy_features = self._make_policy_features()
        if fitted is None:
            self._fit()
        else:
            self._restore_fitted(fitted)
        # Fitted once; a reward that draws or learns while it scores does so for each seed on its own.
        self._rewards = [self.reward, *(copy.deepcopy(self.reward) for _ in self.seeds[1:])]
        self.environments = Environments(config.env, config.num_envs, config.protocol, env_seeds, config.env_workers)
        self._stage = Stage(config.env, config.protocol, self._eval_seeds, config.env_workers)
        self.agent = self._make_agent(self._one_or_all(agent_seeds))
        self.replay = Replay(
            min(config.replay_size, config.steps + config.num_envs),
            self._policy_dim,
            self.environments.action_dim,
            device=self.device,
            seed=self._one_or_all(replay_seeds),
            streams=config.num_envs,
        )
        self.averages = Averages(len(self.seeds))
        self.step = 0
        self._generators = [torch.Generator().manual_seed(seed) for seed in self._random_seeds]

    def _one_or_all(self, seeds: list[int]) -> int | list[int]:
        """With a number, parts have no dimension for seeds; with a list, it is their first."""
        return seeds if self.config.seeds else seeds[0]

    @property
    def _policy_dim(self) -> int:
        return self.environments.observation_dim if self.policy_features is None else self.policy_features.width

    def close(self) -> None:
        """Frees the simulators."""
        self.environments.close()
        self._stage.close()

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

    def _make_agent(self, seed: int | list[int]) -> Agent:
        config = self.config
        made = resolve(config.agent, AGENTS, "agent", Agent)
        options = getattr(config, option_group(config.agent)) if made.Options else None
        widths = self._policy_dim, self.environments.action_dim
        agent = make_agent(made, *widths, options, device=self.device, seed=seed, compile=config.compile)
        if self.absorbing and not 0 <= agent.discount < 1:
            raise InputError(
                f"the agent's discount is {agent.discount}; absorbing states need one below 1: "
                "lower it, or use --no-absorbing or --protocol fixed-horizon"
            )
        return agent

    def advance(self) -> None:
        """One step of every environment, and as many updates of each agent while the simulators are at it.

        What the step brings enters the replay after the updates, whether or not the simulators were faster.
        """
        warm_up = self.step < self.config.random_steps
        actions = self._random_actions() if warm_up else self.act(self.environments.observations, explore=True)
        self.environments.begin(actions)
        self.step += self.config.num_envs
        if self.step >= self.config.random_steps and self._all_have_data():
            for _ in range(self.config.num_envs):
                self.averages.add(self.agent.update(self.replay.sample(self.agent.batch_size)))
        steps = self.environments.finish()
        if self.reward.needs == "transition":
            self._remember_transitions(steps)
        for row, trajectory in steps.finished:
            self._remember_episode(trajectory, *divmod(row, self.config.num_envs))

    def _all_have_data(self) -> bool:
        """Whether every seed has transitions to learn from: as one computation, they have to begin together."""
        sizes = self.replay.sizes
        if any(sizes) and not all(sizes):
            warnings.warn(
                "at the end of the random steps not every seed has finished an episode: all wait for the last one, so "
                "that they differ from what each would do alone; raise --random-steps",
                stacklevel=2,
            )
        return all(sizes)

    def act(self, observations: np.ndarray, explore: bool = False) -> np.ndarray:
        """The agents' actions ``(S*N, A)`` for raw observations ``(S*N, D)``, the rows of the first seed first."""
        inputs = self._policy_input(self._moved(observations))
        actions = self.agent.act(inputs.unflatten(0, (*self._stack, -1)) if self._stack else inputs, explore)
        return actions.flatten(0, -2).cpu().numpy()

    def evaluate(self, episodes: int, seed: int) -> list[Trajectory]:
        """Episodes of a single policy without exploration noise, from the initial states that a seed gives."""
        if self._stack:
            raise InputError(f"{len(self.seeds)} seeds train here: load the run of one of them to evaluate it alone")
        return rollout(self.act, self.config.env, episodes, protocol=self.config.protocol, seed=seed)

    def evaluate_all(self, episodes: int) -> list[list[Trajectory]]:
        """Episodes of every seed's policy without exploration noise; each time from the same initial states."""
        return self._stage.play(self.act, episodes)

    def random_episodes(self, episodes: int) -> list[list[Trajectory]]:
        """Episodes of uniformly random actions for every seed, starting where its evaluation's do."""
        width = self.environments.action_dim
        policies = [random_policy(width, seed) for seed in self._random_seeds]

        def policy(observations: np.ndarray) -> np.ndarray:
            parts = np.split(observations, len(policies))
            return np.concatenate([act(own) for act, own in zip(policies, parts, strict=True)])

        return self._stage.play(policy, episodes)

    def rewards_of(self, trajectories: Sequence[Trajectory], member: int = 0) -> tuple[Tensor, Tensor]:
        """The reward generator's scores ``(B, T)`` of whole episodes, and what the agent learns from."""
        return self._label(Episodes.from_trajectories(trajectories, self.device), member)

    def _label(self, episodes: Episodes, member: int) -> tuple[Tensor, Tensor]:
        if self.reward.imitates:
            episodes = dataclasses.replace(episodes, env_rewards=None)
        return imitation_rewards(
            self._rewards[member],
            episodes,
            discount=self.agent.discount,
            absorbing=self.absorbing and self.reward.imitates,
        )

    def _moved(self, array: np.ndarray) -> Tensor:
        """On the agent's device; by pinned memory, because a copy from any other waits for all that the device does."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def _policy_input(self, observations: Tensor) -> Tensor:
        return observations if self.policy_features is None else self.policy_features(observations)

    def _random_actions(self) -> np.ndarray:
        shape = (self.config.num_envs, self.environments.action_dim)
        drawn = [torch.rand(shape, generator=generator) for generator in self._generators]
        return (torch.cat(drawn) * 2 - 1).numpy()

    def _remember_transitions(self, steps: Steps) -> None:
        pairs = np.stack([steps.observations, steps.next_observations], axis=1)
        episodes = Episodes(
            observations=self._moved(pairs),
            lengths=torch.ones(len(pairs), dtype=torch.int64, device=self.device),
            terminated=self._moved(steps.terminated),
            env_rewards=self._moved(steps.env_rewards[:, None]),
        )
        copies = self.config.num_envs
        labelled = [
            self._label(episodes.rows(member * copies, (member + 1) * copies), member)[1][:, 0]
            for member in range(len(self.seeds))
        ]
        ended = np.zeros(len(pairs), bool)
        ended[[row for row, _ in steps.finished]] = True
        self.replay.append(
            self._policy_input(episodes.observations[:, 0]),
            torch.from_numpy(steps.actions),
            torch.cat(labelled),
            self._policy_input(episodes.observations[:, 1]),
            torch.from_numpy(steps.terminated),
            ended,
        )

    def _remember_episode(self, trajectory: Trajectory, member: int, stream: int) -> None:
        scores, rewards = self.rewards_of([trajectory], member)
        measured = {
            "imitation_return": float(scores.sum()),
            "train_return": trajectory.env_return or 0.0,
            "train_length": float(len(trajectory)),
        }
        self.averages.add_own(member, measured)
        if self.reward.needs == "trajectory":
            assert trajectory.actions is not None
            self.replay.extend(
                self._policy_input(self._moved(trajectory.observations)),
                torch.from_numpy(trajectory.actions),
                rewards[0],
                trajectory.terminated,
                ended=True,
                stream=stream,
                member=member,
            )

    def fitted_states(self) -> list[dict[str, Any]]:
        """Of each seed, what was learned before training: all that a trained agent needs besides itself."""
        features = None if self.policy_features is None else self.policy_features.state_dict()
        shared = {"policy_features": features, "expert_return": self.expert_return}
        return [{"reward": reward.state_dict()} | shared for reward in self._rewards]

    def agent_states(self) -> list[dict[str, Any]]:
        """Of each seed, the agent as if it had been trained alone."""
        return states_of(self.agent, len(self.seeds) if self._stack else None)

    def state_dicts(self) -> list[dict[str, Any]]:
        """Of each seed, all that its next step depends on, as if it had been trained alone."""
        parts: dict[str, list[Any]] = {
            "agent": self.agent_states(),
            "replay": self.replay.state_dicts(),
            "environments": self.environments.state_dicts(),
            "averages": self.averages.state_dicts(),
            "generator": [generator.get_state() for generator in self._generators],
        }
        return [
            fitted | {"step": self.step} | {name: part[member] for name, part in parts.items()}
            for member, fitted in enumerate(self.fitted_states())
        ]

    def load_state_dicts(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restores what :meth:`state_dicts` returned."""
        self.step = states[0]["step"]
        self._restore_fitted(states[0])
        for reward, state in zip(self._rewards, states, strict=True):
            reward.load_state_dict(state["reward"])
        load_states(self.agent, [state["agent"] for state in states], len(self.seeds) if self._stack else None)
        self.replay.load_state_dicts([state["replay"] for state in states])
        self.environments.load_state_dicts([state["environments"] for state in states])
        self.averages.load_state_dicts([state["averages"] for state in states], self.device)
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state["generator"])


def load(folder: str | os.PathLike[str]) -> Training:
    """A run as it was last saved, to play its policy or score with its reward; it needs no demonstration file.

    Raises:
        InputError: The folder is not a run, or nothing was saved in it yet.
    """
    config = config_from_dict(read_config(folder)["config"], f"{folder}/config.json")
    if config.seeds:
        names = ", ".join(path.name for path in seed_runs(folder).values())
        raise InputError(f"{folder} holds a run for each of the seeds {config.seeds}: give the folder of one, {names}")
    state = read_checkpoint(folder)
    device = config.device if torch.cuda.is_available() else "cpu"
    plain = dataclasses.replace(
        config, out=str(folder), device=device, compile=False, env_workers=0, replay_size=config.num_envs
    )
    training = Training(plain, fitted=state)
    training.agent.load_state_dict(state["agent"])
    training.step = state.get("step", config.steps)
    return training
