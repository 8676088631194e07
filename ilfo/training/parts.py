"""Makes what a configuration names: demonstrations, reward, the policy's inputs, agent."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import get_type_hints

import numpy as np
import torch

from ilfo import demos, rewards
from ilfo._tools.errors import InputError
from ilfo._tools.marks import split_marks
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.agents import Agent, make_agent
from ilfo.agents.many import Separate
from ilfo.demos import Demonstrations, Provenance
from ilfo.demos.checks import differences
from ilfo.plugins import option_group, resolve
from ilfo.rewards import RewardGenerator
from ilfo.rewards.registry import terms_of
from ilfo.rewards.sight import Sight, View
from ilfo.training.configs import TrainConfig
from ilfo.training.policy_inputs import PolicyInputs, columns_of

__all__ = [
    "make_inputs",
    "make_learner",
    "make_reward",
    "make_sight",
    "make_view",
    "open_demonstrations",
    "warn_of_checkpoints",
]

EXPERTS = ("expert", "expert-and-random")
"""Ways to standardise the policy's observations that use the expert's states."""


def open_demonstrations(
    config: TrainConfig, environment: Provenance, low: np.ndarray, high: np.ndarray, horizon: int
) -> tuple[Demonstrations, str]:
    """The demonstrations of ``config.demo`` in the environment's layout, and the SHA-256 of the file's data as it is.

    With ``--features keypoints`` they come with frames, and their states serve only to standardise what the policy is
    shown. Where that takes none, or the file's do not fit the environment, observations are ``(T+1, 0)``.

    Args:
        config: The resolved configuration.
        environment: What the environment says of itself.
        low: ``(D,)`` lower bounds of its observations.
        high: ``(D,)`` upper bounds.
        horizon: Its time limit in steps, assumed where an old file does not tell its episodes apart.

    Raises:
        InputError: The file cannot be read, or lacks what the reward or the policy looks at.

    Warns:
        UserWarning: One for each difference between file and environment, one where states are left out, and one where
            demonstrations go on for longer than the time limit.
    """
    assert config.demo is not None
    everything = environment.observation_keys
    sees_frames = config.sees == "keypoints"
    looked_at = set() if sees_frames else {*(config.reward_keys or everything)}
    if config.normalize_observations in EXPERTS and (config.policy_sees == "states" or _chooses_states(config)):
        looked_at |= {*(config.policy_keys or everything)}
    whole = demos.open(config.demo, frames=sees_frames, filter_key=config.filter_key, assumed_episode_steps=horizon)
    opened = demos.thinned(whole, config.demo_every)
    try:
        if looked_at:
            fitting, found = demos.fit_to(opened, environment, low, high, keys=looked_at)
        else:
            fitting, found = _without_states(opened, environment)
    except InputError as error:
        if not sees_frames:
            raise
        fitting, found = _without_states(opened, environment)
        why = str(error) if opened.observation_dim else f"{opened.path}: holds frames and no states."
        found.insert(0, f"{why} Only its frames are used; policy inputs are standardised by random steps.")
    found += _beyond_time_limit(fitting, config.env, horizon)
    for difference in found:
        warnings.warn(difference, stacklevel=2)
    return fitting, whole.sha256


def _beyond_time_limit(demonstrations: Demonstrations, env_id: str, horizon: int) -> list[str]:
    """A sentence if demonstrations go on for longer than an episode may."""
    longest = max(map(len, demonstrations))
    if longest <= horizon:
        return []
    plain, marks = split_marks(env_id)
    longer = f"{plain}{marks._replace(steps=longest * marks.repeat)}"
    known = demonstrations.expert_return is not None
    returned = ", and the expert's return, with every ratio to it, is that of more" if known else ""
    return [
        f"{demonstrations.path}: a demonstration has {longest:,} steps, and the environment ends episodes after "
        f"{horizon:,}: a policy has no time for the rest{returned}. Give it that time, --env {longer}, or cut the "
        "demonstration."
    ]


def _without_states(opened: Demonstrations, environment: Provenance) -> tuple[Demonstrations, list[str]]:
    """Frames alone, with states ``(T+1, 0)``, and what else differs."""
    blank = (replace(each, observations=each.observations[:, :0]) for each in opened)
    provenance = replace(opened.provenance, observation_keys={})
    found = differences(opened.provenance, environment, str(opened.path))
    return replace(opened, trajectories=tuple(blank), provenance=provenance), found


def make_reward(config: TrainConfig) -> RewardGenerator:
    """The reward generator of ``config.reward``, not fitted yet.

    Raises:
        InputError: There is none of that name, it needs demonstrations, or it cannot look at keypoints.
    """
    options = {name: getattr(config, option_group(name), None) for name in terms_of(config.reward)}
    made = rewards.make_reward(
        config.reward, options, features=config.features, keys=config.reward_keys, scaling=config.scaling
    )
    if made.imitates and config.demo is None:
        raise InputError(f"--reward {config.reward} learns from demonstrations: give --demo FILE")
    if config.sees == "keypoints" and not made.imitates:
        raise InputError(f"--features keypoints: --reward {config.reward} looks at no demonstration; drop --features")
    if config.sees == "keypoints" and config.policy_sees == "states" and not made.stationary:
        raise InputError(
            f"--features keypoints: --reward {config.reward} with --scaling.method {config.scaling.method} changes "
            "what a transition is worth while the agent learns; it would have to be scored again, but frames are kept "
            "for one episode alone. Use a reward that stays the same, like transport, nearest or flow, and "
            "--scaling.method none, fixed or expert-range; or let the policy see keypoints too, which are kept: "
            "--policy-sees keypoints"
        )
    return made


def make_sight(config: TrainConfig, frame_size: tuple[int, int] | None) -> Sight | None:
    """What the reward sees in place of states; None where it sees states.

    Args:
        config: The resolved configuration.
        frame_size: Width and height of the demonstrations' frames, where there are some.

    Raises:
        InputError: A library that this needs is missing.
    """
    if config.sees == "states" or frame_size is None:
        return None
    options = config.keypoints  # type: ignore[attr-defined]
    return Sight(options, frame_size, torch.device(config.device))


def make_view(config: TrainConfig, environment: Provenance, sight: Sight | None) -> View | None:
    """What the policy is shown in place of states; None where it is shown states.

    Args:
        config: The resolved configuration.
        environment: What the environment says of itself.
        sight: What the reward sees, where that is keypoints.

    Raises:
        InputError: A part of the observation, or a column, that does not exist.
    """
    if config.policy_sees == "states" or sight is None:
        return None
    chosen = (config.policy_keys, config.policy_features.dims, environment.observation_keys)
    return View(sight, columns_of(*chosen) if _chooses_states(config) else ())


def _chooses_states(config: TrainConfig) -> bool:
    """Whether parts of the state are named for the policy."""
    return bool(config.policy_keys or config.policy_features.dims)


def make_inputs(
    config: TrainConfig,
    environment: Provenance,
    horizon: int,
    stack: tuple[int, ...],
    states: bool = True,
    view: View | None = None,
) -> PolicyInputs:
    """What the policy is shown, not fitted yet; raw where there is no demonstration.

    Args:
        config: The resolved configuration.
        environment: What the environment says of itself.
        horizon: Its time limit in steps.
        stack: ``(S,)`` for several seeds, else none.
        states: Whether the demonstrations have states; if not, those of the random steps replace the expert's.
        view: What it is shown in place of states; None: states.

    Raises:
        InputError: A part of the observation, or a column, that does not exist.
    """
    if view is None:
        keys = environment.observation_keys
        width, columns = sum(keys.values()), columns_of(config.policy_keys, config.policy_features.dims, keys)
    else:
        width, columns, states = view.width, list(range(view.width)), states or not view.columns
    normalization = config.normalize_observations if config.demo is not None else "none"
    return PolicyInputs(
        width,
        columns,
        normalization if states or normalization not in EXPERTS else "random",
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


def warn_of_checkpoints(config: TrainConfig, agent: Agent, reward: RewardGenerator) -> None:
    """Warns where checkpoints would be chosen by returns whose meaning changes during training.

    Args:
        config: The resolved configuration.
        agent: It may keep checkpoints.
        reward: It may change while the agent learns. A scale from the first episode moves once, early on.
    """
    method = config.scaling.method
    if agent.plays_best and (not reward.stationary or (reward.observes and method != "first-episode")):
        group = option_group(config.agent)
        if get_type_hints(type(getattr(config, group, None))).get("checkpoints") is bool:
            remedy = f"give --{group}.no-checkpoints"
        else:
            remedy = (
                f"--agent {config.agent} has no option 'checkpoints: bool' to go without; in its code, give it one, or "
                "set plays_best = False"
            )
        warnings.warn(
            f"--reward {config.reward} (--scaling.method {method}) changes what an episode is worth while the agent "
            f"learns, and checkpoints compare the returns of early and of late episodes: {remedy}",
            stacklevel=2,
        )
