"""A function of tensors, recorded once as a CUDA graph and replayed: one launch in place of hundreds."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["CudaGraph"]

_WARM_UP = 3


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: Any


class CudaGraph:
    """Calls a function directly a few times, then records it, and from then on replays the recording.

    Every call does its work exactly once, the first ones included. Each set of shapes has a recording of its own.

    Args:
        function: Uses only tensors on the GPU, never waits for it, and draws no random numbers; changes other tensors
            only in place. Returns a tensor or a dictionary of tensors.

    Warns:
        RuntimeWarning: The function cannot be recorded; warns once, and from then on it is called directly.

    Notes:
        After tensordict's ``CudaGraphModule`` and LeanRL, without their dependency.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._records = True
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}
        self._calls: dict[tuple[torch.Size, ...], int] = {}

    def __call__(self, *tensors: Tensor) -> Any:
        """What the function returns, as tensors that later calls leave alone."""
        if not self._records:
            return self._function(*tensors)
        shapes = tuple(tensor.shape for tensor in tensors)
        recording = self._recordings.get(shapes)
        if recording is None:
            self._calls[shapes] = self._calls.get(shapes, 0) + 1
            if self._calls[shapes] <= _WARM_UP:
                return self._run_aside(tensors)
            try:
                recording = self._recordings[shapes] = self._record(tensors)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                # Recording executes nothing, so the work of this call is still to be done.
                logging.getLogger(__name__).info("Why it was not recorded:", exc_info=error)
                warnings.warn(
                    "--compile: going on without CUDA graphs, which failed; logging at INFO says why", RuntimeWarning, 2
                )
                self._records = False
                self.forget()
                return self._function(*tensors)
        for own, given in zip(recording.inputs, tensors, strict=True):
            own.copy_(given)
        recording.graph.replay()
        if isinstance(recording.outputs, dict):
            return {name: value.clone() for name, value in recording.outputs.items()}
        return recording.outputs.clone()

    def forget(self) -> None:
        """Drops the recordings, for when tensors that they change have been replaced by others."""
        self._recordings.clear()
        self._calls.clear()

    def _run_aside(self, tensors: tuple[Tensor, ...]) -> Any:
        """Runs on a stream of its own, as PyTorch requires before a recording."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = self._function(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        return outputs

    def _record(self, tensors: tuple[Tensor, ...]) -> _Recording:
        inputs = tuple(tensor.clone() for tensor in tensors)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._function(*inputs)
        return _Recording(graph, inputs, outputs)
