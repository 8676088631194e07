"""A reward from a discriminator that learns, during training, to tell the expert's transitions from the agent's."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilfo._tools.checks import check_at_least, check_choices, check_not_negative, check_positive
from ilfo.demos import Demonstrations
from ilfo.rewards._step_atoms import Activation, StepAtoms, perceptron
from ilfo.rewards._step_memory import StepMemory
from ilfo.rewards.base import Episodes, Needs, RewardGenerator, check_episodes
from ilfo.rewards.features import StateFeatures

__all__ = ["Discriminator", "DiscriminatorOptions", "gradient_penalty"]

Form = Literal["gail", "airl", "negative"]

LARGEST_LOGIT = math.log(1e4 - 1)
"""Logits are clipped to this size before they are rewarded, which keeps D and 1 - D from 1e-4 up."""

FLAG = 10.0
"""The entry that marks an absorbing atom; 0 in all others. Under the gradient penalty the logit falls by about 1 per
unit of distance: with a flag of 1, an agent that lives far from the expert would be better off dead."""


@dataclass(frozen=True)
class DiscriminatorOptions:
    """The discriminator's network, how it learns, and how its output becomes a reward."""

    form: Form = "gail"
    """Reward of a step that is the expert's with probability D; gail: -log(1 - D), from 0 to 9.2; airl: log D -
    log(1 - D), from -9.2 to 9.2; negative: log D, from -9.2 to 0."""
    hidden_dim: int = 256
    """Units in each of the two hidden layers."""
    activation: Activation = "tanh"
    """Activation after each hidden layer: tanh, or relu, with which steps far from all training data can score higher
    than the expert's."""
    learning_rate: float = 3e-4
    """Step size of Adam."""
    batch_size: int = 256
    """Steps per update, half of them the expert's."""
    updates_per_step: float = 0.1
    """Updates per step of the agent, made when its episode is over. One takes as long as an update of TD3: 0.1 adds a
    tenth to the learning time of a run, and 1 would double it."""
    gradient_penalty: float = 10.0
    """Weight of the gradient penalty: the squared difference between 1 and the norm of the logit's gradient, at points
    between expert and agent. It keeps the reward smooth."""
    entropy_bonus: float = 1e-3
    """Weight of the entropy of D, which is subtracted from the loss."""
    capacity: int = 100_000
    """How many of the agent's latest states the discriminator learns from."""
    seed: int = 0
    """Seed of the initial weights and of every draw. It does not follow --seed: all seeds of a run have the same."""

    def __post_init__(self) -> None:
        check_choices(self, {"form": Form, "activation": Activation})
        check_at_least(self, 1, "hidden_dim")
        check_at_least(self, 2, "batch_size", "capacity")
        check_positive(self, "learning_rate", "updates_per_step")
        check_not_negative(self, "gradient_penalty", "entropy_bonus")


