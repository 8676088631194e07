"""SAC's learning step in textbook PyTorch, nothing done for speed: the yardstick of the built-in one."""

import copy
import math

import torch
from torch import nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from ilfo.agents._random_streams import RandomStreams


def mlp(inputs, hidden, outputs, layer_norm=False):
    layers = []
    for width in (inputs, hidden):
        layers += [nn.Linear(width, hidden), *([nn.LayerNorm(hidden)] if layer_norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class PlainSAC:
    def __init__(self, observations, actions, options, seed):
        self.options, self.actions = options, actions
        self.random = RandomStreams(seed, "cpu")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.actor = mlp(observations, options.hidden_dim, 2 * actions)
            self.q1, self.q2 = (
                mlp(observations + actions, options.hidden_dim, 1, options.layer_norm) for _ in range(2)
            )
        self.q1_target, self.q2_target = copy.deepcopy(self.q1), copy.deepcopy(self.q2)
        self.log_alpha = torch.tensor(math.log(options.initial_temperature), requires_grad=True)
        self.target_entropy = -actions if options.target_entropy is None else options.target_entropy
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), options.actor_learning_rate)
        self.critic_adam = torch.optim.Adam(
            [*self.q1.parameters(), *self.q2.parameters()], options.critic_learning_rate
        )
        self.alpha_adam = torch.optim.Adam([self.log_alpha], options.temperature_learning_rate)

    def policy(self, observations):
        mean, log_std = self.actor(observations).chunk(2, 1)
        return Independent(Normal(mean, log_std.clamp(-20, 2).exp()), 1)

    def sample(self, observations):
        """Actions, and their log-densities as PyTorch's own distributions have them."""
        gaussian = self.policy(observations)
        noise = self.random.normal((len(observations), self.actions))
        squash = TanhTransform(cache_size=1)
        squashed = TransformedDistribution(gaussian, [squash])
        actions = squash(gaussian.base_dist.loc + gaussian.base_dist.scale * noise)
        return actions, squashed.log_prob(actions)

    @torch.no_grad()
    def act(self, observations, explore):
        return self.sample(observations)[0] if explore else self.policy(observations).mean.tanh()

    def alpha(self):
        fixed = self.options.temperature
        return self.log_alpha.detach().exp() if fixed is None else fixed

    def update(self, batch):
        o = self.options
        with torch.no_grad():
            actions, log_pi = self.sample(batch.next_observations)
            pairs = torch.cat([batch.next_observations, actions], 1)
            value = torch.min(self.q1_target(pairs), self.q2_target(pairs)).squeeze(1) - self.alpha() * log_pi
            goal = batch.rewards + (1 - batch.terminated) * o.discount * value
        pairs = torch.cat([batch.observations, batch.actions], 1)
        q1, q2 = self.q1(pairs).squeeze(1), self.q2(pairs).squeeze(1)
        critic_loss = nn.functional.mse_loss(q1, goal) + nn.functional.mse_loss(q2, goal)
        self.descend(critic_loss, self.critic_adam)

        actions, log_pi = self.sample(batch.observations)
        pairs = torch.cat([batch.observations, actions], 1)
        actor_loss = (self.alpha() * log_pi - torch.min(self.q1(pairs), self.q2(pairs)).squeeze(1)).mean()
        self.descend(actor_loss, self.actor_adam)
        metrics = {"critic_loss": critic_loss, "q": q1.mean(), "actor_loss": actor_loss, "entropy": -log_pi.mean()}

        if o.temperature is None:
            metrics["temperature"] = self.alpha()
            self.descend(-(self.log_alpha * (log_pi.detach() + self.target_entropy)).mean(), self.alpha_adam)
        for online, target in ((self.q1, self.q1_target), (self.q2, self.q2_target)):
            for new, old in zip(online.parameters(), target.parameters(), strict=True):
                old.data = (1 - o.tau) * old.data + o.tau * new.data
        return {name: value.detach() for name, value in metrics.items()}

    def descend(self, loss, adam):
        adam.zero_grad()
        loss.backward()
        adam.step()
