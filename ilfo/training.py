"""The parts of a run, and the one step that they take together."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import torch

from ilfo import demos
from ilfo._averages import Averages
from ilfo._drawing import filmed
from ilfo._errors import InputError
from ilfo.agents.many import Separate, load_states, states_of
from ilfo.configs import TrainConfig, config_from_dict, several_seeds
from ilfo.demos import Demonstrations, Trajectory
from ilfo.environments import Environments
from ilfo.envs import describe
from ilfo.labelling import Labels
from ilfo.memory import Memory, moved
from ilfo.parts import (
    make_inputs,
    make_learner,
    make_reward,
    make_sight,
    make_view,
    open_demonstrations,
    warn_of_checkpoints,
)
from ilfo.replay import Replay
from ilfo.rewards import Explanation, RewardGenerator
from ilfo.rollouts import Stage, random_policy
from ilfo.run_group import seed_runs
from ilfo.runs import read_checkpoint, read_config
from ilfo.scorer import Scorer
from ilfo.sight import frame_size_of

__all__ = ["Training", "load"]


class Training:
    """The parts of a run, of one seed or of several at once, and the one step that they take together.

    Args:
        config: The resolved configuration.
        fitted: What a checkpoint of one seed holds; the reward and the policy's inputs are then restored from it
            instead of being fitted, and the demonstrations are not opened.
        fit: Fit them now. Else :meth:`fit` or :meth:`load_state_dicts` comes before the first step.

    Attributes:
        demo_sha256: SHA-256 of the demonstrations' data.
        seeds: The ``S`` seeds that train side by side, usually one.
        step: Environment steps that each seed has taken.
        sight: What the reward sees in place of states; None: the states.
        view: What the policy is shown in place of states; None: the states. How wide that is shows when keypoints are
            found: only then there is all that acts and learns, the environments and the agent among it.
        fitted: Whether the reward and the policy's inputs have learned from the demonstrations.

    Raises:
        InputError: The demonstrations cannot be read or do not fit the environment, or a part cannot be made.
    """

    def __init__(self, config: TrainConfig, fitted: Mapping[str, Any] | None = None, *, fit: bool = True) -> None:
        self.config = config
        self.device = torch.device(config.device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: this machine's PyTorch sees no GPU; use --device cpu")
        torch.set_num_threads(config.threads)
        self.absorbing = config.absorbing and config.protocol == "standard"
        self.seeds = several_seeds(config.seeds) or (config.seed,)
        self._stack = (len(self.seeds),) if config.seeds else ()
        streams = [np.random.SeedSequence(seed).generate_state(5).tolist() for seed in self.seeds]
        self._agent_seeds, self._replay_seeds, self._random_seeds, self._env_seeds, self._eval_seeds = map(
            list, zip(*streams, strict=True)
        )

        self._layout, *bounds = describe(config.env)
        self.demonstrations, self.demo_sha256 = None, None
        if fitted is None and config.demo is not None:
            self.demonstrations, self.demo_sha256 = open_demonstrations(config, self._layout, *bounds)
        self.expert_return = self.demonstrations.expert_return if self.demonstrations else None
        self._reward = make_reward(config)
        self.sight = make_sight(config, self._frame_size(fitted))
        self.view = make_view(config, self._layout, self.sight)
        # What is restored from a checkpoint of one seed plays and scores, and films what it scores.
        self._films = fitted is None
        self._simulators = ExitStack()
        self._made = self.fitted = False
        self.step = 0
        if self.view is None:
            self._make()
        if fitted is not None:
            self._restore_fitted([fitted])
        elif fit:
            self.fit()

    def _make(self) -> None:
        """Makes all that acts and learns, unless it is there already."""
        if self._made:
            return
        self._made, config = True, self.config
        frame_size = self.sight.frame_size if self.sight and self._films else None
        self.environments = Environments(
            config.env, config.num_envs, config.protocol, self._env_seeds, config.env_workers, frame_size, self.view
        )
        self._simulators.callback(self.environments.close)
        states = self.demonstrations is None or self.demonstrations.observation_dim > 0
        self.inputs = make_inputs(config, self._layout, self.environments.horizon, self._stack, states, self.view)
        self._stage = Stage(config.env, config.protocol, self._eval_seeds, config.env_workers, self.view)
        self._simulators.callback(self._stage.close)
        self.agent = make_learner(
            config, self.inputs, self.environments.action_dim, self._one_or_all(self._agent_seeds), self.absorbing
        )
        self.scorer = Scorer(
            self._reward,
            len(self.seeds),
            discount=self.agent.discount,
            absorbing=self.absorbing,
            horizon=self.environments.horizon,
            time_aware=config.time_aware,
            device=self.device,
            sight=self.sight,
            view=self.view,
        )
        self.replay = Replay(
            min(config.replay_size, config.steps + config.num_envs),
            self.environments.observation_dim + config.time_aware,
            self.environments.action_dim,
            device=self.device,
            seed=self._one_or_all(self._replay_seeds),
            streams=config.num_envs,
            refresh_priorities_every=self.agent.refresh_priorities_every,
        )
        self.averages = Averages(len(self.seeds))
        self.memory = Memory(
            self.replay,
            self.scorer,
            self.inputs,
            self.averages,
            horizon=self.environments.horizon,
            time_aware=config.time_aware,
            device=self.device,
        )
        self._at_random = np.ones(len(self.environments), bool)
        self._owed = np.zeros(len(self.seeds), np.int64)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self._random_seeds]

    def _one_or_all(self, seeds: list[int]) -> int | list[int]:
        """With a number, parts have no dimension for seeds; with a list, it is their first."""
        return seeds if self.config.seeds else seeds[0]

    def _frame_size(self, fitted: Mapping[str, Any] | None) -> tuple[int, int] | None:
        if self.config.sees == "states":
            return None
        if fitted is not None:
            width, height = fitted["sight"]["frame_size"]
            return width, height
        return None if self.demonstrations is None else frame_size_of(self.demonstrations)

    @property
    def owes(self) -> int:
        """Updates that are due before the next step of the environments, of the seed with the most."""
        return int(self._owed.max())

    def close(self) -> None:
        """Frees the simulators."""
        self._simulators.close()

    @property
    def reward(self) -> RewardGenerator:
        """The generator, of the first seed if there are several."""
        return self.scorer.reward

    def fit(
        self,
        on_progress: Callable[[float, str], None] | None = None,
        doing: Callable[[str], object] | None = None,
    ) -> None:
        """Learns from the demonstrations what comes before any step: the reward, and what the policy is shown.

        Args:
            on_progress: Told how much of the reward's learning is done, see :class:`~ilfo.rewards.RewardGenerator`.
            doing: Told what seeing takes, see :meth:`ilfo.sight.Sight.fit`.

        Raises:
            InputError: One of them cannot be fitted on these demonstrations.
        """
        self.fitted = True
        if self.demonstrations is None:
            return
        seen = self.demonstrations if self.sight is None else self.sight.fit(self.demonstrations, doing)
        self._make()
        warn_of_checkpoints(self.config, self.agent, self._reward)
        if self.inputs.normalization == "expert":
            self.inputs.fit(self._as_shown(self.demonstrations, seen))
        self.scorer.fit(self.as_compared(seen), on_progress)

    def as_compared(self, demonstrations: Demonstrations) -> Demonstrations:
        """Demonstrations as the reward is fitted on them: held until the time limit with ``hold_end``."""
        return demos.held(demonstrations, self.environments.horizon) if self.config.hold_end else demonstrations

    def _as_shown(self, demonstrations: Demonstrations, seen: Demonstrations | None = None) -> Demonstrations:
        """Demonstrations as the policy would have been shown them; ``seen`` where that is known already."""
        if self.view is None:
            return demonstrations
        return self.view.of_demonstrations(seen or self.view.sight.see_demonstrations(demonstrations), demonstrations)

    def _restore_fitted(self, states: Sequence[Mapping[str, Any]]) -> None:
        self.fitted = True
        self.expert_return = states[0]["expert_return"]
        if self.sight is not None:
            self.sight.load_state_dict(states[0]["sight"])
        self._make()
        self.scorer.load_state_dicts([state["reward"] for state in states])
        self.inputs.load_state_dicts([state["policy_inputs"] for state in states])

    def advance(self) -> None:
        """One step of every environment, and the updates of each agent that they bring while the simulators are at it.

        What the step brings enters the replay after the updates, whether or not the simulators were faster. Where
        agents train between episodes, it is one update of each seed that owes some, and no step until none does.
        """
        if self.owes:
            for member in np.flatnonzero(self._owed):
                self._update(int(member))
                self._owed[member] -= 1
            return
        self.environments.begin(self._actions())
        self.step += self.config.num_envs
        if not self.agent.trains_between_episodes and not self._warming_up and self._all_have_data():
            for _ in range(self.config.num_envs * self.config.updates_per_step):
                self._update()
        steps = self.environments.finish()
        self.memory.keep_steps(steps)
        for (row, trajectory), shown in zip(steps.finished, steps.shown, strict=True):
            self._take_in(trajectory, shown, *divmod(row, self.config.num_envs))

    @property
    def _warming_up(self) -> bool:
        return self.step < self.config.random_steps or not self.inputs.fitted

    def _actions(self) -> np.ndarray:
        """Of every row the agent's action, or a random one while it warms up."""
        if self.step >= self.config.random_steps and not self.inputs.fitted and self._all_have_data():
            self._fit_inputs_to_random_steps()
        if self._warming_up:
            return self._random_actions()
        actions = self.act(self.environments.observations, self.environments.ages, explore=True)
        if self.agent.trains_between_episodes and self._at_random.any():
            # An episode that began at random is not the policy's: it goes on as it began.
            actions = np.where(self._at_random[:, None], self._random_actions(), actions)
        return actions

    def _fit_inputs_to_random_steps(self) -> None:
        expert = None
        if self.inputs.normalization == "expert-and-random" and self.demonstrations is not None:
            expert = self._as_shown(self.demonstrations)
        width = self.environments.observation_dim
        visited = [self.replay.contents(member).observations[:, :width] for member in range(len(self.seeds))]
        self.inputs.fit_mixture(expert, visited)

    def _update(self, member: int | None = None) -> None:
        """One update of the agent, or of one seed's."""
        agent = self.agent
        if member is not None and isinstance(agent, Separate):
            agent = agent.agents[member]
        batch = self.scorer.of_batch(self.replay.sample(agent.batch_size, member), member)
        shown = (self.inputs(states, member) for states in (batch.observations, batch.next_observations))
        observations, next_observations = shown
        metrics = agent.update(
            dataclasses.replace(batch, observations=observations, next_observations=next_observations)
        )
        if agent.refresh_priorities_every:
            self.replay.update_priorities(agent.priorities)
        self.averages.add(metrics, member)

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

    def act(self, observations: np.ndarray, ages: np.ndarray | None = None, explore: bool = False) -> np.ndarray:
        """The agents' actions ``(S*N, A)``, the rows of the first seed first.

        Args:
            observations: ``(S*N, D)``, raw: states, or what :attr:`view` shows.
            ages: ``(S*N,)`` steps since the episodes began; only a policy that is shown the time needs them.
            explore: With exploration noise, as in training.

        Raises:
            InputError: The policy is shown the time, and no ages are given.
        """
        if ages is None:
            if self.config.time_aware:
                raise InputError("this policy is shown the time: give the steps since each episode began, act(o, ages)")
            ages = np.zeros(len(observations))
        observed = self.inputs.with_time(moved(observations, self.device), ages)
        actions = self.agent.act(
            self.inputs(observed.unflatten(0, (*self._stack, -1)) if self._stack else observed), explore
        )
        return actions.flatten(0, -2).cpu().numpy()

    def evaluate(self, episodes: int, seed: int) -> list[Trajectory]:
        """Episodes of a single policy without exploration noise, from the initial states that a seed gives."""
        if self._stack:
            raise InputError(f"{len(self.seeds)} seeds train here: load the run of one of them to evaluate it alone")
        with closing(Stage(self.config.env, self.config.protocol, [seed], view=self.view)) as stage:
            return stage.play(self.act, episodes)[0]

    def evaluate_all(self, episodes: int) -> list[list[Trajectory]]:
        """Episodes of every seed's policy without exploration noise; each time from the same initial states."""
        return self._stage.play(self.act, episodes)

    def random_episodes(self, episodes: int) -> list[list[Trajectory]]:
        """Episodes of uniformly random actions for every seed, starting where its evaluation's do."""
        width = self.environments.action_dim
        policies = [random_policy(width, seed) for seed in self._random_seeds]

        def policy(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
            parts = zip(policies, np.split(observations, len(policies)), np.split(ages, len(policies)), strict=True)
            return np.concatenate([act(*own) for act, *own in parts])

        return self._stage.play(policy, episodes)

    def rewards_of(self, trajectories: Sequence[Trajectory], member: int = 0) -> Labels:
        """What the reward generator of a seed says of whole episodes; see :meth:`filmed` for those without frames."""
        return self.scorer.of_episodes(self.filmed(trajectories), member)

    def explain(self, trajectory: Trajectory) -> Explanation | None:
        """What the reward generator of the first seed matched an episode to, where it can tell."""
        return self.scorer.explain(self.filmed([trajectory])[0])

    def filmed(self, trajectories: Sequence[Trajectory]) -> Sequence[Trajectory]:
        """Episodes with their frames, where the reward sees frames; those without are lived again before a camera.

        Raises:
            InputError: An episode without frames has no actions or no seed either.
            RenderError: Nothing can be drawn here.
        """
        if self.sight is None:
            return trajectories
        return filmed(trajectories, self.config.env, self.config.protocol, self.sight.frame_size)

    def _random_actions(self) -> np.ndarray:
        shape = (self.config.num_envs, self.environments.action_dim)
        drawn = [torch.rand(shape, generator=generator) for generator in self._generators]
        return (torch.cat(drawn) * 2 - 1).numpy()

    def _take_in(self, trajectory: Trajectory, shown: np.ndarray, member: int, stream: int) -> None:
        """Keeps a finished episode, and has the agent train on it if it does so between episodes."""
        labels = self.memory.keep_episode(trajectory, shown, member, stream)
        if self.agent.trains_between_episodes:
            self._assess(float(labels.returns[0]), len(trajectory), member, stream)

    def _assess(self, imitation_return: float, steps: int, member: int, stream: int) -> None:
        """Asks the agent how much to train after an episode, unless that was one of random actions."""
        row = member * self.config.num_envs + stream
        if self._at_random[row]:
            # The policy takes over once it knows what its inputs are standardised by, which takes data of every seed.
            ready = self.inputs.fitted or all(self.replay.sizes)
            self._at_random[row] = self.step < self.config.random_steps or not ready
            return
        agent = self.agent.agents[member] if isinstance(self.agent, Separate) else self.agent
        self._owed[member] += agent.end_episode(imitation_return, steps) * self.config.updates_per_step

    def fitted_states(self) -> list[dict[str, Any]]:
        """Of each seed, what was learned before training: all that a trained agent needs besides itself."""
        sight = {} if self.sight is None else {"sight": self.sight.state_dict()}
        return [
            {"reward": reward, "policy_inputs": inputs, "expert_return": self.expert_return} | sight
            for reward, inputs in zip(self.scorer.state_dicts(), self.inputs.state_dicts(), strict=True)
        ]

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
            "at_random": self._at_random.reshape(len(self.seeds), -1).tolist(),
            "owed": self._owed.tolist(),
        }
        return [
            fitted | {"step": self.step} | {name: part[member] for name, part in parts.items()}
            for member, fitted in enumerate(self.fitted_states())
        ]

    def load_state_dicts(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restores what :meth:`state_dicts` returned."""
        self.step = states[0]["step"]
        self._restore_fitted(states)
        load_states(self.agent, [state["agent"] for state in states], len(self.seeds) if self._stack else None)
        self.replay.load_state_dicts([state["replay"] for state in states])
        self.environments.load_state_dicts([state["environments"] for state in states])
        self.averages.load_state_dicts([state["averages"] for state in states], self.device)
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state["generator"])
        self._at_random = np.array([state["at_random"] for state in states]).reshape(-1)
        self._owed = np.array([state["owed"] for state in states], np.int64)


def load(folder: str | os.PathLike[str]) -> Training:
    """A run as it was last saved, to play its policy or score with its reward; it needs no demonstration file.

    Raises:
        InputError: The folder is not a run, or nothing was saved in it yet.
    """
    stored = read_config(folder)["config"]
    if stored.get("verb", "train") != "train":
        raise InputError(
            f"{folder} holds a run of 'ilfo {stored['verb']}', which has no reward and no learner; 'ilfo evaluate' "
            "plays its policy"
        )
    config = config_from_dict(stored, f"{folder}/config.json")
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
