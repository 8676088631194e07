"""An agent of your own, whole: TD3 (arXiv 1802.09477) in textbook PyTorch, nothing done for speed. From this folder:

ilfo train --preset quickstart --agent own_agent:PlainTD3 --plain-td3.layer-norm --out runs/plain
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from ilfo.agents import Agent


@dataclass(frozen=True)
class PlainTD3Options:
    """Each field becomes a flag: here --plain-td3.hidden-dim. A docstring under it would become its help."""

    discount: float = 0.99
    batch_size: int = 256
    hidden_dim: int = 256
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 3e-4
    tau: float = 0.005
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    policy_delay: int = 2
    exploration_noise: float = 0.1
    layer_norm: bool = False


def mlp(inputs, hidden, outputs, layer_norm=False):
    layers = []
    for width in (inputs, hidden):
        layers += [nn.Linear(width, hidden), *([nn.LayerNorm(hidden)] if layer_norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class PlainTD3(Agent):
    """Actions lie in [-1, 1]; the seed determines all randomness."""

    Options = PlainTD3Options
    parts = ("nets", "targets", "actor_adam", "critic_adam")

    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0):
        self.options = o = options or PlainTD3Options()
        self.discount, self.batch_size, self.updates = o.discount, o.batch_size, 0
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):  # a run leaves PyTorch's own stream as it found it
            torch.manual_seed(seed)
            actor = nn.Sequential(mlp(observation_dim, o.hidden_dim, action_dim), nn.Tanh())
            q1, q2 = (mlp(observation_dim + action_dim, o.hidden_dim, 1, o.layer_norm) for _ in range(2))
        self.nets = nn.ModuleDict({"actor": actor, "q1": q1, "q2": q2}).to(device)
        self.targets = copy.deepcopy(self.nets).requires_grad_(False)
        self.actor_adam = torch.optim.Adam(actor.parameters(), o.actor_learning_rate)
        self.critic_adam = torch.optim.Adam([*q1.parameters(), *q2.parameters()], o.critic_learning_rate)

    @torch.no_grad()
    def act(self, observations, explore):
        actions = self.nets["actor"](observations)
        return (actions + self.noise(actions, self.options.exploration_noise)).clamp(-1, 1) if explore else actions

    def noise(self, actions, scale):
        return scale * torch.randn(actions.shape, generator=self.generator).to(actions.device)

    def update(self, batch):
        o, nets, targets, self.updates = self.options, self.nets, self.targets, self.updates + 1
        with torch.no_grad():
            noise = self.noise(batch.actions, o.target_noise).clamp(-o.target_noise_clip, o.target_noise_clip)
            actions = (targets["actor"](batch.next_observations) + noise).clamp(-1, 1)
            pairs = torch.cat([batch.next_observations, actions], 1)
            value = torch.min(targets["q1"](pairs), targets["q2"](pairs)).squeeze(1)
            goal = batch.rewards + (1 - batch.terminated) * o.discount * value
        pairs = torch.cat([batch.observations, batch.actions], 1)
        q1, q2 = nets["q1"](pairs).squeeze(1), nets["q2"](pairs).squeeze(1)
        loss = self.descend(nn.functional.mse_loss(q1, goal) + nn.functional.mse_loss(q2, goal), self.critic_adam)
        metrics = {"critic_loss": loss, "q": q1.detach().mean()}
        if self.updates % o.policy_delay == 0:
            pairs = torch.cat([batch.observations, nets["actor"](batch.observations)], 1)
            metrics["actor_loss"] = self.descend(-nets["q1"](pairs).mean(), self.actor_adam)
            for target, online in zip(targets.parameters(), nets.parameters(), strict=True):
                target.lerp_(online.detach(), o.tau)
        return metrics

    def descend(self, loss, adam):
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.detach()

    def state_dict(self):
        parts = {name: getattr(self, name).state_dict() for name in self.parts}
        return parts | {"updates": self.updates, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        for name in self.parts:
            getattr(self, name).load_state_dict(state[name])
        self.updates = state["updates"]
        self.generator.set_state(state["generator"].cpu())
