"""A policy for the ledge, and what makes two episodes the same."""

import numpy as np


def leftwards(observations: np.ndarray, ages: np.ndarray | None = None) -> np.ndarray:
    return np.full((len(observations), 1), -1, np.float32)


def same(a, b) -> bool:
    """Whether two episodes are the same to the last bit, in type and form too."""
    arrays = [(getattr(a, name), getattr(b, name)) for name in ("observations", "actions", "env_rewards")]
    equal = all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in arrays)
    return equal and [a.seed, a.terminated, a.truncated, a.success] == [b.seed, b.terminated, b.truncated, b.success]
