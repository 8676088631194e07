"""The contract of an agent: act, update on a batch, save and load."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

__all__ = ["Agent", "Batch"]


@dataclass(frozen=True)
class Batch:
    """Transitions that an agent learns from, all on its device.

    With many agents at once, every tensor has an additional first dimension, ``(S, B, D)`` and so on.

    Attributes:
        observations: ``(B, D)`` float32, raw, as the replay holds them. :meth:`Agent.update` gets ``(B, F)``: the
            policy's columns, standardised; next_observations likewise.
        actions: ``(B, A)`` float32 in [-1, 1].
        rewards: ``(B,)`` float32, the imitation reward. At a termination it includes the value of the absorbing state
            that follows, which can be ``1 / (1 - discount)`` times as large as the reward of a step.
        next_observations: ``(B, D)`` float32.
        terminated: ``(B,)`` float32, 1 where nothing follows the next observation. A time limit is not an end, unless
            the policy is shown the time.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor

    def of_seed(self, index: int) -> Batch:
        """The part that belongs to one agent of many."""
        return Batch(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


class Agent(ABC):
    """An off-policy learner. Its actions lie in [-1, 1]; it never sees the environment's reward.

    Args:
        observation_dim: Width ``D`` of an observation.
        action_dim: Width ``A`` of an action.
        options: An instance of the class's ``Options``, or None for the defaults.
        device: Where networks and batches live.
        seed: Seed of the initial weights and of every random draw.

    Attributes:
        Options: Dataclass of the agent's hyper-parameters; its fields become flags.
        stacks: Whether ``seed`` may be a sequence of S seeds. The object is then S agents at once, whose tensors,
            including its state's, have an additional first dimension S. If not, agents are updated in turn.
        compiles: Whether the constructor takes ``compile=True``.
        takes_horizon: Whether the constructor takes ``horizon``, the time limit in steps, given where the last column
            of an observation is the share of it that is left.
        batch_size: Transitions that an update takes.
        discount: Discount factor of future rewards, per step.
        refresh_priorities_every: 0: batches are drawn uniformly. ``N``: in proportion to the priorities that the agent
            leaves in ``priorities`` at every update; a transition that was never drawn gets the largest one, which is
            measured anew every ``N`` updates.
        priorities: ``(B,)``, those of the last batch, detached. Only where batches are drawn by them.
        trains_between_episodes: The policy is fixed during an episode. After it, the loop asks :meth:`end_episode`
            how many updates to make, instead of making one per step. With several copies of an environment, the others
            are then in the middle of an episode, and go on with the updated policy.
        plays_best: Without exploration it acts with a checkpoint, the policy of the best return so far; see
            :meth:`end_episode` for which.
    """

    Options: ClassVar[type | None] = None
    stacks: ClassVar[bool] = False
    compiles: ClassVar[bool] = False
    takes_horizon: ClassVar[bool] = False
    batch_size: int = 256
    discount: float = 0.99
    refresh_priorities_every: int = 0
    priorities: Tensor
    trains_between_episodes: bool = False
    plays_best: bool = False

    @classmethod
    def can_stack(cls, options: Any) -> bool:
        """Whether ``seed`` may be a sequence under these options."""
        return cls.stacks

    @abstractmethod
    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        options: Any = None,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None: ...

    @abstractmethod
    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """Actions ``(B, A)`` in [-1, 1] for observations ``(B, D)``; with exploration noise if ``explore``."""

    @abstractmethod
    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One learning step. Returns metrics as detached tensors, still on the device: scalars, or ``(S,)`` each."""

    def end_episode(self, return_to_limit: float, steps: int) -> int:
        """Records an episode of the training policy, and returns how many updates are due.

        Args:
            return_to_limit: The sum of its imitation rewards over its steps and, under absorbing states, over the
                steps that a terminated episode would have had until the time limit.
            steps: Its length.

        Raises:
            NotImplementedError: The agent does not train between episodes.
        """
        raise NotImplementedError(f"{type(self).__name__} trains at every step")

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that later steps depend on: networks, optimisers, counters, random states."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned; training then goes on bit for bit on CPU."""
