"""The one step that the parts of a run take together, and all the state that it depends on."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ilfo import demos
from ilfo._tools.averages import Averages
from ilfo._tools.errors import InputError
from ilfo.agents.many import Separate, load_states
from ilfo.demos import Demonstrations, Trajectory
from ilfo.envs import Environments
from ilfo.training._trials import try_acting, try_saving
from ilfo.training.imitation import Imitation
from ilfo.training.parts import warn_of_checkpoints
from ilfo.training.replay import Replay
from ilfo.training.replay_writer import ReplayWriter
from ilfo.training.sources import Sources

__all__ = ["Training"]


class Training(Imitation):
    """A reward and a policy that learn, with environments to act in and a replay.

    :meth:`begin` and :meth:`resume` make one that is ready for its next step.

    Args:
        sources: What it starts from, with nothing fitted yet; keypoints are known where the policy sees them.

    Attributes:
        environments: Where the agents act.
        replay: What they learn from.
        writer: Scores experience and stores it there.
        averages: What is measured between two rows of metrics.

    Raises:
        InputError: A part cannot be made.
    """

    def __init__(self, sources: Sources) -> None:
        super().__init__(sources)
        config = self.config
        try:
            self.environments = Environments(
                config.env,
                config.num_envs,
                config.protocol,
                self._env_seeds,
                config.env_workers,
                self.sight.frame_size if self.sight else None,
                self.view,
            )
            self._simulators.callback(self.environments.close)
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
            self.writer = ReplayWriter(
                self.replay,
                self.scorer,
                self.inputs,
                self.averages,
                horizon=self.horizon,
                device=self.device,
            )
            self._at_random = np.ones(len(self.environments), bool)
            self._owed = np.zeros(len(self.seeds), np.int64)
            self._generators = [torch.Generator().manual_seed(seed) for seed in self._random_seeds]
        except BaseException:
            self.close()
            raise

    @classmethod
    def begin(
        cls,
        sources: Sources,
        on_progress: Callable[[float, str], None] | None = None,
        doing: Callable[[str], object] | None = None,
    ) -> Training:
        """A training before its first step, which has learned from the demonstrations what that needs.

        Args:
            sources: What it starts from.
            on_progress: Told how much of the reward's fit is done, see :class:`~ilfo.rewards.RewardGenerator`.
            doing: Told what encoding frames takes, see :meth:`ilfo.rewards.sight.Sight.fit`.

        Raises:
            InputError: A part cannot be made, or cannot be fitted on these demonstrations.
        """
        # What may be refused is made before frames are encoded, unless its width is that of the keypoints found there.
        seen = None if sources.view is None else sources.find_keypoints(doing)
        training = cls(sources)
        try:
            seen = sources.find_keypoints(doing) if seen is None else seen
            if seen is not None:
                training._fit(seen, on_progress)
            training._try_parts()
        except BaseException:
            training.close()
            raise
        return training

    @classmethod
    def resume(cls, sources: Sources, states: Sequence[Mapping[str, Any]]) -> Training:
        """A training that goes on where :meth:`state_dicts` was called.

        Args:
            sources: What it started from.
            states: What that returned.

        Raises:
            InputError: A part cannot be made, or they are of another configuration.
        """
        sources.restore_keypoints(states[0])
        training = cls(sources)
        try:
            training._restore(states)
        except BaseException:
            training.close()
            raise
        return training

    @property
    def owes(self) -> int:
        """Updates that are due before the next step of the environments, for the seed that owes most."""
        return int(self._owed.max())

    def _fit(self, seen: Demonstrations, on_progress: Callable[[float, str], None] | None) -> None:
        """Fits the reward, and the policy's inputs, to demonstrations as the reward sees them."""
        assert self.demonstrations is not None
        warn_of_checkpoints(self.config, self.agent, self.reward)
        if self.inputs.normalization == "expert":
            self.inputs.fit(self._as_shown(self.demonstrations, seen))
        self.scorer.fit(self.as_compared(seen), on_progress)

    def _try_parts(self) -> None:
        """Finds now what a reward or an agent of the user's own would do wrong after hours."""
        agents = self.agent.agents if isinstance(self.agent, Separate) else [self.agent]
        for agent in agents:
            try_saving(agent, agent.state_dict())
            stack = self._stack if agent is self.agent else ()
            observations = torch.zeros(*stack, self.config.num_envs, self.inputs.width, device=self.device)
            try_acting(agent, observations, self.environment.action_dim)
        try_saving(self.reward, self.reward.state_dict())

    def as_compared(self, demonstrations: Demonstrations) -> Demonstrations:
        """Demonstrations as the reward is fitted on them: held until the time limit with ``hold_end``."""
        return demos.held(demonstrations, self.horizon) if self.config.hold_end else demonstrations

    def _as_shown(self, demonstrations: Demonstrations, seen: Demonstrations | None = None) -> Demonstrations:
        """Demonstrations as the policy would have been shown them; ``seen`` where that is known already."""
        if self.view is None:
            return demonstrations
        return self.view.of_demonstrations(seen or self.view.sight.see_demonstrations(demonstrations), demonstrations)

    def advance(self) -> None:
        """One step of every environment, and the updates that it brings, made while the simulators are busy.

        The step's transitions enter the replay after the updates, even if the simulators were faster. Where agents
        train between episodes, a call is one update of each seed that owes some, and no step until none does.
        """
        if self.owes:
            for member in np.flatnonzero(self._owed):
                self._update(int(member))
                self._owed[member] -= 1
            return
        self._fit_inputs_when_due()
        self.environments.begin(self._actions())
        # A step's updates belong to that step: those of the last random step are the first.
        self.step += self.config.num_envs
        if not self.agent.trains_between_episodes and not self._warming_up and self._all_have_data():
            for _ in range(self.config.num_envs * self.config.updates_per_step):
                self._update()
        steps = self.environments.finish()
        self.writer.write_steps(steps)
        for (row, trajectory), shown in zip(steps.finished, steps.shown, strict=True):
            self._take_in(trajectory, shown, *divmod(row, self.config.num_envs))

    @property
    def _warming_up(self) -> bool:
        return self.step < self.config.random_steps or not self.inputs.fitted

    def _actions(self) -> np.ndarray:
        """The agent's action for every row, or a random one during the warm-up."""
        if self._warming_up:
            return self._random_actions()
        actions = self.act(self.environments.observations, self.environments.ages, explore=True)
        if self.agent.trains_between_episodes and self._at_random.any():
            # An episode that began with random actions is not the policy's: it goes on with them.
            actions = np.where(self._at_random[:, None], self._random_actions(), actions)
        return actions

    def _fit_inputs_when_due(self) -> None:
        """Fits the policy's inputs to the random steps, once these are over, if they are standardised by them."""
        if self.inputs.fitted or self.step < self.config.random_steps or not self._all_have_data():
            return
        expert = None
        if self.inputs.normalization == "expert-and-random" and self.demonstrations is not None:
            expert = self._as_shown(self.demonstrations)
        width = self.environments.observation_dim
        visited = [self.replay.contents(member).observations[:, :width] for member in range(len(self.seeds))]
        self.inputs.fit_mixture(expert, visited)

    def _update(self, member: int | None = None) -> None:
        """One update of the agent, or of one seed's."""
        agent = self.agent
        if isinstance(agent, Separate):
            if member is None:
                for each in range(len(agent.agents)):
                    self._update(each)
                return
            agent = agent.agents[member]
        batch = self.scorer.of_batch(self.replay.sample(agent.batch_size, member), member)
        observations = self.inputs(batch.observations, member)
        next_observations = self.inputs(batch.next_observations, member)
        metrics = agent.update(
            dataclasses.replace(batch, observations=observations, next_observations=next_observations)
        )
        if agent.refresh_priorities_every:
            self.replay.update_priorities(agent.priorities)
        if not isinstance(metrics, Mapping):
            raise InputError(
                f"{type(agent).__qualname__}.update returned a {type(metrics).__name__}; expected a dictionary of "
                "names and numbers to log, {} for none"
            )
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

    def _random_actions(self) -> np.ndarray:
        shape = (self.config.num_envs, self.environments.action_dim)
        drawn = [torch.rand(shape, generator=generator) for generator in self._generators]
        return (torch.cat(drawn) * 2 - 1).numpy()

    def _take_in(self, trajectory: Trajectory, shown: np.ndarray, member: int, stream: int) -> None:
        """Keeps a finished episode, and has the agent train on it if it does so between episodes."""
        labels = self.writer.write_episode(trajectory, shown, member, stream)
        if self.agent.trains_between_episodes:
            self._assess(float(labels.returns_to_limit[0]), len(trajectory), member, stream)

    def _assess(self, return_to_limit: float, steps: int, member: int, stream: int) -> None:
        """Asks the agent how much to train after an episode, unless that was one of random actions."""
        row = member * self.config.num_envs + stream
        if self._at_random[row]:
            # The policy takes over once its inputs can be standardised, which takes data from every seed.
            ready = self.inputs.fitted or all(self.replay.sizes)
            self._at_random[row] = self.step < self.config.random_steps or not ready
            return
        agent = self.agent.agents[member] if isinstance(self.agent, Separate) else self.agent
        self._owed[member] += agent.end_episode(return_to_limit, steps) * self.config.updates_per_step

    def state_dicts(self) -> list[dict[str, Any]]:
        """For each seed, all that its next step depends on, as if it had been trained alone."""
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

    def _restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restores what :meth:`state_dicts` returned, but for keypoints: see :meth:`Sources.restore_keypoints`."""
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
