"""What the layouts of other libraries demand of the trajectories written in them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ilfo._tools.errors import InputError
from ilfo._tools.target import file_to_write
from ilfo.demos._arrays import canonical
from ilfo.demos.trajectory import Demonstrations, spans_of

__all__ = ["check_actions_within_one", "observation_blocks", "with_actions_and_rewards"]


def with_actions_and_rewards(target: Path, demonstrations: Demonstrations, layout: str) -> Demonstrations:
    """The demonstrations in canonical form, sure to have all that other libraries read.

    Args:
        target: Where they are going to be written, for the sentences of errors.
        demonstrations: Any.
        layout: Its name.

    Raises:
        InputError: No folder to write to, no trajectory, one that reading would refuse, one without actions or
            without rewards, or observation keys that do not add up or cannot name a dataset.

    Warns:
        UserWarning: Frames, goals or rewards after the last recorded step were left out: the layout cannot hold them.
    """
    file_to_write(target)
    for index, trajectory in enumerate(demonstrations):
        missing = {"actions": trajectory.actions, "rewards": trajectory.env_rewards}
        absent = " and no ".join(kind for kind, array in missing.items() if array is None)
        if absent:
            raise InputError(
                f"{target} cannot be written: episode {index} has no {absent}, but the {layout} layout demands "
                "actions and rewards. Record them too, or write the ilfo layout: it holds states alone."
            )
    written = canonical(demonstrations, target)
    _check_names(written.provenance.observation_keys, target)
    names = {"frames": "frames", "goal": "goal", "last_reward": "rewards of steps that lead to no recorded state"}
    lost = " and ".join(
        name for kind, name in names.items() if any(getattr(each, kind) is not None for each in written)
    )
    if lost:
        warnings.warn(f"{target}: {lost} left out, only the ilfo layout has a place for that.", stacklevel=3)
    return written


def observation_blocks(demonstrations: Demonstrations) -> dict[str, slice]:
    """Columns of each key in the flat observation, in order; one key ``"observation"`` where none is named."""
    keys = demonstrations.provenance.observation_keys or {"observation": demonstrations.observation_dim}
    return {key: slice(span.start, span.stop) for key, span in spans_of(keys).items()}


def check_actions_within_one(demonstrations: Demonstrations, target: Path) -> None:
    """Refuses actions beyond [-1, 1], as robomimic does; names the episode, the step and the dimension."""
    for index, trajectory in enumerate(demonstrations):
        beyond = np.argwhere(np.abs(np.asarray(trajectory.actions)) > 1)
        if len(beyond):
            step, dimension = (int(each) for each in beyond[0])
            raise InputError(
                f"{target} cannot be written: in the actions of episode {index}, step {step}, dimension {dimension} is "
                f"{np.asarray(trajectory.actions)[step, dimension]:g}, but the robomimic layout demands actions in "
                "[-1, 1]. Divide them by the environment's bounds; if those are -1 and 1, convert with --clip-actions."
            )


def _check_names(keys: Iterable[str], target: Path) -> None:
    for key in keys:
        if not key or key == "." or "/" in key:
            raise InputError(
                f"{target}: the observation key {key!r} cannot name a dataset in a file. Rename it in the provenance."
            )
