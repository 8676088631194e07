"""What a user would bring: a reward and an agent of their own, without registration."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from ilfo.agents import Agent
from ilfo.rewards import RewardGenerator


@dataclass(frozen=True)
class HeightOptions:
    """What is rewarded."""

    column: int = 0
    """Column of the observation."""


class Height(RewardGenerator):
    """Rewards one number of the next state, and being dead with one that is lower."""

    Options = HeightOptions
    needs: ClassVar[Literal["transition", "trajectory"]] = "transition"

    def fit(self, demonstrations):
        return self

    def score(self, episodes):
        return episodes.observations[:, 1:, self.options.column] * episodes.mask

    def absorbing_reward(self, episodes):
        return torch.full(episodes.lengths.shape, -9.0)


@dataclass(frozen=True)
class StillOptions:
    """How still it stands."""

    level: float = 0.0
    """The action that it always takes."""


class Still(Agent):
    """Always takes the same action."""

    Options = StillOptions

    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0):
        self.options = options or StillOptions()
        self.action_dim = action_dim

    def act(self, observations, explore):
        return torch.full((len(observations), self.action_dim), self.options.level)

    def update(self, batch):
        return {"mean_reward": batch.rewards.mean()}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Talkative(Still):
    """Logs one number only at some of its updates, which are others for every seed."""

    def update(self, batch):
        sometimes = {"sometimes": torch.tensor(2.0)} if batch.actions[0].mean() > 0 else {}
        return {"always": torch.tensor(1.0)} | sometimes


class Keeper(Still):
    """Acts by a checkpoint, which no option of it prevents."""

    plays_best = True


@dataclass(frozen=True)
class PathOptions:
    """Where checkpoints are kept."""

    checkpoints: str = ""
    """A folder."""


class KeeperSomewhere(Keeper):
    """Has an option that is called as the one that prevents it."""

    Options = PathOptions

    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0):
        super().__init__(observation_dim, action_dim)


class KeeperWithout(KeeperSomewhere):
    """Has no options at all."""

    Options = None


class Toll(RewardGenerator):
    """Every step costs, the expert's speed the least: the way out is to end the episode, unless that costs as well."""

    def fit(self, demonstrations):
        return self

    def score(self, episodes):
        off_speed = (episodes.observations[:, 1:, 1] - 0.1).abs()
        return -(1 + off_speed) * episodes.mask


class TD3(Height):
    """Is called like the agent, and so would its flags be."""


class Scaling(Height):
    """Is called like a part of every configuration."""


class Transport(Height):
    """Is called like a built-in reward."""
