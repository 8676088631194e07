"""Whether demonstrations fit the environment that a policy is going to be trained in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ilfo._errors import InputError
from ilfo.demos.trajectory import Demonstrations, Provenance

__all__ = ["check_fits"]


def check_fits(
    demonstrations: Demonstrations,
    environment: Provenance,
    observation_low: ArrayLike | None = None,
    observation_high: ArrayLike | None = None,
) -> list[str]:
    """Compares demonstrations with an environment: what cannot work is an error, what is odd a warning.

    Args:
        demonstrations: As opened; what its file does not say counts as no difference.
        environment: What the environment says of itself.
        observation_low: ``(D,)`` lower bounds of its observations, infinite where there is none.
        observation_high: ``(D,)`` upper bounds.

    Returns:
        One sentence a difference of environment id, library versions or time step.

    Raises:
        InputError: The observations differ in width or in their keys, or a state lies outside the bounds.
    """
    name = str(demonstrations.path or "demonstrations")
    _check_shapes(demonstrations, environment, name)
    for bound, sign, word in ((observation_low, -1, "below"), (observation_high, 1, "above")):
        if bound is not None:
            _check_bound(demonstrations, np.asarray(bound, np.float32), sign, word, name)
    return _differences(demonstrations.provenance, environment, name)


def _check_shapes(demonstrations: Demonstrations, environment: Provenance, name: str) -> None:
    there, here = demonstrations.provenance.observation_keys, environment.observation_keys
    env_id = environment.env_id or "the environment"
    width, expected = demonstrations.observation_dim, sum(here.values())
    if here and width != expected:
        raise InputError(
            f"{name}, dataset 'observations': states have {width} dimensions, but {env_id} has {expected} "
            f"({_described(here)}). Use the environment that was recorded, or a demonstration of {env_id}."
        )
    if here and there and list(there.items()) != list(here.items()):
        raise InputError(
            f"{name}, dataset 'observations': states are {_described(there)}, but {env_id} "
            f"has {_described(here)}, in this order. Record the demonstration with the environment's keys."
        )


def _check_bound(demonstrations: Demonstrations, bound: np.ndarray, sign: int, word: str, name: str) -> None:
    if bound.shape != (demonstrations.observation_dim,):
        raise InputError(
            f"{name}: the environment bounds {bound.shape} values, the states have "
            f"{demonstrations.observation_dim} dimensions. Use a demonstration of this environment."
        )
    # Saving in float32 may round a value that sits on its bound to just beyond it.
    slack = np.where(np.isfinite(bound), 1e-5 * np.maximum(1, np.abs(bound)), 0)
    for episode, trajectory in enumerate(demonstrations):
        beyond = sign * trajectory.observations > sign * bound + slack
        if beyond.any():
            step, dimension = (int(index) for index in np.argwhere(beyond)[0])
            raise InputError(
                f"{name}, episode {episode}, dataset 'observations': step {step}, dimension {dimension} "
                f"is {trajectory.observations[step, dimension]:g}, {word} the environment's bound "
                f"{bound[dimension]:g}. The states come from another environment or another scaling: record "
                "them in this one."
            )


def _differences(file: Provenance, environment: Provenance, name: str) -> list[str]:
    found = []
    if file.env_id and environment.env_id and file.env_id != environment.env_id:
        found.append(f"{name} was recorded in {file.env_id}, the environment is {environment.env_id}.")
    if file.time_step and environment.time_step and not np.isclose(file.time_step, environment.time_step):
        found.append(
            f"{name} has {file.time_step:g} s between observations, the environment {environment.time_step:g} s."
        )
    found += [
        f"{name} was recorded with {library} {version}, installed is {environment.versions[library]}."
        for library, version in file.versions.items()
        if environment.versions.get(library, version) != version
    ]
    return found


def _described(keys: dict[str, int]) -> str:
    return ", ".join(f"{key}[{width}]" for key, width in keys.items())
