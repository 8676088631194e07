"""Many environments in lockstep, in this process or in others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.envs._worker import Worker
from ilfo.envs.copies import InProcess
from ilfo.envs.making import ACTION_SLACK, Protocol

if TYPE_CHECKING:
    from ilfo.rewards.sight import View

__all__ = ["Environments", "Steps"]


class Steps(NamedTuple):
    """One step of every environment; ``M`` rows, one for each.

    Attributes:
        observations: ``(M, D)`` float32, before the step.
        actions: ``(M, A)`` float32 in [-1, 1].
        env_rewards: ``(M,)`` float32.
        next_observations: ``(M, D)`` float32, after it: of an ended episode the final one, never the next reset's.
        terminated: ``(M,)`` bool; a time limit is not a termination.
        ages: ``(M,)`` int64, steps of the episode before this one.
        finished: The episodes that this step ended, each with its row, in the order of the rows.
        shown: Of each of these all observations ``(T+1, D)``, as they were at its steps.
    """

    observations: np.ndarray
    actions: np.ndarray
    env_rewards: np.ndarray
    next_observations: np.ndarray
    terminated: np.ndarray
    ages: np.ndarray
    finished: tuple[tuple[int, Trajectory], ...]
    shown: tuple[np.ndarray, ...]


class Environments:
    """``N`` copies of an environment for each of ``S`` seeds, in lockstep. An ended episode is followed by a fresh one.

    Rows are seed-major: copy ``n`` of the seed with index ``k`` is row ``k * N + n``. The seed of each episode depends
    on the copy's seed, its ``n`` and the episode's number alone: a seed's copies play the same episodes alone or among
    others, here or in worker processes. A state is saved as numbers and actions, and restored by playing the
    unfinished episodes again: the environment must be deterministic given its seed.

    Args:
        env_id: Gymnasium id; with workers, what a module registers needs the form ``module:Id``.
        num_envs: Number of copies ``N`` of each seed.
        protocol: How episodes end.
        seed: Seed that all episodes' seeds come from, or ``S`` of them.
        workers: Processes that the copies live in; with 0 they live in this one.
        frame_size: Width and height in pixels of a frame that is drawn of every observation, for the episodes to hold;
            None: none are. A copy keeps those of one episode at a time.
        view: Gives the observations in place of states: it sees the newest frames of all copies at once, and
            follows each episode. Episodes hold their states in either case, and with a view no frames.

    Raises:
        InputError: See :func:`ilfo.envs.make_env`; or no copies or no seeds.
        RenderError: Frames are wanted where none can be drawn.

    Attributes:
        seeds: The ``S`` seeds.
        observation_dim: Width ``D``.
        action_dim: Width ``A``.
        horizon: The time limit in steps.
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int = 1,
        protocol: Protocol = "standard",
        seed: int | Sequence[int] = 0,
        workers: int = 0,
        frame_size: tuple[int, int] | None = None,
        view: View | None = None,
    ) -> None:
        self.env_id, self.protocol, self.num_envs = env_id, protocol, num_envs
        self.seeds = _seeds(seed)
        identities = [(seed, copy) for seed in self.seeds for copy in range(num_envs)]
        if not identities or workers < 0:
            raise InputError(
                f"{len(self.seeds)} seed(s), num_envs {num_envs}, workers {workers}: expected at least 1 seed, 1 "
                "environment and 0 workers"
            )
        parts = max(1, min(workers, len(identities)))
        edges = [part * len(identities) // parts for part in range(parts + 1)]
        self._slices = [slice(*pair) for pair in pairwise(edges)]
        kind = Worker if workers else InProcess
        size = frame_size if view is None else view.frame_size
        self._groups: list[InProcess | Worker] = []
        self._actions: np.ndarray | None = None
        try:
            for rows in self._slices:
                self._groups.append(kind(env_id, protocol, identities[rows], size, view is None))
            made = self._answers()
            self.observation_dim, self.action_dim, self.horizon = (int(value) for value in made[0][:3])
            self._states = self._observations = _joined([observations for *_, observations in made])
            self._ages = np.zeros(len(self), np.int64)
            self._tracker = None
            if view is not None:
                self.observation_dim, self._tracker = view.width, view.tracker(len(self))
                self._look()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.seeds) * self.num_envs

    @property
    def observations(self) -> np.ndarray:
        """The current observations, ``(S*N, D)`` float32."""
        return self._observations.copy()

    @property
    def ages(self) -> np.ndarray:
        """Steps of the episodes under way, ``(S*N,)`` int64."""
        return self._ages.copy()

    def _ask(self, method: str, rows: Sequence[Any] | np.ndarray | None = None) -> None:
        try:
            for group, part in zip(self._groups, self._slices, strict=True):
                group.ask(method, *(() if rows is None else (rows[part],)))
        except BaseException:
            self.close()
            raise

    def _answers(self) -> list[Any]:
        """The answers of all groups. All are read, even where one fails: none may be left for a later request."""
        answers: list[Any] = []
        failure: Exception | None = None
        try:
            for group in self._groups:
                try:
                    answers.append(group.answer())
                except Exception as error:
                    failure = failure or error
        except BaseException:
            self.close()  # Interrupted: who has answered, and how far, is not known.
            raise
        if failure is not None:
            raise failure
        return answers

    def _call(self, method: str, rows: Sequence[Any] | None = None) -> list[Any]:
        if self._actions is not None:
            raise RuntimeError(f"{method} between begin and finish: finish the step first")
        self._ask(method, rows)
        return self._answers()

    def _look(self) -> None:
        """Shows the first observations of all copies."""
        self._observations = self._states
        if self._tracker is not None:
            frames = np.concatenate([np.array(part, np.uint8) for part in self._call("frames")])
            self._observations = self._tracker.begin(self._states, frames)

    def begin(self, actions: np.ndarray) -> None:
        """Begins a step of every copy. Workers do it while the caller does other things.

        Args:
            actions: ``(S*N, A)`` in [-1, 1].

        Raises:
            InputError: Actions of another shape, beyond [-1, 1] by more than rounding, or not finite.
        """
        if self._actions is not None:
            raise RuntimeError("begin after begin: finish the step first")
        actions = np.array(actions, np.float32)
        if actions.shape != (len(self), self.action_dim):
            raise InputError(
                f"{self.env_id}: actions of shape {actions.shape}; expected ({len(self)}, {self.action_dim}), one row "
                "an environment"
            )
        if not (np.abs(actions) <= 1 + ACTION_SLACK).all():
            raise InputError(
                f"{self.env_id}: actions from {actions.min():g} to {actions.max():g}; expected finite numbers in "
                "[-1, 1], which are rescaled to the environment's bounds: clip them after noise is added"
            )
        self._actions = actions.clip(-1, 1)
        self._ask("step", self._actions)

    def finish(self) -> Steps:
        """Waits for the step that was begun; ended episodes are collected and reset.

        Raises:
            InputError: The simulation diverged: an observation or a reward is not finite.
            RuntimeError: A worker process failed; or no step was begun.
        """
        if self._actions is None:
            raise RuntimeError("finish without begin: begin a step first")
        actions, self._actions = self._actions, None
        answers = self._answers()
        before, ages = self._observations, self.ages
        if len(answers) == 1:
            after, env_rewards, terminated, self._states, finished, _ = answers[0]
        else:
            after, env_rewards, terminated, self._states = (
                np.concatenate(parts) for parts in list(zip(*answers, strict=True))[:4]
            )
            finished = tuple(
                (part.start + row, episode)
                for part, moves in zip(self._slices, answers, strict=True)
                for row, episode in moves.finished
            )
        ended = [row for row, _ in finished]
        self._ages += 1
        self._ages[ended] = 0
        if self._tracker is None:
            self._observations, shown = self._states, tuple(episode.observations for _, episode in finished)
        else:
            # First the frames of every group after the step, then those of every group after an episode's end.
            sizes = [part.stop - part.start for part in self._slices]
            frames = [moves.frames[:size] for moves, size in zip(answers, sizes, strict=True)]
            frames += [moves.frames[size:] for moves, size in zip(answers, sizes, strict=True)]
            after, self._observations, shown = self._tracker.step(after, self._states, np.concatenate(frames), ended)
        return Steps(before, actions, env_rewards, after, terminated, ages, finished, shown)

    def step(self, actions: np.ndarray) -> Steps:
        """Steps every copy: :meth:`begin` and :meth:`finish`."""
        self.begin(actions)
        return self.finish()

    def restart(self) -> None:
        """Begins anew at the first episode of every copy, as if freshly made; the simulators are kept.

        An environment whose reset does not bring back the observations that it was made with is made again.
        """
        self._states = _joined(self._call("restart"))
        self._ages[:] = 0
        self._look()

    def rest_after(self, quotas: Sequence[int]) -> None:
        """Lets copies stand still, unstepped, in their last observation once they have played so many episodes.

        Args:
            quotas: ``S*N`` numbers of episodes since the copy's start. :meth:`restart` ends them.
        """
        self._call("rest_after", list(quotas))

    def state_dicts(self) -> list[dict[str, Any]]:
        """Of each seed: episode numbers, the actions of the episodes under way, and the states after them.

        With a view also all that was shown of these episodes, which is not drawn again.
        """
        states = [state for group in self._call("states") for state in group]
        return [
            {
                "numbers": [number for number, _ in states[rows]],
                "actions": [actions for _, actions in states[rows]],
                "observations": self._states[rows].tolist(),
            }
            | ({} if self._tracker is None else {"shown": self._tracker.state_of(rows)})
            for rows in self._rows_of_seeds()
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Lives the unfinished episodes again, up to where they were.

        Args:
            states: As :meth:`state_dicts` returned them, of as many seeds and copies.

        Raises:
            InputError: Other numbers of seeds or copies; or the environment does not come back to the same
                observations: it is not deterministic.
        """
        found = [len(state["numbers"]) for state in states]
        if found != [self.num_envs] * len(self.seeds):
            raise InputError(
                f"the checkpoint holds {len(found)} seed(s) of {sorted(set(found))} copies of {self.env_id}; expected "
                f"{len(self.seeds)} of {self.num_envs}: go on with the settings that the run was begun with"
            )
        episodes = [pair for state in states for pair in zip(state["numbers"], state["actions"], strict=True)]
        self._states = self._observations = _joined(self._call("load", episodes))
        self._ages = np.array([len(actions) for _, actions in episodes], np.int64)
        if not np.array_equal(self._states, _joined([state["observations"] for state in states])):
            raise InputError(
                f"{self.env_id} did not return to the observations of the checkpoint when its actions were repeated: "
                "it is not deterministic given its seed, or its version has changed, and the run cannot go on exactly"
            )
        if self._tracker is not None:
            self._observations = self._tracker.load_states([state["shown"] for state in states])

    def _rows_of_seeds(self) -> list[slice]:
        return [slice(start, start + self.num_envs) for start in range(0, len(self), self.num_envs)]

    def close(self) -> None:
        """Frees the simulators and ends the workers."""
        for group in self._groups:
            if isinstance(group, Worker):
                group.hang_up()  # All of them first, so that they end at once.
        for group in self._groups:
            group.close()


def _seeds(seed: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(map(int, seed)) if isinstance(seed, Sequence) else (int(seed),)


def _joined(parts: Sequence[Any]) -> np.ndarray:
    """Rows ``(M, D)`` float32 of groups, each an array or a list of rows."""
    return np.concatenate([np.array(part, np.float32) for part in parts])
