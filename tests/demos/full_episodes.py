"""Episodes with all that other libraries demand, each different from the next, and whether two of them agree."""

import numpy as np

from ilfo.demos import Demonstrations, Provenance, Trajectory

PROVENANCE = Provenance(
    env_id="Hopper-v5",
    observation_keys={"velocity": 1, "angle": 2},
    time_step=0.008,
    versions={"mujoco": "3.2.0"},
    expert_return=12.5,
    source="by hand",
    action_repeat=4,
    bar="success",
)
"""Every field is used, and the keys are not in alphabetical order."""


def episode(steps=5, number=0, **fields):
    """An episode of 3 states, 2 actions in [-1, 1] and rewards."""
    generator = np.random.default_rng(number)
    values = {
        "observations": generator.normal(size=(steps + 1, 3)).astype(np.float32),
        "actions": generator.uniform(-1, 1, size=(steps, 2)).astype(np.float32),
        "env_rewards": generator.normal(size=steps).astype(np.float32),
    }
    return Trajectory(**values | fields)


def experts(provenance=PROVENANCE):
    """Eleven episodes, so that number 10 shows in which order they are read; they end in every way."""
    numbered = (episode(steps=number + 2, number=number, seed=number, success=number % 3 == 0) for number in range(8))
    ends = (
        episode(number=8, terminated=True, truncated=False),
        episode(number=9, terminated=False, truncated=True),
        episode(steps=1, number=10, terminated=True, truncated=False, success=True),
    )
    return Demonstrations((*numbered, *ends), provenance)


def differences(one, other):
    """Names of the fields in which two episodes differ."""
    arrays = ("observations", "actions", "env_rewards")
    flags = ("terminated", "truncated", "success", "seed")
    return [name for name in arrays if not np.array_equal(getattr(one, name), getattr(other, name))] + [
        name for name in flags if getattr(one, name) != getattr(other, name)
    ]
