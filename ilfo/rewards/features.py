"""What a reward looks at: chosen dimensions of the state, standardised by the expert."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ilfo._errors import InputError, closest
from ilfo.demos import Demonstrations

__all__ = ["FeatureOptions", "StateFeatures"]


@dataclass(frozen=True)
class FeatureOptions:
    """Which part of the state the reward sees, and in which units."""

    keys: tuple[str, ...] = ()
    """Observation keys that the reward sees, by the names in the demonstration file; empty: all of them."""
    dims: tuple[int, ...] = ()
    """Columns of the flat observation that the reward sees; empty: all. With keys, each must lie in one."""
    std_floor: float = 0.02
    """Smallest standard deviation to divide by, in the units of the state: it keeps a dimension that the
    expert barely moves, or never moves, from drowning the others."""
    divisor: float = 1.0
    """Factor on the floored standard deviation. OOPS (arXiv 2310.01632) uses 3, with a floor of 0.33."""

    def __post_init__(self) -> None:
        for name in ("std_floor", "divisor"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value}: it must be a finite number above 0.")
        for name in ("keys", "dims"):
            chosen = getattr(self, name)
            twice = sorted({str(item) for item in chosen if list(chosen).count(item) > 1})
            if twice:
                raise InputError(f"{name} names {', '.join(twice)} more than once: give each once.")


class StateFeatures:
    """Standardises the chosen dimensions of a state by the expert.

    ``z = (s - mean) / (divisor * max(std, std_floor))``. Mean and standard deviation (``ddof=1``) are taken
    over every observation of every demonstration, in float64. The floor comes first and the factor after
    it, so that the smallest number divided by is ``divisor * std_floor``. A dimension that is constant in
    the demonstrations is kept and divided by the floor: an agent that moves it pays.

    Args:
        options: Which dimensions, and their units.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> swing = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]], np.float32)
        >>> features = StateFeatures(FeatureOptions(std_floor=0.5)).fit(Demonstrations((Trajectory(swing),)))
        >>> features(torch.tensor([[2.0, 6.0]]))
        tensor([[1., 2.]])
    """

    def __init__(self, options: FeatureOptions | None = None) -> None:
        self.options = options or FeatureOptions()
        self._observation_dim = 0
        self._columns = torch.zeros(0, dtype=torch.int64)
        self._mean = torch.zeros(0, dtype=torch.float64)
        self._scale = torch.ones(0, dtype=torch.float64)
        self._moved: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def observation_dim(self) -> int:
        """Width ``D`` of the observations that it was fitted on; 0 before :meth:`fit`."""
        return self._observation_dim

    @property
    def width(self) -> int:
        """Number of features ``F``; 0 before :meth:`fit`."""
        return len(self._columns)

    def fit(self, demonstrations: Demonstrations) -> StateFeatures:
        """Finds the chosen columns and measures their mean and spread; returns itself.

        Raises:
            InputError: The demonstrations are empty, ragged in width or not finite, or do not have the chosen
                keys or dims.
        """
        _check_usable(demonstrations)
        columns = _columns(self.options, demonstrations)
        states = np.concatenate([np.asarray(t.observations, np.float64)[:, columns] for t in demonstrations])
        spread = np.maximum(states.std(axis=0, ddof=1), self.options.std_floor)
        self._moved.clear()
        self._observation_dim = demonstrations.observation_dim
        self._columns = torch.tensor(columns)
        self._mean = torch.from_numpy(states.mean(axis=0))
        self._scale = torch.from_numpy(self.options.divisor * spread)
        return self

    def __call__(self, observations: Tensor) -> Tensor:
        """Features ``(..., F)`` of observations ``(..., D)``, in their dtype and on their device.

        Raises:
            InputError: It was never fitted, or ``D`` is not the width that it was fitted on.
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
            self._moved[like] = self._columns.to(like[0]), self._mean.to(*like), self._scale.to(*like)
        columns, mean, scale = self._moved[like]
        return (observations[..., columns] - mean) / scale

    def state_dict(self) -> dict[str, Any]:
        """Options and statistics, as tensors and plain values."""
        return {
            "options": asdict(self.options),
            "observation_dim": self._observation_dim,
            "columns": self._columns,
            "mean": self._mean,
            "scale": self._scale,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included."""
        self._moved.clear()
        self.options = FeatureOptions(**state["options"])
        self._observation_dim = int(state["observation_dim"])
        self._columns = state["columns"].cpu()
        self._mean = state["mean"].cpu()
        self._scale = state["scale"].cpu()


def _check_usable(demonstrations: Demonstrations) -> None:
    """Refuses demonstrations that no statistics can be taken of."""
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
        finite = np.isfinite(trajectory.observations)
        if not finite.all():
            step, dimension = np.argwhere(~finite)[0]
            raise InputError(
                f"{origin}, trajectory {index}, step {step}: dimension {dimension} is "
                f"{trajectory.observations[step, dimension]}; remove the trajectory or record it again."
            )


def _columns(options: FeatureOptions, demonstrations: Demonstrations) -> list[int]:
    """The columns of the flat observation that the options choose, in the options' order."""
    width = demonstrations.observation_dim
    outside = [dim for dim in options.dims if not 0 <= dim < width]
    if outside:
        raise InputError(
            f"dims names column {outside[0]}, and the observations have columns 0 to {width - 1}: choose among them."
        )
    if not options.keys:
        return list(options.dims) or list(range(width))

    blocks = demonstrations.provenance.observation_keys
    if not blocks:
        raise InputError(
            f"keys names {options.keys[0]!r}, and the demonstrations do not say what their {width} columns are "
            "called: choose columns with dims instead."
        )
    if sum(blocks.values()) != width:
        raise InputError(
            f"keys names {options.keys[0]!r}, and the demonstrations name keys of "
            f"{sum(blocks.values())} columns for observations of {width}: choose columns with dims instead."
        )
    ends = dict(zip(blocks, np.cumsum(list(blocks.values())).tolist(), strict=True))
    chosen: list[int] = []
    for key in options.keys:
        if key not in blocks:
            raise InputError(f"The demonstrations have no observation key {key!r}: {closest(key, blocks)}.")
        chosen.extend(range(ends[key] - blocks[key], ends[key]))
    stray = [dim for dim in options.dims if dim not in chosen]
    if stray:
        raise InputError(
            f"dims names column {stray[0]}, which is in none of the keys {', '.join(options.keys)}: add "
            "its key, or give dims alone."
        )
    return list(options.dims) or chosen
