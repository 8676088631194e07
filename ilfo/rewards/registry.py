"""Rewards by name: those that come with the package, a user's own, and sums of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ilfo._tools.effects import check_effects
from ilfo._tools.errors import InputError, closest
from ilfo.plugins import option_group, resolve
from ilfo.rewards.base import RewardGenerator
from ilfo.rewards.combination import SumReward
from ilfo.rewards.features import FeatureOptions, StateFeatures
from ilfo.rewards.scaling import ScaledReward, Scaling, ScalingOptions

__all__ = ["BUILT_IN", "make_reward", "option_groups", "reward_class", "scalings_of", "terms_of"]

BUILT_IN: dict[str, str] = {
    "coverage": "ilfo.rewards.coverage:OrderedCoverage",
    "discriminator": "ilfo.rewards.discriminator:Discriminator",
    "environment": "ilfo.rewards.environment:EnvironmentReward",
    "flow": "ilfo.rewards.flow:Flow",
    "nearest": "ilfo.rewards.nearest:NearestStep",
    "pwil": "ilfo.rewards.pwil:PWIL",
    "random-expert-distillation": "ilfo.rewards.distillation:RandomExpertDistillation",
    "segment": "ilfo.rewards.nearest:SegmentMatch",
    "temporal-transport": "ilfo.rewards.temporal:TemporalTransport",
    "transport": "ilfo.rewards.transport:OptimalTransport",
}
"""Name on the command line to ``module:Class``."""

_PLUS = re.compile(r"(?<![\d.]e)\+|\+(?!\d+\s*\*)", re.IGNORECASE)
"""What stands between two terms: no plus of an exponent, ``1e+3``."""
_STARLESS = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(\s*)([a-z_][^\s*]*)", re.IGNORECASE)
"""A number and a name with no ``*`` between them."""


def terms_of(expression: str) -> dict[str, float]:
    """The names in a sum of rewards, and their weights: ``transport + 0.5*flow`` is ``{transport: 1, flow: 0.5}``.

    Raises:
        InputError: It is not a sum of names, or holds one twice.
    """
    if not isinstance(expression, str):
        raise InputError(
            f"the reward is {expression!r}; expected a name, or a sum like 'transport + 0.5*flow', as text"
        )
    found: dict[str, float] = {}
    for part in _PLUS.split(expression):
        weight, name = re.fullmatch(r"\s*(?:([^*]*)\*)?\s*(.*?)\s*", part, re.DOTALL).groups()  # type: ignore[union-attr]
        try:
            number = float(weight) if weight is not None else 1.0
        except ValueError:
            number = math.nan
        starless = _starless(part.strip())
        if starless:
            raise InputError(f"--reward is {expression!r}, of which {part.strip()!r} lacks a '*': write {starless}")
        if re.search(r"\S\s+-", part):
            raise InputError(f"--reward is {expression!r}: what is taken off has a weight below 0, 'one + -0.5*other'")
        if not name or re.search(r"[\s*]", name) or not math.isfinite(number) or number == 0:
            raise InputError(
                f"--reward is {expression!r}, of which {part.strip()!r} is no term; expected a name, or a sum of names "
                "with weights before them, in quotes, like 'transport + 0.5*flow'"
            )
        if name in found:
            raise InputError(f"--reward is {expression!r}, which names {name} twice: add up its weights")
        found[name] = number
    return found


def _starless(term: str) -> str | None:
    """How to write a term that lacks its ``*``; None if it has one, or may be a name: ``2nd_file:Mine``."""
    match = _STARLESS.fullmatch(term)
    if match is None or (":" in term and match[1].isdigit() and not match[2]):
        return None
    return f"{match[1]}*{match[3]}"


def reward_class(name: str) -> type[RewardGenerator]:
    """The class of a single reward.

    Raises:
        InputError: There is none of that name.
    """
    return resolve(name, BUILT_IN, "reward", RewardGenerator)


def make_reward(
    expression: str,
    options: Mapping[str, Any] | None = None,
    *,
    features: FeatureOptions | None = None,
    keys: Sequence[str] = (),
    scaling: ScalingOptions | None = None,
) -> RewardGenerator:
    """A reward, or a sum of them, not fitted yet.

    Args:
        expression: A name, ``module:Class`` for a user's own, or a sum like ``transport + 0.5*flow``.
        options: An instance of the class's ``Options`` for each name; the defaults for names left out.
        features: What part of the state they look at.
        keys: Parts of a dict observation that they look at.
        scaling: How each is scaled, before its weight applies.

    Raises:
        InputError: There is no such reward, the terms do not go together, options name no term, or the scaling has a
            value that its method does not use.

    Example:
        >>> make_reward("transport").needs
        'trajectory'
    """
    terms = terms_of(expression)
    for name in options or {}:
        if name not in terms:
            raise InputError(f"options names {name!r}, which is no term of {expression!r}: {closest(name, terms)}")
    if scaling is not None:
        check_effects("scaling", scaling)
    generators = {}
    for name in terms:
        made = reward_class(name)((options or {}).get(name), StateFeatures(features, keys))
        generators[name] = made if scaling is None or scaling.method == "none" else ScaledReward(made, scaling)
    if list(terms.values()) == [1.0]:
        return next(iter(generators.values()))
    return SumReward(generators, terms)


def scalings_of(reward: RewardGenerator) -> dict[str, Scaling]:
    """How each term of a reward that was made here is scaled, by its name; the name of a single reward is ``""``.

    Terms without scaling are left out.
    """
    terms = reward.generators if isinstance(reward, SumReward) else {"": reward}
    return {name: each.scaling for name, each in terms.items() if isinstance(each, ScaledReward)}


def option_groups(expression: str) -> dict[str, type]:
    """The option classes of the terms of a reward, by the prefix of their flags.

    Raises:
        InputError: There is no such reward, or the flags of two terms would share a prefix.
    """
    found: dict[str, type] = {}
    for name in terms_of(expression):
        options, group = reward_class(name).Options, option_group(name)
        if options is None:
            continue
        if group in found:
            raise InputError(
                f"--reward is {expression!r}, of which two terms take flags that begin with --{group}: rename one of "
                "the classes"
            )
        found[group] = options
    return found
