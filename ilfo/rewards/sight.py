"""What a reward or a policy sees in place of states: the keypoints of frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ilfo._tools.words import counted
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards.keypoints import KeypointFeatures, KeypointOptions
from ilfo.vision import EncodingPlan

__all__ = ["NOWHERE", "KeypointTracker", "Sight", "View", "frame_size_of"]

NOWHERE = -1
"""Stands for the previous patch of a concept in an episode that begins."""


def frame_size_of(demonstrations: Demonstrations) -> tuple[int, int]:
    """Width and height in pixels of the frames of demonstrations that were opened with frames."""
    frames = demonstrations[0].frames
    assert frames is not None
    return frames.shape[2], frames.shape[1]


class Sight:
    """Turns frames into keypoints: these become an episode's observations, and its frames are dropped.

    It has to be made before anything is rendered, see :class:`~ilfo.rewards.keypoints.KeypointFeatures`.

    Args:
        options: How keypoints are found.
        frame_size: Width and height in pixels of all frames: the demonstrations' and the agent's.
        device: Where frames are encoded.

    Attributes:
        features: Finds the keypoints.
        frame_size: As given.

    Raises:
        InputError: A library that this needs is missing.
    """

    def __init__(
        self, options: KeypointOptions, frame_size: tuple[int, int], device: torch.device | str = "cpu"
    ) -> None:
        self.features, self.frame_size = KeypointFeatures(options, device), frame_size

    def fit(self, demonstrations: Demonstrations, doing: Callable[[str], object] | None = None) -> Demonstrations:
        """Finds what to track, and returns the demonstrations as keypoints.

        Args:
            demonstrations: With frames.
            doing: Told what encoding takes, before it starts, and then what was found.

        Raises:
            InputError: The network cannot be loaded, or there is nothing to track.
        """
        if doing is not None:
            doing(f"seeing {self.plan(demonstrations)}")
        self.features.fit(demonstrations)
        seen = self.see_demonstrations(demonstrations)
        if doing is not None:
            doing(f"{counted(len(self.features.concepts), 'concept')} found")
        return seen

    def see_demonstrations(self, demonstrations: Demonstrations) -> Demonstrations:
        """Demonstrations ``(T+1, 3K)`` of keypoints.

        Raises:
            InputError: One has no frames.
        """
        seen = self.features.see_demonstrations(demonstrations)
        return replace(seen, trajectories=tuple(map(_without_frames, seen)))

    def see(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Episodes ``(T+1, 3K)`` of keypoints.

        Raises:
            InputError: One has no frames.
        """
        return [_without_frames(each) for each in self.features.see_all(trajectories)]

    def plan(self, demonstrations: Demonstrations) -> EncodingPlan:
        """The memory and time that :meth:`fit` takes, measured on a few of the demonstrations' frames."""
        return self.features.plan(demonstrations)

    def state_dict(self) -> dict[str, Any]:
        """The frame size and the keypoints' state, as tensors and plain values."""
        return {"frame_size": list(self.frame_size), "keypoints": self.features.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        width, height = state["frame_size"]
        self.frame_size = width, height
        self.features.load_state_dict(state["keypoints"])


class View:
    """What a policy is shown: the keypoints of the newest frame, followed by chosen columns of the state.

    Args:
        sight: Fitted or restored before anything is shown.
        columns: Of the state ``(D,)``; none: the policy sees only the keypoints.

    Attributes:
        sight: As given.
        columns: As given.
    """

    def __init__(self, sight: Sight, columns: Sequence[int] = ()) -> None:
        self.sight, self.columns = sight, tuple(columns)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height in pixels of the frames that it takes."""
        return self.sight.frame_size

    @property
    def width(self) -> int:
        """Numbers that are shown: ``3K + C``."""
        return self.sight.features.width + len(self.columns)

    def tracker(self, rows: int) -> KeypointTracker:
        """Follows the episodes of ``rows`` copies of an environment."""
        return KeypointTracker(self, rows)

    def shown(self, keypoints: np.ndarray, states: np.ndarray) -> np.ndarray:
        """``(N, 3K + C)`` float32 of keypoints ``(N, 3K)`` and states ``(N, D)``."""
        return np.concatenate([keypoints, states[:, list(self.columns)]], axis=1)

    def of_demonstrations(self, seen: Demonstrations, states: Demonstrations) -> Demonstrations:
        """Demonstrations as a policy would have been shown them.

        Args:
            seen: As :attr:`sight` sees them.
            states: The same ones, as they were opened.
        """
        pairs = zip(seen, states, strict=True)
        shown = [replace(one, observations=self.shown(one.observations, other.observations)) for one, other in pairs]
        return replace(seen, trajectories=tuple(shown))

    def keypoints(self, shown: Any) -> Any:
        """The keypoints ``(..., 3K)`` of what was shown, ``(..., 3K + C)``: an array or a tensor."""
        return shown[..., : self.sight.features.width]


class KeypointTracker:
    """Follows the episodes under way in many copies of an environment, frame by frame.

    Args:
        view: What is shown of them.
        rows: Number of copies ``M``.
    """

    def __init__(self, view: View, rows: int) -> None:
        self._view = view
        self._last = np.full((rows, len(view.sight.features.concepts)), NOWHERE, np.int64)
        self._shown: list[list[np.ndarray]] = [[] for _ in range(rows)]

    def begin(self, states: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """What is shown, ``(M, 3K + C)``, where the episodes of all copies begin.

        Args:
            states: ``(M, D)``.
            frames: ``(M, H, W, 3)`` uint8.
        """
        points, self._last = self._view.sight.features.follow(frames, np.full_like(self._last, NOWHERE))
        shown = self._view.shown(points, states)
        self._shown = [[row] for row in shown]
        return shown

    def step(
        self, after: np.ndarray, now: np.ndarray, frames: np.ndarray, ended: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
        """What a step of all copies shows.

        Args:
            after: States ``(M, D)`` after it; of an episode that ended, its last.
            now: The same, but where an episode ended, the first state of the next.
            frames: ``(M + E, H, W, 3)`` uint8: those of ``after``, and of ``now`` in the rows that ended.
            ended: These ``E`` rows.

        Returns:
            ``(M, 3K + C)`` for ``after`` and for ``now``, and for each episode that ended, all that was shown of it,
            ``(T+1, 3K + C)``.
        """
        rows, ended = len(after), list(ended)
        nowhere = np.full((len(ended), self._last.shape[1]), NOWHERE, np.int64)
        points, peaks = self._view.sight.features.follow(frames, np.concatenate([self._last, nowhere]))
        shown_after = self._view.shown(points[:rows], after)
        for own, row in zip(self._shown, shown_after, strict=True):
            own.append(row)
        whole = tuple(np.array(self._shown[row]) for row in ended)
        shown_now, self._last = shown_after.copy(), peaks[:rows]
        shown_now[ended] = self._view.shown(points[rows:], now[ended])
        self._last[ended] = peaks[rows:]
        for row in ended:
            self._shown[row] = [shown_now[row]]
        return shown_after, shown_now, whole

    def state_of(self, rows: slice) -> dict[str, Any]:
        """For some copies, all that was shown of their episodes, and where the concepts were last."""
        shown = [torch.from_numpy(np.array(own)) for own in self._shown[rows]]
        return {"rows": shown, "last": torch.from_numpy(self._last[rows].copy())}

    def load_states(self, states: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Restores all copies from what :meth:`state_of` returned of parts of them; returns what is shown now."""
        self._last = np.concatenate([state["last"].numpy() for state in states])
        self._shown = [list(own.numpy()) for state in states for own in state["rows"]]
        return np.array([own[-1] for own in self._shown])


def _without_frames(trajectory: Trajectory) -> Trajectory:
    return replace(trajectory, frames=None)
