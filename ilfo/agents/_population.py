"""One agent, or many at once: weights and states stacked by seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ilfo._tools.errors import InputError
from ilfo._tools.seeds import seeded

__all__ = ["populate", "seeds_of", "stack_modules", "stack_states", "unstack_state"]

Module = TypeVar("Module", bound=nn.Module)


def seeds_of(seed: int | Sequence[int]) -> tuple[list[int], tuple[int, ...]]:
    """The seeds as a list, and the leading dimensions that tensors have: none for a number, ``(S,)`` for a sequence."""
    if isinstance(seed, int):
        return [seed], ()
    return list(seed), (len(seed),)


def populate(make: Callable[[], Module], seed: int | Sequence[int]) -> Module:
    """Networks with the initial weights that each seed would give alone.

    Args:
        make: Builds the networks of one seed.
        seed: A number, or the seeds of a stack.
    """
    seeds, stack = seeds_of(seed)
    made = []
    for each in seeds:
        with seeded(each):
            made.append(make())
    return stack_modules(made) if stack else made[0]


def stack_modules(modules: Sequence[Module]) -> Module:
    """One module with the parameters of several modules of the same shape, stacked in a new first dimension."""
    stacked = copy.deepcopy(modules[0])
    originals = [dict(module.named_parameters()) for module in modules]
    for name, parameter in stacked.named_parameters():
        parameter.data = torch.stack([original[name].detach() for original in originals])
    return stacked


def stack_states(states: Sequence[Any]) -> Any:
    """The state dictionary of a stacked agent, from those of single agents.

    Raises:
        InputError: They differ in a counter or a hyper-parameter that is shared in a stack.
    """
    first = states[0]
    if isinstance(first, dict):
        return {name: stack_states([state[name] for state in states]) for name in first}
    if isinstance(first, (list, tuple)):
        return type(first)(stack_states(parts) for parts in zip(*states, strict=True))
    if isinstance(first, Tensor) and first.dim():
        return torch.stack(list(states))
    differing = [state for state in states if state != first]
    if differing:
        raise InputError(
            f"The states of {len(states)} agents hold {first} and {differing[0]} where agents trained together "
            "share one value: give states saved after as many updates, under the same options."
        )
    return first


def unstack_state(state: Any, index: int) -> Any:
    """The state dictionary of one member of a stacked agent, as a single agent's; tensors are copies."""
    if isinstance(state, dict):
        return {name: unstack_state(part, index) for name, part in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(unstack_state(part, index) for part in state)
    if isinstance(state, Tensor):
        return (state[index] if state.dim() else state).clone()
    return state
