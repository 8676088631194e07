"""Soft Actor-Critic (Haarnoja et al., arXiv 1812.05905), with the temperature learned or fixed."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilfo._tools.checks import check_at_least, check_not_negative, check_positive, check_share
from ilfo._tools.effects import Effects, one_of
from ilfo._tools.errors import InputError
from ilfo.agents._cuda_graph import CudaGraph
from ilfo.agents._descent import Descent
from ilfo.agents._mlp import MLP
from ilfo.agents._population import populate, stack_modules
from ilfo.agents._random_streams import RandomStreams
from ilfo.agents.base import Agent, Batch

__all__ = ["SAC", "SACOptions"]

LOG_STD_RANGE = (-20.0, 2.0)
"""Bounds on the Gaussian's log standard deviation, before squashing; as in Stable-Baselines3, not in the paper."""


@dataclass(frozen=True)
class SACOptions:
    """Hyper-parameters of SAC; the defaults are its paper's (Table 1)."""

    TAKES_EFFECT: ClassVar[Effects] = {
        "initial_temperature": one_of("temperature", None),
        "target_entropy": one_of("temperature", None),
        "temperature_learning_rate": one_of("temperature", None),
    }

    discount: float = 0.99
    """Discount factor of future rewards, per step."""
    batch_size: int = 256
    """Transitions per update."""
    hidden_dim: int = 256
    """Units in each of the two hidden layers of every network."""
    actor_learning_rate: float = 3e-4
    """Step size of Adam on the actor."""
    critic_learning_rate: float = 3e-4
    """Step size of Adam on both critics."""
    tau: float = 0.005
    """Share of the critics' weights that is mixed into their targets at every update."""
    temperature: float | None = None
    """Worth of one nat of the policy's entropy, in units of the reward; None: learned. Where the reward's scale is
    not 1, a fixed one has to be chosen for it."""
    initial_temperature: float = 1.0
    """Where a learned temperature starts."""
    target_entropy: float | None = None
    """Entropy in nats that a learned temperature aims at; None: minus the number of action dimensions."""
    temperature_learning_rate: float = 3e-4
    """Step size of Adam on the logarithm of the temperature."""
    layer_norm: bool = False
    """Normalise the critics' hidden layers before each ReLU; not in the paper, see the notes of TD3."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "batch_size", "hidden_dim")
        check_not_negative(self, "actor_learning_rate", "critic_learning_rate", "temperature_learning_rate")
        check_not_negative(self, "temperature")
        check_positive(self, "initial_temperature")
        if self.target_entropy is not None and not math.isfinite(self.target_entropy):
            raise InputError(f"target_entropy is {self.target_entropy}: it must be finite.")
        check_share(self, "discount", "tau")


class _Networks(nn.Module):
    """The actor, both critics as a stack of two, and the logarithm of the temperature, ``(*stack, 1)``."""

    def __init__(self, observation_dim: int, action_dim: int, options: SACOptions) -> None:
        super().__init__()
        self.actor = MLP([observation_dim, *[options.hidden_dim] * 2, 2 * action_dim])
        widths = [observation_dim + action_dim, *[options.hidden_dim] * 2, 1]
        self.critics = stack_modules([MLP(widths, options.layer_norm) for _ in range(2)])
        self.log_temperature = nn.Parameter(torch.full((1,), math.log(options.initial_temperature)))


class SAC(Agent):
    """A squashed Gaussian policy with a bonus for its entropy, and twin critics that include this bonus.

    See :class:`~ilfo.agents.base.Agent` for the arguments. An update is a step of the critics, one of the actor, one of
    the temperature on the actions that the actor's step drew, and one of the critics' targets (Algorithm 1). Exploring,
    an action is a sample; otherwise, it is the squashed mean.

    Notes:
        The temperature's loss is ``-log(alpha) * (log pi + target)``, as in Stable-Baselines3; equation 18 of the paper
        has ``alpha`` in place of its logarithm: the gradients have the same sign and vanish together. Target values
        include the entropy of the present policy: there is no target actor. Initial weights are PyTorch's own.

        The entropy bonus ends with the episode, as the rewards do. A terminated transition carries the value of its
        absorbing states in its reward, without any entropy.
    """

    Options = SACOptions
    stacks: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        options: SACOptions | None = None,
        *,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] = 0,
        compile: bool = False,
    ) -> None:
        self.options = options = options or SACOptions()
        self.discount, self.batch_size = options.discount, options.batch_size
        self._action_dim = action_dim
        self._target_entropy = -float(action_dim) if options.target_entropy is None else options.target_entropy
        self._random = RandomStreams(seed, device)
        self._networks = populate(lambda: _Networks(observation_dim, action_dim, options), seed).to(device)
        self.actor, self.critics = self._networks.actor, self._networks.critics
        self.critics_target = copy.deepcopy(self.critics).requires_grad_(False)
        self._critic_descent = Descent(
            self.critics.parameters(), self._critic_loss, options.critic_learning_rate, compile=compile
        )
        self._actor_descent = Descent(
            self.actor.parameters(), self._actor_loss, options.actor_learning_rate, compile=compile
        )
        self._temperature_descent = Descent(
            [self._networks.log_temperature], self._temperature_loss, options.temperature_learning_rate, compile=compile
        )
        graphed = compile and torch.device(device).type == "cuda"
        self._act = CudaGraph(self._mean_actions) if graphed else self._mean_actions
        self._act_at_random = CudaGraph(self._sampled_actions) if graphed else self._sampled_actions

    @property
    def temperature(self) -> Tensor:
        """``(*stack, 1)``, what one nat of entropy is worth; detached."""
        if self.options.temperature is not None:
            return torch.full_like(self._networks.log_temperature, self.options.temperature)
        return self._networks.log_temperature.detach().exp()

    @torch.no_grad()
    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """Actions ``(B, A)``: exploring, drawn from the policy; else its squashed mean."""
        if not explore:
            means: Tensor = self._act(observations)
            return means
        noise = self._random.normal((*observations.shape[:-1], self._action_dim))
        actions: Tensor = self._act_at_random(observations, noise)
        return actions

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critics, the actor, the temperature and the critics' targets."""
        next_noise, noise = (self._random.normal(batch.actions.shape) for _ in range(2))
        metrics = self._critic_descent(
            batch.observations, batch.actions, batch.rewards, batch.next_observations, batch.terminated, next_noise
        )
        metrics |= self._actor_descent(batch.observations, noise)
        if self.options.temperature is None:
            metrics |= self._temperature_descent(metrics["entropy"])
        self._update_targets()
        return metrics

    def _mean_actions(self, observations: Tensor) -> Tensor:
        mean: Tensor = self.actor(observations).chunk(2, dim=-1)[0]
        return torch.tanh(mean)

    def _sampled_actions(self, observations: Tensor, noise: Tensor) -> Tensor:
        return self._sample(observations, noise)[0]

    def _sample(self, observations: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions ``(..., B, A)`` that standard normal noise is mapped to, and their log-densities ``(..., B)``."""
        mean, log_std = self.actor(observations).chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD_RANGE)
        gaussian = mean + log_std.exp() * noise
        log_normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), without the difference, which is 0 by rounding where |x| is large.
        log_slope = 2 * (math.log(2) - gaussian - F.softplus(-2 * gaussian))
        return torch.tanh(gaussian), (log_normal - log_slope).sum(dim=-1)

    def _critic_loss(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        next_observations: Tensor,
        terminated: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        target = self._target_values(rewards, next_observations, terminated, noise)
        values = self.critics(observations.unsqueeze(-3), actions.unsqueeze(-3)).squeeze(-1)
        losses = (values - target.unsqueeze(-2)).square().mean(dim=-1).sum(dim=-1)
        return losses, {"critic_loss": losses, "q": values.select(-2, 0).mean(dim=-1)}

    @torch.no_grad()
    def _target_values(self, rewards: Tensor, next_observations: Tensor, terminated: Tensor, noise: Tensor) -> Tensor:
        """``y = r + (1 - terminated) * discount * (min(Q1', Q2')(s', a') - alpha log pi(a'|s'))``, equations 2, 3."""
        actions, log_densities = self._sample(next_observations, noise)
        values = self.critics_target(next_observations.unsqueeze(-3), actions.unsqueeze(-3)).squeeze(-1)
        soft = values.amin(dim=-2) - self.temperature * log_densities
        return rewards + (1 - terminated) * self.options.discount * soft

    def _actor_loss(self, observations: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """``mean(alpha log pi(a|s) - min(Q1, Q2)(s, a))``, equation 9 with the smaller critic."""
        actions, log_densities = self._sample(observations, noise)
        values = self.critics.frozen(observations.unsqueeze(-3), actions.unsqueeze(-3)).squeeze(-1)
        losses = (self.temperature * log_densities - values.amin(dim=-2)).mean(dim=-1)
        return losses, {"actor_loss": losses, "entropy": -log_densities.mean(dim=-1)}

    def _temperature_loss(self, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        log_temperature = self._networks.log_temperature.squeeze(-1)
        return log_temperature * (entropy - self._target_entropy), {"temperature": log_temperature.exp()}

    @torch.no_grad()
    def _update_targets(self) -> None:
        torch._foreach_lerp_(list(self.critics_target.parameters()), list(self.critics.parameters()), self.options.tau)

    def state_dict(self) -> dict[str, Any]:
        """Networks, the critics' targets, the temperature, optimisers and the random state."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {"random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._random.set_state(state["random"])

    def _parts(self) -> dict[str, nn.Module | Descent]:
        return {
            "networks": self._networks,
            "critics_target": self.critics_target,
            "critic_descent": self._critic_descent,
            "actor_descent": self._actor_descent,
            "temperature_descent": self._temperature_descent,
        }
