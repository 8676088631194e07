"""Seeds from seeds, and random numbers that disturb nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["EVALUATION", "RECORDING", "derived_seed", "seeded"]

EVALUATION = 0
"""Key of the seed that follows from a run's for its evaluation: no part of the training makes use of it."""

RECORDING = 1
"""The same, for what is recorded of the trained policy."""


def derived_seed(seed: int, *key: int) -> int:
    """A seed for every key, independent of those for other keys.

    Examples:
        >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(0, 2)
        (True, False)
    """
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds PyTorch's CPU generator inside the block, and restores its state afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the devices' generators too, and nobody restores those.
        torch.random.default_generator.manual_seed(seed)
        yield
