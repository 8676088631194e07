"""The frames that the network is trained on: rendered into one HDF5 file, and read from it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ilfo._tools.atomic import atomic_path
from ilfo._tools.errors import InputError
from ilfo.pretraining.scenes import Scene
from ilfo.pretraining.studio import Studio

__all__ = ["HELD_OUT", "Frames", "read_frames", "render_frames"]

LAYOUT = "ilfo frames 1"

EPISODE = 20
"""Frames of an episode, which share camera, lights and colours."""

HELD_OUT = 1_000
"""Number of the first episode of seed 0 in a scene that keypoints are measured in, and none is trained on."""

CHUNK = 32
"""Frames that are compressed together."""

MOST_OBJECTS = 8


@dataclass(frozen=True)
class Frames:
    """Frames of many scenes, in memory.

    Attributes:
        images: ``(N, H, W, 3)`` uint8 RGB.
        scenes: ``(N,)`` int64, numbers in ``names``.
        episodes: ``(N,)`` int64, numbers of the episodes within their scene.
        positions: ``(N, 8, 2)`` float32, positions of the objects in pixels; NaN beyond a scene's number of objects.
        visible: ``(N, 8)`` bool.
        names: Names of the scenes.
        objects: Names of each scene's objects.
    """

    images: np.ndarray
    scenes: np.ndarray
    episodes: np.ndarray
    positions: np.ndarray
    visible: np.ndarray
    names: tuple[str, ...]
    objects: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.images)


def render_frames(
    path: str | os.PathLike[str],
    scenes: Sequence[Scene],
    number: int,
    *,
    seed: int = 0,
    size: int = 96,
    say: Callable[[str], None] = print,
) -> Path:
    """Renders the same number of frames of each scene into a file, which is written whole or not at all.

    Args:
        path: The file to write.
        scenes: Scenes to render.
        number: Frames in all; rounded up to whole episodes of every scene.
        seed: Determines every frame; a scene's frames do not depend on the other scenes.
        size: Height and width in pixels.
        say: Called with a line after each scene.

    Raises:
        InputError: Nothing can be drawn here, what a scene needs is not installed, the folder does not exist, or a
            scene would get episodes that are held out.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}; make it first")
    if number < 1:
        raise InputError(f"{number} frames: expected at least 1")
    episodes = max(-(-number // (len(scenes) * EPISODE)), 1)
    if seed == 0 and episodes > HELD_OUT:
        raise InputError(
            f"{number} frames are {episodes} episodes of each scene; expected at most {HELD_OUT}, since later ones are "
            f"held out: give at most --number {HELD_OUT * EPISODE * len(scenes)}, more --scenes, or another --seed"
        )
    count = episodes * EPISODE * len(scenes)
    shapes = {
        "images": ((size, size, 3), "u1"),
        "scenes": ((), "i8"),
        "episodes": ((), "i8"),
        "positions": ((MOST_OBJECTS, 2), "f4"),
        "visible": ((MOST_OBJECTS,), "?"),
    }
    with atomic_path(target) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["layout"], file.attrs["seed"] = LAYOUT, seed
        file.attrs["scenes"] = json.dumps([[scene.name, scene.objects] for scene in scenes])
        file.attrs["versions"] = json.dumps(_versions())
        data = {
            name: file.create_dataset(
                name, (count, *shape), dtype, chunks=(min(CHUNK, count), *shape), compression="gzip", compression_opts=1
            )
            for name, (shape, dtype) in shapes.items()
        }
        row, started = 0, time.monotonic()
        for number_of_scene, scene in enumerate(scenes):
            studio = Studio(scene, size)
            for episode in range(episodes):
                film = studio.film(EPISODE, seed=seed * 1_000_003 + episode)
                rows, objects = slice(row, row + EPISODE), len(scene.objects)
                positions = np.full((EPISODE, MOST_OBJECTS, 2), np.nan, np.float32)
                visible = np.zeros((EPISODE, MOST_OBJECTS), bool)
                positions[:, :objects], visible[:, :objects] = film.positions, film.visible
                data["images"][rows], data["positions"][rows] = film.frames, positions
                data["visible"][rows] = visible
                data["scenes"][rows], data["episodes"][rows] = number_of_scene, episode
                row += EPISODE
            studio.close()
            took = time.monotonic() - started
            left = took / row * (count - row)
            say(f"{scene.name:<32}{row:>7,} of {count:,} frames  {row / took:5.1f} a second  {left / 60:4.0f} min left")
    return target


def read_frames(paths: Iterable[str | os.PathLike[str]]) -> Frames:
    """Reads files that :func:`render_frames` wrote, one after the other.

    Raises:
        InputError: A file is missing or none of these, or their frames differ in size.
    """
    parts = [_read(Path(path)) for path in paths]
    if not parts:
        raise InputError("no file of frames; write one: python -m ilfo.pretraining frames --out FILE")
    sizes = {part.images.shape[1:] for part in parts}
    if len(sizes) > 1:
        raise InputError(f"frames of different sizes, {sorted(sizes)}: render all of them with one --size")
    firsts = np.cumsum([0] + [len(part.names) for part in parts[:-1]])
    return Frames(
        images=np.concatenate([part.images for part in parts]),
        scenes=np.concatenate([part.scenes + first for part, first in zip(parts, firsts, strict=True)]),
        episodes=np.concatenate([part.episodes for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        visible=np.concatenate([part.visible for part in parts]),
        names=tuple(name for part in parts for name in part.names),
        objects=tuple(objects for part in parts for objects in part.objects),
    )


def _read(path: Path) -> Frames:
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("layout") != LAYOUT:
                raise InputError(
                    f"{path}: no file of frames; write one: python -m ilfo.pretraining frames --out {path}"
                )
            arrays = {name: file[name][()] for name in ("images", "scenes", "episodes", "positions", "visible")}
            listed = json.loads(file.attrs["scenes"])
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as frames ({error})") from error
    return Frames(**arrays, names=tuple(n for n, _ in listed), objects=tuple(tuple(o) for _, o in listed))


def _versions() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in ("mujoco", "gymnasium", "gymnasium-robotics", "metaworld"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
