"""Demonstrations as a dataset of Minari, in HDF5: the layout of :mod:`ilfo.demos.minari`."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilfo._tools.atomic import atomic_folder
from ilfo._tools.errors import InputError
from ilfo._tools.marks import plain_id, split_marks
from ilfo.demos._demands import observation_blocks, with_actions_and_rewards
from ilfo.demos._provenance import PROVENANCE, provenance_to_json
from ilfo.demos._spaces import Space
from ilfo.demos.minari import EPISODES, METADATA
from ilfo.demos.trajectory import Demonstrations, Trajectory

__all__ = ["minari_name", "write_minari"]

_VERSION = "0.5.0"
"""The first version of Minari that reads what is written here; later ones do too."""
_NAME = re.compile(r"[-\w]+-v\d+")
_NAMESPACE = re.compile(r"[-\w][-\w/]*[-\w]")


def write_minari(path: str | os.PathLike[str], demonstrations: Demonstrations) -> Path:
    """Writes demonstrations as a Minari dataset, whole or not at all.

    Observations of several keys become a Dict, in their order. The spaces are unbounded, but for actions that all
    lie in [-1, 1]: the environment's own bounds are not part of a demonstration.

    Args:
        path: The dataset's folder, called ``NAME-vN``. Below the folder where Minari looks for its datasets, the
            folders between become the namespace.
        demonstrations: Every trajectory with actions and rewards.

    Returns:
        The folder written.

    Raises:
        InputError: Something is there already, Minari does not allow the name, or the trajectories have not all that
            the layout demands.

    Warns:
        UserWarning: Frames or goals were left out.
    """
    target = Path(path)
    if target.exists():
        raise InputError(f"{target}: is there already. Choose another version, or remove it.")
    canonical = with_actions_and_rewards(target, demonstrations, "minari")
    dataset_id = minari_name(target)
    with atomic_folder(target) as folder:
        data = folder / "data"
        data.mkdir()
        with h5py.File(data / EPISODES, "w") as file:
            for index, trajectory in enumerate(canonical):
                _write_episode(file.create_group(f"episode_{index}"), index, trajectory, observation_blocks(canonical))
        metadata = _described(canonical, dataset_id) | {
            "dataset_size": round((data / EPISODES).stat().st_size / 1e6, 1)
        }
        (data / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    return target


def _write_episode(group: h5py.Group, index: int, trajectory: Trajectory, blocks: dict[str, slice]) -> None:
    steps = len(trajectory)
    last = np.arange(steps) == steps - 1
    arrays = {
        "actions": trajectory.actions,
        "rewards": np.asarray(trajectory.env_rewards, np.float64),
        "terminations": last & trajectory.terminated,
        "truncations": last & trajectory.truncated,
    }
    if len(blocks) == 1:
        arrays["observations"] = trajectory.observations
    else:
        arrays |= {f"observations/{key}": trajectory.observations[:, columns] for key, columns in blocks.items()}
    if trajectory.success is not None:
        arrays["infos/success"] = (np.arange(steps + 1) == steps) & trajectory.success
    # Minari expects the group, also where it is empty.
    group.create_group("infos")
    for name, array in arrays.items():
        group.create_dataset(name, data=array, chunks=True, compression="gzip", shuffle=True)
    group.attrs["id"] = index
    group.attrs["total_steps"] = steps
    if trajectory.seed is not None:
        group.attrs["seed"] = trajectory.seed


def _described(demonstrations: Demonstrations, dataset_id: str) -> dict[str, Any]:
    """What ``metadata.json`` is to say."""
    blocks, provenance = observation_blocks(demonstrations), demonstrations.provenance
    boxes = {key: _box(columns.stop - columns.start, np.inf) for key, columns in blocks.items()}
    space = next(iter(boxes.values())) if len(boxes) == 1 else {"type": "Dict", "subspaces": boxes}
    actions = [each.actions for each in demonstrations if each.actions is not None]
    bound = 1 if all(np.abs(each).max() <= 1 for each in actions) else np.inf
    metadata = {
        "dataset_id": dataset_id,
        "total_episodes": len(demonstrations),
        "total_steps": sum(len(trajectory) for trajectory in demonstrations),
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": json.dumps(space),
        "action_space": json.dumps(_box(actions[0].shape[1], bound)),
        "env_spec": None if provenance.env_id is None else _env_spec(provenance.env_id),
        "minari_version": _VERSION,
        "description": provenance.source,
        "requirements": [f"{library}=={version}" for library, version in provenance.versions.items()],
        PROVENANCE: provenance_to_json(demonstrations),
    }
    return {name: value for name, value in metadata.items() if value is not None}


def _box(width: int, bound: float) -> Space:
    return {
        "type": "Box",
        "dtype": "float32",
        "shape": [width],
        "low": [-float(bound)] * width,
        "high": [float(bound)] * width,
    }


def _env_spec(env_id: str) -> str | None:
    """Gymnasium's description of an environment in JSON; of its name alone where it is not registered here."""
    import gymnasium

    # ``module:Id`` says what to import; a dataset names the environment alone. Of marks it knows the time limit.
    name, marks = plain_id(env_id).rpartition(":")[2], split_marks(env_id)[1]
    try:
        named = gymnasium.envs.registration.EnvSpec(name, max_episode_steps=marks.steps)
    except gymnasium.error.Error:
        return None
    known = gymnasium.registry.get(name, named)
    steps = marks.steps or known.max_episode_steps
    try:
        return replace(known, max_episode_steps=steps and math.ceil(steps / marks.repeat)).to_json()
    except (ValueError, TypeError):
        # Its entry point is a function, which JSON cannot hold.
        return named.to_json()


def minari_name(target: Path) -> str:
    """What Minari calls the dataset in a folder: its name, preceded by the folders between Minari's own and it.

    Raises:
        InputError: Minari does not allow it.
    """
    root = os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets"
    folder, root = target.resolve(), Path(root).resolve()
    namespace = folder.parent.relative_to(root).as_posix() if folder.is_relative_to(root) else "."
    if not _NAME.fullmatch(folder.name) or not (namespace == "." or _NAMESPACE.fullmatch(namespace)):
        raise InputError(
            f"{target}: is not a name that Minari allows for a dataset; expected letters, digits, '-' and '_' with a "
            "version at the end, e.g. hopper-expert-v0."
        )
    return folder.name if namespace == "." else f"{namespace}/{folder.name}"
