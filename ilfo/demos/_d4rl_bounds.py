"""Where the episodes of a D4RL file end: at a terminal, at a timeout, where the states jump, at a time limit."""

from __future__ import annotations

import re
import warnings
from typing import Any

import h5py
import numpy as np

from ilfo._tools.errors import InputError
from ilfo._tools.words import counted
from ilfo.demos._arrays import as_float32

__all__ = ["episode_bounds"]

_BLOCK_ROWS = 65536


def episode_bounds(
    columns: dict[str, h5py.Dataset], max_episode_steps: int | None, path: str, assumed: int | None = None
) -> tuple[list[tuple[int, int]], list[bool]]:
    """First row and row after the last of each complete episode, and whether it terminated.

    Rows after the last of these belong to an episode that was not finished. A time limit that is ``assumed`` is used if
    the file does not tell its episodes apart.

    Raises:
        InputError: Ends cannot be told without ``max_episode_steps``, or it is below 1; or they are marked under names
            that D4RL does not have.

    Warns:
        UserWarning: Nothing marks where time limits ended episodes; a limit was assumed; or, in a file with 'timeouts',
            rows do not continue where no flag ends an episode.
    """
    terminals, timeouts = (_flags(columns, name, path) for name in ("terminals", "timeouts"))
    flagged = terminals | timeouts
    if max_episode_steps is None and not timeouts.any() and "next_observations" not in columns:
        if not terminals.any():
            _refuse_other_marks(columns["observations"], path)
        max_episode_steps = _limit_instead(terminals, assumed, path)
    jumps = _jumps(columns)
    # Without timeouts nothing else marks time limits, and a jump is where one is expected.
    if "timeouts" in columns and flagged.any():
        _warn_of_jumps(jumps, flagged, path)
    marked = flagged | jumps
    ends = marked if max_episode_steps is None else _with_time_limit(marked, max_episode_steps)
    # Where flags or a limit end episodes, rows after the last end are an episode that was cut off; where neither does,
    # they are an episode like the others.
    if not flagged.any() and np.array_equal(ends, marked):
        ends[-1] = True
    stops = np.flatnonzero(ends) + 1
    starts = [0, *stops[:-1].tolist()]
    return list(zip(starts, stops.tolist(), strict=True)), terminals[stops - 1].tolist()


def _flags(columns: dict[str, h5py.Dataset], name: str, path: str) -> np.ndarray:
    """A column of flags ``(N,)`` as booleans; all False where the file has none."""
    if name not in columns:
        return np.zeros(columns["observations"].shape[0], bool)
    return as_float32(columns[name][()].reshape(-1), f"{path}, dataset {name!r}") != 0


_OTHER_MARKS = re.compile(
    r"(dones?|is_?(first|last|terminal)|(episode|traj|trajectory)_?(ends?|ids?|index|lengths?|starts?)"
    r"|terminations?|terminated|truncations?|truncated)",
    re.IGNORECASE,
)
"""What datasets are called that say where episodes end, in other layouts than D4RL's."""


def _refuse_other_marks(observations: h5py.Dataset, path: str) -> None:
    """Refuses a file whose ends of episodes have names that D4RL has not, rather than to read it as one episode."""
    file, rows = observations.parent, observations.shape[0]
    others = [name for name in file if _OTHER_MARKS.fullmatch(name) and _marks(file.get(name), rows)]
    if others:
        raise InputError(
            f"{path}: {', '.join(map(repr, others))} may say where episodes end, and nothing else does; expected flags "
            "(rows,) of last steps, called 'terminals' where the environment ended an episode, and 'timeouts' where a "
            "time limit did. Flags of that kind need another name, all else converting; or save the episodes with "
            "ilfo.demos.write; or, if each is as long, give their steps: ilfo demos convert --max-episode-steps."
        )


def _marks(column: Any, rows: int) -> bool:
    """Whether it may tell apart several episodes: one number for each of them, or a change between the rows.

    One episode alone changes a flag at most in its first row or in its last.
    """
    if not isinstance(column, h5py.Dataset) or not column.ndim:
        return False
    if column.shape[0] != rows:
        return bool(column.shape[0] > 1)
    within = column[1:-1]
    return bool((within != within[:1]).any())


