"""From an episode to the rewards that an agent learns from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ilfo.demos import Demonstrations
from ilfo.rewards._checked import absorbing_of, scores_of
from ilfo.rewards.base import Episodes, RewardGenerator

__all__ = ["Labels", "imitation_rewards", "without_terminations"]


@dataclass(frozen=True)
class Labels:
    """The rewards of ``B`` episodes of at most ``T`` steps.

    Attributes:
        scores: ``(B, T)`` float32, the generator's own rewards.
        rewards: ``(B, T)`` float32, what to learn from: the scores, and in the last step of a terminated episode also
            the value of all that follows.
        returns_to_limit: ``(B,)`` float32, the sum of the scores and, under absorbing states, of the absorbing rewards
            until the time limit: what episodes are compared by, whatever the sign of the rewards.
    """

    scores: Tensor
    rewards: Tensor
    returns_to_limit: Tensor


def imitation_rewards(
    reward: RewardGenerator,
    episodes: Episodes,
    *,
    discount: float,
    absorbing: bool,
    remaining: Tensor | None = None,
    finite: bool = False,
) -> Labels:
    """Scores episodes, and folds what follows a termination into the last step.

    A terminated episode goes on for ever in an absorbing state (Discriminator-Actor-Critic, arXiv 1809.02925,
    section 4.2). That state never changes, so its value is known without learning it, ``r_absorbing / (1 - discount)``,
    and the last transition can carry it: its learning target ``r + discount * r_absorbing / (1 - discount)`` is the one
    that bootstrapping from the absorbing state would give, for every agent that treats ``terminated`` as the end.

    Args:
        reward: A fitted generator.
        episodes: ``(B, T+1, D)`` padded.
        discount: The agent's.
        absorbing: Whether terminations are followed by absorbing states; else they are simply the end.
        remaining: ``(B,)`` steps from the end of each episode to the time limit; None: nothing follows in the returns.
        finite: For a learner that treats the time limit as the end: the absorbing state then lasts only until it.

    Raises:
        InputError: The generator breaks its contract: what it returned has the wrong shape or type.
        NotFiniteError: What it returned is not finite.
    """
    if not absorbing and bool(episodes.terminated.any()):
        episodes = replace(episodes, terminated=torch.zeros_like(episodes.terminated))
    scores = scores_of(reward, episodes)
    returns = scores.sum(dim=1)
    if not bool(episodes.terminated.any()):
        return Labels(scores, scores, returns)
    rewards = scores.clone()
    ended = episodes.terminated.nonzero().squeeze(1)
    absorbed = absorbing_of(reward, episodes)[ended]
    left = torch.zeros_like(absorbed) if remaining is None else remaining[ended].to(absorbed)
    weight = discount / (1 - discount) * (1 - discount**left if finite else 1.0)
    rewards[ended, episodes.lengths[ended] - 1] += weight * absorbed
    return Labels(scores, rewards, returns.index_add(0, ended, left * absorbed))


def without_terminations(demonstrations: Demonstrations) -> Demonstrations:
    """Demonstrations whose ends are steps like any other, to fit a reward on where no absorbing states follow."""
    endless = (replace(one, terminated=False, truncated=True) for one in demonstrations)
    return replace(demonstrations, trajectories=tuple(endless))
