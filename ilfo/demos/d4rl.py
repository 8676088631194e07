"""D4RL's flat files: every episode end to end in arrays of ``N`` rows (arXiv:2004.07219), as they are found.

Only ``observations (N, D)`` is required. ``next_observations``, ``actions``, ``rewards``, ``terminals`` and
``timeouts`` are used where they exist; everything else (``infos``, ``metadata``, scalars) is left alone.

An episode ends at a terminal, at a timeout, and wherever ``next_observations[i]`` is not
``observations[i + 1]``. No transition ever crosses such an end. Where ``next_observations`` is missing, or
was taken after an automatic reset, the last step of an episode has no next state: an episode of ``n`` rows
then has ``n`` observations and ``n - 1`` steps. Its last reward still counts in the expert's return.

A file that ilfo wrote says so, and its next observations are believed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo.demos._arrays import (
    as_float32,
    check_widths,
    checked,
    mean_return,
    numeric_dataset,
    pick,
    rewards_of_steps,
    way_to_vectors,
)
from ilfo.demos._d4rl_bounds import episode_bounds
from ilfo.demos._demands import with_actions_and_rewards
from ilfo.demos._labels import rewards_name
from ilfo.demos._provenance import PROVENANCE, check_keys_add_up, provenance_from_json, provenance_to_json
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory

__all__ = [
    "d4rl_columns",
    "d4rl_provenance",
    "episode_observations",
    "read_d4rl",
    "write_d4rl",
]

_COLUMNS = ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts")


def read_d4rl(
    file: h5py.File,
    episodes: Sequence[int] | None = None,
    max_episode_steps: int | None = None,
    assumed_episode_steps: int | None = None,
) -> Demonstrations:
    """Reads a D4RL file and cuts it into its episodes.

    Args:
        file: An open file with a dataset ``observations`` at its root.
        episodes: Which to read, counted from 0; all by default.
        max_episode_steps: The environment's time limit, for old files that do not record timeouts.
        assumed_episode_steps: The same, to be used only if the file does not tell its episodes apart.

    Returns:
        The trajectories, with layout ``"d4rl"``. Where ilfo wrote the file, the provenance is what it wrote; else
        ``expert_return`` is the mean over every complete episode of the file, None where one is not finite, and
        ``env_id`` and ``source`` are the file's attributes of these names, where it has them.

    Raises:
        InputError: Columns of different lengths, values that are not finite, an episode of one
            observation, or ends that cannot be told without ``max_episode_steps``.

    Warns:
        UserWarning: Rows after the last marked end were left out, nothing marks where episodes end, a time limit was
            assumed, or the last next observation of an episode is a reset.
    """
    path = Path(file.filename)
    columns = d4rl_columns(file)
    bounds, terminated = episode_bounds(columns, max_episode_steps, str(path), assumed_episode_steps)
    unfinished = columns["observations"].shape[0] - bounds[-1][1]
    if unfinished:
        warnings.warn(
            f"{path}: the last {unfinished} rows belong to an episode that was not finished; left out.", stacklevel=2
        )
    chosen = pick(episodes, len(bounds), str(path))
    believed = PROVENANCE in file.attrs
    trajectories = tuple(
        _read_episode(columns, *bounds[index], terminated[index], believed, f"{path}, episode {index}")
        for index in chosen
    )
    if columns.keys() & {"next_observations", "actions", "rewards"}:
        spans = [bounds[index] for index in chosen]
        _warn_of_last_steps(trajectories, spans, "next_observations" in columns, str(path))
    check_widths(trajectories, [f"episode {index}" for index in chosen], str(path))
    return Demonstrations(trajectories, d4rl_provenance(file, columns, bounds), path, "d4rl")


def write_d4rl(path: str | os.PathLike[str], demonstrations: Demonstrations) -> Path:
    """Writes demonstrations as a D4RL file, whole or not at all.

    An episode ends with a terminal where the environment ended it, and with a timeout otherwise: D4RL's readers know
    no other mark, and drop the last step of an episode that has both. Seeds and successes of episodes have no place.

    Args:
        path: Where to; an older file there is replaced only once the new one is complete.
        demonstrations: Every trajectory with actions and rewards.

    Returns:
        The path written.

    Raises:
        InputError: The trajectories have not all that the layout demands.

    Warns:
        UserWarning: Frames or goals were left out.
    """
    target = Path(path)
    canonical = with_actions_and_rewards(target, demonstrations, "d4rl")
    last = np.cumsum([len(trajectory) for trajectory in canonical]) - 1
    terminals = np.zeros(last[-1] + 1, bool)
    terminals[last] = [trajectory.terminated for trajectory in canonical]
    timeouts = np.isin(np.arange(len(terminals)), last) & ~terminals
    columns = {
        "observations": np.concatenate([trajectory.observations[:-1] for trajectory in canonical]),
        "next_observations": np.concatenate([trajectory.observations[1:] for trajectory in canonical]),
        "actions": np.concatenate([np.asarray(trajectory.actions) for trajectory in canonical]),
        "rewards": np.concatenate([np.asarray(trajectory.env_rewards) for trajectory in canonical]),
        "terminals": terminals,
        "timeouts": timeouts,
    }
    provenance = canonical.provenance
    facts = {
        "env_id": provenance.env_id,
        "source": provenance.source,
        PROVENANCE: provenance_to_json(canonical),
    }
    with atomic_path(target) as temporary, h5py.File(temporary, "w") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, chunks=True, compression="gzip", shuffle=True)
        file.attrs.update({name: value for name, value in facts.items() if value is not None})
    return target


def d4rl_columns(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The columns of a file that count here, by name; ``rewards`` are the environment's also where it was labelled.

    Raises:
        InputError: They do not have one row a step, or states are not vectors.
    """
    path = file.filename
    stored = {name: name for name in _COLUMNS} | {"rewards": rewards_name(file)}
    columns = {name: numeric_dataset(file, place, path) for name, place in stored.items() if place in file}
    _check_columns(columns, path)
    return columns


