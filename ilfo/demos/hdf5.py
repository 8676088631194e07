"""The toolkit's own layout: Minari's episode groups, actions optional, provenance in the file's attributes.

::

    /                attributes: ilfo_format_version, env_id, versions (JSON), observation_keys (JSON,
                     ordered), time_step (seconds), action_repeat, expert_return, source, bar, sha256, and
                     sha256_with_frames where there are frames: sha256 is that of all else
    /episode_0       attributes: id, seed, total_steps, success, success_step, last_reward
      observations   (T+1, D) float32, the final observation included; may be missing where there are frames
      actions        (T, A) float32, optional
      rewards        (T,) float32, the environment's own, optional
      terminations   (T,) bool
      truncations    (T,) bool
      frames         (T+1, H, W, 3) uint8 RGB, one chunk each, optional
      goal           (G,) float32, optional

A file with such groups and without the root attributes is Minari's.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo._tools.pieces import pieces_of
from ilfo._tools.target import check_room, file_to_write
from ilfo.demos._arrays import canonical, check_frames, check_widths, checked, ends_at_last_step, numeric_dataset, pick
from ilfo.demos._labels import ENV_LAST_REWARD, ENV_REWARDS, LABEL, rewards_name
from ilfo.demos._provenance import check_keys_add_up
from ilfo.demos.stored_frames import StoredFrames
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory

__all__ = [
    "FORMAT_VERSION",
    "check_version",
    "episode_group",
    "episode_groups",
    "ilfo_provenance",
    "read_episode",
    "read_episodes",
    "with_its_end",
    "write_demonstrations",
]

FORMAT_VERSION = 1
"""Written into every file; a reader refuses a file of a later version."""

_CHUNK_ROWS = 4096
_EPISODE = re.compile(r"episode_(\d+)")


def write_demonstrations(path: str | os.PathLike[str], demonstrations: Demonstrations) -> Path:
    """Writes demonstrations to one file, whole or not at all.

    Args:
        path: Where to; an older file there is replaced only once the new one is complete.
        demonstrations: At least one trajectory; arrays are stored as float32.

    Returns:
        The path written.

    Raises:
        InputError: A path that is a folder or in a missing one, no trajectory, one that reading would refuse, or no
            room on the disk.
    """
    target = file_to_write(path)
    written = canonical(demonstrations, target)
    with atomic_path(target) as temporary, h5py.File(temporary, "w") as file:
        for index, trajectory in enumerate(written):
            _write_episode(file.create_group(f"episode_{index}"), index, trajectory, target)
        _write_provenance(file, written)
    return target


def read_episodes(file: h5py.File, episodes: Sequence[int] | None = None, *, frames: bool = False) -> Demonstrations:
    """Reads this layout, episode by episode.

    Args:
        file: An open file of this layout.
        episodes: Which to read, counted from 0 in numeric order of the groups; all by default.
        frames: Whether to read the frames as well. Otherwise only their shape is looked at.

    Returns:
        The trajectories.

    Raises:
        InputError: A later format version, a group that is empty, ragged or not finite, or data that
            does not match the file's SHA-256 (verified when every episode is read); or frames are asked for
            where there are none.
    """
    path = Path(file.filename)
    check_version(file, str(path))
    groups = episode_groups(file)
    chosen = [groups[index] for index in pick(episodes, len(groups), str(path))]
    trajectories = tuple(read_episode(file, name, str(path), frames) for name in chosen)
    check_widths(trajectories, [f"group {name!r}" for name in chosen], str(path))
    provenance = ilfo_provenance(file, str(path))
    demonstrations = Demonstrations(trajectories, provenance, path, "ilfo")
    check_keys_add_up(
        demonstrations.provenance, demonstrations.observation_dim, f"{path}, attribute 'observation_keys'"
    )
    if episodes is None:
        _check_sha256(file, demonstrations)
    return demonstrations


def episode_groups(file: h5py.File) -> list[str]:
    """Names of the ``episode_*`` groups by number, so that ``episode_10`` follows ``episode_9``."""
    numbered = [(int(match[1]), name) for name in file if (match := _EPISODE.fullmatch(name))]
    return [name for _, name in sorted(numbered)]


def episode_group(file: h5py.File, name: str, where: str, frames: bool = False) -> h5py.Group:
    """The group of one episode, in ilfo's layout or Minari's, sure to hold observations.

    Args:
        file: Open.
        name: Name of the group.
        where: The start of an error's sentence: file and group.
        frames: Whether frames will do in place of observations.

    Raises:
        InputError: It is a dataset, or holds no observations.
    """
    group = file[name]
    if not isinstance(group, h5py.Group):
        raise InputError(f"{where}: is a dataset, expected a group that holds 'observations'.")
    if "observations" not in group and not (frames and "frames" in group):
        found = ", ".join(sorted(group)) or "nothing"
        film = " Frames alone are enough for --features keypoints." if "frames" in group else ""
        raise InputError(f"{where}: no dataset 'observations' (found {found}). Every episode needs its states.{film}")
    return group


def with_its_end(
    trajectory: Trajectory, group: Mapping[str, Any], attributes: Mapping[str, Any], where: str
) -> Trajectory:
    """The trajectory as ``terminations`` and ``truncations`` of its group say that it ended.

    Args:
        trajectory: Checked.
        group: The episode's, in ilfo's layout or Minari's.
        attributes: The group's.
        where: The start of an error's sentence: file and group.

    Raises:
        InputError: They end it before its last step, or ``total_steps`` is another number.
    """
    steps = len(trajectory)
    terminated, truncated = (
        ends_at_last_step(
            numeric_dataset(group, name, where)[()] if name in group else None, steps, f"{where}, dataset {name!r}"
        )
        for name in ("terminations", "truncations")
    )
    total = attributes.get("total_steps", steps)
    if total != steps:
        raise InputError(
            f"{where}: attribute total_steps says {total}, but its observations make {steps} steps. The recording was "
            "cut: leave the episode out or record it again."
        )
    return replace(
        trajectory, terminated=bool(terminated), truncated=not terminated if truncated is None else truncated
    )


def _write_episode(group: h5py.Group, index: int, trajectory: Trajectory, target: Path) -> None:
    steps = len(trajectory)
    last = np.arange(steps) == steps - 1
    arrays = {
        "observations": trajectory.observations,
        "actions": trajectory.actions,
        "rewards": trajectory.env_rewards,
        "terminations": last & trajectory.terminated,
        "truncations": last & trajectory.truncated,
        "frames": trajectory.frames,
        "goal": trajectory.goal,
    }
    for name, array in arrays.items():
        if array is not None and array.size:
            rows = 1 if name == "frames" else min(len(array), _CHUNK_ROWS)
            chunks = (rows, *array.shape[1:])
            dataset = group.create_dataset(
                name, array.shape, array.dtype, chunks=chunks, compression="gzip", shuffle=True
            )
            for piece in pieces_of(array, multiple=rows):
                check_room(target, (piece.stop - piece.start) * array.dtype.itemsize * math.prod(array.shape[1:]))
                dataset[piece] = array[piece]
    group.attrs["id"] = index
    group.attrs["total_steps"] = steps
    if trajectory.seed is not None:
        group.attrs["seed"] = trajectory.seed
    if trajectory.success is not None:
        group.attrs["success"] = trajectory.success
    if trajectory.success_step is not None:
        group.attrs["success_step"] = trajectory.success_step
    if trajectory.last_reward is not None:
        group.attrs["last_reward"] = trajectory.last_reward


def _write_provenance(file: h5py.File, demonstrations: Demonstrations) -> None:
    provenance = demonstrations.provenance
    attributes = {
        "ilfo_format_version": FORMAT_VERSION,
        "env_id": provenance.env_id,
        "versions": json.dumps(provenance.versions),
        "observation_keys": json.dumps(provenance.observation_keys),
        "time_step": provenance.time_step,
        "action_repeat": provenance.action_repeat,
        "expert_return": demonstrations.expert_return,
        "source": provenance.source,
        "bar": provenance.bar,
        "own_actions": provenance.own_actions,
    }
    if demonstrations[0].frames is not None:
        attributes["sha256_with_frames"] = demonstrations.sha256
        trajectories = tuple(replace(each, frames=None) for each in demonstrations)
        demonstrations = Demonstrations(trajectories, provenance)
    attributes["sha256"] = demonstrations.sha256
    for name, value in attributes.items():
        if value is not None:
            file.attrs[name] = value


def read_episode(file: h5py.File, name: str, path: str, frames: bool) -> Trajectory:
    """One episode.

    Raises:
        InputError: The group is empty, ragged or not finite, or has no frames where they are asked for.
    """
    where = f"{path}, group {name!r}"
    group = episode_group(file, name, where, frames)

    def read(key: str) -> np.ndarray | None:
        return numeric_dataset(group, key, where)[()] if key in group else None

    if frames and "frames" not in group:
        raise InputError(f"{where}: no dataset 'frames'. Record it with --frames, or read the states alone.")
    seed, success, success_step = (group.attrs.get(name) for name in ("seed", "success", "success_step"))
    observations = read("observations")
    if observations is None:
        observations = np.zeros((len(numeric_dataset(group, "frames", where)), 0), np.float32)
    trajectory = checked(
        Trajectory(
            observations=observations,
            actions=read("actions"),
            env_rewards=read(rewards_name(group)),
            success=None if success is None else bool(success),
            success_step=int(success_step) if isinstance(success_step, np.integer) else None,
            seed=int(seed) if isinstance(seed, np.integer) else None,
            frames=StoredFrames(numeric_dataset(group, "frames", where)) if frames else None,  # type: ignore[arg-type]
            goal=read("goal"),
            last_reward=_last_reward(group, where),
        ),
        where,
    )
    if "frames" in group:
        check_frames(numeric_dataset(group, "frames", where), len(trajectory), f"{where}, dataset 'frames'")
    return with_its_end(trajectory, group, group.attrs, where)


def _last_reward(group: h5py.Group, where: str) -> float | None:
    name = ENV_LAST_REWARD if rewards_name(group) == ENV_REWARDS else "last_reward"
    value = group.attrs.get(name)
    return None if value is None else _converted(float, value, name, "a number", where)


def ilfo_provenance(file: h5py.File, path: str) -> Provenance:
    """What the attributes of the file say.

    Raises:
        InputError: One of them is not what it should be.
    """

    def text(name: str) -> str | None:
        value = file.attrs.get(name)
        return value.decode() if isinstance(value, bytes) else None if value is None else str(value)

    def number(name: str, convert: type = float) -> Any:
        value = file.attrs.get(name)
        return None if value is None else _converted(convert, value, name, "a number", path)

    def mapping(name: str, convert: type) -> dict[str, Any]:
        expected = "a JSON object"
        value = _converted(json.loads, text(name) or "{}", name, expected, path)
        return _converted(lambda pairs: {k: convert(v) for k, v in pairs.items()}, value, name, expected, path)

    return Provenance(
        env_id=text("env_id"),
        observation_keys=mapping("observation_keys", int),
        time_step=number("time_step"),
        versions=mapping("versions", str),
        expert_return=number("expert_return"),
        source=text("source"),
        action_repeat=number("action_repeat", int),
        bar=text("bar"),
        own_actions=number("own_actions", bool),
    )


def _converted(convert: Any, value: Any, name: str, expected: str, path: str) -> Any:
    try:
        return convert(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}, attribute {name!r}: found {value!r}, expected {expected}. Write the file again."
        ) from error


def check_version(file: h5py.File, path: str) -> None:
    """Refuses a file of a later format version."""
    value = file.attrs["ilfo_format_version"]
    version = _converted(int, value, "ilfo_format_version", "a whole number", path)
    if version > FORMAT_VERSION:
        raise InputError(
            f"{path}: written in format version {version}, this ilfo reads up to {FORMAT_VERSION}. Update ilfo."
        )


def _check_sha256(file: h5py.File, demonstrations: Demonstrations) -> None:
    stated = file.attrs.get("sha256" if demonstrations[0].frames is None else "sha256_with_frames")
    if stated is not None and stated != demonstrations.sha256:
        what = "It was changed or damaged after it was written: take a fresh copy."
        if LABEL in file.attrs:
            what = "If an earlier ilfo labelled it, label it again; else it was changed or damaged."
        raise InputError(
            f"{file.filename}: its data has SHA-256 {demonstrations.sha256}, but the file states {stated}. {what}"
        )
