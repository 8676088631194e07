"""What a run learns, a reward and a policy with what each of them sees; it plays episodes and scores them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import torch

from ilfo._tools.devices import to_device
from ilfo._tools.errors import InputError
from ilfo.agents.many import states_of
from ilfo.demos import Trajectory
from ilfo.envs import Stage, random_policy
from ilfo.envs.drawing import filmed
from ilfo.rewards import Explanation, RewardGenerator
from ilfo.rewards.labelling import Labels
from ilfo.runs import read_checkpoint, read_config
from ilfo.training.configs import config_from_dict, several_seeds
from ilfo.training.parts import make_inputs, make_learner
from ilfo.training.run_group import seed_runs
from ilfo.training.scorer import Scorer
from ilfo.training.sources import Sources

__all__ = ["Imitation", "load"]


class Imitation:
    """A reward and a policy, of one seed or of several at once, and what each of them sees.

    Args:
        sources: What it starts from, with nothing fitted yet; keypoints are known where the policy sees them.

    Attributes:
        config: The resolved configuration.
        environment: What the environment is like.
        demonstrations: What is imitated; None if nothing is, or if they were not opened, as :func:`load` does not.
        demo_sha256: SHA-256 of the demonstrations' data.
        expert_return: Their mean return, where it was recorded.
        seeds: The ``S`` seeds, usually one.
        step: Environment steps that each seed was trained for.
        device: Where networks learn and rewards are computed.
        absorbing: Whether terminated episodes go on in absorbing states.
        sight: What the reward sees in place of states; None: the states.
        view: What the policy is shown in place of states; None: the states.
        inputs: What the policy is shown, and how it is standardised.
        agent: The learner, whose policy plays.
        scorer: Scores episodes, steps and batches with the reward.

    Raises:
        InputError: A part cannot be made.
    """

    def __init__(self, sources: Sources) -> None:
        self.config = config = sources.config
        self.device, self.environment = sources.device, sources.environment
        self.demonstrations, self.demo_sha256 = sources.demonstrations, sources.demo_sha256
        self.expert_return = sources.expert_return
        self.sight, self.view = sources.sight, sources.view
        self.step = 0
        self.absorbing = config.absorbing and config.protocol == "standard" and sources.reward.imitates
        self.seeds = several_seeds(config.seeds) or (config.seed,)
        self._stack = (len(self.seeds),) if config.seeds else ()
        drawn = [np.random.SeedSequence(seed).generate_state(5).tolist() for seed in self.seeds]
        self._agent_seeds, self._replay_seeds, self._random_seeds, self._env_seeds, self._eval_seeds = map(
            list, zip(*drawn, strict=True)
        )

        provenance = self.environment.provenance
        states = self.demonstrations is None or self.demonstrations.observation_dim > 0
        self.inputs = make_inputs(config, provenance, self.horizon, self._stack, states, self.view)
        self.agent = make_learner(
            config, self.inputs, self.environment.action_dim, self._one_or_all(self._agent_seeds), self.absorbing
        )
        self.scorer = Scorer(
            sources.reward,
            len(self.seeds),
            discount=self.agent.discount,
            absorbing=self.absorbing,
            horizon=self.horizon,
            time_aware=config.time_aware,
            device=self.device,
            sight=self.sight,
            view=self.view,
        )
        self._simulators = ExitStack()
        self._stage = Stage(config.env, config.protocol, self._eval_seeds, config.env_workers, self.view)
        self._simulators.callback(self._stage.close)

    def _one_or_all(self, seeds: list[int]) -> int | list[int]:
        """Given a number, parts have no dimension for seeds; given a list, it is their first."""
        return seeds if self.config.seeds else seeds[0]

    @property
    def horizon(self) -> int:
        """The environment's time limit in steps."""
        return self.environment.horizon

    @property
    def reward(self) -> RewardGenerator:
        """The generator, of the first seed if there are several."""
        return self.scorer.reward

    def close(self) -> None:
        """Frees the simulators."""
        self._simulators.close()

    def act(self, observations: np.ndarray, ages: np.ndarray | None = None, explore: bool = False) -> np.ndarray:
        """The agents' actions ``(S*N, A)`` float32 in [-1, 1], the rows of the first seed first.

        Args:
            observations: ``(S*N, D)`` of any type of number, raw: states, or what :attr:`view` shows.
            ages: ``(S*N,)`` steps since the episodes began; only a policy that is shown the time needs them.
            explore: With exploration noise, as in training.

        Raises:
            InputError: Observations of another shape; or the policy is shown the time, and no ages are given.
        """
        observations = np.asarray(observations, np.float32)
        width = self.inputs.observation_dim
        if observations.ndim != 2 or observations.shape[1] != width:
            raise InputError(
                f"observations have shape {observations.shape}, expected (rows, {width}): one row an observation, "
                "observation[None] for a single one"
            )
        if ages is None:
            if self.config.time_aware:
                raise InputError("this policy is shown the time: give the steps since each episode began, act(o, ages)")
            ages = np.zeros(len(observations))
        observed = self.inputs.with_time(to_device(observations, self.device), ages)
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
        policies = [random_policy(self.environment.action_dim, seed) for seed in self._random_seeds]

        def policy(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
            parts = zip(policies, np.split(observations, len(policies)), np.split(ages, len(policies)), strict=True)
            return np.concatenate([act(*own) for act, *own in parts])

        return self._stage.play(policy, episodes)

    def rewards_of(self, trajectories: Sequence[Trajectory], member: int = 0) -> Labels:
        """A seed's rewards for whole episodes; see :meth:`filmed` for those without frames."""
        return self.scorer.of_episodes(self.filmed(trajectories), member)

    def explain(self, trajectory: Trajectory) -> Explanation | None:
        """What the reward generator of the first seed matched an episode to, where it can tell."""
        return self.scorer.explain(self.filmed([trajectory])[0])

    def filmed(self, trajectories: Sequence[Trajectory]) -> Sequence[Trajectory]:
        """Episodes with their frames, where the reward sees frames; those without are played again and rendered.

        Raises:
            InputError: An episode without frames has no actions or no seed either.
            RenderError: Rendering does not work on this machine.
        """
        if self.sight is None:
            return trajectories
        return filmed(trajectories, self.config.env, self.config.protocol, self.sight.frame_size)

    def fitted_states(self) -> list[dict[str, Any]]:
        """For each seed, what was fitted before training: all that a trained agent needs besides its own state."""
        sight = {} if self.sight is None else {"sight": self.sight.state_dict()}
        return [
            {"reward": reward, "policy_inputs": inputs, "expert_return": self.expert_return} | sight
            for reward, inputs in zip(self.scorer.state_dicts(), self.inputs.state_dicts(), strict=True)
        ]

    def _restore_fitted(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restores what :meth:`fitted_states` returned, but for keypoints: see :meth:`Sources.restore_keypoints`."""
        self.expert_return = states[0]["expert_return"]
        self.scorer.load_state_dicts([state["reward"] for state in states])
        self.inputs.load_state_dicts([state["policy_inputs"] for state in states])

    def agent_states(self) -> list[dict[str, Any]]:
        """For each seed, the agent's state, as if it had been trained alone."""
        return states_of(self.agent, len(self.seeds) if self._stack else None)


def load(folder: str | os.PathLike[str]) -> Imitation:
    """A run as it was last saved, to play its policy or score with its reward; it needs no demonstration file.

    Examples:
        A policy in a loop of your own, with an environment from ``make_env``, which has actions in [-1, 1]::

            imitation = load("runs/hopper")
            env = ilfo.envs.make_env("Hopper-v5")
            observation, _ = env.reset(seed=0)
            observation, *_ = env.step(imitation.act(observation[None])[0])

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
    plain = dataclasses.replace(config, out=str(folder), device=device, compile=False, env_workers=0)
    imitation = Imitation(Sources(plain, fitted=state))
    imitation._restore_fitted([state])
    imitation.agent.load_state_dict(state["agent"])
    imitation.step = state.get("step", config.steps)
    return imitation
