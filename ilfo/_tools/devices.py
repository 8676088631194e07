"""From the processor's memory to a device's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["to_device"]


def to_device(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Values on a device; to a GPU by way of pinned memory, because a copy from any other waits for the GPU's work."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
