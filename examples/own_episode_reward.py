"""A reward of your own that takes the whole episode. From this folder:

ilfo train --preset quickstart --reward own_episode_reward:AlignedReward --out runs/aligned
"""

from dataclasses import dataclass

import torch

from ilfo.rewards import RewardGenerator


@dataclass(frozen=True)
class AlignedOptions:
    """Each field becomes a flag, here --aligned-reward.width."""

    width: float = 1.0
    """Distance from the expert, in its standard deviations, at which the reward has fallen to 1/e."""


class AlignedReward(RewardGenerator):
    """Between 0 and 1, the closer a state is to the expert's after the same share of the episode."""

    Options = AlignedOptions
    needs = "trajectory"  # how long an episode is decides over all its steps, so rewards come when it is over

    def fit(self, demonstrations):
        self.features.fit(demonstrations)
        self.expert = self.features.of_demonstrations(demonstrations)[0]  # (E+1, F), of the first demonstration
        return self

    def score(self, episodes):
        states = self.features.of_episodes(episodes)[:, 1:]  # (B, T, F): of several episodes, padded at the end
        steps = torch.arange(1, states.shape[1] + 1, device=states.device)
        share = (steps / episodes.lengths[:, None]).clamp(max=1)  # (B, T); beyond an episode's length it is masked
        expert = self.expert.to(states)[(share * (len(self.expert) - 1)).round().long()]
        distance = (states - expert).norm(dim=-1) / states.shape[-1] ** 0.5
        return torch.exp(-distance / self.options.width) * episodes.mask

    def state_dict(self):
        return {"features": self.features.state_dict(), "expert": self.expert}

    def load_state_dict(self, state):
        self.features.load_state_dict(state["features"])
        self.expert = state["expert"]
