"""A cloned policy: an eye, a network, and how both play episodes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import torch

from ilfo.cloning.eyes import EYES, Eye, Sees
from ilfo.cloning.networks import PolicyNetwork
from ilfo.demos import Trajectory
from ilfo.envs import Protocol
from ilfo.envs.copies import Copies
from ilfo.envs.rollouts import COPIES
from ilfo.runs import read_checkpoint, read_config

__all__ = ["ClonedPolicy", "is_clone", "load_clone", "play", "play_each"]

VERB = "clone"
"""What ``verb`` is in the configuration of a cloned run."""


class ClonedPolicy:
    """Acts on what it sees, without noise.

    Args:
        sees: What it sees, as ``--sees`` names it.
        eye: Turns that into network input; :meth:`make_network` comes once the eye knows what to look for.
        own: Columns of the state that it is given as well.
        action_dim: Width ``A`` of an action.
        hidden_dim: Units of each hidden layer.
        frame_size: Width and height of the frames that it was made on; None: it takes none.
        device: Where it computes.

    Attributes:
        sees: As given.
        eye: As given.
        network: None before :meth:`make_network`.
        own: As given.
        action_dim: As given.
        hidden_dim: As given.
        frame_size: As given.
    """

    def __init__(
        self,
        sees: Sees,
        eye: Eye,
        own: Sequence[int],
        action_dim: int,
        hidden_dim: int,
        frame_size: tuple[int, int] | None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.sees, self.eye, self.own, self.frame_size = sees, eye, list(own), frame_size
        self.network: PolicyNetwork | None = None
        self.action_dim, self.hidden_dim = action_dim, hidden_dim
        self._device = torch.device(device)

    def make_network(self) -> PolicyNetwork:
        """A fresh network for what the eye sees, with weights of PyTorch's global generator."""
        encoder, width = self.eye.encoder()
        network = PolicyNetwork(encoder, self.eye.columns, width, len(self.own), self.action_dim, self.hidden_dim)
        self.network = network.to(self._device)
        return self.network

    def act(self, observations: np.ndarray, frames: np.ndarray | None, ages: np.ndarray) -> np.ndarray:
        """Actions ``(N, A)`` float32 in [-1, 1] for episodes under way; see :meth:`~ilfo.cloning.eyes.Eye.look`."""
        assert self.network is not None
        seen = np.ascontiguousarray(self.eye.look(observations, frames, ages))
        own = np.ascontiguousarray(observations[:, self.own])
        self.network.eval()
        with torch.inference_mode():
            shown = (torch.from_numpy(each).to(self._device) for each in (seen, own))
            actions: np.ndarray = self.network(*shown).cpu().numpy()
        return actions

    def state_dict(self) -> dict[str, Any]:
        """All that playing takes, as tensors and plain values."""
        assert self.network is not None
        return {
            "sees": self.sees,
            "eye": self.eye.state_dict(),
            "own": self.own,
            "action_dim": self.action_dim,
            "hidden_dim": self.hidden_dim,
            "frame_size": None if self.frame_size is None else list(self.frame_size),
            "network": {name: value.cpu() for name, value in self.network.state_dict().items()},
        }

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], device: torch.device | str = "cpu", options: Mapping[str, Any] | None = None
    ) -> ClonedPolicy:
        """The policy that :meth:`state_dict` was taken of.

        Args:
            state: What it returned.
            device: Where the policy computes.
            options: Of its eye, as plain values: the state's, but for those that may change.

        Raises:
            InputError: A library that it takes is missing.
        """
        kind = EYES[state["sees"]]
        eye = kind(kind.Options(**options) if options and kind.Options else None, device)
        eye.load_state_dict(state["eye"])
        size = state["frame_size"]
        policy = cls(
            state["sees"],
            eye,
            state["own"],
            state["action_dim"],
            state["hidden_dim"],
            None if size is None else (size[0], size[1]),
            device,
        )
        policy.make_network().load_state_dict(state["network"])
        return policy


