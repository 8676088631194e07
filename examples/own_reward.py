"""A reward of your own, whole: a class in a file, named on the command line. From this folder:

ilfo train --preset quickstart --reward own_reward:NearestReward --out runs/nearest
"""

from dataclasses import dataclass

import torch

from ilfo.rewards import RewardGenerator


@dataclass(frozen=True)
class NearestOptions:
    """Each field becomes a flag, and its docstring the help: here --nearest-reward.width."""

    width: float = 1.0
    """Distance from the expert, in its standard deviations, at which the reward has fallen to 1/e."""


class NearestReward(RewardGenerator):
    """Between 0 and 1: the closer (s, s') is to one of the expert's, the larger (Min-Dist, arXiv 2506.06793)."""

    Options = NearestOptions
    needs = "transition"  # (s, s') is enough, so rewards come at every step and not at the end of an episode

    def pairs(self, z):
        return torch.cat([z[..., :-1, :], z[..., 1:, :]], dim=-1)

    def fit(self, demonstrations):
        self.features.fit(demonstrations)
        self.expert = torch.cat([self.pairs(z) for z in self.features.of_demonstrations(demonstrations)])
        return self

    def score(self, episodes):
        pairs = self.pairs(self.features.of_episodes(episodes))
        distance = torch.cdist(pairs, self.expert.to(pairs)).amin(dim=-1) / pairs.shape[-1] ** 0.5
        return torch.exp(-distance / self.options.width) * episodes.mask

    def state_dict(self):
        return {"features": self.features.state_dict(), "expert": self.expert}

    def load_state_dict(self, state):
        self.features.load_state_dict(state["features"])
        self.expert = state["expert"]
