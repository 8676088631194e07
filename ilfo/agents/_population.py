"""One agent, or many at once: weights stacked by seed, a random stream for each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ilfo._errors import InputError

__all__ = ["RandomStreams", "populate", "seeds_of", "stack_modules", "stack_states", "unstack_state"]

Module = TypeVar("Module", bound=nn.Module)


def seeds_of(seed: int | Sequence[int]) -> tuple[list[int], tuple[int, ...]]:
    """The seeds as a list, and the leading dimensions that tensors have: none for a number, ``(S,)`` for a sequence."""
    if isinstance(seed, int):
        return [seed], ()
    return list(seed), (len(seed),)


def populate(make: Callable[[], Module], seed: int | Sequence[int]) -> Module:
    """Networks whose initial weights are, for each seed, those that the seed gives alone.

    Args:
        make: Builds the networks of one seed.
        seed: A number, or the seeds of a stack.
    """
    seeds, stack = seeds_of(seed)
    made = []
    for each in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(each)
            made.append(make())
    return stack_modules(made) if stack else made[0]


def stack_modules(modules: Sequence[Module]) -> Module:
    """One module whose parameters are those of equal modules, stacked in a new first dimension."""
    stacked = copy.deepcopy(modules[0])
    originals = [dict(module.named_parameters()) for module in modules]
    for name, parameter in stacked.named_parameters():
        parameter.data = torch.stack([original[name].detach() for original in originals])
    return stacked


class RandomStreams:
    """Random numbers for one seed, or for each of several its own, so that none depends on the others.

    Args:
        seed: A number, or the seeds of a stack.
        device: Where the numbers are drawn.
    """

    def __init__(self, seed: int | Sequence[int], device: torch.device | str) -> None:
        seeds, self._stack = seeds_of(seed)
        self._device = torch.device(device)
        self._generators = [torch.Generator(self._device).manual_seed(each) for each in seeds]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers of a shape that starts with the stack."""
        own = tuple(shape[len(self._stack) :])
        drawn = [torch.randn(own, generator=generator, device=self._device) for generator in self._generators]
        return torch.stack(drawn) if self._stack else drawn[0]

    def get_state(self) -> Tensor:
        """``(*stack, bytes)`` uint8."""
        states = [generator.get_state() for generator in self._generators]
        return torch.stack(states) if self._stack else states[0]

    def set_state(self, state: Tensor) -> None:
        """Restores what :meth:`get_state` returned.

        CPU and GPU have other generators: the state of one leaves the streams of the other as they are.
        """
        if state.shape[-1] != self._generators[0].get_state().shape[-1]:
            return
        for generator, own in zip(self._generators, state if self._stack else [state], strict=True):
            # A copy: PyTorch's set_state crashes on a tensor that does not begin where its storage does.
            generator.set_state(own.cpu().clone())


def stack_states(states: Sequence[Any]) -> Any:
    """One state dictionary of a stacked agent, from those of single ones.

    Raises:
        InputError: They do not agree in a counter or a hyper-parameter, of which a stack has one for all.
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
