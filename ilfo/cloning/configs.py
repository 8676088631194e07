"""The configuration of ``ilfo clone``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ilfo._tools.checks import check_at_least, check_each_once, check_not_negative, check_positive, check_seed
from ilfo._tools.effects import check_groups
from ilfo._tools.errors import InputError, closest
from ilfo._tools.ranges import read_ranges
from ilfo.cloning.eyes import EYES, Sees
from ilfo.envs import Protocol
from ilfo.plugins import check_chosen

__all__ = ["CloneConfig", "clone_config", "parse_clone", "state_columns"]


@dataclass(frozen=True)
class CloneConfig:
    """Imitate the actions of demonstrations, from states, from keypoints of frames, or from frames end to end."""

    env: str
    """Gymnasium id of the environment that the policy is played in; 'module:Id' imports a module that registers it."""
    demo: tuple[str, ...]
    """Files with actions and, unless states are seen, frames: 'ilfo record --actions --frames'. Files of several looks,
    recorded in 'ENV@colours-seen-0' and so on, are learned from together."""
    filter_key: str | None = None
    """Learn only from the demonstrations of this filter key, where --demo are robomimic files."""
    sees: Sees = "states"
    """What the policy sees: states; keypoints, positions and visibility of concepts that a frozen vision transformer
    finds in the frames; pixels, the frames through a convolutional network that is trained with the rest. The flags of
    the last two: --sees keypoints --help, --sees pixels --help."""
    state_dims: str = ""
    """Columns of the state that the policy is given in addition to keypoints or pixels, like '0-3,7': a robot's own
    joints, for example, which it need not find in the picture. None by default."""
    out: str = "runs/clone"
    """Folder of the run. A run that was stopped while it learned starts over with the same command on the same folder,
    and plays what it has learned if it was stopped after that."""
    seed: int = 0
    """Seed of weights, batches, shifts, the choice of held-out episodes, and the evaluation."""
    epochs: int = 100
    """Passes over the demonstrations. The policy of the epoch with the lowest loss on what is held out is kept."""
    batch_size: int = 128
    """Steps of the demonstrations that an update learns from."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    hidden_dim: int = 256
    """Units in each of the two hidden layers."""
    held_out: float = 0.1
    """Share of the episodes that no update sees: whole episodes, and at least one if there are three or more."""
    protocol: Protocol = "standard"
    """How episodes of the evaluation end."""
    eval_episodes: int = 10
    """Episodes of the evaluation at the end: those that 'ilfo evaluate' plays."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where networks live."""
    threads: int = 1
    """Processor threads; another number changes results in the last bits."""

    def __post_init__(self) -> None:
        check_each_once("demo", [str(Path(file).resolve()) for file in self.demo])
        if self.sees not in EYES:
            raise InputError(f"--sees is {self.sees!r}; {closest(self.sees, EYES)}")
        check_at_least(self, 1, "epochs", "batch_size", "hidden_dim", "eval_episodes", "threads")
        check_seed(self.seed)
        check_positive(self, "learning_rate")
        check_not_negative(self, "held_out")
        if self.held_out >= 1:
            raise InputError(f"held_out is {self.held_out}: something has to be left to learn from, give less than 1.")
        if self.sees == "states" and self.state_dims:
            raise InputError(f"--state-dims {self.state_dims} with --sees states, which are all seen: leave it out")


def clone_config(sees: Sees) -> type[CloneConfig]:
    """``CloneConfig`` for what is seen, with a field of that name for its options where it has some.

    Examples:
        >>> config = clone_config("pixels")(env="Reacher-v5", demo=("d.hdf5",), sees="pixels")
        >>> config.pixels.shift
        4
    """
    options = EYES[sees].Options
    extra = [] if options is None else [(str(sees), options, field(default_factory=options))]
    seen = ("sees", Sees, field(default=sees))
    made = dataclasses.make_dataclass("CloneConfig", [seen, *extra], bases=(CloneConfig,), frozen=True)
    made.__doc__ = CloneConfig.__doc__
    return made


def parse_clone(argv: Sequence[str]) -> CloneConfig:
    """Reads the flags of ``ilfo clone``.

    Raises:
        InputError: A value that makes no sense, an option of what is not seen, or one that takes no effect.
    """
    import tyro

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--sees", default=CloneConfig.sees)
    chosen = first.parse_known_args(list(argv))[0].sees
    kind: Any = clone_config(chosen) if chosen in EYES else CloneConfig
    if chosen in EYES:
        check_chosen(argv, {chosen}, "sees", chosen, [name for name, eye in EYES.items() if eye.Options])
    config: CloneConfig = tyro.cli(kind, args=list(argv), prog="ilfo clone", description=CloneConfig.__doc__)
    check_groups(config)
    return config


def state_columns(spelled_out: str, width: int) -> list[int]:
    """The columns of ``--state-dims``.

    Args:
        spelled_out: Numbers and ranges.
        width: Columns that there are.

    Raises:
        InputError: Something else, a range that goes downwards, a column twice, or one that does not exist.

    Examples:
        >>> state_columns("0-2,7", width=9)
        [0, 1, 2, 7]
    """
    found = list(read_ranges("--state-dims", spelled_out))
    if found and max(found) >= width:
        raise InputError(
            f"--state-dims is {spelled_out!r}; the environment's states have columns 0 to {width - 1}: choose among "
            "them. 'ilfo demos info FILE' names them"
        )
    return found
