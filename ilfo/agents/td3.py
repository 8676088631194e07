"""Twin Delayed DDPG (Fujimoto, van Hoof and Meger, arXiv 1802.09477), as in its authors' code, and its variants."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ilfo._tools.checks import check_at_least, check_choices, check_not_negative, check_positive, check_share
from ilfo._tools.effects import Effects, above_zero
from ilfo._tools.errors import InputError
from ilfo.agents._assessment import Assessment
from ilfo.agents._cuda_graph import CudaGraph
from ilfo.agents._descent import Descent
from ilfo.agents._mlp import MLP
from ilfo.agents._population import populate, seeds_of, stack_modules
from ilfo.agents._random_streams import RandomStreams
from ilfo.agents.base import Agent, Batch
from ilfo.agents.lap import huber_loss, lap_priorities, pal_loss

__all__ = ["TD3", "TD3Options"]

CriticLoss = Literal["squared", "lap", "pal"]
TrainBetween = Literal["steps", "episodes"]


@dataclass(frozen=True)
class TD3Options:
    """Hyper-parameters of TD3; the defaults are its authors' own."""

    TAKES_EFFECT: ClassVar[Effects] = {"target_noise_clip": above_zero("target_noise")}

    discount: float = 0.99
    """Discount factor of future rewards, per step."""
    batch_size: int = 256
    """Transitions per update."""
    hidden_dim: int = 256
    """Units in each of the two hidden layers of every network."""
    critic_hidden_dim: int | None = None
    """Units in each hidden layer of the critics; None: hidden_dim."""
    actor_learning_rate: float = 3e-4
    """Step size of Adam on the actor."""
    critic_learning_rate: float = 3e-4
    """Step size of Adam on both critics."""
    tau: float = 0.005
    """Share of the online weights that is mixed into the targets at every delayed update."""
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
    critic_loss: CriticLoss = "squared"
    """Loss of the critics' errors: their square; LAP, which samples large errors more often and weights them less; or
    PAL, whose gradient under uniform sampling is LAP's on average (both arXiv 2007.06049, with its 0.4 and 1)."""
    critic_gradient_clip: float | None = None
    """Largest norm of the critics' gradient."""
    train_between: TrainBetween = "steps"
    """When updates are made, one for each step: after the step, or all at once when the episode is over."""
    checkpoints: bool = False
    """Train between episodes, and evaluate the policy whose episode had the best imitation return so far, with
    absorbing states, as TD7 does (arXiv 2306.02451). Several seeds are then updated in turn."""
    resample_time: bool = False
    """Critics learn each transition as if it had happened at a random time of the episode (OOPS, arXiv 2310.01632).
    Needs --time-aware."""

    def __post_init__(self) -> None:
        check_choices(self, {"critic_loss": CriticLoss, "train_between": TrainBetween})
        check_at_least(self, 1, "batch_size", "hidden_dim", "critic_hidden_dim", "policy_delay")
        check_not_negative(self, "actor_learning_rate", "critic_learning_rate")
        check_not_negative(self, "target_noise", "target_noise_clip", "exploration_noise")
        check_positive(self, "critic_gradient_clip")
        check_share(self, "discount", "tau")


class _Networks(nn.Module):
    """The actor, and both critics as a stack of two."""

    def __init__(self, observation_dim: int, action_dim: int, options: TD3Options) -> None:
        super().__init__()
        self.actor = MLP([observation_dim, *[options.hidden_dim] * 2, action_dim])
        widths = [observation_dim + action_dim, *[options.critic_hidden_dim or options.hidden_dim] * 2, 1]
        self.critics = stack_modules([MLP(widths, options.layer_norm) for _ in range(2)])


