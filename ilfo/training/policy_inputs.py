"""What the policy sees of an observation: chosen columns, standardised, and the time that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.demos.trajectory import spans_of
from ilfo.rewards import ColumnOptions, FeatureOptions, StateFeatures

__all__ = ["Normalization", "PolicyInputs", "columns_of"]

Normalization = Literal["expert", "expert-and-random", "random", "none"]
"""``expert``: by mean and standard deviation of the expert's states. ``expert-and-random``: by the mean of the states
of the random steps, and the standard deviation of these and the expert's in equal parts, as in OOPS (arXiv 2310.01632);
they are known once the random steps are over, and ``constant_std`` and ``leave_out`` do not apply to them.
``random``: the same without the expert's. ``none``: raw."""


class PolicyInputs:
    """Maps observations ``(..., D)`` to what the policy and the critics are shown, ``(..., F)`` or ``(..., F+1)``.

    The last column, where the policy is shown the time, is the share of the horizon that is left: 1 at the first
    step, ``1 / horizon`` at the last, 0 after it. It follows the observation, already in the replay.

    Args:
        observation_dim: Width ``D`` of an observation.
        columns: The ``F`` columns of it that are shown.
        normalization: How they are standardised.
        options: Floor and divisor of the standard deviation.
        horizon: The time limit in steps, where the time is shown; else None.
        stack: Leading dimensions of the observations of several seeds, ``(S,)``; none for one.

    Attributes:
        observation_dim: As given.
        normalization: As given.
        horizon: As given.
    """

    def __init__(
        self,
        observation_dim: int,
        columns: Sequence[int],
        normalization: Normalization,
        options: ColumnOptions,
        horizon: int | None = None,
        stack: tuple[int, ...] = (),
    ) -> None:
        self.normalization, self._options, self.horizon = normalization, options, horizon
        self.observation_dim, self._columns = observation_dim, torch.tensor(list(columns))
        width = len(self._columns) + (horizon is not None)
        # One row for each seed; columns that are not standardised keep 0 and 1.
        self._means = [torch.zeros(width, dtype=torch.float64) for _ in range(stack[0] if stack else 1)]
        self._scales = [torch.ones(width, dtype=torch.float64) for _ in self._means]
        self._stack, self._fitted = stack, False
        self._chooses = list(columns) != list(range(observation_dim))
        self._moved: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def width(self) -> int:
        """Columns that the policy is shown."""
        return len(self._means[0])

    @property
    def fitted(self) -> bool:
        """Whether it knows its statistics, or needs none."""
        return self.normalization == "none" or self._fitted

    def fit(self, expert: Demonstrations) -> None:
        """Computes the statistics of the expert's states."""
        fitted = StateFeatures(FeatureOptions(**asdict(self._options) | {"dims": ()})).fit(expert).state_dict()
        mean, scale = fitted["mean"][self._columns], fitted["scale"][self._columns]
        for member in range(len(self._means)):
            self._set(member, mean, scale)

    def fit_mixture(self, expert: Demonstrations | None, visited: Sequence[Tensor]) -> None:
        """Computes, for each seed, the statistics of the expert's states and of those that its random actions led to.

        Args:
            expert: The demonstrations; None: the random states alone count.
            visited: For each seed, states ``(N, D)``.
        """
        known = []
        if expert is not None:
            shown = np.concatenate([trajectory.observations for trajectory in expert])
            known = [torch.from_numpy(shown).double()[:, self._columns]]
        for member, states in enumerate(visited):
            parts = [states.cpu()[:, self._columns].double(), *known]
            # A run without random steps may have a single state, which does not vary.
            variances = [part.var(dim=0, correction=min(1, len(part) - 1)) for part in parts]
            means = [part.mean(dim=0) for part in parts]
            # The variance of sets in equal parts: the mean of the variances plus the variance of the means.
            spread = (torch.stack(variances).mean(dim=0) + torch.stack(means).var(dim=0, correction=0)).sqrt()
            self._set(member, means[0], self._options.divisor * spread.clamp(min=self._options.std_floor))

    def _set(self, member: int, mean: Tensor, scale: Tensor) -> None:
        self._means[member][: len(mean)] = mean
        self._scales[member][: len(scale)] = scale
        self._moved, self._fitted = None, True

    def with_time(self, observations: Tensor, ages: Tensor | np.ndarray) -> Tensor:
        """Observations ``(N, D)`` and, where the time is shown, its column: ``(N, D+1)``.

        Args:
            observations: Raw.
            ages: ``(N,)`` steps since the episode began.
        """
        if self.horizon is None:
            return observations
        left = 1 - torch.as_tensor(ages, device=observations.device).to(observations.dtype) / self.horizon
        return torch.cat([observations, left[:, None]], dim=1)

    def __call__(self, observations: Tensor, member: int | None = None) -> Tensor:
        """What is shown of observations ``(*stack, N, D)``, which the time follows where it is shown.

        Args:
            observations: Those of all seeds, or ``(N, D)`` of one.
            member: Index of that one.
        """
        if self._moved is None or self._moved[0].device != observations.device:
            columns = self._columns
            if self.horizon is not None:
                columns = torch.cat([columns, torch.tensor([self.observation_dim])])
            statistics = [torch.stack(rows).float().to(observations.device) for rows in (self._means, self._scales)]
            mean, scale = (rows[:, None] for rows in statistics)
            self._moved = columns.to(observations.device), mean, scale
        columns, mean, scale = self._moved
        if member is not None or not self._stack:
            mean, scale = mean[member or 0], scale[member or 0]
        if self._chooses:
            observations = observations[..., columns]
        if self.normalization == "none":
            return observations
        return (observations - mean) / scale

    def state_dicts(self) -> list[dict[str, Any]]:
        """The statistics of every seed, as if it had been trained alone."""
        pairs = zip(self._means, self._scales, strict=True)
        return [{"mean": mean, "scale": scale, "fitted": self._fitted} for mean, scale in pairs]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Restores what :meth:`state_dicts` returned."""
        for member, state in enumerate(states):
            self._set(member, state["mean"], state["scale"])
            self._fitted = state["fitted"]


def columns_of(keys: Sequence[str], dims: Sequence[int], blocks: dict[str, int]) -> list[int]:
    """The columns of the flat observation that the policy is shown; all of them where nothing is chosen.

    Args:
        keys: Names of the chosen parts; empty: all.
        dims: The chosen columns among them; empty: all.
        blocks: Name and width of every part, in order.

    Raises:
        InputError: There is no part of that name, or no such column in the chosen parts; or a part is named twice.
    """
    spans = spans_of(blocks)
    for key in keys:
        if key not in spans:
            raise InputError(f"--policy-keys names {key!r}; the environment's observations have {', '.join(blocks)}")
        if list(keys).count(key) > 1:
            raise InputError(f"--policy-keys names {key!r} more than once; give each once")
    columns = [column for key in keys or blocks for column in spans[key]]
    for dim in dims:
        if dim not in columns:
            raise InputError(
                f"--policy-features.dims names column {dim}; the policy chooses among the columns "
                f"{', '.join(map(str, columns))}"
            )
    return list(dims) or columns
