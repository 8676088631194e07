"""Rewards and episodes on the ledge, for learners that are not ours."""

from dataclasses import replace

import gymnasium
import numpy as np
import torch
from small_envs import LEDGE, walk

from ilfo.demos import Demonstrations
from ilfo.rewards import FeatureOptions, RewardGenerator, StateFeatures
from ilfo.rewards.base import check_episodes

VELOCITIES = (-0.2, 0.1, 0.03)
"""What each of three environments does: fall, imitate, dawdle."""


class Nearness(RewardGenerator):
    """Between 0 and 2, the closer a transition is to any of the expert's the more."""

    needs = "transition"

    def fit(self, demonstrations):
        self.features.fit(demonstrations)
        states = self.features.of_demonstrations(demonstrations)
        self.expert = torch.cat([torch.cat([part[:-1], part[1:]], dim=1) for part in states])
        return self

    def score(self, episodes):
        check_episodes(episodes, self.features)
        states = self.features.of_episodes(episodes)
        pairs = torch.cat([states[:, :-1], states[:, 1:]], dim=-1)
        # A matrix product would round otherwise in another batch.
        distances = torch.cdist(pairs, self.expert.to(pairs), compute_mode="donot_use_mm_for_euclid_dist")
        return 2 * torch.exp(-distances.amin(dim=-1)) * episodes.mask

    def state_dict(self):
        return {"features": self.features.state_dict(), "expert": self.expert}

    def load_state_dict(self, state):
        self.features.load_state_dict(state["features"])
        self.expert = state["expert"]


class Learning(Nearness):
    """The same, times one more than the steps of the agent that it has seen; it remembers how episodes ended."""

    stationary = False

    def __init__(self, options=None, features=None):
        super().__init__(options, features)
        self.steps, self.ends = 0, []

    def observe(self, episodes):
        assert len(episodes.lengths) == 1, "every episode by itself"
        self.steps += int(episodes.lengths[0])
        self.ends.append((int(episodes.lengths[0]), bool(episodes.terminated[0])))
        return {"steps_seen": float(self.steps)}

    def score(self, episodes):
        return (1 + self.steps) * super().score(episodes)

    def state_dict(self):
        return super().state_dict() | {"steps": self.steps}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.steps = state["steps"]


class Passing(RewardGenerator):
    """A user's own, that passes everything on and says nothing of what it is."""

    needs = "transition"

    def fit(self, demonstrations):
        self.inner = Learning().fit(demonstrations)
        return self

    def score(self, episodes):
        return self.inner.score(episodes)

    def observe(self, episodes):
        return self.inner.observe(episodes)


class Waiting(Passing):
    """The same, for whole episodes."""

    needs = "trajectory"


def timed(kind):
    """A reward that looks at the time too."""
    return kind(features=StateFeatures(FeatureOptions(time=2.0)))


def three_columns():
    """A walk of another environment, that shows one column more."""
    observations = np.pad(walk(0.1).observations, ((0, 0), (0, 1)))
    return Demonstrations((replace(walk(0.1), observations=observations),))


def episodes_of(copy: int, steps: int, seed: int = 0):
    """Episodes ``(observations (T+1, 2), actions (T, 1), terminated)`` of one environment, the last perhaps open.

    They are those of copy ``copy`` of vector environments that are reset with the seed.
    """
    env, done = gymnasium.make(LEDGE), []
    observation, _ = env.reset(seed=seed + copy)
    observations, actions = [observation], []
    for _ in range(steps):
        action = np.array([VELOCITIES[copy]], np.float32)
        observation, _, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        actions.append(action)
        if terminated or truncated:
            done.append((np.array(observations, np.float32), np.array(actions), terminated))
            observations, actions = [env.reset()[0]], []
    return done
