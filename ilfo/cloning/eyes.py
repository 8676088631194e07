"""What a cloned policy sees: states, keypoints of frames, or frames as they are. All else is the same for the three."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from ilfo._tools.checks import check_at_least
from ilfo.cloning.networks import FrameEncoder
from ilfo.demos import Demonstrations
from ilfo.rewards.keypoints import KeypointFeatures, KeypointOptions
from ilfo.rewards.sight import NOWHERE

__all__ = ["EYES", "Eye", "KeypointEye", "PixelEye", "PixelOptions", "Sees", "StateEye"]

Sees = Literal["states", "keypoints", "pixels"]


@dataclass(frozen=True)
class PixelOptions:
    """How a policy learns from frames as they are."""

    shift: int = 4
    """Pixels by which frames are shifted at random while training, in each direction; 0: none."""
    points: int = 32
    """Positions that the convolutional network makes of a frame."""

    def __post_init__(self) -> None:
        check_at_least(self, 0, "shift")
        check_at_least(self, 1, "points")


class Eye(ABC):
    """Turns states and frames into the input of a policy's network.

    Args:
        options: An instance of the class's ``Options``; None for the defaults.
        device: Where frames are encoded, if anything is.

    Attributes:
        Options: Dataclass of what can be chosen, or None; its fields become flags.
        takes_frames: Whether it looks at frames; else nothing has to be drawn.
    """

    Options: ClassVar[type | None] = None
    takes_frames: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, options: Any = None, device: torch.device | str = "cpu") -> None: ...

    @abstractmethod
    def study(
        self, demonstrations: Demonstrations, doing: Callable[[str], object] = lambda what: None
    ) -> list[np.ndarray]:
        """Learns what to look for, and returns what it sees: ``(T+1, ..., C)`` of each trajectory.

        Args:
            demonstrations: With frames, where it takes some.
            doing: Called with what takes long, before it is done.

        Raises:
            InputError: There is nothing that it could learn.
        """

    @abstractmethod
    def look(self, observations: np.ndarray, frames: np.ndarray | None, ages: np.ndarray) -> np.ndarray:
        """What it sees of ``N`` episodes under way, ``(N, ..., C)``, one row each, in the same rows every time.

        Args:
            observations: ``(N, D)``.
            frames: ``(N, H, W, 3)`` uint8, where it takes some.
            ages: ``(N,)`` steps since the episodes began; 0 starts one.
        """

    @property
    @abstractmethod
    def columns(self) -> int:
        """The last dimension ``C`` of what it sees; known after :meth:`study` or :meth:`load_state_dict`."""

    def encoder(self) -> tuple[nn.Module, int]:
        """A fresh network that encodes what is seen, standardised, and the width ``F`` of its output ``(N, F)``."""
        return nn.Identity(), self.columns

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that seeing takes, as tensors and plain values."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""


class StateEye(Eye):
    """Sees the state: the reference for those that have to find it in frames."""

    takes_frames = False

    def __init__(self, options: None = None, device: torch.device | str = "cpu") -> None:
        self._columns = 0

    def study(
        self, demonstrations: Demonstrations, doing: Callable[[str], object] = lambda what: None
    ) -> list[np.ndarray]:
        """The states ``(T+1, D)``."""
        self._columns = demonstrations.observation_dim
        return [each.observations for each in demonstrations]

    def look(self, observations: np.ndarray, frames: np.ndarray | None, ages: np.ndarray) -> np.ndarray:
        """The states ``(N, D)``."""
        return observations

    @property
    def columns(self) -> int:
        """Width ``D``."""
        return self._columns

    def state_dict(self) -> dict[str, Any]:
        """The width."""
        return {"columns": self._columns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores it."""
        self._columns = state["columns"]


class KeypointEye(Eye):
    """Sees the position and visibility of each concept, ``(N, 3K)``, followed through every episode.

    Frames of all episodes under way go through the backbone as one batch. Step by step it sees what
    :class:`~ilfo.rewards.keypoints.KeypointFeatures` sees of whole episodes.

    Raises:
        InputError: A library that this takes is missing.
    """

    Options = KeypointOptions

    def __init__(self, options: KeypointOptions | None = None, device: torch.device | str = "cpu") -> None:
        self.features = KeypointFeatures(options, device)
        self._last: np.ndarray | None = None

    def study(
        self, demonstrations: Demonstrations, doing: Callable[[str], object] = lambda what: None
    ) -> list[np.ndarray]:
        """Finds the concepts, and returns keypoints ``(T+1, 3K)``."""
        doing(f"seeing {self.features.plan(demonstrations)}")
        seen = self.features.fit(demonstrations).see_demonstrations(demonstrations)
        return [each.observations for each in seen]

    def look(self, observations: np.ndarray, frames: np.ndarray | None, ages: np.ndarray) -> np.ndarray:
        """Keypoints ``(N, 3K)``."""
        assert frames is not None
        if self._last is None or len(self._last) != len(frames):
            self._last = np.full((len(frames), len(self.features.concepts)), NOWHERE, np.int64)
        points, self._last = self.features.follow(frames, np.where(ages[:, None] > 0, self._last, NOWHERE))
        return points

    @property
    def columns(self) -> int:
        """``3K``."""
        return self.features.width

    def state_dict(self) -> dict[str, Any]:
        """Options and concepts."""
        return self.features.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores them."""
        self.features.load_state_dict(state)


class PixelEye(Eye):
    """Sees frames as they are, ``(N, H, W, 3)``; a network of its own learns what is to be seen in them."""

    Options = PixelOptions

    def __init__(self, options: PixelOptions | None = None, device: torch.device | str = "cpu") -> None:
        self.options = options or PixelOptions()

    def study(
        self, demonstrations: Demonstrations, doing: Callable[[str], object] = lambda what: None
    ) -> list[np.ndarray]:
        """The frames ``(T+1, H, W, 3)``, those of a file still in it."""
        frames: list[Any] = [each.frames for each in demonstrations]
        return frames

    def look(self, observations: np.ndarray, frames: np.ndarray | None, ages: np.ndarray) -> np.ndarray:
        """The frames ``(N, H, W, 3)``."""
        assert frames is not None
        return frames

    @property
    def columns(self) -> int:
        """Colours."""
        return 3

    def encoder(self) -> tuple[nn.Module, int]:
        """Convolutions and a spatial soft-argmax."""
        return FrameEncoder(self.options.points, self.options.shift), 2 * self.options.points

    def state_dict(self) -> dict[str, Any]:
        """The options."""
        return asdict(self.options)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores them."""
        self.options = PixelOptions(**state)


EYES: dict[Sees, type[Eye]] = {"states": StateEye, "keypoints": KeypointEye, "pixels": PixelEye}
"""By the names that ``--sees`` takes."""
