"""LeRobot's data sets: a folder of parquet files, versions 2.0 to 3.x, read without LeRobot.

::

    meta/info.json                          version, frames per second, type of robot, name and shape of every feature
    meta/episodes/chunk-000/file-000.parquet   one row an episode: its frames, its data file      (2.x: episodes.jsonl)
    data/chunk-000/file-000.parquet         one row a frame: episode_index, frame_index, features (2.x: one an episode)
    videos/...                              never looked at

An episode of ``T`` frames has ``T`` states and ``T`` actions, and the state that the last action led to was not
recorded: it is a trajectory of ``T - 1`` steps. Its last reward still counts in the expert's return.

Frames are put in order by ``episode_index`` and ``frame_index``; the order of files and of rows means nothing. A
frame that is not in the data file named for its episode is looked for in the others, since some converters name a
neighbouring file.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos._arrays import as_float32, check_widths, checked, pick, rewards_of_steps
from ilfo.demos._parquet import load_pyarrow, read_columns, vectors, whole_numbers
from ilfo.demos.trajectory import Demonstrations, Provenance, Trajectory

__all__ = ["is_lerobot", "read_lerobot"]

_OUTCOMES = ("next.reward", "next.done", "next.terminated", "next.truncated", "next.success")
_INDICES = ("episode_index", "frame_index")
_DATA_PATH = {
    2: "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    3: "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}


@dataclass(frozen=True)
class _Episode:
    """An episode as the metadata list it: its number, how many frames, and the data file that should hold them."""

    index: int
    frames: int
    file: Path


def is_lerobot(path: Path) -> bool:
    """Whether a path is the folder of a LeRobot data set."""
    return (path / "meta" / "info.json").is_file()


def read_lerobot(path: Path, episodes: Sequence[int] | None = None) -> Demonstrations:
    """Reads a LeRobot data set, only the columns that hold numbers.

    Every float vector under ``observation.`` is a block of the flat observation, in the order of ``meta/info.json``.
    ``action`` gives actions, ``next.reward`` the environment's rewards. An episode terminated where the last
    ``next.terminated`` says so, or the last ``next.done`` without ``next.truncated``; it succeeded where any
    ``next.success`` does. Without either of these, ``next.done`` is believed only if it is False at the end of some
    episode whose file is there, chosen or not: many recorders set it at the end of each, whatever ended it.

    Args:
        path: The folder that holds ``meta`` and ``data``.
        episodes: Which to read, counted from 0 in the order of ``episode_index``; all by default. The data files of
            the others may be absent.

    Returns:
        The trajectories, with layout ``"lerobot"``, no ``env_id``, and the mean return of those read.

    Raises:
        InputError: pyarrow is missing; the metadata are of another version, missing or damaged; a file is missing; a
            frame is missing or there twice; a row has another width; or a value is not finite.

    Warns:
        UserWarning: Features that are not float vectors, above all images and videos, were left out; or ``next.done``
            ends every episode, and is not taken for a termination.
    """
    load_pyarrow(str(path))
    info = _read_info(path)
    widths = _columns(info["features"], path)
    listed = _episodes(path, info)
    chosen = [listed[number] for number in pick(episodes, len(listed), str(path))]
    frames = _read_frames(path, chosen, widths)
    keys = {name: width for name, width in widths.items() if name.startswith("observation.")}
    names, trajectories, returns = [], [], []
    for episode in chosen:
        where, values = _frames_of(episode, frames)
        names.append(f"episode {episode.index}")
        trajectories.append(_trajectory(values, list(keys), where))
        if "next.reward" in values:
            returns.append(values["next.reward"].sum(dtype=np.float64))
    check_widths(trajectories, names, str(path))
    says_more = widths.keys() & {"next.terminated", "next.truncated"}
    all_done = not says_more and all(each.terminated for each in trajectories)
    if all_done and _all_done(path, _not_among(chosen, listed)):
        trajectories = [replace(each, terminated=False, truncated=True) for each in trajectories]
        warnings.warn(
            f"{path}: next.done is set at the end of every episode, as many recorders do, and is not taken for the "
            "environment's termination. If it is one, add a column next.terminated.",
            stacklevel=2,
        )
    robot = info.get("robot_type")
    provenance = Provenance(
        observation_keys=keys,
        time_step=_time_step(info, path),
        expert_return=float(np.mean(returns)) if returns else None,
        source=f"LeRobot data set {info['codebase_version']}" + (f", robot {robot}" if robot else ""),
        own_actions=True,
    )
    return Demonstrations(tuple(trajectories), provenance, path, "lerobot")


def _not_among(chosen: Sequence[_Episode], listed: Sequence[_Episode]) -> list[_Episode]:
    """The other episodes of a data set whose files are there."""
    taken = {episode.index for episode in chosen}
    return [episode for episode in listed if episode.index not in taken and episode.file.is_file()]


def _read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``, sure to be of a version that is read and to name features."""
    file = root / "meta" / "info.json"
    info = _parsed(file)[0]
    version = re.fullmatch(r"v?(\d+)\.\d+(\.\d+)?", str(info.get("codebase_version")))
    if version is None or int(version[1]) not in _DATA_PATH:
        raise InputError(
            f"{file}: codebase_version is {info.get('codebase_version')!r}, expected 2.0 to 3.x. Convert the data set "
            "with LeRobot's own converters, or update ilfo."
        )
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise InputError(f"{file}: 'features' does not name the columns. Copy or download the data set again.")
    return info | {"major": int(version[1])}


