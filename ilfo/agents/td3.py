"""Twin Delayed DDPG (Fujimoto, van Hoof and Meger, arXiv 1802.09477), as in its authors' code."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilfo._errors import InputError
from ilfo.agents._linear import Linear
from ilfo.agents.base import Agent, Batch

__all__ = ["TD3", "TD3Options"]


@dataclass(frozen=True)
class TD3Options:
    """Hyper-parameters of TD3; the defaults are its authors' own."""

    discount: float = 0.99
    """Factor by which a reward one step later counts less."""
    batch_size: int = 256
    """Transitions an update."""
    hidden_dim: int = 256
    """Units in each of the two hidden layers of every network."""
    actor_learning_rate: float = 3e-4
    """Step size of Adam on the actor."""
    critic_learning_rate: float = 3e-4
    """Step size of Adam on both critics."""
    tau: float = 0.005
    """Share of the online weights that enters the targets, at every delayed update."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target action; the action range is [-1, 1]."""
    target_noise_clip: float = 0.5
    """Largest size of that noise."""
    policy_delay: int = 2
    """Critic updates for each update of the actor and of all targets."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on the actions taken while training."""
    layer_norm: bool = False
    """Normalise the critics' hidden layers before each ReLU; not in the paper, see the notes of TD3."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "hidden_dim", "policy_delay"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        for name in (
            "actor_learning_rate",
            "critic_learning_rate",
            "target_noise",
            "target_noise_clip",
            "exploration_noise",
        ):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{name} is {getattr(self, name)}: it must be finite and at least 0.")
        for name in ("discount", "tau"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must lie between 0 and 1.")


def _mlp(in_dim: int, hidden_dim: int, out_dim: int, layer_norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (in_dim, hidden_dim):
        layers.append(Linear(width, hidden_dim))
        if layer_norm:
            layers.append(nn.LayerNorm(hidden_dim))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, Linear(hidden_dim, out_dim))


class Actor(nn.Module):
    """Deterministic policy: ``(B, D)`` observations to ``(B, A)`` actions in [-1, 1]."""

    def __init__(self, observation_dim: int, action_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.net = _mlp(observation_dim, hidden_dim, action_dim)

    def forward(self, observations: Tensor) -> Tensor:
        """Actions ``(B, A)``."""
        return torch.tanh(self.net(observations))


class Critic(nn.Module):
    """Two independent action values of ``(B, D)`` observations and ``(B, A)`` actions."""

    def __init__(self, observation_dim: int, action_dim: int, hidden_dim: int, layer_norm: bool) -> None:
        super().__init__()
        self.q1 = _mlp(observation_dim + action_dim, hidden_dim, 1, layer_norm)
        self.q2 = _mlp(observation_dim + action_dim, hidden_dim, 1, layer_norm)

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Both values, ``(B,)`` each."""
        pairs = torch.cat([observations, actions], dim=-1)
        return self.q1(pairs).squeeze(-1), self.q2(pairs).squeeze(-1)

    def first(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The first value alone, ``(B,)``: what the actor climbs."""
        return self.q1(torch.cat([observations, actions], dim=-1)).squeeze(-1)


class TD3(Agent):
    """Twin critics, delayed policy updates, smoothed target actions.

    See :class:`~ilfo.agents.base.Agent` for the arguments.

    Notes:
        The authors scale every noise by the largest action; here actions are in [-1, 1] and that factor is 1.
        ``layer_norm`` is off by default, as in the paper; the preset ``imitation`` switches it on, with which
        first runs on HalfCheetah learned from a demonstration several times faster.
    """

    Options = TD3Options

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        options: TD3Options | None = None,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.options = options or TD3Options()
        self.device = torch.device(device)
        self.discount = self.options.discount
        self.batch_size = self.options.batch_size
        self._generator = torch.Generator(self.device).manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hidden = self.options.hidden_dim
            self.actor = Actor(observation_dim, action_dim, hidden).to(self.device)
            self.critic = Critic(observation_dim, action_dim, hidden, self.options.layer_norm).to(self.device)
        self.actor_target = copy.deepcopy(self.actor).requires_grad_(False)
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self._online: list[Tensor] = [*self.actor.parameters(), *self.critic.parameters()]
        self._targets: list[Tensor] = [*self.actor_target.parameters(), *self.critic_target.parameters()]
        self.actor_optimizer = torch.optim.Adam(
            self.actor.parameters(), lr=self.options.actor_learning_rate, fused=True
        )
        self.critic_optimizer = torch.optim.Adam(
            self.critic.parameters(), lr=self.options.critic_learning_rate, fused=True
        )
        self.updates = 0

    @torch.no_grad()
    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """Actions ``(B, A)``; exploring adds Gaussian noise, drawn for every row."""
        actions = self.actor(observations)
        if explore:
            noise = torch.randn(actions.shape, generator=self._generator, device=self.device)
            actions = (actions + self.options.exploration_noise * noise).clamp(-1, 1)
        return actions

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One critic step; on every ``policy_delay``-th call also one actor step and the targets'."""
        self.updates += 1
        metrics = self._update_critic(batch)
        if self.updates % self.options.policy_delay == 0:
            metrics |= self._update_actor(batch)
            self._update_targets()
        return metrics

    def _update_critic(self, batch: Batch) -> dict[str, Tensor]:
        target = self._target_values(batch)
        q1, q2 = self.critic(batch.observations, batch.actions)
        loss = F.mse_loss(q1, target) + F.mse_loss(q2, target)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        return {"critic_loss": loss.detach(), "q": q1.detach().mean()}

    @torch.no_grad()
    def _target_values(self, batch: Batch) -> Tensor:
        """``y = r + (1 - terminated) * discount * min(Q1', Q2')(s', a~)``, equation and order of Algorithm 1."""
        options = self.options
        noise = torch.randn(batch.actions.shape, generator=self._generator, device=self.device)
        noise = (options.target_noise * noise).clamp(-options.target_noise_clip, options.target_noise_clip)
        next_actions = (self.actor_target(batch.next_observations) + noise).clamp(-1, 1)
        q1, q2 = self.critic_target(batch.next_observations, next_actions)
        return batch.rewards + (1 - batch.terminated) * options.discount * torch.minimum(q1, q2)

    def _update_actor(self, batch: Batch) -> dict[str, Tensor]:
        self.critic.requires_grad_(False)  # spares the gradients of weights that do not move here
        loss = -self.critic.first(batch.observations, self.actor(batch.observations)).mean()
        self.actor_optimizer.zero_grad()
        loss.backward()
        self.actor_optimizer.step()
        self.critic.requires_grad_(True)
        return {"actor_loss": loss.detach()}

    @torch.no_grad()
    def _update_targets(self) -> None:
        torch._foreach_lerp_(self._targets, self._online, self.options.tau)

    def state_dict(self) -> dict[str, Any]:
        """Networks, targets, optimisers, the number of updates and the noise generator."""
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "actor_target": self.actor_target.state_dict(),
            "critic_target": self.critic_target.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "updates": self.updates,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        for name in (
            "actor",
            "critic",
            "actor_target",
            "critic_target",
            "actor_optimizer",
            "critic_optimizer",
        ):
            getattr(self, name).load_state_dict(state[name])
        self.updates = state["updates"]
        self._generator.set_state(state["generator"].cpu())
