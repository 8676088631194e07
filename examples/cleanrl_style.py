"""A training loop of one's own, TD3 in CleanRL's manner, with what ilfo adds marked. From this folder:

python cleanrl_style.py --steps 60000
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
parser.add_argument("--random-steps", type=int, default=5000)
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


envs = gymnasium.make_vec("HalfCheetah-v5", args.num_envs, vectorization_mode="sync")
(D,), (A,) = envs.single_observation_space.shape, envs.single_action_space.shape
actor, q1, q2 = nn.Sequential(mlp(D, A), nn.Tanh()), mlp(D + A, 1), mlp(D + A, 1)
targets = [copy.deepcopy(net).requires_grad_(False) for net in (actor, q1, q2)]
q_adam = torch.optim.Adam([*q1.parameters(), *q2.parameters()], 3e-4)
actor_adam = torch.optim.Adam(actor.parameters(), 3e-4)
rb = ReplayBuffer()
reward = OptimalTransport().fit(demos.open("halfcheetah"))  # ilfo
mode = envs.metadata["autoreset_mode"]  # ilfo
labeller = EpisodeLabeller(reward, args.num_envs, discount=GAMMA, autoreset=mode)  # ilfo

obs, _ = envs.reset(seed=0)
for step in range(0, args.steps, args.num_envs):
    actions = rng.uniform(-1, 1, (args.num_envs, A))
    if step >= args.random_steps:
        with torch.no_grad():
            actions = (actor(torch.Tensor(obs)).numpy() + rng.normal(0, 0.1, actions.shape)).clip(-1, 1)
    next_obs, _, terminations, truncations, infos = envs.step(actions)
    for transition in labeller.label(obs, actions, next_obs, terminations, truncations, infos):  # ilfo
        rb.append(transition)
    obs = next_obs
    if step >= args.random_steps and rb:
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
print(f"{len(rb)} transitions have imitation rewards, {np.mean([each.reward for each in rb]):.3f} a step")  # ilfo