class Discriminator(RewardGenerator):
    """Rewards a step by how strongly a network that learns to tell expert from agent takes it for the expert's.

    The network sees a step as an atom: features of the state, change of the features, and whether the step is
    absorbing. It learns in :meth:`observe`, from the demonstrations and from the agent's latest episodes, with binary
    cross-entropy, a gradient penalty and a small entropy bonus. As the agent improves, the distinction gets finer: the
    reward of a transition changes, and the loop scores it again whenever it samples it.

    **Termination.** A terminated episode of ``L`` steps is followed by a step into the absorbing state and, until the
    horizon ``H`` of the longest demonstration, by ``H - L`` steps within it; so is a terminated demonstration. They all
    share one atom, with no features and a flag, which is drawn as often as it happened, but no more often than the
    steps before it: otherwise most steps of an untrained agent's short episodes would be absorbing. Its present reward
    is :meth:`absorbing_reward`. Where the expert terminates as often as the agent, being dead is worth as much as any
    expert-like step; where only the agent does, it is worth less than living at random.

    The default form is ``gail``, because the loop folds the reward of the absorbing state for ever after, a hundred
    times that of one step, into the last step of a terminated episode. Under ``gail``, what only agents do gets about
    0: being dead is worth what untrained critics predict for everything; living nearer the expert is worth more.
    Under ``airl`` and ``negative`` it gets down to -9.2, and -900 in one step drowns out all else that a critic has to
    learn. Without absorbing states, ``negative`` makes an agent end its episodes, and ``gail`` drag them out.

    Args:
        options: The network, how it learns, and the form of the reward.
        features: What part of the state it looks at, fitted by :meth:`fit`; all dimensions by default.

    Notes:
        GAIfO (arXiv 1807.06158) made off-policy, with the absorbing states of DAC (arXiv 1809.02925). Network, penalty,
        bonus and the upper bound on the reward are those of the state-only variant in the code of OPOLO. What differs:

        * The atom holds the standardised change of the features in place of the next state's features: the same
          information, which a network learns from sooner.
        * Features are standardised by the demonstrations alone, once.
        * DAC appends a flag of 1 to each of the two states, and so tells the step into the absorbing state from one
          within it. The loop rewards both alike, so here they are one atom, with a flag of 10: the penalty bounds the
          difference of two logits by the distance of their atoms, so the absorbing one has to be far from everything.
        * It learns from the agent's latest ``capacity`` states, and updates wait for the end of an episode.
        * Bounds on D are the same above and below; OPOLO lets 1 - D come within 1e-8 of 1.

    Example:
        >>> import numpy as np
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.linspace([0.0], [1.0], 30, dtype=np.float32))
        >>> idle = Episodes.from_trajectories([Trajectory(np.zeros((30, 1), np.float32))])
        >>> reward = Discriminator().fit(Demonstrations((expert,)))
        >>> metrics = [reward.observe(idle) for _ in range(10)]
        >>> bool(reward.score(Episodes.from_trajectories([expert])).mean() > reward.score(idle).mean())
        True
    """

    Options: ClassVar[type | None] = DiscriminatorOptions
    needs: Needs = "transition"
    stationary: bool = False
    options: DiscriminatorOptions

    def __init__(self, options: DiscriminatorOptions | None = None, features: StateFeatures | None = None) -> None:
        super().__init__(options, features)
        self._generator = torch.Generator().manual_seed(self.options.seed)
        self._horizon = self._steps = self._updates = 0
        self._device = torch.device("cpu")
        self._atoms: StepAtoms
        self._network: nn.Sequential
        self._adam: torch.optim.Adam
        self._expert: StepMemory
        self._agent: StepMemory

    def fit(self, demonstrations: Demonstrations) -> Discriminator:
        """Keeps the expert's steps, and makes an untrained network; returns itself.

        Raises:
            InputError: The features cannot be fitted on these demonstrations.
        """
        self.features.fit(demonstrations)
        self._horizon, self._steps, self._updates = demonstrations.horizon, 0, 0
        self._generator.manual_seed(self.options.seed)
        experts = self.features.of_demonstrations(demonstrations)
        self._make(StepAtoms(experts))
        self._expert = StepMemory(sum(map(len, experts)), self.features.width)
        self._agent = StepMemory(self.options.capacity, self.features.width)
        for trajectory, features in zip(demonstrations, experts, strict=True):
            self._expert.add(features, self._absorbing_steps(len(trajectory), trajectory.terminated))
        return self

    @torch.no_grad()
    def score(self, episodes: Episodes) -> Tensor:
        """The present rewards ``(B, T)`` float32 on the device of the episodes; 0 beyond an episode's length.

        Raises:
            InputError: An episode is not finite, has no steps, or is not as wide as the demonstrations.
        """
        check_episodes(episodes, self.features)
        self._move(episodes.observations.device)
        features = self.features.of_episodes(episodes).float()
        atoms = self._atoms(features[:, :-1], features[:, 1:])
        logits = self._network(F.pad(atoms, (0, 1))).squeeze(-1)
        return torch.where(episodes.mask, self.reward_of(logits), 0.0)

    @torch.no_grad()
    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """The present reward, ``(B,)``, of a step in the absorbing state; 0 for episodes that did not terminate."""
        self._move(episodes.observations.device)
        logit = self._network(_absorbing_atom(self._atoms.width, episodes.observations.device)).squeeze()
        return torch.where(episodes.terminated, self.reward_of(logit), 0.0)

    def reward_of(self, logits: Tensor) -> Tensor:
        """The rewards of steps with logits ``log D - log(1 - D)``, of any shape."""
        logits = logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        if self.options.form == "airl":
            return logits
        return F.softplus(logits) if self.options.form == "gail" else -F.softplus(-logits)

    @torch.enable_grad()
    def observe(self, episodes: Episodes) -> dict[str, float]:
        """Adds the agent's episodes to the memory and makes the updates that are due.

        Returns:
            Means over these updates: ``discriminator_loss`` (cross-entropy), ``discriminator_penalty`` (before its
            weight) and, of the expert's steps and of the agent's, ``discriminator_*_accuracy`` and
            ``discriminator_*_logit``. Nothing where no update was due.

        Raises:
            InputError: See :meth:`score`.
        """
        check_episodes(episodes, self.features)
        self._move(episodes.observations.device)
        features = self.features.of_episodes(episodes).float()
        for row, (steps, terminated) in enumerate(
            zip(episodes.lengths.tolist(), episodes.terminated.tolist(), strict=True)
        ):
            self._agent.add(features[row, : steps + 1], self._absorbing_steps(steps, terminated))
            self._steps += steps
        found = []
        while self._updates < math.floor(self.options.updates_per_step * self._steps):
            found.append(self._update())
            self._updates += 1
        return {
            f"discriminator_{name}": float(torch.stack([each[name] for each in found]).mean())
            for name in (found[0] if found else ())
        }

    def _absorbing_steps(self, steps: int, terminated: bool) -> int:
        """Steps into and within the absorbing state that count after an episode."""
        return min(1 + max(self._horizon - steps, 0), steps) if terminated else 0

    def _update(self) -> dict[str, Tensor]:
        loss, metrics = self._loss(self._draw(self._expert), self._draw(self._agent))
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        return metrics

    def _draw(self, memory: StepMemory) -> Tensor:
        """Atoms ``(batch_size // 2, 2F + 1)`` of steps drawn from a memory."""
        numbers = torch.randint(len(memory), (self.options.batch_size // 2,), generator=self._generator)
        before, after, absorbing = memory.steps(numbers)
        atoms = F.pad(self._atoms(before, after), (0, 1))
        return torch.where(absorbing[:, None], _absorbing_atom(self._atoms.width, atoms.device), atoms)

    def _loss(self, expert: Tensor, agent: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, half of it the expert's atoms and half the agent's, and the metrics to log."""
        logits = self._network(torch.cat([expert, agent])).squeeze(-1)
        of_expert, of_agent = logits.split([len(expert), len(agent)])
        cross_entropy = F.softplus(-of_expert).mean() + F.softplus(of_agent).mean()
        entropy = (F.softplus(logits) - logits * torch.sigmoid(logits)).mean()
        share = torch.rand(len(expert), 1, generator=self._generator).to(expert)
        penalty = gradient_penalty(self._network, share * expert + (1 - share) * agent)
        loss = cross_entropy + self.options.gradient_penalty * penalty - self.options.entropy_bonus * entropy
        metrics = {
            "loss": cross_entropy,
            "penalty": penalty,
            "expert_accuracy": (of_expert > 0).float().mean(),
            "agent_accuracy": (of_agent < 0).float().mean(),
            "expert_logit": of_expert.mean(),
            "agent_logit": of_agent.mean(),
        }
        return loss, {name: value.detach() for name, value in metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Options, features, network, Adam, the expert's steps, the agent's and the random state; a copy of all."""
        state = {
            "options": asdict(self.options),
            "features": self.features.state_dict(),
            "horizon": self._horizon,
            "steps": self._steps,
            "updates": self._updates,
            "atoms": self._atoms.state_dict(),
            "network": self._network.state_dict(),
            "adam": self._adam.state_dict(),
            "expert": self._expert.state_dict(),
            "agent": self._agent.state_dict(),
            "generator": self._generator.get_state(),
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included; on CPU, learning then continues bit for bit."""
        self.options = DiscriminatorOptions(**state["options"])
        self.features.load_state_dict(state["features"])
        self._horizon, self._steps, self._updates = state["horizon"], state["steps"], state["updates"]
        self._make(StepAtoms([torch.zeros(2, self.features.width)]))
        self._atoms.load_state_dict(state["atoms"])
        self._network.load_state_dict(state["network"])
        # Copied, because Adam keeps the tensors it is given and changes them in place.
        self._adam.load_state_dict(copy.deepcopy(state["adam"]))
        self._expert = StepMemory.from_state(state["expert"])
        self._agent = StepMemory.from_state(state["agent"])
        self._generator.set_state(state["generator"].cpu())

    def _make(self, atoms: StepAtoms) -> None:
        options = self.options
        widths = [atoms.width + 1, options.hidden_dim, options.hidden_dim, 1]
        self._device = torch.device("cpu")
        self._atoms = atoms
        self._network = perceptron(widths, options.activation, options.seed)
        self._adam = torch.optim.Adam(self._network.parameters(), lr=options.learning_rate, fused=True)

    def _move(self, device: torch.device) -> None:
        """Moves everything to the episodes' device, where it stays."""
        if device == self._device:
            return
        self._device = device
        self._atoms.to(device)
        self._network.to(device)
        self._adam.load_state_dict(self._adam.state_dict())  # it follows its parameters
        self._expert.to(device)
        self._agent.to(device)


def gradient_penalty(network: nn.Module, points: Tensor) -> Tensor:
    """Mean squared difference between 1 and the norm of a network's gradient, ``(N, F)`` to ``(N, 1)``, at ``points``.

    Differentiable in the network's weights (arXiv 1704.00028, equation 3).
    """
    points = points.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(network(points).sum(), points, create_graph=True)
    # The norm has no gradient where the slope is exactly 0; with a tiny number under the root, it has one.
    norms = (slopes.square().sum(dim=-1) + 1e-12).sqrt()
    return (norms - 1.0).square().mean()


def _absorbing_atom(width: int, device: torch.device) -> Tensor:
    """``(1, width + 1)``: no features, and the flag."""
    return F.pad(torch.zeros(1, width, device=device), (0, 1), value=FLAG)
