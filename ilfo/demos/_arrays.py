"""What every reader and writer refuses: arrays that are not finite numbers of agreeing lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ilfo._tools.errors import InputError
from ilfo._tools.target import check_room
from ilfo.demos._provenance import check_keys_add_up, plain_provenance
from ilfo.demos.lazy_frames import LazyFrames
from ilfo.demos.trajectory import Demonstrations, Trajectory

__all__ = [
    "as_float32",
    "as_rows",
    "canonical",
    "check_frames",
    "check_keys",
    "check_widths",
    "checked",
    "ends_at_last_step",
    "mean_return",
    "numeric_dataset",
    "pick",
    "rewards_of_steps",
    "way_to_vectors",
]


_CUT = "Cut the arrays to one length, or record the episode again."
_TURN = "If 'observations' are (dimensions, steps), transpose them; else cut the arrays to one length."


def numeric_dataset(group: Mapping[str, Any], name: str, where: str) -> h5py.Dataset | np.ndarray:
    """The dataset ``group[name]``, sure to hold numbers.

    Args:
        group: The group that holds it, of HDF5 or of arrays by name.
        name: Its name there.
        where: The start of an error's sentence: file and group.

    Raises:
        InputError: It is a group (a dict observation), or holds text, objects or encoded images.
    """
    node = group[name]
    if not isinstance(node, h5py.Dataset | np.ndarray):
        raise InputError(
            f"{where}: {name!r} is a group of {_listed(node)}, expected one numeric dataset. "
            "Concatenate its parts into one array (rows, dimensions)."
        )
    if node.dtype.kind not in "fiub" or node.shape is None:
        held = "no" if node.shape is None else str(node.dtype)
        raise InputError(
            f"{where}, dataset {name!r}: holds {held} values, expected numbers. "
            "Write it as a float32 array; encoded images and text are not states."
        )
    return node


def as_float32(values: Any, where: str) -> np.ndarray:
    """The values as a contiguous float32 array, sure to be finite.

    Args:
        values: ``(T, ...)`` numbers of any width; the first axis is time.
        where: The start of an error's sentence: file, group and dataset.

    Raises:
        InputError: Not numbers, or a value is NaN, infinite or beyond float32; names its step and dimension.
    """
    array = np.atleast_1d(values)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}: holds {array.dtype} values, expected numbers. Convert it to float32.")
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        first = tuple(int(index) for index in np.argwhere(~finite)[0])
        place = f"step {first[0]}" + "".join(f", dimension {index}" for index in first[1:])
        bad = int(finite.size - finite.sum())
        raise InputError(
            f"{where}: {place} is {array[first]}, expected finite float32 numbers "
            f"({bad} of {finite.size} values are not). Repair the recording or leave that episode out."
        )
    return single


def as_rows(values: np.ndarray) -> np.ndarray:
    """Values ``(T, ...)`` as ``(T, width)``, also where there is no row."""
    return values.reshape(len(values), math.prod(values.shape[1:]))


def checked(trajectory: Trajectory, where: str) -> Trajectory:
    """The trajectory in its canonical form: contiguous float32 arrays, Python booleans, lengths that agree.

    Args:
        trajectory: As read or as given; actions ``(T,)`` become ``(T, 1)``, rewards ``(T, 1)``
            become ``(T,)``. Frames are taken as they are.
        where: The start of an error's sentence: file and group.

    Raises:
        InputError: Wrong rank, width 0 where there are no frames to look at instead, fewer than 2 observations, ragged
            lengths, values that are not finite, frames that are not RGB bytes.
    """
    observations = as_float32(trajectory.observations, f"{where}, dataset 'observations'")
    if observations.ndim != 2 or (observations.shape[1] == 0 and trajectory.frames is None):
        raise InputError(
            f"{where}, dataset 'observations': has shape {observations.shape}, expected (steps + 1, "
            f"dimensions). {way_to_vectors(observations.shape)}"
        )
    if len(observations) < 2:
        raise InputError(
            f"{where}: {_count(len(observations), 'observation')} with the final one, expected at least 2. "
            "An episode without a step shows nothing: leave it out."
        )
    steps = len(observations) - 1
    actions, env_rewards = trajectory.actions, trajectory.env_rewards
    if actions is not None:
        actions = as_float32(actions, f"{where}, dataset 'actions'")
        actions = actions[:, None] if actions.ndim == 1 else actions
        turned = len(actions) in (observations.shape[1], observations.shape[1] - 1)
        _check_shape(actions, 2, steps, f"{where}, dataset 'actions'", _TURN if turned else _CUT)
    if env_rewards is not None:
        env_rewards = as_float32(env_rewards, f"{where}, dataset 'rewards'")
        env_rewards = env_rewards[:, 0] if env_rewards.shape[1:] == (1,) else env_rewards
        _check_shape(env_rewards, 1, steps, f"{where}, dataset 'rewards'")
    frames = trajectory.frames
    if frames is not None:
        if not isinstance(frames, LazyFrames):
            frames = np.ascontiguousarray(frames)
        check_frames(frames, steps, f"{where}, dataset 'frames'")
    return Trajectory(
        observations=observations,
        actions=actions,
        env_rewards=env_rewards,
        terminated=bool(trajectory.terminated),
        truncated=bool(trajectory.truncated),
        success=None if trajectory.success is None else bool(trajectory.success),
        seed=None if trajectory.seed is None else int(trajectory.seed),
        frames=frames,
        success_step=None if trajectory.success_step is None else int(trajectory.success_step),
        goal=None if trajectory.goal is None else _checked_goal(trajectory.goal, f"{where}, dataset 'goal'"),
        last_reward=None
        if trajectory.last_reward is None
        else float(as_float32(trajectory.last_reward, f"{where}, last reward")[0]),
    )


def way_to_vectors(shape: Sequence[int]) -> str:
    """What to do with states of another rank than one vector a step."""
    if len(shape) == 3:
        return (
            "If the first axis counts episodes, give each a group of its own: ilfo.demos.write(path, Demonstrations("
            "tuple(Trajectory(states) for states in observations))); else flatten each observation into one vector of "
            "states."
        )
    return "Flatten each observation into one vector of states."


def canonical(demonstrations: Demonstrations, target: Path) -> Demonstrations:
    """The demonstrations as they will be written: in canonical form, and sure to be readable and to find room.

    Args:
        demonstrations: Any.
        target: Where they are going to be written, for the sentences of errors.

    Raises:
        InputError: No trajectory, one that reading would refuse, other widths, keys that do not add up, or no room.
    """
    if not len(demonstrations):
        raise InputError(f"{target}: no trajectory to write, expected at least one.")
    names = [f"episode {index}" for index in range(len(demonstrations))]
    trajectories = tuple(checked(each, f"{target}, {name}") for each, name in zip(demonstrations, names, strict=True))
    check_widths(trajectories, names, str(target))
    written = Demonstrations(trajectories, plain_provenance(demonstrations.provenance, str(target)))
    check_keys_add_up(written.provenance, written.observation_dim, f"{target}, observation keys")
    # Some layouts store observations twice. How far frames can be packed is seen only as they are written.
    stored = ((each.observations, each.observations, each.actions, each.env_rewards) for each in trajectories)
    check_room(target, sum(array.nbytes for arrays in stored for array in arrays if array is not None))
    return written


def check_frames(frames: np.ndarray | h5py.Dataset, steps: int, where: str) -> None:
    """Refuses frames that are not one RGB picture an observation; looks at shape and type alone.

    Args:
        frames: Expected to be ``(steps + 1, H, W, 3)`` uint8.
        steps: Steps of the trajectory.
        where: The start of an error's sentence: file, group and dataset.

    Raises:
        InputError: Another shape or type.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise InputError(
            f"{where}: has shape {frames.shape} and type {frames.dtype}, expected (steps + 1, height, width, 3) uint8. "
            "Write RGB pictures, colour last, as bytes from 0 to 255."
        )
    if len(frames) != steps + 1:
        raise InputError(
            f"{where}: has {_count(len(frames), 'frame')}, expected {steps + 1}: one an observation, the final one "
            "included. Cut the arrays to one length, or record the episode again."
        )


