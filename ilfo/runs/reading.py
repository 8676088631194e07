"""What the folder of a run says, finished or under way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from ilfo._tools.errors import InputError

__all__ = ["kept_replay", "read_checkpoint", "read_config", "read_metrics", "read_summary"]


def kept_replay(folder: str | os.PathLike[str]) -> bool:
    """Whether a finished run, or the runs in a folder around several, can be trained further (``--keep-replay``)."""
    return any(path for inner in ("", "*/") for path in Path(folder).glob(f"{inner}checkpoints/step_*.pt"))


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run was told: ``config.json`` as a dictionary.

    Raises:
        InputError: The folder is not a run.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        is_file = "it is a file" if path.parent.exists() else "it does not exist"
        found = "it has no config.json" if path.parent.is_dir() else is_file
        raise InputError(f"{folder} is not the folder of a run: {found}")
    stored = _read_json(path)
    if not isinstance(stored.get("config"), dict):
        raise InputError(
            f"{folder} is not the folder of a run: its config.json says nothing of a 'config', so that it is somebody "
            "else's; name the folder of a run, or a new one for --out"
        )
    return stored


def read_checkpoint(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The trained agent of a finished run, or the newest checkpoint of one under way, on the CPU.

    Its tensors are mapped, and read from the file when they are used: most of a checkpoint is the replay, which only a
    resumed run needs. They do not change when the run replaces the file meanwhile.

    Raises:
        InputError: Nothing was saved yet.
    """
    checkpoints = Path(folder) / "checkpoints"
    final = checkpoints / "final.pt"
    for _ in range(3):  # a run under way may replace its checkpoint between the look and the reading
        saved = [final] if final.exists() else sorted(checkpoints.glob("step_*.pt"))
        if not saved:
            break
        try:
            state: dict[str, Any] = torch.load(saved[-1], map_location="cpu", weights_only=True, mmap=True)
            return state
        except (FileNotFoundError, RuntimeError):  # PyTorch opens a file that it maps twice, the second time in C++
            if saved[-1].exists():
                raise
    raise InputError(f"{folder} holds no checkpoint yet: let the run train for a while")


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of ``metrics.jsonl``; a last row that is still being written is left out."""
    path = Path(folder) / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def read_summary(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    path = Path(folder) / "summary.json"
    return _read_json(path) if path.exists() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; expected a file that this user may read") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected what a run writes there, values by name")
    return content
