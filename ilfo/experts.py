"""The experts that can be recorded: a run's policy, a scripted expert, or any callable."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilfo._tools.errors import InputError
from ilfo.envs import Policy, Protocol, has_script
from ilfo.plugins import find
from ilfo.rewards.sight import View
from ilfo.runs import read_summary
from ilfo.training.imitation import load

__all__ = ["Expert", "own_policy", "scripted_policy", "trained_expert"]


@dataclass(frozen=True)
class Expert:
    """A policy, and the environment that it acts in.

    Attributes:
        policy: Maps observations to actions.
        env_id: Gymnasium id of its environment.
        protocol: How episodes end there.
        seed: Seed of the initial states.
        what: A description, for the source of a file and for errors.
        view: What it sees instead of states; None: it sees states.
        threads: PyTorch's, with which it acts; None: as many as there are.
    """

    policy: Policy
    env_id: str
    protocol: Protocol
    seed: int
    what: str
    view: View | None = None
    threads: int | None = None


def trained_expert(run: str, env_id: str | None, seed: int | None) -> Expert:
    """The policy of a run, without exploration noise.

    Args:
        run: Its folder.
        env_id: The run's environment, or None.
        seed: Seed of the initial states; None for the run's own.

    Raises:
        InputError: Not the folder of a run, the folder of several seeds, or an environment other than the run's.
    """
    imitation = load(run)
    config = imitation.config
    if env_id not in (None, config.env):
        raise InputError(f"--env is {env_id}, but {run} was trained in {config.env}; leave --env out")
    steps = (read_summary(run) or {}).get("steps", imitation.step)
    return Expert(
        policy=imitation.act,
        env_id=config.env,
        protocol=config.protocol,
        seed=config.seed if seed is None else seed,
        what=f"{config.agent} after {steps} steps on the {config.reward} reward, seed {config.seed} of training",
        view=imitation.view,
        threads=config.threads,
    )


def scripted_policy(env_id: str) -> Policy:
    """The scripted expert of an environment.

    Raises:
        InputError: It has none, or what has it is not installed.
    """
    if not has_script(env_id):
        raise InputError(
            f"environment {env_id!r} has no scripted expert; Meta-World's tasks have one, for example "
            "'ilfo.metaworld:MetaWorld/reach-v3'"
        )
    from ilfo import metaworld

    return metaworld.scripted_policy(env_id)


def own_policy(name: str) -> Policy:
    """A callable of the user's own.

    Args:
        name: ``module:callable``, of observations ``(N, D)`` float32 to actions ``(N, A)`` in [-1, 1]. -1 and 1 are
            the environment's bounds, whatever these are.

    Raises:
        InputError: There is none of that name, or it cannot be called with one argument.
    """
    function: Any = find(name, {}, "policy")
    wanted = "expected a function of observations (N, D) float32 that returns actions (N, A) in [-1, 1]"
    if isinstance(function, type):
        raise InputError(f"policy {name!r} is a class; {wanted}: name an instance that can be called")
    if not callable(function):
        raise InputError(f"policy {name!r} is a {type(function).__name__}; {wanted}")
    try:
        inspect.signature(function).bind(np.empty((1, 1), np.float32))
    except ValueError:
        pass  # Functions written in C need not say what they take: playing tells.
    except TypeError as error:
        raise InputError(f"policy {name!r} cannot be called with observations alone ({error}); {wanted}") from error

    def act(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
        return function(observations)

    return act
