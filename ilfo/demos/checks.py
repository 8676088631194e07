"""Differences between demonstrations and the environment in which a policy will be trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ilfo._tools.errors import InputError, closest
from ilfo._tools.marks import split_marks
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory, spans_of

__all__ = ["check_fits", "differences", "fit_to", "part_of"]

_ABSENT = -1


def fit_to(
    demonstrations: Demonstrations,
    environment: Provenance,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    *,
    keys: Collection[str] = (),
) -> tuple[Demonstrations, list[str]]:
    """Brings the states of demonstrations into an environment's layout, and says what else differs.

    Where both name their observation keys, columns are taken by name, in the environment's order; keys that only the
    file has are dropped, and those that only the environment has become zeros if neither reward nor policy looks at
    them. Where the file names no keys, or other keys for the same number of columns, columns are taken as they are.

    Args:
        demonstrations: As opened; what its file does not state counts as no difference.
        environment: What the environment says of itself.
        low: ``(D,)`` lower bounds of the environment's observations, infinite where there is none.
        high: ``(D,)`` upper bounds.
        keys: Observation keys that the reward or the policy looks at; empty: all.

    Returns:
        The demonstrations with states ``(T+1, D)``, and one sentence a difference: keys, environment id, time step,
        action repeat, and one for all library versions together. ``observation_keys`` are the environment's, or the
        file's where these divide the vector into more parts.

    Raises:
        InputError: The states differ in width, lack a key that is looked at, or lie outside the bounds; or ``keys``
            names one that does not exist.

    Examples:
        >>> states = np.array([[1, 2, 9], [3, 4, 9]], np.float32)
        >>> expert = Demonstrations((Trajectory(states),), Provenance(observation_keys={"hand": 2, "object": 1}))
        >>> fitted, sentences = fit_to(expert, Provenance(observation_keys={"object": 1, "hand": 2}))
        >>> fitted[0].observations.tolist(), sentences
        ([[9.0, 1.0, 2.0], [9.0, 3.0, 4.0]], [])
    """
    name = str(demonstrations.path or "demonstrations")
    fitted, columns, found = _arranged(demonstrations, environment, keys, name)
    names = fitted.provenance.observation_keys
    # The environment's name for the whole vector is known too, where the file divides it into parts.
    unknown = [key for key in keys if names and key not in {*names, *environment.observation_keys}]
    if unknown:
        raise InputError(
            f"--reward-keys or --policy-keys names {unknown[0]!r}, which {_called(environment)} does not have: "
            f"{closest(unknown[0], names)}"
        )
    for bound, sign, word in ((low, -1, "below"), (high, 1, "above")):
        if bound is not None:
            _check_bound(fitted, columns != _ABSENT, np.asarray(bound, np.float32), sign, word, name)
    return fitted, found + differences(demonstrations.provenance, environment, name)


def check_fits(
    demonstrations: Demonstrations,
    environment: Provenance,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
) -> list[str]:
    """The sentences of :func:`fit_to` alone, where every key of the environment is looked at."""
    return fit_to(demonstrations, environment, low, high)[1]


def _arranged(
    demonstrations: Demonstrations, environment: Provenance, keys: Collection[str], name: str
) -> tuple[Demonstrations, np.ndarray, list[str]]:
    """The demonstrations in the environment's layout, which column each of theirs was, and what to say of it."""
    there, here = demonstrations.provenance.observation_keys, environment.observation_keys
    width = demonstrations.observation_dim
    as_it_is = np.arange(width)
    if there and sum(there.values()) != width:
        raise InputError(
            f"{name}: its observation keys {_described(there)} are {sum(there.values())} dimensions together, but "
            f"its states have {width}. Correct the keys."
        )
    if not here or list(there.items()) == list(here.items()):
        return demonstrations, as_it_is, []
    if there.keys() & here.keys() and max(len(there), len(here)) > 1:
        columns, found = _by_name(there, environment, keys, name)
        trajectories = tuple(_rearranged(trajectory, columns) for trajectory in demonstrations)
        return _renamed(demonstrations, here, trajectories), columns, found
    _check_same_columns(demonstrations, environment, name)
    found = []
    if there:
        found.append(
            f"{name} calls its states {_described(there)}, {_called(environment)} {_described(here)}: taken as the "
            "same columns."
        )
    elif len(here) > 1:
        found.append(
            f"{name} does not name its columns: taken for those of {_called(environment)} in its order, "
            f"{_described(here)}. If they are in another order, name them (Provenance.observation_keys)."
        )
    finer = max(here, there, key=len)
    return _renamed(demonstrations, finer, demonstrations.trajectories), as_it_is, found


