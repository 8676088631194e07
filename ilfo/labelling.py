"""From an episode to the rewards that an agent learns from."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ilfo.rewards import Episodes, RewardGenerator

__all__ = ["imitation_rewards"]


def imitation_rewards(
    reward: RewardGenerator, episodes: Episodes, *, discount: float, absorbing: bool
) -> tuple[Tensor, Tensor]:
    """Scores episodes, and folds what follows a termination into the last step.

    A terminated episode goes on for ever in an absorbing state (Discriminator-Actor-Critic, arXiv 1809.02925,
    section 4.2). That state never changes, so its value is known without learning it, ``r_absorbing / (1 - discount)``,
    and the last transition can carry it: its learning target ``r + discount * r_absorbing / (1 - discount)`` is the one
    that an agent would find by bootstrapping from the absorbing state, in every agent that takes ``terminated`` as the
    end.

    Args:
        reward: A fitted generator.
        episodes: ``(B, T+1, D)`` padded.
        discount: The agent's.
        absorbing: Whether terminations are followed by absorbing states; else they are simply the end.

    Returns:
        The generator's own scores and the rewards to learn from, ``(B, T)`` float32 each; they differ in the last step
        of terminated episodes only.
    """
    if not absorbing:
        episodes = replace(episodes, terminated=torch.zeros_like(episodes.terminated))
    scores = reward.score(episodes)
    if not bool(episodes.terminated.any()):
        return scores, scores
    rewards = scores.clone()
    ended = episodes.terminated.nonzero().squeeze(1)
    ever_after = discount / (1 - discount) * reward.absorbing_reward(episodes)
    rewards[ended, episodes.lengths[ended] - 1] += ever_after[ended]
    return scores, rewards
