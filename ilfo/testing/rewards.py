"""Does a reward generator keep the contract of :mod:`ilfo.rewards.base`?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ilfo.demos import Demonstrations
from ilfo.rewards import RewardGenerator, StateFeatures
from ilfo.rewards.combination import SumReward
from ilfo.testing._contract import examine
from ilfo.testing._options import undocumented
from ilfo.testing._probes import small_demonstrations
from ilfo.testing._reward_clauses import CLAUSES
from ilfo.testing._reward_trial import RewardTrial

__all__ = ["RewardSummary", "check_reward"]


@dataclass(frozen=True)
class RewardSummary:
    """The mean reward per step of episodes like and unlike the expert's, by a reward that keeps the contract.

    Attributes:
        expert: Of the first demonstration.
        shuffled: Of its states in a random order.
        still: Of standing in its first state.
        random_walk: Of random steps as large as its own.
        remarks: What keeps the contract, but is worth a look.
    """

    expert: float
    shuffled: float
    still: float
    random_walk: float
    remarks: tuple[str, ...]


def check_reward(
    reward: Callable[[Any, StateFeatures], RewardGenerator],
    demonstrations: Demonstrations | None = None,
    *,
    options: Any = None,
    device: torch.device | str = "cpu",
) -> RewardSummary:
    """Tries a reward generator on demonstrations, and on episodes like and unlike them.

    It is fitted twice, so the check takes a little more than twice as long as a fit. A generator that draws at random
    when it scores cannot be told from a broken one: check it under options with which it does not.

    Args:
        reward: The class, or a function that makes a generator from options and features:
            ``lambda options, features: make_reward("transport + 0.5*flow")``.
        demonstrations: Yours; by default two short ones of a small smooth system.
        options: An instance of its ``Options``; None for the defaults.
        device: Where episodes are scored.

    Returns:
        Its rewards for the expert and for others. The contract does not demand that the expert gets more: where it does
        not get more than shuffled or random steps, that is a remark, and so it is where it looks at states otherwise
        than through its features.

    Raises:
        ContractError: It breaks the contract; says of each broken clause what was found and what to do.

    Example:
        >>> from ilfo.rewards import OptimalTransport
        >>> summary = check_reward(OptimalTransport)
        >>> summary.expert > summary.shuffled, summary.remarks
        (True, ())
    """
    trial = RewardTrial(reward, demonstrations or small_demonstrations(), options, device)
    examine(trial, CLAUSES, getattr(reward, "__qualname__", repr(reward)), "a reward (ilfo.rewards.RewardGenerator)")
    found = {name: float(trial.score(episodes).mean()) for name, episodes in trial.ladder().items()}
    remarks = [
        f"{name} gets {found[name]:.4g} a step, expert {found['expert']:.4g}: what an agent learns may not be the task."
        for name in ("shuffled", "random_walk")
        if trial.reward.imitates and not found["expert"] > found[name]
    ]
    remarks += _unused_features(trial.reward)
    return RewardSummary(**found, remarks=(*remarks, *undocumented(type(trial.reward).Options)))


def _unused_features(reward: RewardGenerator) -> list[str]:
    """A remark on a fitted reward that does not look through its features; a sum looks through those of its terms."""
    if not reward.imitates or reward.features.width or isinstance(reward, SumReward):
        return []
    return [
        "fit never fits self.features: --reward-keys and the flags --features.* will change nothing, without a word."
    ]