def _by_name(
    there: Mapping[str, int], environment: Provenance, keys: Collection[str], name: str
) -> tuple[np.ndarray, list[str]]:
    """For each column of the environment, the file's or ``_ABSENT``; and what was dropped or filled with zeros."""
    here, env = environment.observation_keys, _called(environment)
    spans = spans_of(there)
    columns = {
        key: np.array(spans[key], int) if there.get(key) == width else np.full(width, _ABSENT)
        for key, width in here.items()
    }
    absent = [key for key in here if there.get(key) != here[key]]
    looked_at = [key for key in absent if not keys or key in keys]
    if looked_at:
        key = looked_at[0]
        lack = f"{key!r} has {there[key]} dimensions" if key in there else f"there is no key {key!r}"
        shared = [key for key in here if key not in absent]
        way_out = (
            f", or look only at what both have with --reward-keys and --policy-keys: {', '.join(shared)}"
            if shared
            else ""
        )
        remedy = f"Use a demonstration of {env}{way_out}."
        if len(there) == 1 and sum(there.values()) == sum(here.values()):
            remedy = f"If these are its columns, name its parts in their order, observation_keys={dict(here)}."
        raise InputError(
            f"{name}, dataset 'observations': {lack}, but {env} has {_described(here)}, and the reward or the policy "
            f"looks at it; the file has {_described(there)}. {remedy}"
        )
    found = []
    dropped = [key for key in there if key not in here]
    if dropped:
        found.append(f"{name} also has {', '.join(dropped)}, which {env} has not: left out.")
    if absent:
        lacked = _described({key: here[key] for key in absent})
        found.append(f"{name} has no {lacked} as {env} has: zeros there, which nobody looks at.")
    return np.concatenate(list(columns.values())), found


def _rearranged(trajectory: Trajectory, columns: np.ndarray) -> Trajectory:
    observations = trajectory.observations[:, columns]
    observations[:, columns == _ABSENT] = 0
    return replace(trajectory, observations=observations)


def _renamed(
    demonstrations: Demonstrations, keys: Mapping[str, int], trajectories: tuple[Trajectory, ...]
) -> Demonstrations:
    provenance = replace(demonstrations.provenance, observation_keys=dict(keys))
    return replace(demonstrations, trajectories=trajectories, provenance=provenance)


def _check_same_columns(demonstrations: Demonstrations, environment: Provenance, name: str) -> None:
    """Refuses states that share no key with the environment's and cannot be the same under other names."""
    there, width = demonstrations.provenance.observation_keys, demonstrations.observation_dim
    here, env = environment.observation_keys, _called(environment)
    if width != sum(here.values()):
        raise InputError(
            f"{name}, dataset 'observations': states have {width} dimensions, but {env} has {sum(here.values())} "
            f"({_described(here)}). {_way_to_width(demonstrations, sum(here.values()), env)}"
        )
    if min(len(there), len(here)) > 1 and list(there.values()) != list(here.values()):
        raise InputError(
            f"{name}, dataset 'observations': states are {_described(there)}, but {env} has {_described(here)}: no "
            "name in common, and other widths. Record the demonstration with the environment's keys."
        )


_FEW = 3
"""Columns that a file may have beside the environment's: a time, a position that MuJoCo's environments leave out."""


def _way_to_width(demonstrations: Demonstrations, expected: int, env: str) -> str:
    """What to do with states of another width than the environment's."""
    if all(len(each.observations) == expected for each in demonstrations):
        return f"There are {expected} of them: if they are stored as (dimensions, steps), transpose them."
    if 0 < demonstrations.observation_dim - expected <= _FEW:
        return (
            f"If the file has columns that {env} has not, like the time or a position that is not observed, leave them "
            f"out. Else use the environment that was recorded, or a demonstration of {env}."
        )
    return f"Use the environment that was recorded, or a demonstration of {env}."


