"""Environments: made by one protocol, stepped in lockstep, every episode seeded so that it can be lived again."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, SupportsFloat

import gymnasium
import mujoco
import numpy as np

from ilfo._errors import InputError
from ilfo.demos import Provenance, Trajectory

__all__ = ["Environments", "FixedHorizon", "Protocol", "Steps", "describe", "make_env", "random_policy", "rollout"]

Protocol = Literal["standard", "fixed-horizon"]
"""``standard``: episodes end as the environment's authors wrote it. ``fixed-horizon``: they never end early."""

Policy = Callable[[np.ndarray], np.ndarray]
"""Observations ``(N, D)`` to actions ``(N, A)`` in [-1, 1]."""


class FixedHorizon(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Steps on to the time limit; from the step at which the environment would have ended, rewards count 0.

    This is the protocol under which OOPS (arXiv 2310.01632) was run.

    Notes:
        Its authors' code counts rewards again once a fallen robot is back on its feet. Here nothing counts after
        the first end, so that a return is never above what the same actions earn under ``standard``.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._ended = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        self._ended = False
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps; ``terminated`` is always False."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        counted = 0.0 if self._ended else reward
        self._ended |= terminated
        return observation, counted, False, truncated, info


def _log_mujoco_warnings_once() -> None:
    """Hands MuJoCo's warnings to ``logging``, each text once: it prints them anew for every copy of a model."""
    if mujoco.get_mju_user_warning() is not None:
        return
    logger = logging.getLogger("mujoco")

    @functools.cache
    def log(text: str) -> None:
        # What is deprecated in a model concerns the author of the environment, not who trains in it.
        logger.log(logging.DEBUG if "deprecated" in text else logging.WARNING, text)

    mujoco.set_mju_user_warning(log)


def make_env(env_id: str, protocol: Protocol = "standard", render: bool = False) -> gymnasium.Env[Any, Any]:
    """Makes an environment with flat float observations and actions in [-1, 1].

    Args:
        env_id: Gymnasium id; ``module:Id`` imports a module that registers it.
        protocol: How episodes end, see :data:`Protocol`.
        render: Whether frames are wanted.

    Raises:
        InputError: No such environment, spaces that are not supported, or no time limit.
    """
    env = _make_as_registered(env_id, render)
    if isinstance(env.observation_space, gymnasium.spaces.Dict):
        env = gymnasium.wrappers.FlattenObservation(env)
    space, actions = env.observation_space, env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise InputError(f"environment {env_id!r} has observations {space}; expected one vector or a dict of vectors")
    if not isinstance(actions, gymnasium.spaces.Box) or len(actions.shape) != 1:
        raise InputError(f"environment {env_id!r} has actions {actions}; expected a continuous vector (Box)")
    if not actions.is_bounded():
        raise InputError(
            f"environment {env_id!r} has unbounded actions {actions}; wrap it in ClipAction or RescaleAction"
        )
    if not (np.all(actions.low == -1) and np.all(actions.high == 1)):
        env = gymnasium.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))
    if env.spec is None or env.spec.max_episode_steps is None:
        raise InputError(f"environment {env_id!r} has no time limit: register it with max_episode_steps")
    return FixedHorizon(env) if protocol == "fixed-horizon" else env


def _make_as_registered(env_id: str, render: bool = False) -> gymnasium.Env[Any, Any]:
    _log_mujoco_warnings_once()
    wanted: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
    try:
        env = gymnasium.make(env_id, disable_env_checker=True, **wanted)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise InputError(f"environment {env_id!r} cannot be made: {error}") from error
    if render:
        _follow(env)
    return env


