"""What a reward looks at: chosen columns of the state, and differences between columns, standardised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError, closest
from ilfo._tools.ranges import read_ranges
from ilfo.demos import Demonstrations
from ilfo.demos.trajectory import spans_of

if TYPE_CHECKING:
    from ilfo.rewards.base import Episodes

__all__ = ["ColumnOptions", "FeatureOptions", "StateFeatures"]

CONSTANT = 1e-8
"""Largest standard deviation of a dimension that counts as constant: rounding in the mean may leave it above 0."""


@dataclass(frozen=True)
class ColumnOptions:
    """Which columns of the state are looked at, and in which units."""

    dims: tuple[int, ...] = ()
    """Columns of the flat observation that are looked at; empty: all. A command line may have ranges: 0-2 5. If keys
    are given too, each column must belong to one of them. With keypoints, each concept has three columns: its position
    across and down, and its visibility."""
    std_floor: float = 0.02
    """Smallest standard deviation to divide by, in the units of the state: it keeps a dimension that the
    expert barely moves, or never moves, from drowning the others."""
    divisor: float = 1.0
    """Factor on the floored standard deviation. OOPS (arXiv 2310.01632) uses 3, with a floor of 0.33."""
    constant_std: float | None = None
    """Standard deviation to assume, before the floor, for a dimension that is constant in the demonstrations; None: 0,
    so the floor applies. OOPS uses 1."""
    leave_out: int = 0
    """Observations at the end of each demonstration to leave out of mean and standard deviation. OOPS leaves out 2."""

    def __post_init__(self) -> None:
        for name in ("std_floor", "divisor", "constant_std"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value}: it must be a finite number above 0.")
        if self.leave_out < 0:
            raise InputError(f"leave_out is {self.leave_out}: it is a number of observations, at least 0.")
        _check_distinct("dims", self.dims)


@dataclass(frozen=True)
class FeatureOptions(ColumnOptions):
    """Which columns of the state, and differences between columns, are looked at, and in which units."""

    relative: tuple[str, ...] = ()
    """Differences between columns to look at too, such as 0-2:36-38 for the position of a hand relative to its goal,
    wherever the goal is. If any are given, empty dims (and keys) mean no other columns, not all."""
    time: float | None = None
    """Also look at the time since the episode began, as the last column: this many steps count as one standard
    deviation. Being where the expert was, but at another time, then differs from the expert. None: ignore the time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _pairs(self.relative)
        if self.time is not None and not (np.isfinite(self.time) and self.time > 0):
            raise InputError(f"time is {self.time}: it is a number of steps above 0, or None.")