def _check_bound(
    demonstrations: Demonstrations, present: np.ndarray, bound: np.ndarray, sign: int, word: str, name: str
) -> None:
    if bound.shape != (demonstrations.observation_dim,):
        raise InputError(
            f"{name}: the environment bounds {bound.shape} values, the states have "
            f"{demonstrations.observation_dim} dimensions. Use a demonstration of this environment."
        )
    # Saving in float32 may round a value that sits on its bound to just beyond it.
    slack = np.where(np.isfinite(bound), 1e-5 * np.maximum(1, np.abs(bound)), 0)
    for episode, trajectory in enumerate(demonstrations):
        beyond = (sign * trajectory.observations > sign * bound + slack) & present
        if beyond.any():
            step, dimension = (int(index) for index in np.argwhere(beyond)[0])
            part = part_of(demonstrations.provenance.observation_keys, dimension)
            raise InputError(
                f"{name}, episode {episode}, dataset 'observations': step {step}, {part} "
                f"is {trajectory.observations[step, dimension]:g}, {word} the environment's bound "
                f"{bound[dimension]:g}. The states come from another environment or another scaling: record "
                "them in this one."
            )


def differences(file: Provenance, environment: Provenance, name: str) -> list[str]:
    """A sentence each: environment id, time step, action repeat, and one for all library versions together.

    Args:
        file: What the file of demonstrations says.
        environment: What the environment says of itself.
        name: The file's, for the sentences.
    """
    found = []
    # In module:Id the module only registers the environment.
    parts = [split_marks(each.env_id or "") for each in (file, environment)]
    ids = [plain.rpartition(":")[2] for plain, _ in parts]
    # Whether there are shadows is in the pictures; limits and seeds are those of episodes.
    if all(ids) and (ids[0] != ids[1] or parts[0][1].shadows != parts[1][1].shadows):
        found.append(f"{name} was recorded in {file.env_id}, the environment is {environment.env_id}.")
    if file.time_step and environment.time_step and not np.isclose(file.time_step, environment.time_step):
        found.append(
            f"{name} has {file.time_step:g} s between observations, the environment {environment.time_step:g} s."
            + _thinning(environment.time_step / file.time_step)
        )
    repeats = file.action_repeat, environment.action_repeat
    timeless = None in (file.time_step, environment.time_step)
    if file.action_repeat and environment.action_repeat and repeats[0] != repeats[1]:
        found.append(
            f"{name} repeats each action for {repeats[0]} simulator steps, the environment for {repeats[1]}."
            + (_thinning(environment.action_repeat / file.action_repeat) if timeless else "")
        )
    marked = [marks.repeat for _, marks in parts]
    if None in repeats and timeless and marked[0] != marked[1]:
        lasting = f"{name} has actions that last {marked[0]} steps, the environment such of {marked[1]}."
        found.append(lasting + _thinning(marked[1] / marked[0]))
    others = [
        f"{library} {version} (here {environment.versions[library]})"
        for library, version in file.versions.items()
        if environment.versions.get(library, version) != version
    ]
    if others:
        found.append(f"{name} was recorded with {', '.join(others)}.")
    return found


def _thinning(ratio: float) -> str:
    """What makes demonstrations fit an environment whose steps are so many times as long, where anything does."""
    every = round(ratio)
    if every < 2 or not np.isclose(every, ratio, rtol=0.01):
        return ""
    flags = f"ilfo train --demo-every {every}, ilfo demos convert --every {every}"
    return f" To learn from one of every {every} states: {flags}."


def _called(environment: Provenance) -> str:
    return environment.env_id or "the environment"


def part_of(keys: Mapping[str, int], dimension: int) -> str:
    """``"dimension 3"``, and where keys tell more, which one it is of: ``"dimension 3 (velocity[1])"``."""
    for key, span in spans_of(keys).items():
        if dimension in span and len(keys) > 1:
            return f"dimension {dimension} ({key}[{dimension - span.start}])"
    return f"dimension {dimension}"


def _described(keys: Mapping[str, int]) -> str:
    return ", ".join(f"{key}[{width}]" for key, width in keys.items())
