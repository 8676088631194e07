"""Demonstrations to clone: checked, brought together from several files, split into whole episodes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo._tools.marks import split_marks
from ilfo._tools.pieces import pieces_of
from ilfo.cloning.configs import CloneConfig
from ilfo.cloning.eyes import EYES
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.demos.checks import differences
from ilfo.demos.files import frames_unread, has_frames
from ilfo.demos.trajectory import sha256_of
from ilfo.envs import Description, describe, has_script
from ilfo.variants import Variant, split_id

__all__ = ["Samples", "held_out", "open_demonstrations"]

ROUNDING = 1e-6
"""How far beyond [-1, 1] an action of a file may be."""


@dataclass(frozen=True)
class Samples:
    """Steps of an expert.

    Attributes:
        seen: ``(N, ...)``, what an eye saw before each.
        own: ``(N, S)`` float32, columns of the state beside it.
        actions: ``(N, A)`` float32 in [-1, 1], what the expert then did.
    """

    seen: Tensor
    own: Tensor
    actions: Tensor

    def __len__(self) -> int:
        return len(self.actions)

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], seen: Sequence[np.ndarray], own: Sequence[int]) -> Samples:
        """The steps of episodes; the final observation, which no action follows, is left out.

        Args:
            trajectories: With actions.
            seen: ``(T+1, ...)`` of each, or what gives such arrays when it is sliced.
            own: Columns of the state.
        """
        known = [each.observations[:-1, list(own)] if own else np.empty((len(each), 0)) for each in trajectories]
        return cls(
            torch.from_numpy(_without_last(seen)),
            torch.from_numpy(np.concatenate(known).astype(np.float32)),
            torch.from_numpy(np.concatenate([np.asarray(each.actions, np.float32) for each in trajectories])),
        )


def _without_last(seen: Sequence[np.ndarray]) -> np.ndarray:
    """All but the last row of each array, one after the other; those of a file are read piece by piece."""
    whole = np.empty((sum(len(each) - 1 for each in seen), *seen[0].shape[1:]), seen[0].dtype)
    at = 0
    for each in seen:
        for piece in pieces_of(each):
            stop = min(piece.stop, len(each) - 1)
            if piece.start < stop:
                whole[at + piece.start : at + stop] = each[piece.start : stop]
        at += len(each) - 1
    return whole


def open_demonstrations(config: CloneConfig) -> tuple[Demonstrations, str, list[Variant]]:
    """The episodes of all files in the environment's layout, the SHA-256 of their original data, and their variants.

    The variants are those that files were recorded in, each once; none where all show the plain look.

    Episodes have frames where the policy sees frames, and states where it sees states or is given columns of them.

    Raises:
        InputError: A file cannot be read, lacks what is needed, or has actions that are not in [-1, 1] or frames of
            another size; says how to record one that is of use.

    Warns:
        UserWarning: A sentence for each difference of a file and the environment, its variant aside.
    """
    frames = EYES[config.sees].takes_frames
    described = describe(config.env)
    environment = _plain(described.provenance, frames)
    found, fitting = [], []
    for path in config.demo:
        opened = demos.open(
            path,
            frames=frames and has_frames(path),
            filter_key=config.filter_key,
            assumed_episode_steps=described.horizon,
        )
        _check_has(opened, path, config, frames)
        found.append(opened)
        _check_actions(opened, path, config.env, described)
        opened = replace(opened, provenance=_plain(opened.provenance, frames))
        if not frames or config.state_dims:
            fitted, unlike = demos.fit_to(opened, environment, described.low, described.high)
        else:
            fitted, unlike = opened, differences(opened.provenance, environment, path)
        for difference in unlike:
            warnings.warn(difference, stacklevel=2)
        fitting.append(fitted)
    if frames:
        _check_sizes(fitting, config.demo)
    digest = sha256_of(each for part in found for each in part)
    variants = {split_id(part.provenance.env_id)[1] for part in found if part.provenance.env_id}
    shown = sorted((each for each in variants if each is not None), key=lambda each: (str(each.kind), each.index))
    if len(fitting) == 1:
        return fitting[0], digest, shown
    provenance = replace(environment, expert_return=_mean_return(fitting))
    together = Demonstrations(tuple(each for part in fitting for each in part), provenance)
    return together, digest, shown


def _plain(provenance: Provenance, frames: bool) -> Provenance:
    """What is said of an environment, its variant aside; where frames are seen, marks like ``@no-shadows`` stay."""
    if provenance.env_id is None:
        return provenance
    marks = split_marks(provenance.env_id)[1] if frames else ""
    return replace(provenance, env_id=f"{split_id(provenance.env_id)[0]}{marks}")


def _mean_return(parts: Sequence[Demonstrations]) -> float | None:
    known = [part.expert_return for part in parts]
    weights = [len(part) for part in parts]
    return None if None in known else float(np.average(known, weights=weights))  # type: ignore[arg-type]


def _check_has(opened: Demonstrations, path: str, config: CloneConfig, frames: bool) -> None:
    """Refuses demonstrations without actions, or without what is seen."""
    lacks = [] if all(each.actions is not None for each in opened) else ["actions, which are what is imitated"]
    if frames and any(each.frames is None for each in opened):
        lacks.append(f"frames, which --sees {config.sees} takes")
    if config.state_dims and not opened.observation_dim:
        lacks.append("states, which --state-dims takes")
    if frames and opened.layout not in (None, "ilfo") and opened[0].frames is None:
        raise frames_unread(path, opened.layout)
    if lacks:
        env = opened.provenance.env_id or config.env
        flags = " --actions --frames" if frames else " --actions"
        own = "--policy MODULE:CALLABLE"
        expert, others = ("--scripted", f"{own} or --run") if has_script(env) else (own, "--run")
        raise InputError(
            f"{path}: there are no {', and no '.join(lacks)}. Record them: 'ilfo record --env {env} {expert}{flags} "
            f"--episodes 10 FILE', with {others} in its place for another expert"
        )


def _check_actions(opened: Demonstrations, path: str, env_id: str, described: Description) -> None:
    own = opened.provenance.own_actions
    if not described.own_bounds and (opened.layout != "ilfo" if own is None else own):
        raise InputError(
            f"{path}: its actions are in the units of {env_id}, whose bounds are not -1 and 1. Divide them by these "
            "bounds, and write them with ilfo.demos.write, with own_actions=False in their Provenance."
        )
    clipped = ", or clip them with 'ilfo demos convert --clip-actions'" if described.own_bounds else ""
    for index, each in enumerate(opened):
        actions = np.asarray(each.actions)
        if actions.shape[1] != described.action_dim:
            raise InputError(
                f"{path}, episode {index}: actions of {actions.shape[1]} numbers; those of {env_id} have "
                f"{described.action_dim}. Use a demonstration of this environment."
            )
        beyond = np.argwhere(~(np.abs(actions) <= 1 + ROUNDING))
        if len(beyond):
            step, dimension = beyond[0].tolist()
            raise InputError(
                f"{path}, episode {index}, step {step}: dimension {dimension} of the action is "
                f"{actions[step, dimension]:g}; expected -1 to 1, which stand for the environment's bounds: divide by "
                f"these, as 'ilfo record' does{clipped}."
            )


def _check_sizes(parts: Sequence[Demonstrations], paths: Sequence[str]) -> None:
    """Refuses frames of several sizes."""
    first: tuple[str, tuple[int, ...]] | None = None
    for part, path in zip(parts, paths, strict=True):
        for index, each in enumerate(part):
            assert each.frames is not None
            where, size = f"{path}, episode {index}", each.frames.shape[1:3]
            first = first or (where, size)
            if size != first[1]:
                raise InputError(
                    f"{where}: frames of {size[1]} x {size[0]} pixels, and those of {first[0]} have {first[1][1]} x "
                    f"{first[1][0]}. Record all in one size: 'ilfo record --frame-size'."
                )


def held_out(episodes: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Which episodes to learn from, and which to hold out: a share, at least one where there are more than two.

    Args:
        episodes: How many there are.
        share: Of them, rounded; 0 holds out none.
        seed: Of the choice.

    Examples:
        >>> held_out(2, 0.1, seed=0)
        ([0, 1], [])
        >>> [len(part) for part in held_out(25, 0.1, seed=0)]
        [23, 2]
    """
    count = min(max(1, round(share * episodes)), episodes - 1) if episodes > 2 and share else 0
    order = np.random.default_rng(seed).permutation(episodes)
    return sorted(order[count:].tolist()), sorted(order[:count].tolist())