def _parsed(file: Path, lines: bool = False) -> list[dict[str, Any]]:
    """The one JSON object of a file, or one a line."""
    try:
        text = file.read_text(encoding="utf-8")
        found = [json.loads(part) for part in (text.splitlines() if lines else [text]) if part.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error}). Copy or download the data set again.") from error
    if not found or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{file}: holds no JSON object. Copy or download the data set again.")
    return found


def _columns(features: dict[str, dict[str, Any]], root: Path) -> dict[str, int]:
    """Columns to read, in the order of the metadata, and their widths; warns of what is left out."""
    widths, left_out = {}, []
    for name, feature in features.items():
        dtype, shape = feature.get("dtype"), feature.get("shape")
        if name in _OUTCOMES:
            widths[name] = 1
        elif name == "action" or name.startswith("observation."):
            if str(dtype).startswith("float") and _is_vector(shape):
                widths[name] = shape[0] if shape else 1
            else:
                left_out.append(f"{name} ({dtype}, shape {shape})")
    if not any(name.startswith("observation.") for name in widths):
        raise InputError(
            f"{root / 'meta' / 'info.json'}: names no float vector under 'observation.' (found "
            f"{', '.join(features) or 'nothing'}), expected 'observation.state'. Images alone are not read."
        )
    if left_out:
        warnings.warn(f"{root}: left out {', '.join(left_out)}: only float vectors are read.", stacklevel=3)
    return widths


def _is_vector(shape: Any) -> bool:
    return isinstance(shape, list) and (not shape or (len(shape) == 1 and _is_count(shape[0]) and shape[0] > 0))


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _episodes(root: Path, info: dict[str, Any]) -> list[_Episode]:
    """Every episode that the metadata list, by number."""
    found = _listed_in_lines(root, info) if info["major"] == 2 else _listed_in_parquet(root, info)
    listed = sorted(found, key=lambda episode: episode.index)
    for one, following in itertools.pairwise(listed):
        if one.index == following.index:
            raise InputError(f"{root / 'meta'}: lists episode {one.index} twice. Copy or download the data set again.")
    stated = info.get("total_episodes", len(listed))
    if len(listed) != stated:
        raise InputError(
            f"{root / 'meta'}: info.json states {stated} episodes, but {len(listed)} are listed. A file of "
            "meta/episodes is missing or left over: copy or download the data set again."
        )
    return listed


