"""The preset oops: its protocol, and its learner against the authors' update written down again in plain PyTorch."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ilfo.agents import Batch
from ilfo.agents.td3 import TD3
from ilfo.training.flags import parse_train

PRESET: Any = parse_train(["--preset", "oops", "--env", "any", "--demo", "any"])[0]
HORIZON, STATES, ACTIONS, BATCH = 300, 5, 3, 100

Network = list[tuple[Tensor, Tensor]]


def test_the_protocol_is_the_authors():
    assert (PRESET.reward, PRESET.agent, PRESET.protocol) == ("transport", "td3", "fixed-horizon")
    assert (PRESET.steps, PRESET.random_steps, PRESET.replay_size) == (1_000_000, 10_000, 1_000_000)
    assert (PRESET.eval_every, PRESET.eval_episodes, PRESET.num_envs) == (5_000, 10, 1)
    assert (PRESET.normalize_observations, PRESET.policy_features.std_floor) == ("expert-and-random", 0.33)
    assert PRESET.policy_features.divisor == 1.0
    assert PRESET.time_aware
    assert PRESET.td3.train_between == "episodes"
    assert (PRESET.td3.exploration_noise, PRESET.td3.discount) == (0.2, 0.99)
    assert (PRESET.td3.batch_size, PRESET.td3.critic_gradient_clip) == (BATCH, 25.0)
    assert (PRESET.td3.target_noise, PRESET.td3.target_noise_clip, PRESET.td3.policy_delay) == (0.1, 0.5, 2)
    assert not PRESET.td3.checkpoints


def layers(module, *member: int) -> Network:
    """Copies of weights and biases, to be trained apart."""
    return [
        tuple(
            getattr(module, f"{name}{index}").detach()[member].clone().requires_grad_() for name in ("weight", "bias")
        )
        for index in range(3)
    ]


def run(network: Network, *inputs: Tensor) -> Tensor:
    hidden = torch.cat(inputs, dim=1)
    for weight, bias in network[:-1]:
        hidden = F.relu(F.linear(hidden, weight, bias))
    return F.linear(hidden, *network[-1])


def flat(*networks: Network) -> list[Tensor]:
    return [tensor for network in networks for layer in network for tensor in layer]


def follow(targets: list[Tensor], online: list[Tensor]) -> None:
    for target, source in zip(targets, online, strict=True):
        target.data = 0.997 * target.data + 0.003 * source.data


def timed_batch(generator: torch.Generator) -> Batch:
    """Transitions of episodes without a termination; the last column is the time to go over the horizon."""
    states, actions = (torch.rand(BATCH, width, generator=generator) * 2 - 1 for width in (STATES, ACTIONS))
    following = states + 0.1 * torch.randn(BATCH, STATES, generator=generator)
    left = torch.randint(1, HORIZON + 1, (BATCH, 1), generator=generator)
    return Batch(
        observations=torch.cat([states, left / HORIZON], dim=1),
        actions=actions,
        rewards=-10 * torch.rand(BATCH, generator=generator),
        next_observations=torch.cat([following, (left - 1) / HORIZON], dim=1),
        terminated=(left[:, 0] == 1).float(),
    )


def test_an_update_is_the_authors():
    """PAL with 0.4 and 1, gradient clip 25, tau 0.003, noise 0.1 clipped at 0.5, times drawn anew for the critics."""
    agent = TD3(STATES + 1, ACTIONS, PRESET.td3, seed=0, horizon=HORIZON)
    random, generator = copy.deepcopy(agent._random), torch.Generator().manual_seed(1)
    actor, critics = layers(agent.actor), [layers(agent.critics, member) for member in (0, 1)]
    assert [weight.shape[0] for weight, _ in actor] == [256, 256, ACTIONS]
    assert [weight.shape[0] for weight, _ in critics[0]] == [1024, 1024, 1]
    actor_target, critics_target = layers(agent.actor), [layers(agent.critics, member) for member in (0, 1)]
    actor_adam, critic_adam = torch.optim.Adam(flat(actor), 3e-4), torch.optim.Adam(flat(*critics), 3e-4)

    for number in range(1, 13):
        batch = timed_batch(generator)
        found = agent.update(batch)

        noise = (0.1 * random.normal((BATCH, ACTIONS))).clamp(-0.5, 0.5)
        left = 1 + (random.uniform((BATCH, 1)) * HORIZON).floor()
        states, following = batch.observations[:, :-1], batch.next_observations[:, :-1]
        with torch.no_grad():
            seen = torch.cat([following, (left - 1) / HORIZON], dim=1)
            actions = (torch.tanh(run(actor_target, seen)) + noise).clamp(-1, 1)
            smaller = torch.minimum(*(run(critic, seen, actions)[:, 0] for critic in critics_target))
            target = batch.rewards + (left[:, 0] > 1) * 0.99 * smaller
        errors = [run(critic, states, left / HORIZON, batch.actions)[:, 0] - target for critic in critics]
        sizes = [error.abs() for error in errors]
        losses = [torch.where(size < 1, 0.5 * size**2, size**1.4 / 1.4).mean() for size in sizes]
        loss = sum(losses) / torch.maximum(*sizes).clamp(min=1).pow(0.4).mean().detach()
        critic_adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flat(*critics), 25.0)
        critic_adam.step()
        torch.testing.assert_close(found["critic_loss"], loss.detach(), rtol=1e-4, atol=1e-5)

        assert ("actor_loss" in found) == (number % 2 == 0)
        if number % 2 == 0:
            actions = torch.tanh(run(actor, batch.observations))
            actor_loss = -run(critics[0], batch.observations, actions).mean()
            actor_adam.zero_grad()
            actor_loss.backward()
            actor_adam.step()
            follow(flat(actor_target, *critics_target), flat(actor, *critics))
            torch.testing.assert_close(found["actor_loss"], actor_loss.detach(), rtol=1e-4, atol=1e-5)
