"""What a run starts from: its environment, its demonstrations and its reward, and what is seen of all that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ilfo._tools.devices import check_device
from ilfo.demos import Demonstrations
from ilfo.envs import describe
from ilfo.rewards.sight import Sight, View, frame_size_of
from ilfo.training.configs import TrainConfig
from ilfo.training.parts import make_reward, make_sight, make_view, open_demonstrations

__all__ = ["Sources"]


class Sources:
    """What a run starts from, before there is anything that learns. It serves one run, which fits its reward.

    Where keypoints are seen, these are found (:meth:`find_keypoints`) or restored (:meth:`restore_keypoints`). If the
    policy sees them too, that comes before an :class:`~ilfo.training.Imitation` is made: only then is it known how wide
    the policy's inputs are.

    Args:
        config: The resolved configuration.
        fitted: What a checkpoint of one seed holds; keypoints are then restored from it, and the demonstrations are not
            opened. None: they are opened.

    Attributes:
        config: As given.
        device: Where networks learn and frames are encoded.
        environment: What the environment is like.
        demonstrations: What is imitated; None if nothing is, or if they are not opened.
        demo_sha256: SHA-256 of the demonstrations' data.
        expert_return: Their mean return, where it was recorded.
        reward: The reward generator, not fitted yet.
        sight: What the reward sees in place of states; None: the states.
        view: What the policy is shown in place of states; None: the states.

    Raises:
        InputError: The demonstrations cannot be read or do not fit the environment, or a part cannot be made.
    """

    def __init__(self, config: TrainConfig, fitted: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.device = torch.device(config.device)
        check_device(self.device)
        self.environment = found = describe(config.env)
        self.demonstrations, self.demo_sha256 = None, None
        if fitted is None and config.demo is not None:
            self.demonstrations, self.demo_sha256 = open_demonstrations(
                config, found.provenance, found.low, found.high, found.horizon
            )
        self.expert_return = self.demonstrations.expert_return if self.demonstrations else None
        self.reward = make_reward(config)
        self.sight: Sight | None = make_sight(config, self._frame_size(fitted))
        self.view: View | None = make_view(config, found.provenance, self.sight)
        if fitted is not None:
            self.restore_keypoints(fitted)

    def _frame_size(self, fitted: Mapping[str, Any] | None) -> tuple[int, int] | None:
        if self.config.sees == "states":
            return None
        if fitted is not None:
            width, height = fitted["sight"]["frame_size"]
            return width, height
        return None if self.demonstrations is None else frame_size_of(self.demonstrations)

    def find_keypoints(self, doing: Callable[[str], object] | None = None) -> Demonstrations | None:
        """The demonstrations as the reward sees them: where it sees keypoints, what to track is found first.

        Args:
            doing: Told what encoding frames takes, see :meth:`ilfo.rewards.sight.Sight.fit`.

        Raises:
            InputError: The network cannot be loaded, or there is nothing to track.
        """
        if self.demonstrations is None or self.sight is None:
            return self.demonstrations
        return self.sight.fit(self.demonstrations, doing)

    def restore_keypoints(self, fitted: Mapping[str, Any]) -> None:
        """Restores, from what a checkpoint of one seed holds, what :meth:`find_keypoints` found for it."""
        if self.sight is not None:
            self.sight.load_state_dict(fitted["sight"])
