"""TD7's learning step in textbook PyTorch, nothing done for speed: the yardstick of the built-in one."""

import copy
import itertools

import torch
from torch import nn

from ilfo.agents._random_streams import RandomStreams


def layers(*widths, activation=nn.ReLU):
    found = []
    for inputs, outputs in itertools.pairwise(widths):
        found += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*found[:-1])


def normal(x):
    return x / x.abs().mean(-1, keepdim=True).clamp(min=1e-8)


class PlainActor(nn.Module):
    def __init__(self, observations, actions, hidden, embedding):
        super().__init__()
        self.l0 = nn.Linear(observations, hidden)
        self.rest = layers(hidden + embedding, hidden, hidden, actions)

    def forward(self, observations, zs):
        return self.rest(torch.cat([normal(self.l0(observations)), zs], 1)).tanh()


class PlainCritic(nn.Module):
    def __init__(self, observations, actions, hidden, embedding):
        super().__init__()
        self.l0 = nn.Linear(observations + actions, hidden)
        self.rest = layers(hidden + 2 * embedding, hidden, hidden, 1, activation=nn.ELU)

    def forward(self, observations, actions, zsa, zs):
        seen = normal(self.l0(torch.cat([observations, actions], 1)))
        return self.rest(torch.cat([seen, zsa, zs], 1))


class PlainCritics(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.q1, self.q2 = PlainCritic(*sizes), PlainCritic(*sizes)

    def forward(self, *inputs):
        return torch.cat([self.q1(*inputs), self.q2(*inputs)], 1)


class PlainEncoder(nn.Module):
    def __init__(self, observations, actions, hidden, embedding):
        super().__init__()
        self.f = layers(observations, hidden, hidden, embedding, activation=nn.ELU)
        self.g = layers(embedding + actions, hidden, hidden, embedding, activation=nn.ELU)

    def zs(self, observations):
        return normal(self.f(observations))

    def zsa(self, zs, actions):
        return self.g(torch.cat([zs, actions], 1))


class PlainTD7:
    def __init__(self, observations, actions, options, seed):
        self.options, self.updates = options, 0
        self.random = RandomStreams(seed, "cpu")
        sizes = (observations, actions, options.hidden_dim, options.embedding_dim)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.actor, self.critics, self.encoder = PlainActor(*sizes), PlainCritics(*sizes), PlainEncoder(*sizes)
        self.actor_target, self.critics_target = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.fixed_encoder, self.fixed_encoder_target = copy.deepcopy(self.encoder), copy.deepcopy(self.encoder)
        self.encoder_adam = torch.optim.Adam(self.encoder.parameters(), options.encoder_learning_rate)
        self.critic_adam = torch.optim.Adam(self.critics.parameters(), options.critic_learning_rate)
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), options.actor_learning_rate)
        self.lowest, self.highest, self.low, self.high = 1e8, -1e8, 0.0, 0.0

    @torch.no_grad()
    def act(self, observations, explore):
        actions = self.actor(observations, self.fixed_encoder.zs(observations))
        if explore:
            actions += self.options.exploration_noise * self.random.normal(actions.shape)
        return actions.clamp(-1, 1)

    def update(self, batch):
        o, self.updates = self.options, self.updates + 1
        with torch.no_grad():
            goal = self.encoder.zs(batch.next_observations)
        foreseen = self.encoder.zsa(self.encoder.zs(batch.observations), batch.actions)
        encoder_loss = nn.functional.mse_loss(foreseen, goal)
        self.descend(encoder_loss, self.encoder_adam)

        with torch.no_grad():
            zs = self.fixed_encoder_target.zs(batch.next_observations)
            noise = self.random.normal(batch.actions.shape) * o.target_noise
            noise = noise.clamp(-o.target_noise_clip, o.target_noise_clip)
            actions = (self.actor_target(batch.next_observations, zs) + noise).clamp(-1, 1)
            zsa = self.fixed_encoder_target.zsa(zs, actions)
            value = self.critics_target(batch.next_observations, actions, zsa, zs).min(1).values
            y = batch.rewards + (1 - batch.terminated) * o.discount * value.clamp(self.low, self.high)
            self.lowest, self.highest = min(self.lowest, float(y.min())), max(self.highest, float(y.max()))
            zs = self.fixed_encoder.zs(batch.observations)
            zsa = self.fixed_encoder.zsa(zs, batch.actions)
        q = self.critics(batch.observations, batch.actions, zsa, zs)
        error = (q - y.unsqueeze(1)).abs()
        huber = torch.where(error < o.min_priority, 0.5 * error**2, o.min_priority * error)
        critic_loss = huber.sum(1).mean()
        self.descend(critic_loss, self.critic_adam)
        self.priorities = error.detach().max(1).values.clamp(min=o.min_priority) ** o.priority_exponent
        metrics = {"encoder_loss": encoder_loss, "critic_loss": critic_loss, "q": q[:, 0].mean()}

        if self.updates % o.policy_delay == 0:
            actions = self.actor(batch.observations, zs)
            zsa = self.fixed_encoder.zsa(zs, actions)
            metrics["actor_loss"] = -self.critics(batch.observations, actions, zsa, zs).mean()
            self.descend(metrics["actor_loss"], self.actor_adam)
        if self.updates % o.target_update_every == 0:
            self.actor_target.load_state_dict(self.actor.state_dict())
            self.critics_target.load_state_dict(self.critics.state_dict())
            self.fixed_encoder_target.load_state_dict(self.fixed_encoder.state_dict())
            self.fixed_encoder.load_state_dict(self.encoder.state_dict())
            self.low, self.high = self.lowest, self.highest
        return {name: value.detach() for name, value in metrics.items()}

    def descend(self, loss, adam):
        adam.zero_grad()
        loss.backward()
        adam.step()