def _listed_in_parquet(root: Path, info: dict[str, Any]) -> list[_Episode]:
    folder = root / "meta" / "episodes"
    names = ("episode_index", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")
    found = []
    for file in sorted(folder.rglob("*.parquet")):
        columns = [
            whole_numbers(column, f"{file}, column {name!r}").tolist()
            for name, column in read_columns([file], names).items()
        ]
        for index, start, stop, chunk, number in zip(*columns, strict=True):
            data = _data_file(root, info, chunk_index=chunk, file_index=number)
            found.append(_Episode(index, stop - start, data))
    if not found:
        raise InputError(f"{folder}: lists no episode, expected parquet files. Copy or download the data set again.")
    return found


def _listed_in_lines(root: Path, info: dict[str, Any]) -> list[_Episode]:
    file, chunk_size = root / "meta" / "episodes.jsonl", info.get("chunks_size", 1000)
    found = []
    for line in _parsed(file, lines=True):
        index, frames = line.get("episode_index"), line.get("length")
        if not (_is_count(index) and _is_count(frames) and _is_count(chunk_size) and chunk_size):
            raise InputError(f"{file}: found {line}, expected 'episode_index' and 'length'. Download it again.")
        data = _data_file(root, info, episode_chunk=index // chunk_size, episode_index=index)
        found.append(_Episode(index, frames, data))
    return found


def _data_file(root: Path, info: dict[str, Any], **indices: int) -> Path:
    template = info.get("data_path", _DATA_PATH[info["major"]])
    try:
        return root / template.format(**indices)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{root / 'meta' / 'info.json'}: data_path is {template!r}, expected {_DATA_PATH[info['major']]!r}."
        ) from error


def _time_step(info: dict[str, Any], root: Path) -> float | None:
    fps = info.get("fps")
    if fps is None:
        return None
    if not isinstance(fps, (int, float)) or not math.isfinite(fps) or fps <= 0:
        raise InputError(f"{root / 'meta' / 'info.json'}: fps is {fps!r}, expected a number above 0. Correct it.")
    return 1 / fps


def _read_frames(root: Path, chosen: Sequence[_Episode], widths: dict[str, int]) -> dict[str, np.ndarray]:
    """Every frame of the chosen episodes, by episode and frame: indices and file ``(N,)``, columns ``(N, width)``."""
    named = list(dict.fromkeys(episode.file for episode in chosen))
    for episode in chosen:
        if not episode.file.is_file():
            raise InputError(
                f"{episode.file}: no such file, it should hold episode {episode.index}. Download it too, or choose "
                "among the episodes whose files are there."
            )
    indices = [episode.index for episode in chosen]
    parts = [_read_file(file, indices, widths) for file in named]
    expected = sum({episode.index: episode.frames for episode in chosen}.values())
    if sum(len(part["file"]) for part in parts) < expected:
        others = sorted(set((root / "data").rglob("*.parquet")) - set(named))
        parts += [_read_file(file, indices, widths) for file in others]
    frames = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((frames["frame_index"], frames["episode_index"]))
    return {name: values[order] for name, values in frames.items()}


def _read_file(file: Path, episodes: Sequence[int], widths: dict[str, int]) -> dict[str, np.ndarray]:
    columns = read_columns([file], [*_INDICES, *widths])
    indices = {name: whole_numbers(columns[name], f"{file}, column {name!r}") for name in _INDICES}
    rows = np.flatnonzero(np.isin(indices["episode_index"], episodes))
    frames = {name: values[rows] for name, values in indices.items()} | {"file": np.full(len(rows), str(file), object)}

    def place(name: str, row: int) -> str:
        return f"{file}, episode {frames[_INDICES[0]][row]}, frame {frames[_INDICES[1]][row]}, column {name!r}"

    for name, width in widths.items():
        # A fault in an episode that is not wanted is no reason to refuse the others.
        frames[name] = vectors(columns[name].take(rows), width, partial(place, name))
    return frames


def _frames_of(episode: _Episode, frames: dict[str, np.ndarray]) -> tuple[str, dict[str, np.ndarray]]:
    """Where the frames of one episode are, and each of its columns ``(T, width)`` as float32."""
    start, stop = np.searchsorted(frames["episode_index"], (episode.index, episode.index + 1))
    number = frames["frame_index"][start:stop]
    files = list(dict.fromkeys(frames["file"][start:stop])) or [str(episode.file)]
    where = f"{' and '.join(files)}, episode {episode.index}"
    astray = np.flatnonzero(number != np.arange(len(number)))
    if len(astray):
        first = int(astray[0])
        twice = first > 0 and number[first] == number[first - 1]
        fault = f"frame {number[first]} is there twice" if twice else f"there is no frame {first}"
        raise InputError(
            f"{where}: {fault}, expected each of frames 0 to {episode.frames - 1} once. Leave that episode out, or "
            "write the data set again."
        )
    if len(number) != episode.frames:
        raise InputError(
            f"{where}: has {len(number)} frames, but meta lists {episode.frames}. Download the data set again, or "
            "leave that episode out."
        )
    columns = [name for name in frames if name not in (*_INDICES, "file")]
    return where, {name: as_float32(frames[name][start:stop], f"{where}, column {name!r}") for name in columns}


def _all_done(root: Path, episodes: Sequence[_Episode]) -> bool:
    """Whether ``next.done`` is set at the end of each of these episodes; nothing else is read of them."""
    if not episodes:
        return True
    frames = _read_frames(root, episodes, {"next.done": 1})
    ends = np.flatnonzero(np.diff(frames["episode_index"], append=-1))
    return bool(frames["next.done"][ends].all())


def _trajectory(values: dict[str, np.ndarray], keys: Sequence[str], where: str) -> Trajectory:
    def last(name: str) -> bool:
        return bool(values[name][-1, 0]) if name in values and len(values[name]) else False

    terminated = last("next.terminated") or (
        "next.terminated" not in values and last("next.done") and not last("next.truncated")
    )
    observations = np.concatenate([values[key] for key in keys], axis=1)
    steps = len(observations) - 1
    trajectory = Trajectory(
        observations=observations,
        actions=values["action"][:-1] if "action" in values else None,
        **rewards_of_steps(values["next.reward"][:, 0] if "next.reward" in values else None, steps),
        terminated=terminated,
        truncated=not terminated,
        success=bool(values["next.success"].any()) if "next.success" in values else None,
    )
    return checked(trajectory, where)
