"""What every benchmark says beside its numbers: the machine, the versions, the spread."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

__all__ = ["machine", "processor", "spread", "versions"]


def processor() -> str:
    """The processor's name, where the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine(load: float, device: str = "cpu") -> str:
    """Processor, cores and load, and the GPU where one is used.

    Args:
        load: ``os.getloadavg()[0]`` before the first measurement.
        device: ``cpu`` or ``cuda``.
    """
    parts = [processor(), f"{os.cpu_count()} cores", f"load before the start {load:.1f}"]
    if device == "cuda":
        import torch

        parts.insert(0, torch.cuda.get_device_name())
    return ", ".join(parts)


def versions(*libraries: str) -> str:
    """Python's version and those of installed distributions."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in libraries)])


def spread(values: list[float], form: str) -> str:
    """Median, and lowest to highest."""
    return f"{float(np.median(values)):{form}} ({min(values):{form}} to {max(values):{form}})"
