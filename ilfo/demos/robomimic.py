"""robomimic's files (arXiv:2108.03298): one group a demonstration, observations by key.

::

    /data              attributes: total, env_args (JSON: env_name, type, env_kwargs, env_version)
    /data/demo_0       attributes: num_samples
      obs/KEY          (T, ...)
      next_obs/KEY     (T, ...), optional
      actions          (T, A)
      rewards          (T,)
      dones            (T,)
    /mask/KEY          names of the demonstrations that a filter key stands for

The final observation is only in ``next_obs``: without it, ``T`` rows make ``T - 1`` steps. Keys become one flat
observation in alphabetical order; ``flat``, robomimic's name for the vector of a Gym environment, is ``observation``.

``dones`` may mark success, the end of the recording, or both, as whoever made the file chose, and nothing says which.
So it is not read: an episode counts as truncated where its recording ends.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError, closest
from ilfo.demos._arrays import (
    as_rows,
    check_keys,
    check_widths,
    checked,
    mean_return,
    numeric_dataset,
    pick,
    rewards_of_steps,
)
from ilfo.demos._demands import check_actions_within_one, observation_blocks, with_actions_and_rewards
from ilfo.demos._labels import rewards_name
from ilfo.demos._provenance import PROVENANCE, check_keys_add_up, provenance_to_json
from ilfo.demos._robomimic_facts import RobomimicFacts, env_args_of
from ilfo.demos.trajectory import Demonstrations, Trajectory

__all__ = ["demo_names", "is_robomimic", "read_demo", "read_robomimic", "write_robomimic"]

_DEMO = re.compile(r"demo_(\d+)")
_FLAT = "flat"


def is_robomimic(file: h5py.File) -> bool:
    """Whether a file has this layout."""
    data = file.get("data")
    return isinstance(data, h5py.Group) and any(map(_DEMO.fullmatch, data))


def read_robomimic(
    file: h5py.File, episodes: Sequence[int] | None = None, filter_key: str | None = None
) -> Demonstrations:
    """Reads a robomimic file, demonstration by demonstration.

    Args:
        file: An open file with groups ``data/demo_*``.
        episodes: Which to read, counted from 0 in numeric order of the groups; all by default.
        filter_key: Read only the demonstrations that ``mask/<filter_key>`` names; episodes are counted among these.

    Returns:
        The trajectories, with layout ``"robomimic"``. ``expert_return`` is the mean over every demonstration (of the
        filter key) and counts the last reward also where the step is left out. ``success`` is known where ilfo wrote
        the file, and else only where rewards say it without doubt: robosuite's own, not shaped, nothing but 0 and 1.

    Raises:
        InputError: A group that lacks its observations, is ragged or not finite, or a filter key that does not exist.

    Warns:
        UserWarning: Images were left out, or the last step of a demonstration, for its next observation is missing or
            only a copy.
    """
    path = Path(file.filename)
    data = file["data"]
    names = demo_names(file, filter_key, str(path))
    chosen = [names[index] for index in pick(episodes, len(names), str(path))]
    known = RobomimicFacts.read(data, f"{path}, group 'data'")
    left_out: set[str] = set()
    copies: list[str] = []
    read = [read_demo(data, name, known, f"{path}, group 'data/{name}'", left_out, copies) for name in chosen]
    trajectories = tuple(trajectory for trajectory, _ in read)
    called = [f"group 'data/{name}'" for name in chosen]
    check_widths(trajectories, called, str(path))
    check_keys([keys for _, keys in read], called, str(path))
    if left_out:
        warnings.warn(f"{path}: left out of the observations, no vectors: {', '.join(sorted(left_out))}.", stacklevel=2)
    if copies:
        warnings.warn(
            f"{path}: in {len(copies)} of {len(chosen)} demonstrations the last of 'next_obs' is a copy of the last of "
            "'obs'; that step is left out, its reward still counts in the expert's return.",
            stacklevel=2,
        )
    without = sum("next_obs" not in data[name] for name in chosen)
    if without:
        warnings.warn(
            f"{path}: {without} of {len(chosen)} demonstrations have no 'next_obs', and so no state after their last "
            "step; that step is left out, its reward still counts in the expert's return.",
            stacklevel=2,
        )
    keys = read[0][1]
    provenance = known.provenance
    if provenance is None:
        provenance = known.described(keys, _mean_return(data, names, str(path)))
    elif filter_key is not None:
        provenance = replace(provenance, expert_return=_mean_return(data, names, str(path)))
    check_keys_add_up(provenance, sum(keys.values()), f"{path}, group 'data', attribute {PROVENANCE!r}")
    return Demonstrations(trajectories, provenance, path, "robomimic")


def write_robomimic(path: str | os.PathLike[str], demonstrations: Demonstrations) -> Path:
    """Writes demonstrations as a robomimic file, whole or not at all.

    ``dones`` marks the last step of an episode that the environment ended, and of no other. Simulator states, which
    robomimic needs only to play a demonstration back, are not part of a trajectory.

    Args:
        path: Where to; an older file there is replaced only once the new one is complete.
        demonstrations: Every trajectory with rewards, and with actions in [-1, 1].

    Returns:
        The path written.

    Raises:
        InputError: The trajectories have not all that the layout demands.

    Warns:
        UserWarning: The environment is not known, or frames or goals were left out.
    """
    target = Path(path)
    canonical = with_actions_and_rewards(target, demonstrations, "robomimic")
    check_actions_within_one(canonical, target)
    if canonical.provenance.env_id is None:
        warnings.warn(
            f"{target}: names no environment, as none is known; robomimic trains on it, but cannot evaluate.",
            stacklevel=2,
        )
    blocks = observation_blocks(canonical)
    if list(blocks) == ["observation"]:
        blocks = {_FLAT: blocks["observation"]}
    with atomic_path(target) as temporary, h5py.File(temporary, "w") as file:
        data = file.create_group("data")
        for index, trajectory in enumerate(canonical):
            _write_demo(data.create_group(f"demo_{index}"), trajectory, blocks)
        data.attrs["total"] = sum(len(trajectory) for trajectory in canonical)
        data.attrs["env_args"] = json.dumps(env_args_of(canonical.provenance))
        data.attrs[PROVENANCE] = provenance_to_json(canonical)
    return target


def demo_names(file: h5py.File, filter_key: str | None, path: str) -> list[str]:
    """Names of the demonstrations by number, so that ``demo_10`` follows ``demo_9``.

    Raises:
        InputError: There is no such filter key, or it names none that the file has.
    """
    data = file["data"]
    names = {name for name in data if _DEMO.fullmatch(name)}
    if filter_key is not None:
        mask = file.get("mask")
        masks = {key for key in mask if isinstance(mask[key], h5py.Dataset)} if isinstance(mask, h5py.Group) else set()
        if filter_key not in masks:
            hint = closest(filter_key, masks) if masks else "the file has none"
            raise InputError(f"{path}, group 'mask': no filter key {filter_key!r}; {hint}")
        values = [each.decode() if isinstance(each, bytes) else str(each) for each in mask[filter_key][()].ravel()]
        lost = [name for name in values if name not in names]
        if lost or not values:
            found = f"{lost[0]!r}, which the file does not have" if lost else "no demonstration"
            raise InputError(f"{path}, dataset 'mask/{filter_key}': names {found}. Choose another filter key.")
        names = set(values)
    return sorted(names, key=lambda name: int(name.removeprefix("demo_")))


def read_demo(
    data: h5py.Group, name: str, known: RobomimicFacts, where: str, left_out: set[str], copies: list[str]
) -> tuple[Trajectory, dict[str, int]]:
    """One demonstration, and the width of each key of its observations.

    Args:
        data: The group of all demonstrations.
        name: Of the group.
        known: What the attributes of ``data`` say.
        where: The start of an error's sentence: file and group.
        left_out: Gets the name and shape of every part that is not a vector.
        copies: Gets the name where the last next observation is only a copy of the last observation.

    Raises:
        InputError: The group lacks its observations, is ragged or not finite.
    """
    group = data[name]
    if not isinstance(group, h5py.Group):
        raise InputError(f"{where}: is a dataset, expected a group that holds 'obs'.")
    if not isinstance(group.get("obs"), h5py.Group):
        if "obs" in group:
            raise InputError(
                f"{where}: 'obs' is a dataset, expected a group with one dataset for each part of the observation. Put "
                f"the states there, 'data/{name}/obs/observation', or save them with ilfo.demos.write."
            )
        found = ", ".join(sorted(group)) or "nothing"
        raise InputError(
            f"{where}: no group 'obs' (found {found}). A raw recording holds simulator states alone: let robomimic's "
            "dataset_states_to_obs.py make its observations."
        )
    blocks = _blocks(group["obs"], known.ordered(group["obs"]), f"{where}, group 'obs'", left_out)
    observations = np.concatenate(list(blocks.values()), axis=1)
    rows = len(observations)
    stated = group.attrs.get("num_samples", rows)
    if stated != rows:
        raise InputError(
            f"{where}: attribute num_samples says {stated}, but its observations have {rows} rows. The recording was "
            "cut: leave the demonstration out, or take a fresh copy."
        )
    final = _final(group, blocks, where)
    if final is not None:
        # Converters from D4RL repeat the last observation where they do not know what followed it.
        if known.provenance is None and np.array_equal(final, observations[-1]):
            copies.append(name)
        else:
            observations = np.concatenate([observations, final[None]])
    steps = len(observations) - 1
    actions, rewards = (_column(group, kind, rows, where) for kind in ("actions", rewards_name(group)))
    terminated = bool(group.attrs.get("terminated", False))
    seed = group.attrs.get("seed")
    trajectory = Trajectory(
        observations=observations,
        actions=None if actions is None else actions[:steps],
        **rewards_of_steps(rewards, steps),
        terminated=terminated,
        truncated=bool(group.attrs.get("truncated", not terminated)),
        success=known.success(group, rewards),
        seed=int(seed) if isinstance(seed, np.integer) else None,
    )
    return checked(trajectory, where), {
        "observation" if list(blocks) == [_FLAT] else key: block.shape[1] for key, block in blocks.items()
    }


def _blocks(group: h5py.Group, keys: Sequence[str], where: str, left_out: set[str]) -> dict[str, np.ndarray]:
    """Block ``(T, width)`` of each key, in order; what is no vector is left out."""
    blocks: dict[str, np.ndarray] = {}
    for key in keys:
        dataset = group[key]
        if isinstance(dataset, h5py.Dataset) and (dataset.ndim > 2 or dataset.dtype.kind not in "fiub"):
            left_out.add(f"{key!r} {dataset.shape[1:]}")
        else:
            blocks[key] = as_rows(np.atleast_1d(numeric_dataset(group, key, where)[()]))
    if not blocks:
        raise InputError(
            f"{where}: holds {', '.join(sorted(left_out)) or 'nothing'}, expected vectors of states. Images alone are "
            "not states: make low-dimensional observations too."
        )
    first = next(iter(blocks))
    for key, block in blocks.items():
        if len(block) != len(blocks[first]):
            raise InputError(
                f"{where}: {key!r} has {len(block)} rows, but {first!r} has {len(blocks[first])}. Take a fresh copy."
            )
    return blocks


def _final(group: h5py.Group, blocks: dict[str, np.ndarray], where: str) -> np.ndarray | None:
    """The last next observation ``(D,)``, or None where there are none."""
    following = group.get("next_obs")
    if following is None:
        return None
    where = f"{where}, group 'next_obs'"
    if not isinstance(following, h5py.Group):
        raise InputError(f"{where}: is a dataset, expected a group with the keys of 'obs'.")
    parts = []
    for key, block in blocks.items():
        if key not in following:
            raise InputError(f"{where}: has no {key!r}, which 'obs' has. Remove 'next_obs', or take a fresh copy.")
        dataset = numeric_dataset(following, key, where)
        if dataset.shape[:1] != block.shape[:1] or dataset.size != block.size:
            raise InputError(
                f"{where}: {key!r} has shape {dataset.shape}, expected {block.shape} as in 'obs'. Take a fresh copy."
            )
        parts.append(np.ravel(dataset[-1:]))
    return np.concatenate(parts)


def _column(group: h5py.Group, name: str, rows: int, where: str) -> np.ndarray | None:
    """One row a step, also for the step that may be left out; None where it was not recorded."""
    if name not in group:
        return None
    values = numeric_dataset(group, name, where)[()]
    if values.ndim == 0 or len(values) != rows:
        raise InputError(
            f"{where}, dataset {name!r}: has shape {values.shape}, expected {rows} rows as in 'obs'. Take a fresh copy."
        )
    return values


def _mean_return(data: h5py.Group, names: Sequence[str], path: str) -> float | None:
    """Mean return of the demonstrations, the reward of every row counted; None where one records none."""
    rewards, kind = [], rewards_name(data)
    for name in names:
        if not isinstance(data[name], h5py.Group) or kind not in data[name]:
            return None
        rewards.append(numeric_dataset(data[name], kind, f"{path}, group 'data/{name}'")[()])
    return mean_return(rewards)


def _write_demo(group: h5py.Group, trajectory: Trajectory, blocks: dict[str, slice]) -> None:
    steps = len(trajectory)
    arrays = {
        "actions": trajectory.actions,
        "rewards": trajectory.env_rewards,
        "dones": ((np.arange(steps) == steps - 1) & trajectory.terminated).astype(np.int64),
    }
    for key, columns in blocks.items():
        arrays[f"obs/{key}"] = trajectory.observations[:-1, columns]
        arrays[f"next_obs/{key}"] = trajectory.observations[1:, columns]
    for name, array in arrays.items():
        group.create_dataset(name, data=array, chunks=True, compression="gzip", shuffle=True)
    facts = {"success": trajectory.success, "seed": trajectory.seed}
    group.attrs["num_samples"] = steps
    group.attrs["terminated"], group.attrs["truncated"] = trajectory.terminated, trajectory.truncated
    group.attrs.update({name: value for name, value in facts.items() if value is not None})
