"""Random numbers for one agent, or for many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ilfo.agents._population import seeds_of

__all__ = ["RandomStreams"]


class RandomStreams:
    """Random numbers for one seed, or a separate stream for each of several, so that none depends on the others.

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
        return self._draw(torch.randn, shape)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Numbers from [0, 1), of a shape that starts with the stack."""
        return self._draw(torch.rand, shape)

    def _draw(self, draw: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        own = tuple(shape[len(self._stack) :])
        drawn = [draw(own, generator=generator, device=self._device) for generator in self._generators]
        return torch.stack(drawn) if self._stack else drawn[0]

    def get_state(self) -> Tensor:
        """``(*stack, bytes)`` uint8."""
        states = [generator.get_state() for generator in self._generators]
        return torch.stack(states) if self._stack else states[0]

    def set_state(self, state: Tensor) -> None:
        """Restores what :meth:`get_state` returned.

        CPU and GPU have different generators: the state of one leaves the streams of the other unchanged.
        """
        if state.shape[-1] != self._generators[0].get_state().shape[-1]:
            return
        for generator, own in zip(self._generators, state if self._stack else [state], strict=True):
            # A copy: PyTorch's set_state crashes on a tensor that does not begin where its storage does.
            generator.set_state(own.cpu().clone())