def check_keys(keys: Sequence[dict[str, int]], names: Sequence[str], where: str) -> None:
    """Refuses episodes whose flat observations are not made of the same blocks.

    Args:
        keys: Name and width of each block, for each episode.
        names: What an error calls each of them.
        where: The start of an error's sentence: the file.

    Raises:
        InputError: Names the first episode that differs.
    """
    for name, blocks in zip(names, keys, strict=True):
        if blocks != keys[0]:
            raise InputError(
                f"{where}, {name}: its observations are {blocks}, but those of {names[0]} are {keys[0]}. "
                "All episodes of a file come from one environment: split the file."
            )


def check_widths(trajectories: Sequence[Trajectory], names: Sequence[str], where: str) -> None:
    """Refuses episodes whose states, actions, frames or goals are not all of one width.

    Args:
        trajectories: Checked trajectories.
        names: What an error calls each of them, e.g. ``"group 'episode_3'"``.
        where: The start of an error's sentence: the file.

    Raises:
        InputError: Names the first episode that differs and both widths.
    """
    for kind in ("observations", "actions", "frames", "goal"):
        widths = [_width(getattr(each, kind), kind) for each in trajectories]
        for name, width in zip(names, widths, strict=True):
            if width != widths[0]:
                found, expected = (f"no {kind}" if w is None else f"{kind} of width {w}" for w in (width, widths[0]))
                raise InputError(
                    f"{where}, {name}: has {found}, but {names[0]} has {expected}. "
                    "All episodes of a file come from one environment: split the file."
                )


