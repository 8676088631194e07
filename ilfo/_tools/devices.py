"""Devices: whether one is there, and the way to it from the processor's memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError

__all__ = ["check_device", "to_device"]


def check_device(device: torch.device | str) -> None:
    """Refuses a GPU where there is none.

    Raises:
        InputError: PyTorch sees no GPU.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {device}: this machine's PyTorch sees no GPU; use --device cpu")


def to_device(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Values on a device; to a GPU by way of pinned memory, because a copy from any other waits for the GPU's work."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
