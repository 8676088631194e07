"""What a user would record: policies of their own, right and wrong ones."""

import numpy as np


def walk(observations):
    """At the right speed along the ledge, whatever it sees."""
    return np.full((len(observations), 1), 0.5, np.float32)


def creep(observations):
    """Too slow to get anywhere in 40 steps."""
    return np.full((len(observations), 1), 0.05)


def stumble(observations):
    """Walks from some starts, and never leaves the others."""
    return np.where(observations[:, :1] > 0, 0.5, 0.0)


def scribble(observations):
    """Walks, and writes into what it was shown."""
    observations[:] = 0
    return walk(observations)


def without_a_row(observations):
    return [0.5]


def too_wide(observations):
    return np.zeros((len(observations), 2))


def in_newtons(observations):
    return 7 * walk(observations)


def lost(observations):
    return np.nan * walk(observations)


def boundless(observations):
    return 1e300 * np.ones((len(observations), 1))


def silent(observations):
    return {"action": 0.5}


def with_gradients(observations):
    import torch

    return torch.full((len(observations), 1), 0.5, requires_grad=True)


def barely_beyond(observations):
    return np.full((len(observations), 1), np.nextafter(np.float32(1), np.float32(2)))


def factory():
    return walk


class Walker:
    """Walks as soon as there is one."""

    def __call__(self, observations):
        return walk(observations)

    def act(self, observations):
        return walk(observations)


walker = Walker()
speed = 0.5
