"""Files whose rewards ``ilfo label`` replaced: the environment's own stay beside the new ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from ilfo.demos._provenance import parsed_json

__all__ = ["ENV_LAST_REWARD", "ENV_REWARDS", "LABEL", "label_of", "rewards_name"]

LABEL = "ilfo_label"
"""Attribute of such a file: where the new rewards came from, as JSON."""
ENV_REWARDS = "env_rewards"
"""Dataset beside ``rewards`` that keeps the environment's own, where there were any."""
ENV_LAST_REWARD = "env_last_reward"
"""Attribute beside it, in ilfo's layout: what was ``last_reward``."""


def rewards_name(group: Mapping[str, Any]) -> str:
    """What the environment's rewards are called in a group of any file; only those in HDF5 are ever labelled."""
    return ENV_REWARDS if isinstance(group, h5py.Group) and LABEL in group.file.attrs else "rewards"


def label_of(path: Path | None) -> dict[str, Any] | None:
    """Where the rewards of a file came from, if ``ilfo label`` wrote them; a folder has none that it did.

    Raises:
        InputError: The file says so in a damaged way.
    """
    if path is None or not path.is_file():
        return None
    with h5py.File(path) as file:
        return parsed_json(file.attrs[LABEL], f"{path}, attribute {LABEL!r}") if LABEL in file.attrs else None