def _check_columns(columns: dict[str, h5py.Dataset], path: str) -> None:
    """Refuses columns that do not have one row a step, and states that are not vectors."""
    observations = columns["observations"]
    rows = observations.shape[0] if observations.ndim else 0
    for name, column in columns.items():
        vectors = name.endswith("observations")
        if vectors and (column.ndim != 2 or column.shape[1] != observations.shape[-1]):
            width = "dimensions" if name == "observations" else observations.shape[-1]
            raise InputError(
                f"{path}, dataset {name!r}: has shape {column.shape}, expected (rows, {width}). "
                + way_to_vectors(column.shape if name == "observations" else ())
            )
        if column.ndim == 0 or column.shape[0] != rows:
            turned = column.ndim > 0 and column.shape[0] == observations.shape[-1]
            remedy = "Transpose these" if turned else "Cut the arrays to one length, or take a fresh copy"
            raise InputError(
                f"{path}, dataset {name!r}: has shape {column.shape}, expected {rows} rows as in 'observations', whose "
                f"shape is {observations.shape}. {remedy}."
            )
        if name in ("rewards", "terminals", "timeouts") and column.size != rows:
            raise InputError(
                f"{path}, dataset {name!r}: has shape {column.shape}, expected ({rows},). Keep one number a row."
            )
    if rows == 0:
        raise InputError(f"{path}, dataset 'observations': has no rows, expected at least one episode.")


def _read_episode(
    columns: dict[str, h5py.Dataset], start: int, stop: int, terminated: bool, believed: bool, where: str
) -> Trajectory:
    observations = episode_observations(columns, start, stop, believed, where)
    steps = slice(start, start + len(observations) - 1)
    rewards = columns["rewards"][start:stop].reshape(-1) if "rewards" in columns else None
    trajectory = Trajectory(
        observations=observations,
        actions=columns["actions"][steps] if "actions" in columns else None,
        **rewards_of_steps(rewards, len(observations) - 1),
        terminated=terminated,
        truncated=not terminated,
    )
    return checked(trajectory, f"{where} (rows {start} to {stop - 1})")


