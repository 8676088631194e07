"""The density of the expert's states, sharp or blurred by noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ilfo.rewards._flow_model import FlowModelOptions, Progress, make_flow, maximise_likelihood

__all__ = ["StateDensity"]

CHECKED = 2000
"""Minimum number of noisy states that a fit is evaluated on."""


class StateDensity(nn.Module):
    """One flow for the density of states under several levels of noise; the level is its only context.

    With much noise, the density is known far from the expert's states, and shows where they are; with little, it is
    sharp, and known only close to them.

    Args:
        width: Features of a state.
        noise: Levels, in standard deviations of a feature, in ascending order.
        options: The flow and its fit.
        farthest: See :func:`~ilfo.rewards._flow_model.make_flow`.
    """

    _noise: Tensor

    def __init__(
        self, width: int, noise: Sequence[float], options: FlowModelOptions, farthest: Tensor | None = None
    ) -> None:
        super().__init__()
        self._options = options
        self._flow = make_flow(width, options, context_width=1, farthest=farthest)
        self.register_buffer("_noise", torch.tensor(noise), persistent=False)

    def fit(self, states: Tensor, held_out: Tensor, on_progress: Progress | None = None) -> None:
        """Fits all levels together.

        Args:
            states: ``(N, F)``, standardised.
            held_out: ``(N,)`` bool: the states that decide which weights are kept.
            on_progress: See :func:`~ilfo.rewards._flow_model.maximise_likelihood`.

        Raises:
            InputError: The fit diverged.
        """

        def noisy(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            levels = torch.randint(len(self._noise), (len(rows),), generator=generator)
            noise = torch.randn(len(rows), states.shape[1], generator=generator)
            return states[rows] + self._noise[levels, None] * noise, self._context(levels)

        def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            return noisy(
                fitted[torch.randint(len(fitted), (self._options.batch_size,), generator=generator)], generator
            )

        fitted, rest = (torch.nonzero(which).squeeze(1) for which in (~held_out, held_out))
        checked = noisy(rest.repeat(-(-CHECKED // len(rest))), torch.Generator().manual_seed(self._options.seed))
        maximise_likelihood(self._flow, draw, checked, self._options, on_progress)

    def log_density(self, states: Tensor) -> Tensor:
        """Log-density ``(N, K)`` of states ``(N, F)`` at each of the K levels, in nats."""
        count, levels = len(states), len(self._noise)
        context = self._context(torch.arange(levels, device=states.device).repeat_interleave(count))
        return self._flow.log_prob(states.repeat(levels, 1), context).view(levels, count).T

    def _context(self, levels: Tensor) -> Tensor:
        """The flow's context for levels ``(N,)``: ``(N, 1)``, from -1 for the lowest to 1 for the highest."""
        return (2.0 * levels[:, None] / max(1, len(self._noise) - 1) - 1.0).to(self._noise.dtype)