def _limit_instead(terminals: np.ndarray, assumed: int | None, path: str) -> int | None:
    """The time limit in place of timeouts and next observations: what is assumed if it is needed, else none.

    Raises:
        InputError: Ends cannot be told without one.

    Warns:
        UserWarning: The limit was assumed, or the file can only be believed.
    """
    if assumed is None or not _hides_time_limits(terminals, assumed):
        _check_terminals_suffice(terminals, path)
        return None
    warnings.warn(
        f"{path}: no timeout is marked, and there are no 'next_observations' to tell its episodes apart; read as if "
        f"the environment's time limit, {assumed:,} steps, had ended those that go on. If another one had, convert it "
        f"first by that: ilfo demos convert {path} NEW.hdf5 --to ilfo --max-episode-steps N; if none had, by more than "
        "its rows.",
        stacklevel=2,
    )
    return assumed


def _hides_time_limits(terminals: np.ndarray, limit: int) -> bool:
    """Whether, under this time limit, more than 'terminals' must have ended episodes.

    A file of observations alone has one row more than steps.
    """
    if terminals.any() and not terminals[-1]:
        return True
    stops = np.flatnonzero(terminals) + 1
    return bool(np.diff([0, *stops, len(terminals)]).max() > limit + 1)


def _check_terminals_suffice(terminals: np.ndarray, path: str) -> None:
    """Refuses a file whose time limits are invisible; warns where it can only be believed."""
    if terminals.any() and not terminals[-1]:
        raise InputError(
            f"{path}: 'terminals' ends some episodes, but nothing says where a time limit ended the others: "
            "expected marks in 'timeouts', or 'next_observations', too. Give the environment's limit once and keep the "
            f"result: ilfo demos convert {path} NEW.hdf5 --to ilfo --max-episode-steps 1000. If none did, give more "
            "than its rows."
        )
    count = max(int(terminals.sum()), 1)
    warnings.warn(
        f"{path}: no timeout is marked, and there are no 'next_observations' to tell its episodes apart; read as "
        f"{counted(count, 'episode')}. If a time limit ended some, convert it with --max-episode-steps.",
        stacklevel=2,
    )


def _jumps(columns: dict[str, h5py.Dataset]) -> np.ndarray:
    """Rows ``(N,)`` bool whose next observation is not the observation of the row below; none where there are none."""
    observations, next_observations = columns["observations"], columns.get("next_observations")
    rows = observations.shape[0]
    jumps = np.zeros(rows, bool)
    if next_observations is None:
        return jumps
    for start in range(0, rows - 1, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, rows - 1)
        expected = observations[start + 1 : stop + 1].astype(np.float64)
        # Files mix float32 and float64 columns: rounding is not a jump; what is not finite is for the reader to refuse.
        with np.errstate(invalid="ignore"):
            distance = np.abs(next_observations[start:stop] - expected)
            far = (distance > 1e-6 + 1e-5 * np.abs(expected)) & np.isfinite(distance)
            jumps[start:stop] = far.any(axis=1)
    return jumps


def _warn_of_jumps(jumps: np.ndarray, flagged: np.ndarray, path: str) -> None:
    """Says where rows do not continue although no flag ends an episode."""
    unmarked, found = int((jumps & ~flagged).sum()), int((jumps | flagged).sum())
    if unmarked:
        warnings.warn(
            f"{path}: the next observations of {counted(unmarked, 'row')} are not in the row below, although neither "
            f"'terminals' nor 'timeouts' ends an episode there. Read as ends: {found:,} episodes in place of "
            f"{int(flagged.sum()):,}. If it should have fewer, its rows are out of order.",
            stacklevel=2,
        )


def _with_time_limit(ends: np.ndarray, limit: int) -> np.ndarray:
    """The ends, and one more wherever an episode reaches the limit."""
    if limit < 1:
        raise InputError(f"max_episode_steps is {limit}, expected at least 1.")
    limited = ends.copy()
    start = 0
    for stop in [*(np.flatnonzero(ends) + 1).tolist(), len(ends)]:
        limited[start + limit - 1 : stop : limit] = True
        start = stop
    return limited
