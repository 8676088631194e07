"""The demonstrations that come with the toolkit: ``library/NAME.hdf5``, each with a card ``NAME.md``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ilfo._tools.errors import InputError, closest

__all__ = ["Bundled", "bundled", "bundled_path", "is_bundled"]

_FOLDER = Path(__file__).with_suffix("")


@dataclass(frozen=True)
class Bundled:
    """A bundled demonstration.

    Attributes:
        name: What ``open`` and ``--demo`` call it.
        path: Its file.
        title: First line of its card; empty where it has none.
    """

    name: str
    path: Path
    title: str


def bundled() -> list[Bundled]:
    """The bundled demonstrations, by name."""
    return [Bundled(path.stem, path, _title(path.with_suffix(".md"))) for path in sorted(_FOLDER.glob("*.hdf5"))]


def is_bundled(name: str) -> bool:
    """Whether a demonstration of this name is bundled."""
    return any(each.name == name for each in bundled())


def bundled_path(name: str) -> Path:
    """The file of a bundled demonstration.

    Raises:
        InputError: None is called so; names the closest.
    """
    paths = {each.name: each.path for each in bundled()}
    if name not in paths:
        hint = closest(name, paths) if paths else "none is bundled"
        raise InputError(f"no bundled demonstration {name!r}; {hint}")
    return paths[name]


def _title(card: Path) -> str:
    lines = card.read_text(encoding="utf-8").splitlines() if card.is_file() else []
    return next((line.lstrip("# ").strip() for line in lines if line.strip()), "")