def _follow(env: gymnasium.Env[Any, Any]) -> None:
    """Films with the model's own tracking camera: Gymnasium 1.4 films with one that stands still."""
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is not None and renderer.camera_id == -1:
        renderer.camera_id = mujoco.mj_name2id(renderer.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")


def describe(env_id: str) -> tuple[Provenance, np.ndarray, np.ndarray]:
    """What an environment's states look like: provenance, and the bounds ``(D,)`` of its observations."""
    registered = _make_as_registered(env_id)
    registered.close()
    seen = registered.observation_space
    parts = seen.spaces if isinstance(seen, gymnasium.spaces.Dict) else {"observation": seen}
    env = make_env(env_id)
    try:
        keys = {name: gymnasium.spaces.flatdim(part) for name, part in parts.items()}
        flat = env.observation_space
        assert isinstance(flat, gymnasium.spaces.Box)
        time_step = getattr(env.unwrapped, "dt", None)
        provenance = Provenance(
            env_id=env_id,
            observation_keys=keys,
            time_step=None if time_step is None else float(time_step),
            versions={name: importlib.metadata.version(name) for name in ("gymnasium", "mujoco", "numpy")},
        )
        return provenance, flat.low, flat.high
    finally:
        env.close()


@dataclass
class _Episode:
    """An episode under way: what has been seen and done since its reset."""

    seed: int
    observations: list[np.ndarray]
    actions: list[np.ndarray] = field(default_factory=list)
    env_rewards: list[float] = field(default_factory=list)
    success: bool | None = None

    def finish(self, terminated: bool) -> Trajectory:
        return Trajectory(
            observations=np.stack(self.observations),
            actions=np.stack(self.actions),
            env_rewards=np.asarray(self.env_rewards, np.float32),
            terminated=terminated,
            truncated=not terminated,
            success=self.success,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Steps:
    """One step of every environment.

    Attributes:
        observations: ``(N, D)`` float32, before the step.
        actions: ``(N, A)`` float32 in [-1, 1].
        env_rewards: ``(N,)`` float32.
        next_observations: ``(N, D)`` float32, after it: of an ended episode the final one, never the next reset's.
        terminated: ``(N,)`` bool; a time limit is not a termination.
        finished: The episodes that this step ended, in the order of the environments.
    """

    observations: np.ndarray
    actions: np.ndarray
    env_rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    finished: tuple[Trajectory, ...]


class Environments:
    """``N`` copies of an environment in lockstep. An ended episode is followed at once by a fresh one.

    The seed of each episode depends on the run's seed, the copy and the episode's number alone, so that a state can
    be saved as numbers and actions and restored by living the unfinished episodes again, in any environment that is
    deterministic given its seed.

    Args:
        env_id: Gymnasium id.
        num_envs: Number of copies ``N``.
        protocol: How episodes end.
        seed: Seed that all episodes' seeds come from.
    """

    def __init__(self, env_id: str, num_envs: int = 1, protocol: Protocol = "standard", seed: int = 0) -> None:
        self.env_id, self.protocol, self.seed = env_id, protocol, seed
        self._envs = [make_env(env_id, protocol) for _ in range(num_envs)]
        self._numbers = [0] * num_envs
        self._episodes = [self._reset(index) for index in range(num_envs)]

    def __len__(self) -> int:
        return len(self._envs)

    @property
    def observation_dim(self) -> int:
        """Width ``D``."""
        return int(self._envs[0].observation_space.shape[0])  # type: ignore[index]

    @property
    def action_dim(self) -> int:
        """Width ``A``."""
        return int(self._envs[0].action_space.shape[0])  # type: ignore[index]

    @property
    def horizon(self) -> int | None:
        """The time limit in steps, or None."""
        spec = self._envs[0].spec
        return None if spec is None else spec.max_episode_steps

    @property
    def observations(self) -> np.ndarray:
        """The current observations, ``(N, D)`` float32."""
        return np.stack([episode.observations[-1] for episode in self._episodes])

    def _reset(self, index: int) -> _Episode:
        sequence = np.random.SeedSequence(self.seed, spawn_key=(index, self._numbers[index]))
        seed = int(sequence.generate_state(1)[0])
        observation, _ = self._envs[index].reset(seed=seed)
        return _Episode(seed, [np.array(observation, np.float32)])

    def _step_one(self, index: int, action: np.ndarray) -> tuple[bool, bool]:
        observation, reward, terminated, truncated, info = self._envs[index].step(action)
        episode = self._episodes[index]
        if not (np.isfinite(observation).all() and np.isfinite(float(reward))):
            raise InputError(
                f"{self.env_id} returned a NaN or an infinity at step {len(episode.actions)} of the episode with seed "
                f"{episode.seed} (environment {index}): the simulation is unstable under these actions"
            )
        # Copies: an environment may hand out the buffer that it goes on writing to.
        episode.observations.append(np.array(observation, np.float32))
        episode.actions.append(np.array(action, np.float32))
        episode.env_rewards.append(float(reward))
        success = info.get("success", info.get("is_success"))
        if success is not None:
            episode.success = bool(success) or bool(episode.success)
        return bool(terminated), bool(truncated)

    def step(self, actions: np.ndarray) -> Steps:
        """Steps every copy; ended episodes are collected and reset.

        Args:
            actions: ``(N, A)`` in [-1, 1].

        Raises:
            InputError: The simulation diverged: an observation or a reward is not finite.
        """
        actions = np.asarray(actions, np.float32)
        before = self.observations
        flags = [self._step_one(index, action) for index, action in enumerate(actions)]
        after = self.observations
        env_rewards = np.array([episode.env_rewards[-1] for episode in self._episodes], np.float32)
        finished = []
        for index, (terminated, truncated) in enumerate(flags):
            if terminated or truncated:
                finished.append(self._episodes[index].finish(terminated))
                self._numbers[index] += 1
                self._episodes[index] = self._reset(index)
        terminations = np.array([terminated for terminated, _ in flags])
        return Steps(before, actions, env_rewards, after, terminations, tuple(finished))

    def close(self) -> None:
        """Frees the simulators."""
        for env in self._envs:
            env.close()

    def state_dict(self) -> dict[str, Any]:
        """Episode numbers, and the actions of the episodes under way."""
        width = self.action_dim
        return {
            "numbers": list(self._numbers),
            "actions": [np.asarray(e.actions, np.float32).reshape(-1, width).tolist() for e in self._episodes],
            "observations": self.observations.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Lives the unfinished episodes again, up to where they were.

        Raises:
            InputError: The environment does not come back to the same observations: it is not deterministic.
        """
        self._numbers = list(state["numbers"])
        self._episodes = [self._reset(index) for index in range(len(self._envs))]
        for index, actions in enumerate(state["actions"]):
            for action in actions:
                self._step_one(index, np.asarray(action, np.float32))
        if not np.array_equal(self.observations, np.asarray(state["observations"], np.float32)):
            raise InputError(
                f"{self.env_id} did not return to the observations of the checkpoint when its actions were repeated: "
                "it is not deterministic given its seed, or its version has changed, and the run cannot go on exactly"
            )


def rollout(
    policy: Policy,
    env_id: str,
    episodes: int,
    *,
    protocol: Protocol = "standard",
    seed: int = 0,
    num_envs: int = 10,
) -> list[Trajectory]:
    """Plays whole episodes with a policy.

    Copy ``i`` plays episodes ``i, i + N, ...``; which episodes are played, and how they start, depends on the seed
    alone.

    Args:
        policy: Observations ``(N, D)`` to actions ``(N, A)`` in [-1, 1].
        env_id: Gymnasium id.
        episodes: How many.
        protocol: How they end.
        seed: Seed of their initial states.
        num_envs: Copies that step together, ``N``.
    """
    count = min(num_envs, episodes)
    environments = Environments(env_id, count, protocol, seed)
    quota = [len(range(index, episodes, count)) for index in range(count)]
    played: list[list[Trajectory]] = [[] for _ in range(count)]
    try:
        while any(len(done) < wanted for done, wanted in zip(played, quota, strict=True)):
            numbers = list(environments._numbers)
            steps = environments.step(policy(environments.observations))
            ended = [index for index in range(count) if environments._numbers[index] != numbers[index]]
            for index, trajectory in zip(ended, steps.finished, strict=True):
                played[index].append(trajectory)
    finally:
        environments.close()
    return [played[index % count][index // count] for index in range(episodes)]


def random_policy(action_dim: int, seed: int) -> Policy:
    """Uniform actions in [-1, 1], from a stream of their own."""
    generator = np.random.default_rng(seed)
    return lambda observations: generator.uniform(-1, 1, (len(observations), action_dim)).astype(np.float32)
