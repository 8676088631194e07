"""Checks what a reward generator returns, where it enters: a user's reward that breaks the contract fails here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.rewards.base import Episodes, RewardGenerator

__all__ = ["NotFiniteError", "absorbing_of", "observed", "scores_of"]


class NotFiniteError(InputError):
    """A reward is not finite; says which episode of the batch it belongs to.

    Args:
        row: Index of the episode.
        problem: What was found there, and what was expected.

    Attributes:
        row: As given.
        problem: As given; a caller that knows the episode by another name puts that name before it.
    """

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(f"Episode {row}, {problem}")
        self.row, self.problem = row, problem


def scores_of(reward: RewardGenerator, episodes: Episodes) -> Tensor:
    """A generator's rewards for episodes, ``(B, T)`` float32, checked.

    Raises:
        InputError: The generator returns anything else; see also :class:`NotFiniteError`.
    """
    found, (count, length) = reward.score(episodes), episodes.observations.shape[:2]
    why = "a reward for each step (s_t, s_t+1), which are one fewer than the observations"
    return _checked(reward, "score", found, (count, length - 1), why)


def absorbing_of(reward: RewardGenerator, episodes: Episodes) -> Tensor:
    """A generator's rewards for the states that follow terminations, ``(B,)`` float32, checked.

    Raises:
        InputError: The generator returns anything but that many floats; see also :class:`NotFiniteError`.
    """
    found = reward.absorbing_reward(episodes)
    if isinstance(found, Tensor) and found.is_floating_point():
        found = found.float()
    return _checked(reward, "absorbing_reward", found, (len(episodes.lengths),), "a reward for each episode")


def observed(reward: RewardGenerator, episodes: Episodes) -> dict[str, float]:
    """Shows a generator the agent's episodes; returns the numbers that it logs, checked.

    Raises:
        InputError: It returns anything but a dictionary.
    """
    found: Any = reward.observe(episodes)
    if not isinstance(found, Mapping):
        raise InputError(
            f"{type(reward).__qualname__}.observe returned a {type(found).__name__}; expected a dictionary of names "
            "and numbers to log, {} for none"
        )
    return dict(found)


def _checked(reward: RewardGenerator, method: str, found: Tensor, expected: tuple[int, ...], why: str) -> Tensor:
    name = type(reward).__qualname__
    hint = f"ilfo.testing.check_reward({name}) checks the whole contract of a reward."
    what = ""
    if not isinstance(found, Tensor):
        what = f"a {type(found).__name__}; expected a tensor {expected}, {why}"
    elif tuple(found.shape) != expected:
        what = f"a tensor of shape {tuple(found.shape)}; expected {expected}, {why}"
    elif found.dtype != torch.float32:
        what = f"{found.dtype}; expected torch.float32, as rewards.float() is"
    if what:
        raise InputError(f"{name}.{method} returned {what}. {hint}")
    finite = found.isfinite()
    if not bool(finite.all()):
        row, *step = torch.nonzero(~finite)[0].tolist()
        where = f"step {step[0]}" if step else "after its end"
        value = float(found[(row, *step)])
        raise NotFiniteError(row, f"{where}: the reward of {name} is {value}; expected a finite number. {hint}")
    return found.detach()  # Of a reward that forgot to: gradients would be kept as long as the replay.
