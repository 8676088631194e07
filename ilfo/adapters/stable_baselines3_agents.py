"""Stable-Baselines3's algorithms as agents: their networks and their updates, in ilfo's loop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.checks import check_at_least, check_not_negative, check_positive, check_share
from ilfo._tools.errors import InputError
from ilfo.agents import Agent, Batch

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

__all__ = ["SB3SAC", "SB3TD3", "SB3Options"]


@dataclass(frozen=True)
class SB3Options:
    """Hyper-parameters of a Stable-Baselines3 algorithm; the defaults are that library's own."""

    learning_rate: float | None = None
    """Step size of Adam on all networks; None: 3e-4 for SAC and 1e-3 for TD3."""
    batch_size: int = 256
    """Transitions per update."""
    discount: float = 0.99
    """Discount factor of future rewards, per step."""
    tau: float = 0.005
    """Share of the online weights that enters the targets at an update of theirs."""
    hidden_dims: tuple[int, ...] = ()
    """Units of the hidden layers of every network; empty: 256-256 for SAC and 400-300 for TD3."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on TD3's actions while training; SAC draws its actions."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "batch_size")
        if any(width < 1 for width in self.hidden_dims):
            raise InputError(f"hidden_dims is {self.hidden_dims}: every layer needs at least 1 unit.")
        check_positive(self, "learning_rate")
        check_not_negative(self, "exploration_noise")
        check_share(self, "discount", "tau")


class _Handed:
    """In the place of a replay buffer: hands over the batch that it was given."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def sample(self, batch_size: int, env: Any = None) -> Any:
        from stable_baselines3.common.type_aliases import ReplayBufferSamples

        batch = self._batch
        return ReplayBufferSamples(
            observations=batch.observations,
            actions=batch.actions,
            next_observations=batch.next_observations,
            dones=batch.terminated[:, None],
            rewards=batch.rewards[:, None],
        )


class _SB3Agent(Agent):
    """One of Stable-Baselines3's off-policy algorithms without its loop and its replay.

    See :class:`~ilfo.agents.base.Agent` for the arguments.

    Raises:
        InputError: Stable-Baselines3 is not installed, or SAC, which draws its actions, is given noise to add to them.

    Notes:
        The library draws from PyTorch's global random state. A state of the agent's own takes its place for as long as
        the library is at work, so that runs resume exactly and disturb nobody else.
    """

    Options = SB3Options
    algorithm: ClassVar[str]

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        options: SB3Options | None = None,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.options = options = options or SB3Options()
        if self.algorithm == "SAC" and options.exploration_noise != SB3Options.exploration_noise:
            raise InputError(
                f"exploration_noise is {options.exploration_noise}, and sb3-sac adds no noise, since it draws its "
                "actions: leave it out, or take --agent sb3-td3"
            )
        self.discount, self.batch_size = options.discount, options.batch_size
        self._device = torch.device(device)
        with _global_random_state_left_alone(self._device):
            self.model = self._make(observation_dim, action_dim, seed)
            self._random = _random_state(self._device)

    def _make(self, observation_dim: int, action_dim: int, seed: int) -> OffPolicyAlgorithm:
        try:
            import stable_baselines3
            from stable_baselines3.common.logger import Logger
        except ModuleNotFoundError as error:
            if error.name != "stable_baselines3":
                raise
            raise InputError('Stable-Baselines3 is not installed: pip install "ilfo[sb3]"') from error
        from gymnasium.spaces import Box

        options = self.options
        given: dict[str, Any] = {
            "policy_kwargs": {"net_arch": list(options.hidden_dims)} if options.hidden_dims else {}
        }
        if options.learning_rate is not None:
            given["learning_rate"] = options.learning_rate
        model: OffPolicyAlgorithm = getattr(stable_baselines3, self.algorithm)(
            "MlpPolicy",
            env=None,
            batch_size=options.batch_size,
            gamma=options.discount,
            tau=options.tau,
            buffer_size=1,
            device=self._device,
            seed=seed,
            _init_setup_model=False,
            **given,
        )
        model.observation_space = Box(-np.inf, np.inf, (observation_dim,), np.float32)
        model.action_space = Box(-1.0, 1.0, (action_dim,), np.float32)
        model.n_envs = 1
        if self.algorithm == "SAC":
            model.target_entropy = -float(action_dim)  # type: ignore[attr-defined]  # 'auto' asks the environment
        model._setup_model()
        model.set_logger(Logger(folder=None, output_formats=[]))
        return model

    @torch.no_grad()
    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """Actions ``(B, A)`` in [-1, 1]: of SAC drawn while exploring, of TD3 with Gaussian noise; else the mean."""
        model = self.model
        model.policy.set_training_mode(False)
        with self._own_randomness():
            actions: Tensor = model.policy._predict(
                observations, deterministic=not (explore and self.algorithm == "SAC")
            )
            if explore and self.algorithm != "SAC":
                actions = actions + self.options.exploration_noise * torch.randn_like(actions)
        return actions.clamp(-1, 1)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One call of the library's ``train`` with a single gradient step; returns what that logs."""
        self.model.replay_buffer = _Handed(batch)  # type: ignore[assignment]
        with self._own_randomness():
            self.model.train(gradient_steps=1, batch_size=len(batch.rewards))
        logged = {
            name.removeprefix("train/"): torch.as_tensor(value, dtype=torch.float32, device=self._device)
            for name, value in self.model.logger.name_to_value.items()
            if name.endswith(("_loss", "ent_coef"))
        }
        self.model.logger.dump()
        return logged

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        with _global_random_state_left_alone(self._device):
            _set_random_state(self._random, self._device)
            yield
            self._random = _random_state(self._device)

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimisers by the library's names, its temperature, the number of updates, the random state."""
        temperature = getattr(self.model, "log_ent_coef", None)
        return {
            "parameters": self.model.get_parameters(),
            "temperature": None if temperature is None else temperature.detach().clone(),
            "updates": self.model._n_updates,
            "random": self._random,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned; from a GPU to a CPU, or back, all but the random state."""
        self.model.set_parameters(state["parameters"], device=self._device)
        if state["temperature"] is not None:
            with torch.no_grad():
                self.model.log_ent_coef.copy_(state["temperature"])  # type: ignore[attr-defined]
        self.model._n_updates = state["updates"]
        if state["random"].shape == self._random.shape:  # CPU and GPU have different generators.
            self._random = state["random"].cpu()


class SB3SAC(_SB3Agent):
    """Stable-Baselines3's Soft Actor-Critic, with its automatic temperature."""

    algorithm = "SAC"


class SB3TD3(_SB3Agent):
    """Stable-Baselines3's TD3."""

    algorithm = "TD3"


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    torch.cuda.set_rng_state(state, device) if device.type == "cuda" else torch.set_rng_state(state)


@contextmanager
def _global_random_state_left_alone(device: torch.device) -> Iterator[None]:
    """The library seeds and draws from the global streams of Python, NumPy and PyTorch."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  (the streams that the library draws from)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
