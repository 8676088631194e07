"""What a reward is shown in place of states: the keypoints of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards.keypoints import KeypointFeatures, KeypointOptions
from ilfo.vision import EncodingPlan

__all__ = ["Sight", "frame_size_of"]


def frame_size_of(demonstrations: Demonstrations) -> tuple[int, int]:
    """Width and height in pixels of the frames of demonstrations that were opened with theirs."""
    frames = demonstrations[0].frames
    assert frames is not None
    return frames.shape[2], frames.shape[1]


class Sight:
    """Sees episodes: their keypoints become their observations, and their frames are dropped.

    It has to be made before anything is drawn, see :class:`~ilfo.rewards.keypoints.KeypointFeatures`.

    Args:
        options: How keypoints are found.
        frame_size: Width and height in pixels of all frames: the demonstrations' and the agent's.
        device: Where frames are encoded.

    Attributes:
        features: What finds them.
        frame_size: As given.

    Raises:
        InputError: A library that this takes is missing.
    """

    def __init__(
        self, options: KeypointOptions, frame_size: tuple[int, int], device: torch.device | str = "cpu"
    ) -> None:
        self.features, self.frame_size = KeypointFeatures(options, device), frame_size

    def fit(self, demonstrations: Demonstrations) -> Demonstrations:
        """Finds what is to be tracked, and returns the demonstrations as they are seen.

        Raises:
            InputError: The network cannot be had, or there is nothing to track.
        """
        seen = self.features.fit(demonstrations).see_demonstrations(demonstrations)
        return replace(seen, trajectories=tuple(map(_without_frames, seen)))

    def see(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Episodes ``(T+1, 3K)`` of keypoints.

        Raises:
            InputError: One has no frames.
        """
        return [_without_frames(each) for each in self.features.see_all(trajectories)]

    def plan(self, demonstrations: Demonstrations) -> EncodingPlan:
        """What seeing the demonstrations takes, measured on a few of their frames."""
        return self.features.plan(demonstrations)

    def state_dict(self) -> dict[str, Any]:
        """All that seeing takes, as tensors and plain values."""
        return {"frame_size": list(self.frame_size), "keypoints": self.features.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        width, height = state["frame_size"]
        self.frame_size = width, height
        self.features.load_state_dict(state["keypoints"])


def _without_frames(trajectory: Trajectory) -> Trajectory:
    return replace(trajectory, frames=None)
