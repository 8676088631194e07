"""Whether the expert begins where episodes do: if not, its columns may have another order, or other units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ilfo._tools.words import counted
from ilfo.demos import Demonstrations, Trajectory
from ilfo.demos.checks import part_of

__all__ = ["remark_on_starts"]

FAR = 10
"""Ranges of the episodes' first states, beyond these, from which a first state is elsewhere."""

SLIGHT = 0.01
"""Of a column's size: distances that are no more are nothing to speak of, as where all episodes begin alike."""


def remark_on_starts(demonstrations: Demonstrations, episodes: Sequence[Trajectory]) -> str | None:
    """A sentence if no demonstration begins near the first states of episodes; None if one does, or none has states.

    What environments draw at a reset, goals and small displacements, differs from episode to episode, and the expert's
    lies within a few of its ranges. An angle in degrees for radians, or a column in another's place, does not. Columns
    of nothing but 0 and 1, which may be one of several choices, are not judged, and a start with the other sign, as of
    a quaternion, is near.

    Args:
        demonstrations: In the environment's layout, states ``(T+1, D)``.
        episodes: Of any policy, two or more.
    """
    first = np.stack([each.observations[0] for each in demonstrations])
    here = np.stack([each.observations[0] for each in episodes])
    if first.shape[1] != here.shape[1]:
        return None
    low, high = here.min(axis=0), here.max(axis=0)
    visited = np.concatenate([each.observations for each in demonstrations])
    size = np.maximum(np.abs(here).max(axis=0), visited.std(axis=0))
    either_sign = np.concatenate([first, -first])
    beyond = np.maximum(low - either_sign, either_sign - high).min(axis=0) - FAR * (high - low) - SLIGHT * size
    # Columns that a file lacks are zeros, and nobody looks at them.
    choices = np.isin(visited, (0, 1)).all(axis=0) & np.isin(here, (0, 1)).all(axis=0)
    columns = np.flatnonzero((beyond > 0) & ~choices & visited.any(axis=0))
    if not len(columns):
        return None
    worst = int(columns[np.argmax(beyond[columns] / np.maximum(size[columns], np.finfo(np.float32).tiny))])
    nearest = first[np.abs(first[:, worst] - here[:, worst].mean()).argmin(), worst]
    others = f", and {counted(len(columns) - 1, 'other column')} likewise" if len(columns) > 1 else ""
    return (
        f"The expert begins where episodes do not: {part_of(demonstrations.provenance.observation_keys, worst)} is "
        f"{nearest:.4g} in its first state, and {low[worst]:.4g} to {high[worst]:.4g} in those of {len(here)} "
        f"episodes{others}. If the demonstration does not begin later on purpose, check its units (degrees?) and the "
        "order of its columns."
    )
