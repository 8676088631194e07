"""TD3 as CleanRL's ``cleanrl/td3_continuous_action.py`` does it, to be timed beside other learners.

Written anew after the script at commit 004f8a0 (github.com/vwxyzjn/cleanrl, MIT), operation by operation: a vector
environment of one copy, critics that are modules of their own, Stable-Baselines3's replay, Adam with its defaults,
targets that follow parameter by parameter, losses written to TensorBoard every 100 steps.

What differs: the environment comes ready-made, so that all learners step the same one; gymnasium is told to reset an
ended episode within the step, as the version that the script is written for always did; the replay comes from
Stable-Baselines3 itself, of which CleanRL carries a copy; nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.buffers import ReplayBuffer
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

DISCOUNT, TAU, POLICY_FREQUENCY = 0.99, 0.005, 2
TARGET_NOISE, TARGET_NOISE_CLIP = 0.2, 0.5
LEARNING_RATE = 3e-4
LOG_EVERY = 100


@dataclass(frozen=True)
class Settings:
    """What the benchmark decides for every learner."""

    random_steps: int
    hidden: int
    batch: int
    noise: float
    capacity: int
    device: str = "cpu"
    seed: int = 0


class QNetwork(nn.Module):
    """One action value, ``(B, 1)``."""

    def __init__(self, observations: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(observations + actions, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        x = torch.cat([observations, actions], 1)
        x = F.relu(self.first(x))
        x = F.relu(self.second(x))
        return self.last(x)


class Actor(nn.Module):
    """Actions between the bounds of their space."""

    scale: Tensor
    bias: Tensor

    def __init__(self, observations: int, space: gymnasium.spaces.Box, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(observations, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, space.shape[0])
        self.register_buffer("scale", torch.as_tensor((space.high - space.low) / 2, dtype=torch.float32))
        self.register_buffer("bias", torch.as_tensor((space.high + space.low) / 2, dtype=torch.float32))

    def forward(self, observations: Tensor) -> Tensor:
        x = F.relu(self.first(observations))
        x = F.relu(self.second(x))
        return torch.tanh(self.last(x)) * self.scale + self.bias


class Learner:
    """The six networks, their two optimisers and the update."""

    def __init__(self, observations: int, space: gymnasium.spaces.Box, settings: Settings) -> None:
        def networks() -> tuple[Actor, QNetwork, QNetwork]:
            width, hidden, device = space.shape[0], settings.hidden, settings.device
            actor = Actor(observations, space, hidden).to(device)
            return (
                actor,
                QNetwork(observations, width, hidden).to(device),
                QNetwork(observations, width, hidden).to(device),
            )

        self.online, self.targets = networks(), networks()
        for online, target in zip(self.online, self.targets, strict=True):
            target.load_state_dict(online.state_dict())
        self.actor, self.q1, self.q2 = self.online
        self.low, self.high = float(space.low[0]), float(space.high[0])
        self.critic_adam = torch.optim.Adam([*self.q1.parameters(), *self.q2.parameters()], lr=LEARNING_RATE)
        self.actor_adam = torch.optim.Adam(list(self.actor.parameters()), lr=LEARNING_RATE)

    def goal(self, data: Any) -> Tensor:
        """What both critics should say, ``(B,)``."""
        actor, q1, q2 = self.targets
        with torch.no_grad():
            noise = (torch.randn_like(data.actions) * TARGET_NOISE).clamp(-TARGET_NOISE_CLIP, TARGET_NOISE_CLIP)
            actions = (actor(data.next_observations) + noise * actor.scale).clamp(self.low, self.high)
            value = torch.min(q1(data.next_observations, actions), q2(data.next_observations, actions))
            return data.rewards.flatten() + (1 - data.dones.flatten()) * DISCOUNT * value.view(-1)

    def update_critics(self, data: Any) -> dict[str, Tensor]:
        """One step of both critics; returns what the script logs."""
        goal = self.goal(data)
        q1, q2 = self.q1(data.observations, data.actions).view(-1), self.q2(data.observations, data.actions).view(-1)
        loss1, loss2 = F.mse_loss(q1, goal), F.mse_loss(q2, goal)
        loss = loss1 + loss2
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()
        return {"q1": q1, "q2": q2, "q1_loss": loss1, "q2_loss": loss2, "q_loss": loss}

    def update_actor(self, data: Any) -> dict[str, Tensor]:
        """One step of the actor and of every target."""
        loss = -self.q1(data.observations, self.actor(data.observations)).mean()
        self.actor_adam.zero_grad()
        loss.backward()
        self.actor_adam.step()
        for online, target in zip(self.online, self.targets, strict=True):
            for new, old in zip(online.parameters(), target.parameters(), strict=True):
                old.data.copy_(TAU * new.data + (1 - TAU) * old.data)
        return {"actor_loss": loss}


def train(
    make_env: Callable[[], gymnasium.Env[Any, Any]], settings: Settings, folder: str, passed: Callable[[int], None]
) -> None:
    """Steps one environment and learns after every step, until ``passed`` raises.

    Args:
        make_env: Makes the environment.
        settings: Sizes, noise, device and seed.
        folder: Where TensorBoard's file goes.
        passed: Called with the number of steps made, after each one with its update.
    """
    np.random.seed(settings.seed)  # noqa: NPY002, Stable-Baselines3's replay draws from NumPy's global stream
    torch.manual_seed(settings.seed)
    envs = SyncVectorEnv(
        [lambda: gymnasium.wrappers.RecordEpisodeStatistics(make_env())], autoreset_mode=AutoresetMode.SAME_STEP
    )
    space = envs.single_action_space
    assert isinstance(space, gymnasium.spaces.Box)
    space.seed(settings.seed)
    seen = gymnasium.spaces.Box(-np.inf, np.inf, envs.single_observation_space.shape, np.float32)
    learner = Learner(seen.shape[0], space, settings)
    replay = ReplayBuffer(settings.capacity, seen, space, settings.device, handle_timeout_termination=False)
    writer = SummaryWriter(folder)
    observations, _ = envs.reset(seed=settings.seed)
    try:
        for step in count():
            if step < settings.random_steps:
                actions = np.array([space.sample()])
            else:
                with torch.no_grad():
                    chosen = learner.actor(torch.Tensor(observations).to(settings.device))
                    chosen += torch.normal(0, learner.actor.scale * settings.noise)
                    actions = chosen.cpu().numpy().clip(space.low, space.high)
            after, rewards, terminated, truncated, infos = envs.step(actions)
            if "final_info" in infos:
                writer.add_scalar("charts/episodic_return", infos["final_info"]["episode"]["r"][0], step)
                writer.add_scalar("charts/episodic_length", infos["final_info"]["episode"]["l"][0], step)
            final = after.copy()
            for index, ended in enumerate(truncated):
                if ended:
                    final[index] = infos["final_obs"][index]
            replay.add(observations, final, actions, rewards, terminated, infos)  # type: ignore[arg-type]
            observations = after
            if step > settings.random_steps:
                data = replay.sample(settings.batch)
                metrics = learner.update_critics(data)
                if step % POLICY_FREQUENCY == 0:
                    metrics |= learner.update_actor(data)
                if step % LOG_EVERY == 0:
                    for name, value in metrics.items():
                        writer.add_scalar(f"losses/{name}", value.mean().item(), step)
            passed(step + 1)
    finally:
        writer.close()
        envs.close()
