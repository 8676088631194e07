"""A training loop of one's own, TD3 in CleanRL's manner, on imitation rewards: python cleanrl_style.py --steps 60000

To train on HalfCheetah's own rewards, remove the lines marked "# ilfo" and replace the one marked "# ilfo instead" by:

    rb.extend(zip(obs, real_next_obs, actions, rewards, terminations, strict=True))
"""

import argparse
import copy

import gymnasium
import numpy as np
import torch
from torch import nn

from ilfo import demos  # ilfo
from ilfo.adapters.labeller import EpisodeLabeller  # ilfo
from ilfo.rewards import OptimalTransport  # ilfo

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60_000)
parser.add_argument("--num-envs", type=int, default=1)
parser.add_argument("--random-steps", type=int, default=5000, help="of each environment, at least 1000")
args = parser.parse_args()
GAMMA, TAU, BATCH, rng = 0.99, 0.005, 256, np.random.default_rng(0)


def mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs))


def descend(loss, adam):
    adam.zero_grad()
    loss.backward()
    adam.step()


class ReplayBuffer(list):
    def sample(self):
        drawn = [self[row] for row in rng.integers(len(self), size=BATCH)]
        return [torch.from_numpy(np.stack(column)).float() for column in zip(*drawn, strict=True)]


envs = gymnasium.make_vec("HalfCheetah-v5", args.num_envs, "sync", {"autoreset_mode": "SameStep"})
(D,), (A,) = envs.single_observation_space.shape, envs.single_action_space.shape
actor, q1, q2 = nn.Sequential(mlp(D, A), nn.Tanh()), mlp(D + A, 1), mlp(D + A, 1)
targets = [copy.deepcopy(net).requires_grad_(False) for net in (actor, q1, q2)]
q_adam = torch.optim.Adam([*q1.parameters(), *q2.parameters()], 3e-4)
actor_adam = torch.optim.Adam(actor.parameters(), 3e-4)
rb = ReplayBuffer()
reward = OptimalTransport().fit(demos.open("halfcheetah"))  # ilfo
labeller = EpisodeLabeller(reward, args.num_envs, discount=GAMMA, autoreset=envs.metadata["autoreset_mode"])  # ilfo

obs, _ = envs.reset(seed=0)
for step in range(args.steps // args.num_envs):
    actions = rng.uniform(-1, 1, (args.num_envs, A))
    if step >= args.random_steps:
        actions = (actor(torch.Tensor(obs)).detach().numpy() + rng.normal(0, 0.1, actions.shape)).clip(-1, 1)
    next_obs, rewards, terminations, truncations, infos = envs.step(actions)
    real_next_obs = next_obs.copy()
    for index in np.flatnonzero(truncations):
        real_next_obs[index] = infos["final_obs"][index]
    rb.extend(labelled := labeller.label(obs, actions, real_next_obs, terminations, truncations, infos))  # ilfo instead
    for episode in labelled.episodes:  # ilfo
        print(f"step {step}: imitation return {episode.imitation_return:.1f}")  # ilfo
    obs = next_obs
    if step >= args.random_steps:
        o, o2, a, r, ends = rb.sample()
        with torch.no_grad():
            a2 = (targets[0](o2) + (0.2 * torch.randn_like(a)).clamp(-0.5, 0.5)).clamp(-1, 1)
            values = [target(torch.cat([o2, a2], 1)).squeeze(1) for target in targets[1:]]
            goal = r + (1 - ends) * GAMMA * torch.min(*values)
        descend(sum(nn.functional.mse_loss(q(torch.cat([o, a], 1)).squeeze(1), goal) for q in (q1, q2)), q_adam)
        if step % 2 == 0:
            descend(-q1(torch.cat([o, actor(o)], 1)).mean(), actor_adam)
            for online, target in zip((actor, q1, q2), targets, strict=True):
                for new, old in zip(online.parameters(), target.parameters(), strict=True):
                    old.lerp_(new.detach(), TAU)
print(f"{len(rb)} transitions are there to learn from, at {np.mean([row[3] for row in rb]):.3f} a step")
