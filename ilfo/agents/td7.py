"""TD7: TD3 with learned embeddings, prioritised replay and checkpoints (Fujimoto et al., arXiv 2306.02451)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ilfo._tools.checks import check_at_least, check_not_negative, check_positive, check_share
from ilfo._tools.effects import Effects, above_zero, given, one_of
from ilfo._tools.errors import InputError
from ilfo.agents._assessment import Assessment
from ilfo.agents._cuda_graph import CudaGraph
from ilfo.agents._descent import Descent
from ilfo.agents._population import populate, seeds_of, stack_modules
from ilfo.agents._random_streams import RandomStreams
from ilfo.agents._sale import Actor, Critic, Encoder
from ilfo.agents.base import Agent, Batch
from ilfo.agents.lap import huber_loss, lap_priorities

__all__ = ["TD7", "TD7Options"]


@dataclass(frozen=True)
class TD7Options:
    """Hyper-parameters of TD7; the defaults are its authors' own."""

    TAKES_EFFECT: ClassVar[Effects] = {
        "target_noise_clip": above_zero("target_noise"),
        "exploration_decay": given("initial_exploration_noise"),
        "assessment_episodes": one_of("checkpoints", True),
        "assess_more_after": one_of("checkpoints", True),
        "reset_weight": one_of("checkpoints", True),
    }

    discount: float = 0.99
    """Discount factor of future rewards, per step."""
    batch_size: int = 256
    """Transitions per update."""
    hidden_dim: int = 256
    """Units in each hidden layer of every network."""
    embedding_dim: int = 256
    """Width of the embeddings of states and of state-action pairs."""
    encoder_learning_rate: float = 3e-4
    """Step size of Adam on the encoder."""
    actor_learning_rate: float = 3e-4
    """Step size of Adam on the actor."""
    critic_learning_rate: float = 3e-4
    """Step size of Adam on both critics."""
    target_update_every: int = 250
    """Updates between copies of the online networks into the targets and the fixed encoder."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target action; the action range is [-1, 1]."""
    target_noise_clip: float = 0.5
    """Largest size of that noise."""
    policy_delay: int = 2
    """Critic updates for each update of the actor."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on the actions taken while training."""
    initial_exploration_noise: float | None = None
    """Standard deviation of that noise at the start, falling linearly to exploration_noise: an imitation reward may pay
    for standing still, and with little noise the policy stays there (the preset 'imitation' has 0.3). None:
    exploration_noise from the start, as in the authors' code."""
    exploration_decay: int = 30_000
    """Updates over which initial_exploration_noise falls to exploration_noise."""
    priority_exponent: float = 0.4
    """How much more often the replay draws what the critics are wrong about: 0 uniformly, 1 in proportion."""
    min_priority: float = 1.0
    """Smaller errors count as this in the replay; it is also where the critics' loss turns from quadratic to linear."""
    checkpoints: bool = True
    """Train between episodes, and evaluate the policy whose worst episode was the best so far. Several seeds
    are then updated in turn."""
    assessment_episodes: int = 20
    """Episodes that a policy is assessed on before it can become a checkpoint, late in training; early on, one."""
    assess_more_after: int = 750_000
    """Updates after which policies are assessed on assessment_episodes episodes."""
    reset_weight: float = 0.9
    """Factor on the return to beat at that moment, because it was the worst of fewer episodes."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "batch_size", "hidden_dim", "embedding_dim")
        check_at_least(self, 1, "target_update_every", "policy_delay", "assessment_episodes", "exploration_decay")
        check_not_negative(self, "encoder_learning_rate", "actor_learning_rate", "critic_learning_rate")
        check_not_negative(self, "target_noise", "target_noise_clip", "exploration_noise", "initial_exploration_noise")
        check_not_negative(self, "assess_more_after")
        check_share(self, "discount", "priority_exponent", "reset_weight")
        check_positive(self, "min_priority")


class _Networks(nn.Module):
    """The actor, both critics as a stack of two, and the encoder."""

    def __init__(self, observation_dim: int, action_dim: int, options: TD7Options) -> None:
        super().__init__()
        sizes = (observation_dim, action_dim, options.hidden_dim, options.embedding_dim)
        self.actor = Actor(*sizes)
        self.critics = stack_modules([Critic(*sizes) for _ in range(2)])
        self.encoder = Encoder(*sizes)


class TD7(Agent):
    """Actor and critics see states through an encoder that predicts embeddings; large errors are replayed more often.

    See :class:`~ilfo.agents.base.Agent` for the arguments. With checkpoints, ``seed`` is a single number.

    ``encoder`` learns at every update, from the dynamics alone. Policy and critics use ``fixed_encoder``, a copy of it
    from the last update of the targets; the targets use ``fixed_encoder_target``, the copy before that.

    Raises:
        InputError: Several seeds with checkpoints: each seed has updates at its own times.

    Notes:
        The targets' next values are clipped to the range of all targets before the last update of the target networks.
        It starts as [0, 0], so the first 250 targets are the rewards alone; it never shrinks, even where rewards do.

        When more episodes are demanded late in training, the authors multiply the return to beat by 0.9. That lowers a
        positive one but raises a negative one, maybe out of reach: imitation rewards should be positive here.

        Checkpoints compare returns over the whole of training. Under a reward that changes meanwhile, such as a
        discriminator's, switch them off. Priorities follow such a reward only as transitions are drawn again: one that
        is seldom drawn keeps the priority of an earlier reward.

        The authors scale every noise by the largest action; here actions are in [-1, 1] and that factor is 1.

        They act at random for 25,000 steps; a run here does so for 5,000, unless ``--random-steps`` or ``--preset td7``
        says otherwise. Their variant for offline data, with behaviour cloning in the actor's loss, is left out.
    """

    Options = TD7Options
    stacks: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    @classmethod
    def can_stack(cls, options: TD7Options | None) -> bool:
        """Not with checkpoints."""
        return not (options or TD7Options()).checkpoints

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        options: TD7Options | None = None,
        *,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] = 0,
        compile: bool = False,
    ) -> None:
        self.options = options = options or TD7Options()
        _, stack = seeds_of(seed)
        if stack and options.checkpoints:
            raise InputError("seed is a sequence and checkpoints is True: train seeds one by one, or switch it off.")
        self.discount, self.batch_size = options.discount, options.batch_size
        self.refresh_priorities_every = options.target_update_every
        self.trains_between_episodes = self.plays_best = options.checkpoints
        self._random = RandomStreams(seed, device)
        networks = populate(lambda: _Networks(observation_dim, action_dim, options), seed).to(device)
        self.actor, self.critics, self.encoder = networks.actor, networks.critics, networks.encoder
        self.actor_target, self.critics_target = _copy_of(self.actor), _copy_of(self.critics)
        self.fixed_encoder, self.fixed_encoder_target = _copy_of(self.encoder), _copy_of(self.encoder)
        self.checkpoint_actor, self.checkpoint_encoder = _copy_of(self.actor), _copy_of(self.encoder)
        # Lowest and highest: of all targets so far, and the bounds that next values are clipped to.
        self._seen = torch.tensor([math.inf, -math.inf], device=device).repeat(*stack, 1)
        self._bounds = torch.zeros_like(self._seen)
        self._encoder_descent = Descent(
            self.encoder.parameters(), self._encoder_loss, options.encoder_learning_rate, compile=compile
        )
        self._critic_descent = Descent(
            self.critics.parameters(), self._critic_loss, options.critic_learning_rate, compile=compile
        )
        self._actor_descent = Descent(
            self.actor.parameters(), self._actor_loss, options.actor_learning_rate, compile=compile
        )
        graphed = compile and torch.device(device).type == "cuda"
        self._act = CudaGraph(self._policy) if graphed else self._policy
        self._act_as_kept = CudaGraph(self._kept_policy) if graphed else self._kept_policy
        self._assessment = Assessment()
        self.updates = 0

    @property
    def exploration_noise(self) -> float:
        """Present standard deviation of the noise on the actions taken while training."""
        last, first = self.options.exploration_noise, self.options.initial_exploration_noise
        left = max(0.0, 1 - self.updates / self.options.exploration_decay)
        return last if first is None else last + left * (first - last)

    @torch.no_grad()
    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """Actions ``(B, A)``: exploring, the present policy's with Gaussian noise; else the checkpoint's, if any."""
        if explore:
            actions: Tensor = self._act(observations)
            return (actions + self.exploration_noise * self._random.normal(actions.shape)).clamp(-1, 1)
        kept: Tensor = (self._act_as_kept if self.options.checkpoints else self._act)(observations)
        return kept

    def end_episode(self, return_to_limit: float, steps: int) -> int:
        """Keeps a policy that passed its assessment; no updates are due until it has passed or failed.

        Raises:
            InputError: The return is not finite.
            NotImplementedError: Checkpoints are off.
        """
        if not self.options.checkpoints:
            return super().end_episode(return_to_limit, steps)
        due, passed = self._assessment.add(return_to_limit, steps)
        if passed:
            _copy_into(self.checkpoint_actor, self.actor)
            _copy_into(self.checkpoint_encoder, self.fixed_encoder)
        return due

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the encoder and of the critics; at their intervals, also the actor's and the target copies."""
        options = self.options
        if self.updates == options.assess_more_after:
            self._assessment.tighten(options.assessment_episodes, options.reset_weight)
        self.updates += 1
        noise = self._random.normal(batch.actions.shape)
        metrics = self._encoder_descent(batch.observations, batch.actions, batch.next_observations)
        metrics |= self._critic_descent(
            batch.observations, batch.actions, batch.rewards, batch.next_observations, batch.terminated, noise
        )
        self.priorities = metrics.pop("priorities")
        states, targets = metrics.pop("states"), metrics.pop("targets")
        torch.minimum(self._seen[..., 0], targets.amin(dim=-1), out=self._seen[..., 0])
        torch.maximum(self._seen[..., 1], targets.amax(dim=-1), out=self._seen[..., 1])
        if self.updates % options.policy_delay == 0:
            metrics |= self._actor_descent(batch.observations, states)
        if self.updates % options.target_update_every == 0:
            self._update_targets()
        return metrics

    def _policy(self, observations: Tensor) -> Tensor:
        actions: Tensor = self.actor(observations, self.fixed_encoder.embed_states(observations))
        return actions

    def _kept_policy(self, observations: Tensor) -> Tensor:
        actions: Tensor = self.checkpoint_actor(observations, self.checkpoint_encoder.embed_states(observations))
        return actions

    def _encoder_loss(
        self, observations: Tensor, actions: Tensor, next_observations: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``mean (g(f(s), a) - |f(s')|)**2`` where ``|.|`` has no gradient, equation 4."""
        with torch.no_grad():
            following = self.encoder.embed_states(next_observations)
        foreseen = self.encoder.embed_pairs(self.encoder.embed_states(observations), actions)
        losses = (foreseen - following).square().mean(dim=(-2, -1))
        return losses, {"encoder_loss": losses}

    def _critic_loss(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        next_observations: Tensor,
        terminated: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Beside the metrics, it returns what the rest of the update needs of each transition."""
        options = self.options
        with torch.no_grad():
            targets = self._target_values(rewards, next_observations, terminated, noise)
            states = self.fixed_encoder.embed_states(observations)
            pairs = self.fixed_encoder.embed_pairs(states, actions)
        values = self.critics(observations, actions, pairs, states)
        errors = values - targets.unsqueeze(-2)
        losses = huber_loss(errors, options.min_priority).mean(dim=-1).sum(dim=-1)
        priorities = lap_priorities(errors, options.priority_exponent, options.min_priority)
        rest = {"states": states, "targets": targets, "priorities": priorities}
        return losses, {"critic_loss": losses, "q": values.select(-2, 0).mean(dim=-1)} | rest

    @torch.no_grad()
    def _target_values(self, rewards: Tensor, next_observations: Tensor, terminated: Tensor, noise: Tensor) -> Tensor:
        """``y = r + (1 - terminated) * discount * clip(min(Q1', Q2')(s', a~), low, high)``, equations 7 and 8."""
        options, encoder = self.options, self.fixed_encoder_target
        noise = (options.target_noise * noise).clamp(-options.target_noise_clip, options.target_noise_clip)
        states = encoder.embed_states(next_observations)
        actions = (self.actor_target(next_observations, states) + noise).clamp(-1, 1)
        pairs = encoder.embed_pairs(states, actions)
        smaller = self.critics_target(next_observations, actions, pairs, states).amin(dim=-2)
        low, high = self._bounds.unsqueeze(-2).unbind(dim=-1)
        return rewards + (1 - terminated) * options.discount * smaller.clamp(low, high)

    def _actor_loss(self, observations: Tensor, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the mean of both critics; the action also acts on them through its embedding."""
        actions = self.actor(observations, states)
        pairs = self.fixed_encoder.embed_pairs(states, actions)
        losses = -self.critics(observations, actions, pairs, states, frozen=True).mean(dim=(-2, -1))
        return losses, {"actor_loss": losses}

    def _update_targets(self) -> None:
        """In this order: the targets' encoder is the one that their values were learned with."""
        _copy_into(self.actor_target, self.actor)
        _copy_into(self.critics_target, self.critics)
        _copy_into(self.fixed_encoder_target, self.fixed_encoder)
        _copy_into(self.fixed_encoder, self.encoder)
        self._bounds.copy_(self._seen)

    def state_dict(self) -> dict[str, Any]:
        """Networks, their copies, optimisers, range of targets, assessment, number of updates, random state."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "seen": self._seen,
            "bounds": self._bounds,
            "updates": self.updates,
            "random": self._random.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._seen.copy_(state["seen"])
        self._bounds.copy_(state["bounds"])
        self.updates = state["updates"]
        self._random.set_state(state["random"])

    def _parts(self) -> dict[str, nn.Module | Descent | Assessment]:
        names = (
            *("actor", "critics", "encoder", "actor_target", "critics_target", "fixed_encoder", "fixed_encoder_target"),
            *("checkpoint_actor", "checkpoint_encoder"),
        )
        return {name: getattr(self, name) for name in names} | {
            "actor_descent": self._actor_descent,
            "critic_descent": self._critic_descent,
            "encoder_descent": self._encoder_descent,
            "assessment": self._assessment,
        }


def _copy_of(module: nn.Module) -> Any:
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def _copy_into(target: nn.Module, source: nn.Module) -> None:
    torch._foreach_copy_(list(target.parameters()), list(source.parameters()))
