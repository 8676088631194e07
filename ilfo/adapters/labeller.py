"""Imitation rewards in a plain training loop: steps of an environment in, transitions with rewards out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from ilfo._tools.errors import InputError, closest
from ilfo.adapters._scoring import Scoring, rows_of
from ilfo.adapters._transitions import FinishedEpisode, Transition, Transitions
from ilfo.rewards import RewardGenerator

__all__ = ["EpisodeLabeller", "FinishedEpisode", "Transition", "Transitions"]

FINAL = ("final_obs", "final_observation")
"""Where ``infos`` holds the last observations of ended episodes under SAME_STEP: Gymnasium's names since 1.0, and
before."""


class EpisodeLabeller:
    """Gives the steps of a loop their imitation rewards.

    The loop shows it every step, and stores what comes back: where the reward needs no more than transitions, these
    at once; where it needs whole episodes, nothing until one ends, and then all of it. Where the environment ended an
    episode itself, the worth of the absorbing state is part of the last reward, see
    :func:`~ilfo.rewards.labelling.imitation_rewards`, and ``terminated`` is to be taken for the end, as ever.

    How the environment goes on after an end decides which of its steps are transitions; Gymnasium's vector
    environments say it in ``envs.metadata["autoreset_mode"]``:

    * ``NextStep``, their default: the step after an end is the reset, which is left out.
    * ``SameStep``: the observation that a last step returns is already the next episode's; the final one is in
      ``infos["final_obs"]`` and is put in its place.
    * ``Disabled``: the loop itself resets what has ended, as with a single environment.

    Args:
        reward: A fitted generator. One that learns from the agent sees every episode, when it is over.
        num_envs: Environments that step together, ``N``.
        discount: The learner's.
        absorbing: Whether terminated episodes go on in absorbing states; else they are simply the end. Without them,
            fit the reward on ``ilfo.rewards.without_terminations(demonstrations)``: else part of a demonstration that
            terminated is in an absorbing state, which no episode can match.
        autoreset: How environments go on after an end.
        device: Where rewards are computed.

    Attributes:
        reward: As given.
        num_envs: As given.
        discount: As given.
        device: As given; may be changed at any time.

    Raises:
        InputError: The reward does not imitate, or breaks its contract when it scores; the discount is
            none; or there is no such autoreset mode.

    Warns:
        UserWarning: The reward cannot be copied, and so was not tried.

    Example:
        A single environment, which the loop resets itself. The replay is Stable-Baselines3's, made with ``n_envs=1``
        and empty infos, of which it would take no more than time limits::

            labeller = EpisodeLabeller(reward, discount=0.99, autoreset="Disabled")
            for step in labeller.label(obs, action, next_obs, terminated, truncated, info):
                replay.add(*step, [{}])
    """

    def __init__(
        self,
        reward: RewardGenerator,
        num_envs: int = 1,
        *,
        discount: float,
        absorbing: bool = True,
        autoreset: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        device: torch.device | str = "cpu",
    ) -> None:
        known = [mode.value for mode in AutoresetMode]
        if autoreset not in known and not isinstance(autoreset, AutoresetMode):
            raise InputError(f"autoreset is {autoreset!r}, which is no mode of Gymnasium: {closest(autoreset, known)}")
        if num_envs < 1:
            raise InputError(f"num_envs is {num_envs}; expected at least 1")
        self._scoring = Scoring(reward, discount=discount, absorbing=absorbing)
        self.reward, self.num_envs, self.discount = reward, num_envs, discount
        self.device = torch.device(device)
        self.autoreset = AutoresetMode(autoreset)
        self._last: np.ndarray | None = None
        # Rows whose next observation is the last one; rows whose next step is a reset.
        self._expected, self._resting = np.zeros((2, num_envs), bool)
        self._lengths, self._returns = np.zeros(num_envs, np.int64), np.zeros(num_envs)
        self._terms: dict[str, np.ndarray] = {}
        self._observations: list[list[np.ndarray]] = [[] for _ in range(num_envs)]
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num_envs)]
        # Of the shape and type of actions, where none are held.
        self._no_actions = np.zeros((0, 0))
        self._scoring.try_on(None, device=self.device)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What was pickled by earlier code holds no shape of its actions."""
        self.__dict__.update({"_no_actions": np.zeros((0, 0))} | state)

    def try_on(self, width: int, *, rescored: bool = False) -> None:
        """Has a copy of the reward score a few steps of zeros, so that it is known before the first step if it cannot.

        The labeller itself can do this only with the width that the reward was fitted on, when it is made, and
        with that of the observations at the first step.

        Args:
            width: ``D`` of the environment's observations.
            rescored: Whether stored transitions will be scored again, by :meth:`rescore`, if the reward changes.

        Raises:
            InputError: The reward was fitted on observations of another width, or not at all; it looks at the time,
                which nobody knows of transitions that are scored again; or it breaks its contract when it scores.

        Warns:
            UserWarning: The reward cannot be copied, and so was not tried.
        """
        self._scoring.try_on(width, rescored=rescored, device=self.device)

    def label(
        self,
        observations: Any,
        actions: Any,
        next_observations: Any,
        terminated: Any,
        truncated: Any,
        infos: Mapping[str, Any],
    ) -> Transitions:
        """Takes a step of every environment, and gives back the transitions whose rewards are known by now.

        Args:
            observations: ``(N, D)`` before the step. For ``N = 1`` this and all others may lack the first dimension.
            actions: ``(N, ...)``, given back as they are.
            next_observations: ``(N, D)`` as the environments returned them.
            terminated: ``(N,)`` bool.
            truncated: ``(N,)`` bool.
            infos: As the environments returned them.

        Raises:
            InputError: The arrays do not fit one another or the demonstrations, an observation is not the one that the
                step before ended in, the environments go on otherwise than ``autoreset`` says, or the reward cannot
                score an observation.
        """
        before, after = rows_of(observations, self.num_envs), rows_of(next_observations, self.num_envs)
        terminated, truncated = (np.atleast_1d(np.asarray(marks, bool)) for marks in (terminated, truncated))
        actions = np.asarray(actions)
        if np.ndim(next_observations) == 1:
            actions = actions[None]
        wrong = {*(actions.shape[:1] or (0,)), *terminated.shape, *truncated.shape} - {self.num_envs}
        if wrong or before.shape != after.shape or terminated.shape != truncated.shape:
            raise InputError(
                f"observations {before.shape} and {after.shape}, actions {actions.shape}, terminated "
                f"{terminated.shape} and truncated {truncated.shape} do not make a step of {self.num_envs} environments"
            )
        self.try_on(before.shape[1])
        self._check_continuity(before)
        ended = terminated | truncated
        self._put_final(after, ended, infos)
        taken = np.flatnonzero(~self._resting)
        self._last, self._no_actions = after, actions[:0]
        next_step = self.autoreset is AutoresetMode.NEXT_STEP
        self._expected = np.ones_like(ended) if next_step else ~ended
        self._resting = ended & next_step
        return self._take(taken, before, actions, after, terminated, ended)

    def _check_continuity(self, observations: np.ndarray) -> None:
        gaps = np.flatnonzero(self.gaps(observations))
        if len(gaps):
            row = int(gaps[0])
            raise InputError(
                f"environment {row}, step {self._lengths[row]} of its episode: the observation is not the one that its "
                f"step before ended in. After an end, autoreset={self.autoreset.value!r} is expected; of vector "
                "environments give envs.metadata['autoreset_mode'], and 'Disabled' where the loop resets. Where it "
                "resets in the middle of an episode, call cut() first"
            )

    def _put_final(self, after: np.ndarray, ended: np.ndarray, infos: Mapping[str, Any]) -> None:
        """Puts the final observations of ended episodes where their resets' are."""
        name = next((name for name in FINAL if name in infos), None)
        if self.autoreset is not AutoresetMode.SAME_STEP:
            if name is not None:
                raise InputError(
                    f"infos holds {name}: these environments reset in the step that ends an episode, and autoreset is "
                    f"{self.autoreset.value!r}; give autoreset=envs.metadata['autoreset_mode']"
                )
            return
        for row in np.flatnonzero(ended):
            if name is None or infos[name][row] is None:
                raise InputError(
                    f"environment {row} ended an episode, and infos holds no {FINAL[0]} for it; expected the final "
                    "observation, as environments with autoreset='SameStep' give it: pass their infos on unchanged"
                )
            after[row] = infos[name][row]

    def _take(
        self,
        taken: np.ndarray,
        before: np.ndarray,
        actions: np.ndarray,
        after: np.ndarray,
        terminated: np.ndarray,
        ended: np.ndarray,
    ) -> Transitions:
        """Adds a step to the episodes of some rows; gives back what can be rewarded, and ends what has ended."""
        if self._scoring.sees_episodes:
            for row in taken:
                self._observations[row] = self._observations[row] or [before[row]]
                self._observations[row].append(after[row])
                self._actions[row].append(actions[row].copy())
        self._lengths[taken] += 1
        if self.reward.needs == "trajectory":
            nothing = Transitions.none(before, actions)
            return Transitions.join([nothing, *(self._end(row, bool(terminated[row])) for row in taken if ended[row])])
        marks = torch.from_numpy(terminated[taken]).to(self.device)
        starts = self._moved(self._lengths[taken] - 1)
        steps = self._scoring.transitions(self._moved(before[taken]), self._moved(after[taken]), marks, starts)
        labels = self._scoring.labels(steps)
        self._add_up(taken, *self._scoring.returns(steps, labels))
        rewards = labels.rewards[:, 0].cpu().numpy()
        over = [self._end(row, bool(terminated[row])).episodes[0] for row in taken if ended[row]]
        return Transitions(
            before[taken], after[taken], actions[taken], rewards, terminated[taken], ended[taken], tuple(over)
        )

    def _add_up(self, rows: np.ndarray, total: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Adds what the steps of some rows get to the returns of their episodes."""
        self._returns[rows] += total.cpu().numpy()
        for name, term in terms.items():
            self._terms.setdefault(name, np.zeros(self.num_envs))[rows] += term.cpu().numpy()

    def _end(self, row: int, terminated: bool) -> Transitions:
        """Ends the episode under way in a row, and gives back what the reward has held back of it."""
        length = int(self._lengths[row])
        assert self._last is not None
        states = np.array(self._observations[row], np.float32).reshape(-1, self._last.shape[1])
        actions = self._held_actions(row)
        if self.reward.needs == "trajectory":
            labels, episode = self._scoring.finish(self._moved(states), terminated, int(row))
            rewards, last = labels.rewards[0].cpu().numpy(), np.arange(length) == length - 1
            held = Transitions(states[:-1], states[1:], actions, rewards, last & terminated, last)
        else:
            metrics = self._scoring.observe(self._moved(states), terminated) if self._scoring.sees_episodes else {}
            terms = {name: float(sums[row]) for name, sums in self._terms.items()}
            episode = FinishedEpisode(int(row), length, float(self._returns[row]), terminated, terms, metrics)
            held = Transitions.none(states, actions)
        self._lengths[row], self._returns[row] = 0, 0.0
        for sums in self._terms.values():
            sums[row] = 0.0
        self._observations[row], self._actions[row] = [], []
        return replace(held, episodes=(episode,))

    def _held_actions(self, row: int) -> np.ndarray:
        """Actions ``(T, ...)`` that wait for the end of the episode in a row; where none do, still of their shape."""
        return np.array(self._actions[row]) if self._actions[row] else self._no_actions.copy()

    def gaps(self, observations: Any) -> np.ndarray:
        """Where an observation is not the one that the step before ended in, ``(N,)`` bool.

        Somebody has reset these environments: :meth:`cut` ends the episodes that were under way.

        Args:
            observations: ``(N, D)`` before the next step.
        """
        rows = rows_of(observations, self.num_envs)
        if self._last is None or rows.shape != self._last.shape:
            return np.zeros(self.num_envs, bool)
        same = (rows == self._last) | (np.isnan(rows) & np.isnan(self._last))
        return self._expected & ~same.all(axis=1)

    def cut(self, rows: Sequence[int] | np.ndarray | None = None) -> Transitions:
        """Ends the episodes under way, as a time limit would: before environments are reset, or when the loop stops.

        Args:
            rows: Indices of the environments; all by default.

        Returns:
            Their transitions, where the reward has waited for the end.
        """
        chosen = range(self.num_envs) if rows is None else [int(row) for row in rows]
        found = [self._end(row, False) for row in chosen if self._lengths[row]]
        self._expected[chosen] = self._resting[chosen] = False
        width = 0 if self._last is None else self._last.shape[1]
        return Transitions.join(found or [Transitions.none(np.zeros((0, width), np.float32), self._no_actions)])

    def rescore(self, observations: Tensor, next_observations: Tensor, terminated: Tensor) -> Tensor:
        """Today's rewards of transitions that were stored a while ago.

        Only a reward with ``stationary = False`` and ``needs = "transition"`` changes them.

        Args:
            observations: ``(B, D)``.
            next_observations: ``(B, D)``.
            terminated: ``(B,)`` or ``(B, 1)``, bool or 0 and 1.

        Returns:
            Rewards of the shape and on the device of ``terminated``, float32.

        Raises:
            InputError: The reward needs whole episodes, looks at the time, or cannot score these observations.
        """
        before, after = (part.to(self.device, torch.float32) for part in (observations, next_observations))
        steps = self._scoring.transitions(before, after, terminated.reshape(-1).to(self.device) > 0)
        return self._scoring.labels(steps).rewards.reshape(terminated.shape).to(terminated.device)

    @property
    def changes(self) -> bool:
        """Whether stored transitions have to be scored again when they are sampled, by :meth:`rescore`.

        :meth:`try_on` tells beforehand whether they can be.
        """
        return self._scoring.changes

    def _moved(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """The reward and the episodes under way, as tensors and plain values."""
        return {
            "reward": self.reward.state_dict(),
            "last": None if self._last is None else torch.from_numpy(self._last.copy()),
            "expected": self._expected.tolist(),
            "resting": self._resting.tolist(),
            "lengths": self._lengths.tolist(),
            "returns": self._returns.tolist(),
            "terms": {name: sums.tolist() for name, sums in self._terms.items()},
            "observations": [torch.from_numpy(np.array(rows, np.float32)) for rows in self._observations],
            "actions": [torch.from_numpy(self._held_actions(row)) for row in range(self.num_envs)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned.

        Raises:
            InputError: It is the state of another number of environments.
        """
        if len(state["lengths"]) != self.num_envs:
            raise InputError(
                f"the saved labeller has the episodes of {len(state['lengths'])} environments, and this one of "
                f"{self.num_envs}: make as many"
            )
        self.reward.load_state_dict(state["reward"])
        self._last = None if state["last"] is None else state["last"].numpy().copy()
        self._expected, self._resting = np.array(state["expected"]), np.array(state["resting"])
        self._lengths, self._returns = np.array(state["lengths"], np.int64), np.array(state["returns"], np.float64)
        self._terms = {name: np.array(sums, np.float64) for name, sums in state["terms"].items()}
        self._observations = [list(rows.numpy().copy()) for rows in state["observations"]]
        self._actions = [list(rows.numpy().copy()) for rows in state["actions"]]
        self._no_actions = state["actions"][0].numpy()[:0].copy()
