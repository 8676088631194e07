"""Demonstrations of one expert in several looks: planning them, and recording the missing ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo._tools.words import counted
from ilfo.record import RecordOptions, check_recorded, record, until_success
from ilfo.suites.suite import Task
from ilfo.variants import Kind, Variant

__all__ = ["Recording", "check_recordings", "plan_recordings", "record_missing"]


@dataclass(frozen=True)
class Recording:
    """Episodes of a task in one look.

    Attributes:
        file: The file that they are written to.
        env: Id of the environment with that look.
        episodes: Number of episodes.
        seed: Determines their initial states; every look has its own seed.
    """

    file: Path
    env: str
    episodes: int
    seed: int


def plan_recordings(task: Task, kinds: Sequence[Kind], looks: int, episodes: int, folder: Path) -> list[Recording]:
    """Divides episodes among the plain look and the first seen variants of each kind.

    Args:
        task: Gives the environment.
        kinds: What varies, one at a time.
        looks: Variants of each kind.
        episodes: Episodes of all looks together; if they do not divide evenly, the plain look and the variants of low
            index get one more.
        folder: Where each look's file goes.

    Raises:
        InputError: Fewer episodes than looks.

    Examples:
        >>> reach = Task("reach", "Reach-v0", ())
        >>> recordings = plan_recordings(reach, ["colours", "lights"], looks=1, episodes=4, folder=Path("demos"))
        >>> [(one.file.name, one.env, one.episodes) for one in recordings][:2]
        [('plain.hdf5', 'Reach-v0', 2), ('colours-seen-0.hdf5', 'Reach-v0@colours-seen-0', 1)]
    """
    variants = [Variant(kind, index) for index in range(looks) for kind in kinds]
    places = [("plain", task.env), *((str(variant), f"{task.env}@{variant}") for variant in variants)]
    if episodes < len(places):
        raise InputError(
            f"--demos is {episodes}, and there are {len(places)} looks to record: the plain one and {looks} of each of "
            f"{counted(len(kinds), 'kind')}. Give at least --demos {len(places)}, or fewer --looks"
        )
    share, left = divmod(episodes, len(places))
    return [
        Recording(folder / f"{name}.hdf5", env, share + (number < left), seed=number)
        for number, (name, env) in enumerate(places)
    ]


def check_recordings(recordings: Sequence[Recording], task: Task) -> None:
    """Refuses recordings that are there, and are of another environment or expert or number of episodes.

    Raises:
        InputError: Names the first.
    """
    for each in recordings:
        if not each.file.exists():
            continue
        found = demos.open(each.file)
        check_recorded(found, _options(each, task))
        if len(found) != each.episodes:
            raise InputError(
                f"{each.file} has {counted(len(found), 'episode')}, expected {each.episodes}: give --demos and --looks "
                "as they were when it was recorded, or another --out"
            )


def record_missing(
    recordings: Sequence[Recording], task: Task, progress: Callable[[str], object] = lambda doing: None
) -> None:
    """Makes the recordings that are not there, with actions and frames: episodes with success, where the task has one.

    Raises:
        InputError: See :func:`ilfo.record.record`.
        RenderError: Nothing can be drawn here.
    """
    missing = [each for each in recordings if not each.file.exists()]
    for number, each in enumerate(missing, start=1):
        progress(f"recording {each.env}, {number} of {len(missing)}")
        each.file.parent.mkdir(parents=True, exist_ok=True)
        record(each.file, until_success(_options(each, task)))


def _options(recording: Recording, task: Task) -> RecordOptions:
    return RecordOptions(
        env=recording.env,
        **task.expert,
        episodes=recording.episodes,
        actions=True,
        frames=True,
        seed=recording.seed,
    )