def is_clone(folder: str | os.PathLike[str]) -> bool:
    """Whether a run was cloned, by its ``config.json``.

    Raises:
        InputError: The folder is not a run.
    """
    return read_config(folder)["config"].get("verb") == VERB


def load_clone(folder: str | os.PathLike[str]) -> ClonedPolicy:
    """The policy of a cloned run, on its device where that is there.

    Raises:
        InputError: It has not learned yet.
    """
    config = read_config(folder)["config"]
    device = config["device"] if torch.cuda.is_available() else "cpu"
    return ClonedPolicy.from_state_dict(read_checkpoint(folder), device, config.get(config["sees"]))


def play(
    policy: ClonedPolicy, env_id: str, episodes: int, *, protocol: Protocol = "standard", seed: int = 0
) -> list[Trajectory]:
    """Plays whole episodes: those that :func:`ilfo.envs.rollouts.rollout` plays.

    Args:
        policy: What acts. It sees the frames of all copies at once.
        env_id: Gymnasium id; with a variant's name it may look otherwise.
        episodes: How many.
        protocol: How they end.
        seed: Of their initial states.

    Returns:
        The episodes, without their frames.

    Raises:
        InputError: See :func:`ilfo.envs.make_env`.
        RenderError: The policy takes frames, and nothing can be drawn here.
    """
    count = min(COPIES, episodes)
    quotas = [len(range(copy, episodes, count)) for copy in range(count)]
    played = _play([env_id] * count, range(count), quotas, policy, protocol, seed)
    return [played[index % count][index // count] for index in range(episodes)]


def play_each(
    policy: ClonedPolicy,
    env_ids: Sequence[str],
    *,
    protocol: Protocol = "standard",
    seed: int = 0,
    stop_after_success: int | None = None,
) -> list[Trajectory]:
    """Plays an episode in each environment: the first of the copy of that number, so that a seed gives the same starts.

    Args:
        policy: What acts.
        env_ids: One environment in many looks.
        protocol: How episodes end.
        seed: Of their initial states.
        stop_after_success: Steps that an episode goes on after its first success; None: to its end.

    Raises:
        InputError: See :func:`ilfo.envs.make_env`.
        RenderError: The policy takes frames, and nothing can be drawn here.
    """
    played = []
    for start in range(0, len(env_ids), COPIES):
        ids = env_ids[start : start + COPIES]
        numbers = range(start, start + len(ids))
        played += _play(ids, numbers, [1] * len(ids), policy, protocol, seed, stop_after_success)
    return [episode for (episode,) in played]


def _play(
    env_ids: Sequence[str],
    numbers: Sequence[int],
    quotas: Sequence[int],
    policy: ClonedPolicy,
    protocol: Protocol,
    seed: int,
    stop_after_success: int | None = None,
) -> list[list[Trajectory]]:
    """Episodes of copies, as many of each as its quota says, in lockstep.

    Args:
        env_ids: The environment of each copy.
        numbers: Its number among the copies of the seed: with that, it decides the seeds of its episodes.
        quotas: How many episodes it plays.
        policy: What acts.
        protocol: How episodes end.
        seed: That all seeds come from.
        stop_after_success: Steps that an episode goes on after its first success; None: to its end.
    """
    played: list[list[Trajectory]] = [[] for _ in env_ids]
    with ExitStack() as stack:
        rooms = []
        for env_id, number, quota in zip(env_ids, numbers, quotas, strict=True):
            room = stack.enter_context(closing(Copies()))
            room.make(env_id, protocol, [(seed, number)], policy.frame_size, False, stop_after_success)
            room.rest_after([quota])
            rooms.append(room)
        ages = np.zeros(len(rooms), np.int64)
        while any(len(done) < quota for done, quota in zip(played, quotas, strict=True)):
            observations = np.concatenate([room.observations() for room in rooms])
            frames = None if policy.frame_size is None else np.concatenate([room.frames() for room in rooms])
            actions = policy.act(observations, frames, ages)
            ages += 1
            for index, room in enumerate(rooms):
                for _, episode in room.step(actions[index : index + 1]).finished:
                    played[index].append(episode)
                    ages[index] = 0
    return played
