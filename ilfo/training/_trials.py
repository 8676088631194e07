"""What is tried of a reward and an agent before the first step: what they do wrong would be found hours later."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.agents import Agent
from ilfo.envs.making import ACTION_SLACK
from ilfo.rewards import RewardGenerator

__all__ = ["try_acting", "try_saving"]


def try_acting(agent: Agent, observations: Tensor, action_dim: int) -> None:
    """Has an agent act once, without exploration.

    Args:
        agent: Before its first update.
        observations: ``(..., D)`` float32 on its device.
        action_dim: Width ``A`` of an action.

    Raises:
        InputError: What it returns are not actions ``(..., A)`` in [-1, 1].
    """
    actions, expected = agent.act(observations, False), (*observations.shape[:-1], action_dim)
    wants = f"expected a tensor {expected} in [-1, 1]"
    if not isinstance(actions, Tensor):
        found = f"a {type(actions).__name__}; {wants}"
    elif tuple(actions.shape) != expected:
        found = f"a tensor of shape {tuple(actions.shape)}; {wants}"
    elif actions.requires_grad:
        found = f"a tensor that requires a gradient; {wants} without one, as under @torch.no_grad()"
    elif not bool((actions.abs() <= 1 + ACTION_SLACK).all()):
        found = f"actions from {float(actions.min()):g} to {float(actions.max()):g}; {wants}"
    else:
        return
    raise InputError(f"{_name(agent)}.act returned {found}. {_checks(agent)}")


def try_saving(part: Agent | RewardGenerator, state: Any) -> None:
    """Saves the state of a part and reads it again, as checkpoints are.

    Raises:
        InputError: It holds what cannot be read again.
    """
    written = io.BytesIO()
    try:
        torch.save(state, written)
        written.seek(0)
        torch.load(written, map_location="cpu", weights_only=True)
    except (pickle.PickleError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{_name(part)}.state_dict holds what cannot be saved and read again: expected tensors and plain values, "
            "in dictionaries and lists. Give an array as torch.from_numpy(array), and a number of NumPy's as "
            f"float(number). {_checks(part)} PyTorch says: {str(error).strip().splitlines()[0]}"
        ) from error


def _name(part: Agent | RewardGenerator) -> str:
    return type(part).__qualname__


def _checks(part: Agent | RewardGenerator) -> str:
    check, whole = ("agent", "an agent") if isinstance(part, Agent) else ("reward", "a reward")
    return f"ilfo.testing.check_{check}({_name(part)}) checks the whole contract of {whole}."