def ends_at_last_step(flags: np.ndarray | None, steps: int, where: str) -> bool | None:
    """Whether the flags mark the last step; None where they were not recorded.

    Args:
        flags: ``(steps,)``, anything but 0 where the episode ended.
        steps: Steps of the episode.
        where: The start of an error's sentence: file, group and dataset.

    Raises:
        InputError: Another length, or a step before the last is marked.
    """
    if flags is None:
        return None
    if flags.size != steps or len(flags) != steps:
        raise InputError(f"{where}: has shape {flags.shape}, expected ({steps},): one flag a step.")
    marked = np.flatnonzero(flags)
    if len(marked) and marked[0] != steps - 1:
        raise InputError(
            f"{where}: step {marked[0]} ends the episode, but {steps - 1 - marked[0]} more steps follow. "
            "Split the episode there."
        )
    return bool(len(marked))


def mean_return(rewards: Sequence[np.ndarray]) -> float | None:
    """Mean over episodes of the sum of their rewards, None where one is not finite.

    Args:
        rewards: Every reward of each episode, in the file's own type and not yet checked: those of an episode that is
            not read are no reason to refuse the others.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean([each.sum(dtype=np.float64) for each in rewards]))
    return mean if math.isfinite(mean) else None


def rewards_of_steps(rewards: np.ndarray | None, steps: int) -> dict[str, Any]:
    """``env_rewards`` and ``last_reward`` of a trajectory.

    Args:
        rewards: One a row, not yet checked, or None. There may be one row more than steps, whose next state was
            not recorded.
        steps: Of the trajectory.
    """
    if rewards is None:
        return {}
    last = rewards[steps:].ravel()
    known = last.size == 1 and last.dtype.kind in "fiub" and np.isfinite(last[0])
    return {"env_rewards": rewards[:steps], "last_reward": float(last[0]) if known else None}


def pick(episodes: Sequence[int] | None, count: int, where: str) -> list[int]:
    """The episode numbers to read: all of them, or the chosen ones in the order given.

    Raises:
        InputError: None chosen, or a number that the file does not have.
    """
    if episodes is None:
        return list(range(count))
    chosen = [int(episode) for episode in episodes]
    wrong = [episode for episode in chosen if not 0 <= episode < count]
    if wrong or not chosen:
        asked = f"no episode {wrong[0]}" if wrong else "no episode was chosen"
        raise InputError(f"{where}: {asked}, the file has episodes 0 to {count - 1}. Choose among these.")
    return chosen


def _checked_goal(values: np.ndarray, where: str) -> np.ndarray:
    goal = as_float32(np.atleast_1d(values)[None], where)[0]
    if goal.ndim != 1 or not len(goal):
        raise InputError(f"{where}: has shape {goal.shape}, expected (dimensions,): one vector an episode. Flatten it.")
    return goal


def _width(array: np.ndarray | None, kind: str) -> str | None:
    """The size of one row, in words: ``3`` of states, ``84 x 84`` of frames; a goal is one row."""
    if array is None:
        return None
    if kind == "frames":
        return f"{array.shape[2]} x {array.shape[1]}"
    return str(array.shape[-1])


def _check_shape(array: np.ndarray, rank: int, steps: int, where: str, remedy: str = _CUT) -> None:
    """Refuses an array of another rank or length; ``remedy`` is what to do about the length."""
    if array.ndim != rank:
        expected = "(steps, dimensions)" if rank == 2 else "(steps,)"
        raise InputError(f"{where}: has shape {array.shape}, expected {expected}. Reshape it.")
    if len(array) != steps:
        raise InputError(
            f"{where}: has {_count(len(array), 'row')}, expected {steps}: one a step, for "
            f"{steps + 1} observations with the final one. {remedy}"
        )


def _listed(group: Mapping[str, Any]) -> str:
    names = sorted(group)
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "") if names else "nothing"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