class TD3(Agent):
    """Twin critics, delayed policy updates, smoothed target actions.

    See :class:`~ilfo.agents.base.Agent` for the arguments. With ``resample_time`` the last column of an observation is
    the share of the horizon that is left.

    Notes:
        The authors scale every noise by the largest action; here actions are in [-1, 1] and that factor is 1.
        ``layer_norm`` is off by default, as in the paper; the preset ``imitation`` switches it on, which made first
        runs on HalfCheetah learn from a demonstration several times faster. With ``lap``, the largest priority is
        measured anew every 250 updates, as in TD7; LAP's authors let it grow for ever. Under a reward that changes
        while the agent learns, a transition keeps the priority of an earlier reward until it is drawn again.
        ``resample_time`` is made for episodes that never end early: a fall that is learned at another time keeps the
        value that absorbing states gave it at its own.
    """

    Options = TD3Options
    stacks: ClassVar[bool] = True
    compiles: ClassVar[bool] = True
    takes_horizon: ClassVar[bool] = True

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        options: TD3Options | None = None,
        *,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] = 0,
        compile: bool = False,
        horizon: int | None = None,
    ) -> None:
        self.options = options = options or TD3Options()
        if options.resample_time and horizon is None:
            raise InputError("resample_time draws the time of a step, which this agent is not shown: add --time-aware")
        self._horizon = horizon
        self.trains_between_episodes, self.plays_best = _between_episodes(options), options.checkpoints
        self.refresh_priorities_every = 250 if options.critic_loss == "lap" else 0
        self.discount, self.batch_size = options.discount, options.batch_size
        self._random = RandomStreams(seed, device)
        networks = populate(lambda: _Networks(observation_dim, action_dim, options), seed).to(device)
        self.actor, self.critics = networks.actor, networks.critics
        targets = copy.deepcopy(networks).requires_grad_(False)
        self.actor_target, self.critics_target = targets.actor, targets.critics
        self.checkpoint_actor = copy.deepcopy(targets.actor)
        self._assessment = Assessment()
        self._online: list[Tensor] = list(networks.parameters())
        self._targets: list[Tensor] = list(targets.parameters())
        self._critic_descent = Descent(
            self.critics.parameters(),
            self._critic_loss,
            options.critic_learning_rate,
            compile=compile,
            max_norm=options.critic_gradient_clip,
            stack=seeds_of(seed)[1],
        )
        self._actor_descent = Descent(
            self.actor.parameters(), self._actor_loss, options.actor_learning_rate, compile=compile
        )
        graphed = compile and torch.device(device).type == "cuda"
        self._act = CudaGraph(self._policy) if graphed else self._policy
        self._act_as_kept = CudaGraph(self._kept_policy) if graphed else self._kept_policy
        self.updates = 0

    @torch.no_grad()
    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """Actions ``(B, A)``: exploring, the present policy's with Gaussian noise; else the checkpoint's, if any."""
        if explore:
            actions: Tensor = self._act(observations)
            return (actions + self.options.exploration_noise * self._random.normal(actions.shape)).clamp(-1, 1)
        kept: Tensor = (self._act_as_kept if self.options.checkpoints else self._act)(observations)
        return kept

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One critic step; on every ``policy_delay``-th call also one actor step and the targets'."""
        self.updates += 1
        noise = self._random.normal(batch.actions.shape)
        seen = self._at_another_time(batch) if self.options.resample_time else batch
        metrics = self._critic_descent(
            seen.observations, seen.actions, seen.rewards, seen.next_observations, seen.terminated, noise
        )
        if self.refresh_priorities_every:
            self.priorities = metrics.pop("priorities")
        if self.updates % self.options.policy_delay == 0:
            metrics |= self._actor_descent(batch.observations)
            self._update_targets()
        return metrics

    @classmethod
    def can_stack(cls, options: TD3Options | None) -> bool:
        """Episodes of several seeds end at different times, so agents that train between them cannot be stacked."""
        return cls.stacks and (options is None or not _between_episodes(options))

    def end_episode(self, return_to_limit: float, steps: int) -> int:
        """One update for each step of the episode; with checkpoints its policy is kept if it was the best.

        Raises:
            InputError: With checkpoints, if the return is not finite.
        """
        if self.options.checkpoints and self._assessment.add(return_to_limit, steps)[1]:
            with torch.no_grad():
                torch._foreach_copy_(list(self.checkpoint_actor.parameters()), list(self.actor.parameters()))
        return steps

    def _at_another_time(self, batch: Batch) -> Batch:
        """The batch with the steps left drawn anew, from 1 to the horizon; only steps with 1 left hit the time limit.

        A step at which the environment itself ended the episode stays an end at any time.
        """
        assert self._horizon is not None
        left = 1 + (self._random.uniform(batch.rewards.shape) * self._horizon).floor()
        columns = [left / self._horizon, (left - 1) / self._horizon]
        shown = [
            torch.cat([observations[..., :-1], column.unsqueeze(-1)], dim=-1)
            for observations, column in zip((batch.observations, batch.next_observations), columns, strict=True)
        ]
        by_the_environment = batch.terminated * (batch.next_observations[..., -1] > 0)
        ends = torch.maximum(by_the_environment, (left <= 1).to(by_the_environment))
        return replace(batch, observations=shown[0], next_observations=shown[1], terminated=ends)

    def _policy(self, observations: Tensor) -> Tensor:
        return torch.tanh(self.actor(observations))

    def _kept_policy(self, observations: Tensor) -> Tensor:
        return torch.tanh(self.checkpoint_actor(observations))

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
        values = _values(self.critics, observations, actions)
        errors = values - target.unsqueeze(-2)
        metrics = {"q": values.select(-2, 0).mean(dim=-1)}
        if self.options.critic_loss == "pal":
            losses = pal_loss(errors)
        elif self.options.critic_loss == "lap":
            losses = huber_loss(errors).mean(dim=-1).sum(dim=-1)
            metrics["priorities"] = lap_priorities(errors)
        else:
            losses = errors.square().mean(dim=-1).sum(dim=-1)
        return losses, {"critic_loss": losses} | metrics

    @torch.no_grad()
    def _target_values(self, rewards: Tensor, next_observations: Tensor, terminated: Tensor, noise: Tensor) -> Tensor:
        """``y = r + (1 - terminated) * discount * min(Q1', Q2')(s', a~)``, equation and order of Algorithm 1."""
        options = self.options
        noise = (options.target_noise * noise).clamp(-options.target_noise_clip, options.target_noise_clip)
        next_actions = (torch.tanh(self.actor_target(next_observations)) + noise).clamp(-1, 1)
        smaller = _values(self.critics_target, next_observations, next_actions).amin(dim=-2)
        return rewards + (1 - terminated) * options.discount * smaller

    def _actor_loss(self, observations: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        pairs = torch.cat([observations, self._policy(observations)], dim=-1)
        losses = -self.critics.frozen(pairs, member=0).squeeze(-1).mean(dim=-1)
        return losses, {"actor_loss": losses}

    @torch.no_grad()
    def _update_targets(self) -> None:
        torch._foreach_lerp_(self._targets, self._online, self.options.tau)

    def state_dict(self) -> dict[str, Any]:
        """Networks, targets, optimisers, the number of updates and the random state."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "updates": self.updates,
            "random": self._random.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.updates = state["updates"]
        self._random.set_state(state["random"])

    def _parts(self) -> dict[str, MLP | Descent | Assessment]:
        parts: dict[str, MLP | Descent | Assessment] = {
            "actor": self.actor,
            "critics": self.critics,
            "actor_target": self.actor_target,
            "critics_target": self.critics_target,
            "actor_descent": self._actor_descent,
            "critic_descent": self._critic_descent,
        }
        if self.options.checkpoints:
            parts |= {"checkpoint_actor": self.checkpoint_actor, "assessment": self._assessment}
        return parts


def _between_episodes(options: TD3Options) -> bool:
    return options.checkpoints or options.train_between == "episodes"


def _values(critics: nn.Module, observations: Tensor, actions: Tensor) -> Tensor:
    """Both values ``(..., 2, B)`` of observations ``(..., B, D)`` and actions ``(..., B, A)``."""
    pairs = torch.cat([observations, actions], dim=-1)
    values: Tensor = critics(pairs.unsqueeze(-3))
    return values.squeeze(-1)
