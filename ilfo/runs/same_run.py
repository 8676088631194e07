"""Whether two configurations are of the same run: what may change when it resumes, and what else differs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ilfo.rewards.keypoints import FREE_OPTIONS

__all__ = ["NOT_OF_THE_RUN", "alike", "differences", "weights_of"]

NOT_OF_THE_RUN = ("out", "report", "env_workers", "checkpoint_seconds", "keep_replay")
"""Settings that may change when a run resumes: they do not affect the results."""

_CHOOSING = ("reward", "agent", "sees")
"""Settings that decide which options there are."""

_WEIGHTS = "weights_sha256"
"""The hash of a backbone's file of weights in ``config.json``."""


def alike(
    stored: Mapping[str, Any], config: dict[str, Any], demo_sha256: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configurations as plain values, ready to compare: without what may change when a run resumes.

    Demonstrations and backbone weights are identified by their content where it is known for both, since a file may be
    moved: where the demonstrations are the same, ``demo`` is left out of both.

    Args:
        stored: ``config.json`` of a run.
        config: What it is compared with.
        demo_sha256: Hash of the demonstrations that this names; None: there are none, or it is not known.
    """
    given = weights_of(config)
    known = bool(given) and _WEIGHTS in stored
    pairs = (stored["config"], stored.get(_WEIGHTS)), (config, given.get(_WEIGHTS))
    same_demo = demo_sha256 is not None and stored.get("demo_sha256") == demo_sha256
    free = {*NOT_OF_THE_RUN, *(["demo"] if same_demo else [])}
    was, now = (_without_free_options(each, digest if known else None, free) for each, digest in pairs)
    return was, now


def _without_free_options(config: dict[str, Any], digest: str | None, free: Collection[str]) -> dict[str, Any]:
    config = {name: value for name, value in config.items() if name not in free}
    keypoints = config.get("keypoints")
    if not isinstance(keypoints, dict):
        return config
    kept = {name: value for name, value in keypoints.items() if name not in FREE_OPTIONS}
    if keypoints.get("backbone_weights") is not None:
        kept["backbone_weights"] = f"SHA-256 {digest[:12]}" if digest else "a file"
    return config | {"keypoints": kept}


def weights_of(config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the file of weights that a configuration names; nothing where there is none."""
    keypoints = config.get("keypoints")
    path = keypoints.get("backbone_weights") if isinstance(keypoints, dict) else None
    if path is None or not Path(path).is_file():
        return {}
    with open(path, "rb") as file:
        return {_WEIGHTS: hashlib.file_digest(file, "sha256").hexdigest()}


def differences(stored: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """Which of the given values differ from a stored run's, or were unknown to it: a sentence each."""
    found: list[str] = []
    changed = [key for key in _CHOOSING if stored.get(key) != given.get(key)]
    others = (given.keys() | (stored.keys() if prefix else set())) - {*changed}
    for key in [*changed, *sorted(others)]:
        name = f"{prefix}{key}"
        old, new = stored.get(key), given.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{name}.")
        elif changed and (isinstance(old, dict) or isinstance(new, dict)):
            continue  # The options of what is, or was, chosen.
        elif prefix and key not in stored:
            found.append(
                f"{name.removeprefix('config.')} is {new!r}, and earlier code, which began it, did not know that"
            )
        elif old != new:
            found.append(f"{name.removeprefix('config.')} was {old!r} and is now {new!r}")
    return found
