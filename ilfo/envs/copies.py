"""Copies of an environment in one process, each of which records the episode that it plays."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from ilfo._tools.errors import InputError
from ilfo._tools.seeds import derived_seed
from ilfo.demos import Trajectory
from ilfo.envs.drawing import drawable_env, first_frame, frame
from ilfo.envs.making import Protocol, goal_of, make_env, success_of

__all__ = ["Copies", "Copy", "InProcess", "Moves"]


class Moves(NamedTuple):
    """What one step of ``M`` copies led to.

    Attributes:
        next_observations: ``(M, D)`` float32; of an ended episode the final one.
        env_rewards: ``(M,)`` float32.
        terminated: ``(M,)`` bool.
        observations: ``(M, D)`` float32, where the copies stand now: after an end, the next episode's first.
        finished: Row and episode of every copy whose episode ended.
        frames: ``(M + E, H, W, 3)`` uint8 where each step is drawn and episodes hold no frames, else None: those of
            ``next_observations``, and then the current ones of the ``E`` copies whose episodes ended.
    """

    next_observations: np.ndarray
    env_rewards: np.ndarray
    terminated: np.ndarray
    observations: np.ndarray
    finished: tuple[tuple[int, Trajectory], ...]
    frames: np.ndarray | None = None


class Copy:
    """One simulator, and the episode under way in it.

    Args:
        env: The simulator.
        seed: Seed that the seeds of its episodes are derived from.
        index: Its number among the copies of that seed.
        frame_size: Width and height of its frames; None: none are drawn.
        films: Whether episodes hold their frames.
        stop_after_success: Steps that an episode goes on after its first success; None: to its end.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        seed: int,
        index: int,
        frame_size: tuple[int, int] | None = None,
        films: bool = True,
        stop_after_success: int | None = None,
    ) -> None:
        self.env, self.seed, self.index, self.stop_after_success = env, seed, index, stop_after_success
        self.frame_size, self.films = frame_size, films and frame_size is not None
        self.quota: int | None = None
        self.begin(0)

    @property
    def resting(self) -> bool:
        """Whether it has played its quota of episodes."""
        return self.quota is not None and self.number >= self.quota

    def begin(self, number: int) -> None:
        """Resets to the first observation of an episode; its seed depends on seed, copy and number alone."""
        self.number = number
        self.episode_seed = derived_seed(self.seed, self.index, number)
        observation, info = self.env.reset(seed=self.episode_seed)
        self.goal = goal_of(info)
        self.observations = [np.array(observation, np.float32)]
        if not np.isfinite(self.observations[0]).all():
            assert self.env.spec is not None
            raise InputError(
                f"{self.env.spec.id} returned a NaN or an infinity as the first observation of the episode with seed "
                f"{self.episode_seed}; expected finite numbers from its reset"
            )
        self.actions: list[np.ndarray] = []
        self.env_rewards: list[float] = []
        self._newest: np.ndarray | None = None
        self.frames = [self.look()] if self.films else []
        self.success: bool | None = None
        self.success_step: int | None = None

    def step(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """Steps with an action ``(A,)``: the reward, whether the episode terminated, whether it was cut off."""
        # Copied: an environment may change the action that it is given, and overwrite what it has returned.
        observation, env_reward, terminated, truncated, info = self.env.step(action.copy())
        self.observations.append(np.array(observation, np.float32))
        self.actions.append(action)
        self.env_rewards.append(float(env_reward))
        self._newest = None
        if self.films:
            self.frames.append(self.look())
        success = success_of(info)
        if success is not None:
            self.success = success or bool(self.success)
            if success and self.success_step is None:
                self.success_step = len(self.actions)
        return self.env_rewards[-1], bool(terminated), bool(truncated) or self._long_succeeded()

    def _long_succeeded(self) -> bool:
        if self.stop_after_success is None or self.success_step is None:
            return False
        return len(self.actions) - self.success_step >= self.stop_after_success

    def look(self) -> np.ndarray:
        """The frame ``(H, W, 3)`` of the newest observation, drawn once."""
        if self._newest is None:
            assert self.frame_size is not None
            picture: Any = self.env.render() if self.actions else first_frame(self.env)
            self._newest = frame(picture, self.frame_size)
        return self._newest

    @property
    def finite(self) -> bool:
        """Whether the newest observation and reward are."""
        return bool(np.isfinite(self.observations[-1]).all()) and all(map(isfinite, self.env_rewards[-1:]))

    def diverged(self, env_id: str) -> InputError:
        """What to raise where it is not."""
        return InputError(
            f"{env_id} returned a NaN or an infinity at step {len(self.actions) - 1} of the episode with seed "
            f"{self.episode_seed}: the simulation is unstable under these actions"
        )

    def episode(self, terminated: bool) -> Trajectory:
        """The episode so far; if it did not terminate, it is truncated."""
        return Trajectory(
            observations=np.array(self.observations),
            actions=np.array(self.actions),
            env_rewards=np.array(self.env_rewards, np.float32),
            terminated=terminated,
            truncated=not terminated,
            success=self.success,
            seed=self.episode_seed,
            frames=np.array(self.frames) if self.frames else None,
            goal=self.goal,
            success_step=self.success_step,
        )


class Copies:
    """``M`` copies of an environment, stepped one after the other; :meth:`make` comes before all else."""

    def __init__(self) -> None:
        self._copies: list[Copy] = []

    def __len__(self) -> int:
        return len(self._copies)

    def make(
        self,
        env_id: str,
        protocol: Protocol,
        identities: Sequence[tuple[int, int]],
        frame_size: tuple[int, int] | None = None,
        films: bool = True,
        stop_after_success: int | None = None,
    ) -> tuple[int, int, int, np.ndarray]:
        """Makes the simulators, each in its first episode.

        Args:
            env_id: Gymnasium id.
            protocol: How episodes end.
            identities: Of every copy, its seed and its number among the copies of that seed.
            frame_size: Width and height of the frames that are drawn of every observation; None: none are.
            films: Episodes hold their frames; else every step brings the newest ones.
            stop_after_success: Steps that an episode goes on after its first success, and is truncated then; None: to
                its end.

        Returns:
            Widths ``D`` of observations and ``A`` of actions, the time limit in steps, and the observations ``(M, D)``.

        Raises:
            InputError: See :func:`ilfo.envs.make_env`.
            RenderError: Frames are wanted where none can be drawn.
        """
        self._made = env_id, protocol, identities, frame_size, films, stop_after_success
        self._looks = frame_size is not None and not films
        size = None if frame_size is None else (frame_size[0], frame_size[1])  # A list where it came as JSON.
        self._copies = []
        for seed, index in identities:
            env = make_env(env_id, protocol) if size is None else drawable_env(env_id, protocol, size)
            self._copies.append(Copy(env, seed, index, size, films, stop_after_success))
        env = self._copies[0].env
        seen, done, spec = env.observation_space.shape, env.action_space.shape, env.spec
        assert seen
        assert done
        assert spec
        assert spec.max_episode_steps
        self._width = done[0]
        self._first = self.observations()
        return seen[0], done[0], spec.max_episode_steps, self._first

    def step(self, actions: np.ndarray) -> Moves:
        """Steps every copy that does not rest; ended episodes are collected, and followed by fresh ones.

        Args:
            actions: ``(M, A)`` float32 in [-1, 1].

        Raises:
            InputError: The simulation diverged: an observation or a reward is not finite.
        """
        count = len(self._copies)
        after = np.empty_like(self._first)
        env_rewards, terminations = np.zeros(count, np.float32), np.zeros(count, bool)
        finite, ended = True, []
        # Copied, since the rows stay in the episodes.
        for row, (copy, action) in enumerate(zip(self._copies, actions.copy(), strict=True)):
            if not copy.resting:
                env_reward, terminated, truncated = copy.step(action)
                env_rewards[row], terminations[row] = env_reward, terminated
                finite &= isfinite(env_reward)
                if terminated or truncated:
                    ended.append((row, copy))
            after[row] = copy.observations[-1]
        # A sum of squares shows it in a fifth of the time of np.isfinite, and does not overflow in float64.
        flat = after.ravel().astype(np.float64)
        if not (finite and isfinite(flat.dot(flat))):
            raise next(copy for copy in self._copies if not copy.finite).diverged(self._made[0])
        finished = tuple((row, copy.episode(bool(terminations[row]))) for row, copy in ended)
        frames = [copy.look() for copy in self._copies] if self._looks else []
        now = after.copy()
        for row, copy in ended:
            copy.number += 1
            if not copy.resting:
                copy.begin(copy.number)
            now[row] = copy.observations[-1]
            if self._looks:
                frames.append(copy.look())
        return Moves(after, env_rewards, terminations, now, finished, np.array(frames) if self._looks else None)

    def observations(self) -> np.ndarray:
        """Where the copies stand now, ``(M, D)`` float32."""
        return np.array([copy.observations[-1] for copy in self._copies])

    def rest_after(self, quotas: Sequence[int]) -> None:
        """From now on a copy stands still in its last observation once it has played as many episodes.

        Args:
            quotas: ``M`` numbers of episodes, counted from the copy's first.
        """
        for copy, quota in zip(self._copies, quotas, strict=True):
            copy.quota = quota

    def restart(self) -> np.ndarray:
        """Begins anew at every copy's first episode, as if just made.

        An environment whose reset does not bring back the observations that it was made with is made again.

        Returns:
            Observations ``(M, D)``.
        """
        for copy in self._copies:
            copy.quota = None
            copy.begin(0)
        if not np.array_equal(self.observations(), self._first):
            self.close()
            self.make(*self._made)
        return self.observations()

    def frames(self) -> np.ndarray:
        """Frames ``(M, H, W, 3)`` uint8 of the newest observations.

        Raises:
            RenderError: None can be drawn.
        """
        return np.array([copy.look() for copy in self._copies])

    def states(self) -> list[tuple[int, list[list[float]]]]:
        """Of every copy the number of its episode, and the actions ``(t, A)`` done in it.

        Raises:
            RuntimeError: A copy rests: it is in no episode.
        """
        if any(copy.resting for copy in self._copies):
            raise RuntimeError("environments that rest after their last episode have no state to save")
        return [(copy.number, np.array(copy.actions).tolist()) for copy in self._copies]

    def load(self, states: Sequence[tuple[int, list[list[float]]]]) -> np.ndarray:
        """Plays the unfinished episodes again, up to where they were.

        Args:
            states: As :meth:`states` returned them.

        Returns:
            Observations ``(M, D)``.
        """
        for copy, (number, actions) in zip(self._copies, states, strict=True):
            copy.quota = None
            copy.begin(number)
            for action in np.array(actions, np.float32).reshape(-1, self._width):
                copy.step(action)
        return self.observations()

    def close(self) -> None:
        """Frees the simulators."""
        for copy in self._copies:
            copy.env.close()


class InProcess:
    """Copies in this process, with the interface of a worker: a request is carried out when its answer is read.

    Args:
        make: Arguments of :meth:`Copies.make`, which is already asked for.
    """

    def __init__(self, *make: Any) -> None:
        self._copies = Copies()
        self.ask("make", *make)

    def ask(self, method: str, *arguments: Any) -> None:
        """Keeps in mind which method of :class:`Copies` is to be called."""
        self._asked = method, arguments

    def answer(self) -> Any:
        """Calls it; what it raises comes through."""
        method, arguments = self._asked
        return getattr(self._copies, method)(*arguments)

    def close(self) -> None:
        """Frees the simulators."""
        self._copies.close()
