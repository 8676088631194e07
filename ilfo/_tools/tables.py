"""Tables as Markdown, and where they are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ilfo._tools.atomic import atomic_path

__all__ = ["markdown_table", "write_results"]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table of plain text: what Markdown would take for markup is escaped.

    Examples:
        >>> markdown_table(["task", "steps"], [["reach", "100"]])
        ['| task | steps |', '| --- | --- |', '| reach | 100 |']
    """
    return [_line(map(_escaped, head)), _line(["---"] * len(head)), *(_line(map(_escaped, row)) for row in rows)]


def write_results(folder: Path, table: str, picture: bytes) -> None:
    """Writes ``table.md`` and ``picture.png`` in a folder, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "table.md") as partial:
        partial.write_text(table)
    with atomic_path(folder / "picture.png") as partial:
        partial.write_bytes(picture)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return re.sub(r"[\\`*|<]", r"\\\g<0>", text)
