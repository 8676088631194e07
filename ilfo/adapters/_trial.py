"""Whether a reward can score what it will be shown, found out before anything is learned from it."""

from __future__ import annotations

from collections.abc import Iterator

from ilfo._tools.errors import InputError
from ilfo.rewards import BUILT_IN, RewardGenerator, ScaledReward, SumReward

__all__ = ["check_fitted", "width_of"]


def check_fitted(reward: RewardGenerator) -> None:
    """Refuses a reward that comes with the package and was never fitted; of one's own nobody can tell.

    Raises:
        InputError: It, or a term of it, knows no expert.
    """
    for term in _terms(reward):
        if _is_built_in(term) and not term.features.observation_dim:
            raise InputError(
                f"{type(term).__name__} knows no expert yet: call fit or load_state_dict of the reward before it is "
                "given to a learner"
            )


def width_of(reward: RewardGenerator) -> int:
    """Width ``D`` of the observations that a reward was fitted on; 0 where it does not say."""
    return max((term.features.observation_dim for term in _terms(reward) if _is_built_in(term)), default=0)


def _is_built_in(reward: RewardGenerator) -> bool:
    """Whether what it was fitted on is in its features: one of the user's own may keep that elsewhere."""
    return f"{type(reward).__module__}:{type(reward).__qualname__}" in BUILT_IN.values()


def _terms(reward: RewardGenerator) -> Iterator[RewardGenerator]:
    """Those that look at states: of a sum its terms, whose own features are never fitted."""
    if isinstance(reward, SumReward):
        for each in reward.generators.values():
            yield from _terms(each)
    elif isinstance(reward, ScaledReward):
        yield from _terms(reward.generator)
    else:
        yield reward