def episode_observations(
    columns: dict[str, h5py.Dataset], start: int, stop: int, believed: bool, where: str
) -> np.ndarray:
    """The observations of ``n`` rows, ``(n + 1, D)`` float32, or ``(n, D)`` where the state after the last is unknown.

    Args:
        columns: Of the file.
        start: First row of the episode.
        stop: Row after its last.
        believed: Whether to trust that the last next observation is not a reset.
        where: The start of an error's sentence: file and episode.

    Raises:
        InputError: A value is not finite.
    """
    observations = as_float32(columns["observations"][start:stop], f"{where}, dataset 'observations'")
    if "next_observations" not in columns:
        return observations
    following = as_float32(columns["next_observations"][start:stop], f"{where}, dataset 'next_observations'")
    if not believed and _is_reset(columns, observations, following, stop):
        return observations
    return np.concatenate([observations, following[-1:]])


def _is_reset(columns: dict[str, h5py.Dataset], observations: np.ndarray, following: np.ndarray, stop: int) -> bool:
    """Whether the last next observation ``(n, D)`` of an episode was taken after an automatic reset.

    It is one where it equals the first observation of the next episode. Where none follows, it is one if it
    lands on this episode's own start from afar (20 times closer to it than to the state before) by a jump
    that no other step comes near in some dimension (1.2 times the largest).
    """
    last = following[-1]
    if stop < columns["observations"].shape[0]:
        return bool(np.allclose(last, columns["observations"][stop], rtol=1e-5, atol=1e-6))
    if len(observations) < 3:
        return False
    lands_on_start = 20 * np.linalg.norm(last - observations[0]) < np.linalg.norm(last - observations[-1])
    usual = np.abs(np.diff(observations, axis=0)).max(axis=0)
    return bool(lands_on_start and (np.abs(last - observations[-1]) > 1.2 * usual).any())


def _warn_of_last_steps(
    trajectories: Sequence[Trajectory], bounds: list[tuple[int, int]], recorded: bool, path: str
) -> None:
    """Of episodes whose last step is left out, because nobody recorded the state that it led to."""
    without = sum(len(each) < stop - start for each, (start, stop) in zip(trajectories, bounds, strict=True))
    if without:
        why = (
            f"{path}, dataset 'next_observations': in {without} of {len(bounds)} episodes the last one is the state "
            "after a reset"
            if recorded
            else f"{path}: {without} of {len(bounds)} episodes have no state after their last step, as there are no "
            "'next_observations'"
        )
        counts = ", its reward still counts in the expert's return" if trajectories[0].env_rewards is not None else ""
        warnings.warn(f"{why}; that step is left out{counts}.", stacklevel=2)


def _mean_return(columns: dict[str, h5py.Dataset], bounds: list[tuple[int, int]]) -> float | None:
    """Mean return of the episodes, the reward of every row counted."""
    if "rewards" not in columns:
        return None
    rewards = columns["rewards"][()].reshape(-1)
    return mean_return([rewards[start:stop] for start, stop in bounds])


def d4rl_provenance(file: h5py.File, columns: dict[str, h5py.Dataset], bounds: list[tuple[int, int]]) -> Provenance:
    """What the attributes and the rewards of the file say.

    Raises:
        InputError: An attribute that ilfo wrote is damaged.
    """
    path = file.filename
    if PROVENANCE in file.attrs:
        provenance = provenance_from_json(file.attrs[PROVENANCE], path)
        check_keys_add_up(provenance, columns["observations"].shape[1], f"{path}, attribute {PROVENANCE!r}")
        return provenance
    return Provenance(
        env_id=_text(file, "env_id"),
        expert_return=_mean_return(columns, bounds),
        source=_text(file, "source"),
        own_actions=True,
    )


def _text(file: h5py.File, name: str) -> str | None:
    value = file.attrs.get(name)
    return value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else None
