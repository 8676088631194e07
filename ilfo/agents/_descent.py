"""A step of gradient descent on a loss that is a pure function of tensors: eager, compiled, or as a CUDA graph."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ilfo.agents._cuda_graph import CudaGraph

__all__ = ["Descent"]

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]
"""Tensors to the loss of every seed, ``(*stack,)``, and metrics of the same shape."""


class Descent:
    """Adam on a loss summed over seeds; each seed's weights get the gradient of their own part only.

    Args:
        parameters: What it updates.
        loss: A pure function of tensors: no random draws, no Python branch on a value, shapes that stay the same.
        learning_rate: Adam's.
        max_norm: Largest Euclidean norm of a seed's whole gradient; longer ones are scaled down to it. None: no limit.
        stack: Leading dimensions of the parameters that count seeds, ``(S,)`` or none.
        compile: Compile the loss and its gradient; on a GPU also replay the whole step as one CUDA graph.

    Warns:
        RuntimeWarning: The loss could not be compiled; warns once, and from then on it runs uncompiled.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        loss: Loss,
        learning_rate: float,
        *,
        compile: bool = False,
        max_norm: float | None = None,
        stack: tuple[int, ...] = (),
    ) -> None:
        self._parameters = list(parameters)
        self._on_gpu = self._parameters[0].device.type == "cuda"
        self.optimizer = torch.optim.Adam(self._parameters, lr=learning_rate, fused=True, capturable=self._on_gpu)
        self._max_norm, self._stack = max_norm, stack
        self._plain_loss = loss
        self._loss = torch.compile(loss, fullgraph=True, dynamic=False) if compile else loss
        self._graph = CudaGraph(self._step) if compile and self._on_gpu else None

    def __call__(self, *tensors: Tensor) -> dict[str, Tensor]:
        """One step; returns the metrics of the loss, detached."""
        return self._step(*tensors) if self._graph is None else self._graph(*tensors)

    def _step(self, *tensors: Tensor) -> dict[str, Tensor]:
        gradients, metrics = self._gradients(*tensors)
        if self._max_norm is not None:
            gradients = self._shortened(gradients, self._max_norm)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            # Adam's fused kernel reads gradients as they lie in memory, and a compiler may lay them out transposed.
            parameter.grad = gradient.contiguous()
        self.optimizer.step()
        return metrics

    def _shortened(self, gradients: tuple[Tensor, ...], max_norm: float) -> tuple[Tensor, ...]:
        """Clips as ``torch.nn.utils.clip_grad_norm_`` does, in place, for each seed separately."""
        seeds = len(self._stack)
        norms = [torch.linalg.vector_norm(gradient.flatten(seeds), dim=-1) for gradient in gradients]
        factor = (max_norm / (torch.linalg.vector_norm(torch.stack(norms), dim=0) + 1e-6)).clamp(max=1.0)
        return tuple(
            gradient.mul_(factor.view(*self._stack, *[1] * (gradient.dim() - seeds))) for gradient in gradients
        )

    def _gradients(self, *tensors: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        try:
            losses, metrics = self._loss(*tensors)
            gradients = torch.autograd.grad(losses.sum(), self._parameters)
        except RuntimeError as error:
            recording = self._on_gpu and torch.cuda.is_current_stream_capturing()
            if self._loss is self._plain_loss or recording or isinstance(error, torch.cuda.OutOfMemoryError):
                raise
            # Nothing has changed yet: weights change only after the gradient, so the plain loss can take over here.
            self._loss = self._plain_loss
            logging.getLogger(__name__).info("The compiler's error:", exc_info=error)
            warnings.warn(
                "--compile: the compiler failed, going on without it; logging at INFO says why", RuntimeWarning, 2
            )
            return self._gradients(*tensors)
        return gradients, {name: value.detach() for name, value in metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Adam's state."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        # Copied, because Adam keeps the tensors it is given and changes them in place.
        self.optimizer.load_state_dict(copy.deepcopy(state))
        for group in self.optimizer.param_groups:
            group["capturable"] = self._on_gpu  # the state may come from another device
        if self._graph is not None:
            self._graph.forget()  # it would go on changing Adam's former tensors
