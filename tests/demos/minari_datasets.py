"""Datasets made by Minari itself, of random samples of a space."""

import warnings
from collections import OrderedDict

import numpy as np
import pytest
from gymnasium import spaces

minari = pytest.importorskip("minari")

STATES = spaces.Box(-np.inf, np.inf, (3,))
ACTIONS = spaces.Box(-1, 1, (2,))
NESTED = spaces.Dict(
    OrderedDict(
        zeta=spaces.Box(-1, 1, (2,)),
        alpha=spaces.Dict({"b": spaces.Box(-1, 1, (2, 2)), "a": spaces.Discrete(3, start=-1)}),
        pair=spaces.Tuple((spaces.MultiBinary(2), spaces.MultiDiscrete([2, 4], start=[0, 5]), spaces.Box(0, 9, ()))),
        pixels=spaces.Box(0, 255, (8, 8, 1), np.uint8),
    )
)


def stacked(space, samples):
    """Samples of a space as Minari buffers them: one array or list for each leaf."""
    if isinstance(space, spaces.Dict):
        return {key: stacked(part, [each[key] for each in samples]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(stacked(part, [each[i] for each in samples]) for i, part in enumerate(space.spaces))
    return list(samples) if isinstance(space, spaces.Text) else np.array(samples)


def made_by_minari(name, space=STATES, lengths=(4, 2), actions=ACTIONS, **metadata):
    """A dataset of random samples, and the samples themselves."""
    space.seed(0)
    actions.seed(0)
    samples = [[space.sample() for _ in range(steps + 1)] for steps in lengths]
    buffers = [
        minari.data_collector.EpisodeBuffer(
            id=number,
            seed=number if number % 2 else None,
            observations=stacked(space, each),
            actions=stacked(actions, [actions.sample() for _ in range(len(each) - 1)]),
            rewards=list(range(len(each) - 1)),
            terminations=[False] * (len(each) - 1),
            truncations=[False] * (len(each) - 2) + [True],
            infos={"success": np.arange(len(each)) == (2 if number == 1 else -1)},
        )
        for number, each in enumerate(samples)
    ]
    facts = {"author": "A. Nonymous", "code_permalink": "none", "algorithm_name": "by hand", "description": "x"}
    facts |= {"author_email": "none@example.org", "requirements": ["mujoco==3.2.0", "numpy>=1.26"]} | metadata
    with warnings.catch_warnings():
        # Minari advises on what a published dataset should have.
        warnings.simplefilter("ignore", UserWarning)
        minari.create_dataset_from_buffers(name, buffers, observation_space=space, action_space=actions, **facts)
    return samples