class StateFeatures:
    """Standardises the chosen columns of a state, and differences between columns, by the expert's statistics.

    ``z = (s - mean) / (divisor * max(std, std_floor))``. Mean and standard deviation (``ddof=1``) are taken
    over all observations of all demonstrations, except the last ``leave_out`` of each, in float64. The floor
    comes before the factor, so the smallest number divided by is ``divisor * std_floor``. A
    dimension that is constant in the demonstrations is kept, with ``constant_std`` or the floor as its standard
    deviation: an agent that moves it pays. Differences come after the columns and are treated like them. The time, if
    used, comes last, ``(t - mean) / (divisor * time)``, and has to be known: see :meth:`of_episodes`.

    Args:
        options: Which columns and differences, and their units.
        keys: Observation keys that are looked at, by the names in the demonstration file, in this order; empty: all.

    Raises:
        InputError: A key is named twice.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> swing = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]], np.float32)
        >>> features = StateFeatures(FeatureOptions(std_floor=0.5)).fit(Demonstrations((Trajectory(swing),)))
        >>> features(torch.tensor([[2.0, 6.0]]))
        tensor([[1., 2.]])
        >>> features = StateFeatures(FeatureOptions(relative=("0:1",))).fit(Demonstrations((Trajectory(swing),)))
        >>> features(torch.tensor([[2.0, 6.0]]))
        tensor([[0.]])
    """

    def __init__(self, options: FeatureOptions | None = None, keys: Sequence[str] = ()) -> None:
        _check_distinct("keys", keys)
        self.options = options or FeatureOptions()
        self.keys = tuple(keys)
        self._observation_dim = 0
        self._columns = self._subtracted = torch.zeros(0, dtype=torch.int64)
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._scale = torch.ones(0, dtype=torch.float64)
        self._moved: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    @property
    def observation_dim(self) -> int:
        """Width ``D`` of the observations that it was fitted on; 0 before :meth:`fit`."""
        return self._observation_dim

    @property
    def width(self) -> int:
        """Number of features ``F``; 0 before :meth:`fit`."""
        return len(self._mean)

    def fit(self, demonstrations: Demonstrations) -> StateFeatures:
        """Finds the chosen columns and measures their mean and spread; returns itself.

        Raises:
            InputError: The demonstrations are empty, too short, ragged in width or not finite, or do not have the
                chosen keys or columns.
        """
        left_out = self.options.leave_out
        _check_usable(demonstrations, left_out)
        pairs = _pairs(self.options.relative)
        _check_within("relative", [column for pair in pairs for column in pair], demonstrations)
        absolute = self.options.dims or self.keys or not pairs
        columns = _columns(self.options.dims, self.keys, demonstrations) if absolute else []
        self._columns = torch.tensor([*columns, *(column for column, _ in pairs)])
        self._subtracted = torch.tensor([other for _, other in pairs], dtype=torch.int64)
        counted = [trajectory.observations[: len(trajectory.observations) - left_out] for trajectory in demonstrations]
        parts = [torch.from_numpy(np.asarray(part, np.float64)) for part in counted]
        states = torch.cat([_chosen(part, self._columns, self._subtracted) for part in parts]).numpy()
        mean, spread = states.mean(axis=0), states.std(axis=0, ddof=1)
        if self.options.constant_std is not None:
            spread[spread <= CONSTANT] = self.options.constant_std
        spread = np.maximum(spread, self.options.std_floor)
        if self.options.time is not None:
            mean = np.append(mean, np.concatenate([np.arange(len(part)) for part in parts]).mean())
            spread = np.append(spread, self.options.time)
        self._moved.clear()
        self._observation_dim = demonstrations.observation_dim
        self._mean = torch.from_numpy(mean)
        self._scale = torch.from_numpy(self.options.divisor * spread)
        return self

    def of_demonstrations(self, demonstrations: Demonstrations) -> list[Tensor]:
        """Features ``(T+1, F)`` float32 of every trajectory.

        Raises:
            InputError: See :meth:`__call__`.
        """
        states = [torch.as_tensor(each.observations, dtype=torch.float32) for each in demonstrations]
        return [self(each, torch.arange(len(each))) for each in states]

    def of_episodes(self, episodes: Episodes) -> Tensor:
        """Features ``(B, T+1, F)``, in the dtype of the observations and on their device.

        Raises:
            InputError: See :meth:`__call__`; or the time matters and is not known.
        """
        return self(episodes.observations, None if self.options.time is None else episodes.steps)

    def __call__(self, observations: Tensor, steps: Tensor | None = None) -> Tensor:
        """Features ``(..., F)`` of observations ``(..., D)``, in their dtype and on their device.

        Args:
            observations: ``(..., D)``.
            steps: Steps since the episode began, ``(...)`` or expandable to it; read only if the time matters.

        Raises:
            InputError: It was never fitted, ``D`` is not the width that it was fitted on, or the time matters and was
                not given.
        """
        if not self.width:
            raise InputError("These features know no expert yet: call fit or load_state_dict first.")
        if observations.shape[-1] != self._observation_dim:
            raise InputError(
                f"The observations have {observations.shape[-1]} dimensions and the demonstrations "
                f"{self._observation_dim}: use a demonstration of this environment."
            )
        like = observations.device, observations.dtype
        if like not in self._moved:
            columns, subtracted = self._columns.to(like[0]), self._subtracted.to(like[0])
            self._moved[like] = columns, subtracted, self._mean.to(*like), self._scale.to(*like)
        columns, subtracted, mean, scale = self._moved[like]
        chosen = _chosen(observations, columns, subtracted)
        if self.options.time is not None:
            if steps is None:
                raise InputError(
                    "These features look at the time, and were not told it: give the step of each observation, as "
                    "of_episodes and of_demonstrations do, or leave out features.time."
                )
            times = steps.to(chosen).expand(chosen.shape[:-1])
            chosen = torch.cat([chosen, times[..., None]], dim=-1)
        return (chosen - mean) / scale

    def state_dict(self) -> dict[str, Any]:
        """Options, keys and statistics, as tensors and plain values."""
        return {
            "options": asdict(self.options),
            "keys": self.keys,
            "observation_dim": self._observation_dim,
            "columns": self._columns,
            "subtracted": self._subtracted,
            "mean": self._mean,
            "scale": self._scale,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options and keys included."""
        self._moved.clear()
        self.options = FeatureOptions(**state["options"])
        self.keys = tuple(state["keys"])
        self._observation_dim = int(state["observation_dim"])
        self._columns = state["columns"].cpu()
        self._subtracted = state.get("subtracted", torch.zeros(0, dtype=torch.int64)).cpu()
        self._mean = state["mean"].cpu()
        self._scale = state["scale"].cpu()


def _chosen(states: Tensor, columns: Tensor, subtracted: Tensor) -> Tensor:
    """Columns ``(..., F)`` of states ``(..., D)``; from the last of them, other columns are subtracted."""
    values = states[..., columns]
    if len(subtracted):
        values[..., -len(subtracted) :] -= states[..., subtracted]
    return values


def _pairs(relative: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of a column and the one to subtract from it: ``(0, 36), (1, 37), (2, 38)`` for ``"0-2:36-38"``."""
    found: list[tuple[int, int]] = []
    for spelled in relative:
        sides = [read_ranges(f"relative {spelled!r}", side) for side in spelled.split(":")]
        if len(sides) != 2 or len(sides[0]) != len(sides[1]) or not sides[0]:
            raise InputError(
                f"relative names {spelled!r}; expected as many columns after the colon as before it, like 0-2:36-38"
            )
        found += zip(*sides, strict=True)
    _check_distinct("relative", [f"{column}:{other}" for column, other in found])
    return found


def _check_within(name: str, columns: Sequence[int], demonstrations: Demonstrations) -> None:
    """Refuses a column that the observations do not have."""
    width = demonstrations.observation_dim
    outside = [column for column in columns if not 0 <= column < width]
    if outside:
        raise InputError(
            f"{name} names column {outside[0]}, and the observations have columns 0 to {width - 1}: choose among them."
        )


def _check_distinct(name: str, chosen: Sequence[str] | Sequence[int]) -> None:
    """Refuses a choice with duplicates."""
    twice = sorted({str(item) for item in chosen if list(chosen).count(item) > 1})
    if twice:
        raise InputError(f"{name} names {', '.join(twice)} more than once: give each once.")


def _check_usable(demonstrations: Demonstrations, left_out: int) -> None:
    """Refuses demonstrations that statistics cannot be computed from."""
    origin = str(demonstrations.path or "The demonstrations")
    if not len(demonstrations):
        raise InputError(f"{origin}: there is no trajectory; at least one is needed.")
    for index, trajectory in enumerate(demonstrations):
        shape = trajectory.observations.shape
        if len(shape) != 2 or shape[0] < 2 or shape[1] != demonstrations.observation_dim:
            raise InputError(
                f"{origin}, trajectory {index}: observations of shape {shape}; expected (T + 1, "
                f"{demonstrations.observation_dim}) with T of at least 1."
            )
        if shape[0] < left_out + 2:
            raise InputError(
                f"{origin}, trajectory {index}: {shape[0]} observations, of which leave_out={left_out} leaves fewer "
                "than the 2 that a standard deviation takes; use a longer demonstration, or leave out fewer."
            )
        finite = np.isfinite(trajectory.observations)
        if not finite.all():
            step, dimension = np.argwhere(~finite)[0]
            raise InputError(
                f"{origin}, trajectory {index}, step {step}: dimension {dimension} is "
                f"{trajectory.observations[step, dimension]}; remove the trajectory or record it again."
            )


def _columns(dims: Sequence[int], keys: Sequence[str], demonstrations: Demonstrations) -> list[int]:
    """The columns of the flat observation that are chosen, in the order of the choice."""
    _check_within("dims", dims, demonstrations)
    width = demonstrations.observation_dim
    if not keys:
        return list(dims) or list(range(width))

    blocks = demonstrations.provenance.observation_keys
    if not blocks:
        raise InputError(
            f"keys names {keys[0]!r}, and the demonstrations do not say what their {width} columns are "
            "called: choose columns with dims instead."
        )
    if sum(blocks.values()) != width:
        raise InputError(
            f"keys names {keys[0]!r}, and the demonstrations name keys of "
            f"{sum(blocks.values())} columns for observations of {width}: choose columns with dims instead."
        )
    spans, chosen = spans_of(blocks), list[int]()
    for key in keys:
        if key not in blocks:
            raise InputError(f"The demonstrations have no observation key {key!r}: {closest(key, blocks)}.")
        chosen.extend(spans[key])
    stray = [dim for dim in dims if dim not in chosen]
    if stray:
        raise InputError(
            f"dims names column {stray[0]}, which is in none of the keys {', '.join(keys)}: add "
            "its key, or give dims alone."
        )
    return list(dims) or chosen
