"""What a configuration names, made: demonstrations, reward, the policy's inputs, agent."""

from __future__ import annotations

import warnings

import numpy as np

from ilfo import demos, rewards
from ilfo._errors import InputError
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.agents import Agent, make_agent
from ilfo.agents.many import Separate
from ilfo.configs import TrainConfig
from ilfo.demos import Demonstrations, Provenance
from ilfo.plugins import option_group, resolve
from ilfo.policy_inputs import PolicyInputs, columns_of
from ilfo.rewards import RewardGenerator
from ilfo.rewards.registry import terms_of

__all__ = ["make_inputs", "make_learner", "make_reward", "open_demonstrations"]


def open_demonstrations(
    config: TrainConfig, environment: Provenance, low: np.ndarray, high: np.ndarray
) -> tuple[Demonstrations, str]:
    """The demonstrations of ``config.demo`` in the environment's layout, and the SHA-256 of the file's data as it is.

    Args:
        config: The resolved configuration.
        environment: What the environment says of itself.
        low: ``(D,)`` lower bounds of its observations.
        high: ``(D,)`` upper bounds.

    Raises:
        InputError: The file cannot be read, or lacks what the reward or the policy looks at.

    Warns:
        UserWarning: A sentence for each difference of file and environment.
    """
    assert config.demo is not None
    everything = environment.observation_keys
    looked_at = {*(config.reward_keys or everything)}
    if config.normalize_observations != "none":
        looked_at |= {*(config.policy_keys or everything)}
    opened = demos.open(config.demo)
    fitting, differences = demos.fit_to(opened, environment, low, high, keys=looked_at)
    for difference in differences:
        warnings.warn(difference, stacklevel=2)
    return fitting, opened.sha256


def make_reward(config: TrainConfig) -> RewardGenerator:
    """The reward generator of ``config.reward``, not fitted yet.

    Raises:
        InputError: There is none of that name, or it needs demonstrations.
    """
    options = {name: getattr(config, option_group(name), None) for name in terms_of(config.reward)}
    made = rewards.make_reward(
        config.reward, options, features=config.features, keys=config.reward_keys, scaling=config.scaling
    )
    if made.imitates and config.demo is None:
        raise InputError(f"--reward {config.reward} learns from demonstrations: give --demo FILE")
    return made


def make_inputs(config: TrainConfig, environment: Provenance, horizon: int, stack: tuple[int, ...]) -> PolicyInputs:
    """What the policy is shown, not fitted yet; raw where there is no demonstration.

    Args:
        config: The resolved configuration.
        environment: What the environment says of itself.
        horizon: Its time limit in steps.
        stack: ``(S,)`` for several seeds, else none.

    Raises:
        InputError: A part of the observation, or a column, that does not exist.
    """
    keys = environment.observation_keys
    return PolicyInputs(
        sum(keys.values()),
        columns_of(config.policy_keys, config.policy_features.dims, keys),
        config.normalize_observations if config.demo is not None else "none",
        config.policy_features,
        horizon if config.time_aware else None,
        stack,
    )


def make_learner(
    config: TrainConfig, inputs: PolicyInputs, action_dim: int, seed: int | list[int], absorbing: bool
) -> Agent:
    """The agent of ``config.agent``.

    Args:
        config: The resolved configuration.
        inputs: What it is shown.
        action_dim: Width ``A`` of an action.
        seed: Its seed, or those of several at once.
        absorbing: Whether terminated episodes go on in absorbing states.

    Raises:
        InputError: There is none of that name, or it cannot be trained in this way.
    """
    made = resolve(config.agent, AGENTS, "agent", Agent)
    options = getattr(config, option_group(config.agent)) if made.Options else None
    agent = make_agent(
        made,
        inputs.width,
        action_dim,
        options,
        device=config.device,
        seed=seed,
        compile=config.compile,
        horizon=inputs.horizon,
    )
    if agent.trains_between_episodes and not isinstance(seed, int) and not isinstance(agent, Separate):
        raise InputError(
            f"--agent {config.agent} trains between episodes, which end at other times for other seeds: its "
            "can_stack has to return False under these options"
        )
    if absorbing and not 0 <= agent.discount < 1:
        raise InputError(
            f"the agent's discount is {agent.discount}; absorbing states need one below 1: "
            "lower it, or use --no-absorbing or --protocol fixed-horizon"
        )
    return agent
