"""A copy of a logged dataset with other rewards: whole or not at all, and everything else as it was."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilfo._tools.atomic import atomic_folder, atomic_path
from ilfo._tools.errors import InputError
from ilfo._tools.target import check_not_read, check_room, disk_is_full, file_to_write
from ilfo.demos._labels import ENV_LAST_REWARD, ENV_REWARDS, LABEL
from ilfo.demos.logged import CHUNK_CACHE, Logged, Slot
from ilfo.demos.minari import METADATA, minari_data, minari_metadata
from ilfo.demos.minari_writer import minari_name

__all__ = ["NewRewards", "check_target", "relabelled"]

_REWARD_BYTES = 8
"""Most that a new reward takes."""


class NewRewards:
    """The rewards of a copy, written episode by episode; the old ones stay beside them as ``env_rewards``.

    Args:
        file: The copy, open for writing.
        slots: Of all its episodes, in order.
        source: What was copied, for the sentences of errors.

    Raises:
        InputError: ``env_rewards`` is there already, and not by a labelling.
    """

    def __init__(self, file: h5py.File, slots: Collection[Slot], source: Path) -> None:
        self._file = file
        # HDF5 packs a chunk when it closes the dataset: the one that is being filled is kept open.
        self._open: tuple[str, h5py.Dataset] | None = None
        if LABEL not in file.attrs:
            for group, rows in {slot.group: slot.stop for slot in slots}.items():
                _set_aside(file[group], rows, source)

    def write(self, slot: Slot, rewards: np.ndarray) -> None:
        """Writes the rewards ``(len(slot),)`` of one episode."""
        if self._open is None or self._open[0] != slot.group:
            self._open = slot.group, self._file[slot.group]["rewards"]
        dataset = self._open[1]
        dataset[slot.start : slot.stop] = rewards.reshape(-1, *dataset.shape[1:])


def _set_aside(group: h5py.Group, rows: int, source: Path) -> None:
    """Moves the environment's rewards of a group to ``env_rewards``, and makes room for as many new ones.

    What the group says of them is moved or left out. Where there are none, there is room for one reward a row.
    """
    if ENV_REWARDS in group:
        raise InputError(
            f"{source}, group {group.name!r}: has a dataset {ENV_REWARDS!r} already, where the rewards that are "
            "replaced would be kept. Rename it."
        )
    if "rewards" not in group:
        group.create_dataset("rewards", (rows,), np.float32, chunks=True, compression="gzip", shuffle=True)
        return
    group.move("rewards", ENV_REWARDS)
    if "last_reward" in group.attrs:
        group.attrs[ENV_LAST_REWARD] = group.attrs["last_reward"]
        del group.attrs["last_reward"]
    for name in [each for each in group.attrs if each.startswith("rewards_")]:  # Minari's sum, mean and so on.
        del group.attrs[name]
    _make_empty_like(group[ENV_REWARDS], group, "rewards")


def check_target(source: Path, out: Path, *, overwrite: bool) -> None:
    """Refuses an output before any work is done.

    Args:
        source: The file of the dataset that is read.
        out: What is to be written: a folder for a Minari dataset, else a file.
        overwrite: Whether something may be there already.

    Raises:
        InputError: The output is the dataset itself, or lies in it; it exists and is not to be overwritten; its folder
            does not; or it is a folder that is no Minari dataset, or none where one is needed.
    """
    folder = _dataset_folder(source)
    check_not_read(out, [folder or source])
    if folder is not None and folder.resolve() in out.resolve().parents:
        raise InputError(f"{out}: lies in the dataset that is read. Name another output.")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: is there already. Choose another name, or give --overwrite.")
    if folder is None:
        file_to_write(out)
        return
    minari_name(out)
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist. Make it first.")
    if out.exists() and not (out.is_dir() and minari_data(out)):
        raise InputError(f"{out}: is not a Minari dataset, and only such a folder is overwritten by one. Remove it.")


@contextmanager
def relabelled(logged: Logged, out: Path, facts: Mapping[str, Any]) -> Iterator[NewRewards]:
    """Yields the rewards of a copy, which is moved into place once they are written.

    The file is copied byte for byte: what is not a reward stays as it is, down to its compression. Only what would
    become untrue is updated or left out: the name of a Minari dataset with what it says of its returns. The SHA-256
    stated in a file of ilfo's layout stays true, since it is that of the environment's rewards.

    Args:
        logged: The dataset.
        out: Checked by :func:`check_target`; what is there is replaced.
        facts: Where the new rewards come from, for the attribute ``ilfo_label`` of the file.

    Raises:
        InputError: The disk has no room for the copy; or see :class:`NewRewards`.
    """
    folder = _dataset_folder(logged.path)
    copied = [logged.path] if folder is None else sorted(folder.rglob("*"))
    check_room(out, sum(each.stat().st_size for each in copied) + _REWARD_BYTES * len(logged))
    if folder is None:
        with atomic_path(out) as copy:
            _copy(logged.path, copy, out)
            yield from _rewritten(copy, logged, facts)
        return
    with _replacing_folder(out) as copy:
        for each in copied:
            target = copy / each.relative_to(folder)
            if each.is_dir():
                target.mkdir()
            else:
                _copy(each, target, out)
        inside = copy / logged.path.relative_to(folder)
        yield from _rewritten(inside, logged, facts)
        metadata = minari_metadata(logged.path) | {"dataset_id": minari_name(out)}
        for name in ("ref_min_score", "ref_max_score", "num_episodes_average_score"):
            metadata.pop(name, None)
        inside.with_name(METADATA).write_text(json.dumps(metadata), encoding="utf-8")


def _copy(source: Path, target: Path, out: Path) -> None:
    """Copies a file, and blames a full disk on the output."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise InputError(
            f"{out}: cannot be written: {error.strerror}. Make room there, or name an output on another disk."
        ) from error


def _rewritten(copy: Path, logged: Logged, facts: Mapping[str, Any]) -> Iterator[NewRewards]:
    with h5py.File(copy, "r+", **CHUNK_CACHE) as file:
        if LABEL in file.attrs:
            # Earlier code stated that of the rewards that it wrote.
            for name in ("sha256", "sha256_with_frames"):
                file.attrs.pop(name, None)
        yield NewRewards(file, logged.slots, logged.path)
        file.attrs[LABEL] = json.dumps(facts, default=str)


def _dataset_folder(file: Path) -> Path | None:
    """The folder of the Minari dataset whose episodes a file has; None for a file on its own."""
    if not minari_metadata(file):
        return None
    return file.parent.parent if file.parent.name == "data" else file.parent


def _make_empty_like(old: h5py.Dataset, group: h5py.Group, name: str) -> None:
    """Makes a dataset of the same shape, packed in the same way, for real numbers."""
    is_real = old.dtype.kind == "f" and old.dtype.itemsize >= 4
    group.create_dataset(
        name,
        old.shape,
        old.dtype if is_real else np.float32,
        maxshape=old.maxshape if old.chunks else None,
        chunks=old.chunks,
        compression=old.compression,
        compression_opts=old.compression_opts,
        shuffle=old.shuffle,
        fletcher32=old.fletcher32,
    )


@contextmanager
def _replacing_folder(target: Path) -> Iterator[Path]:
    """Yields a temporary folder that is renamed once it is whole; what was there is kept until then."""
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    old = aside / target.name
    try:
        with atomic_folder(target, aside=old) as folder:
            yield folder
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    finally:
        shutil.rmtree(aside)
