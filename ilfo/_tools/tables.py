"""Tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["markdown_table"]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table of plain text: what Markdown would take for markup is escaped.

    Examples:
        >>> markdown_table(["task", "steps"], [["reach", "100"]])
        ['| task | steps |', '| --- | --- |', '| reach | 100 |']
    """
    return [_line(map(_escaped, head)), _line(["---"] * len(head)), *(_line(map(_escaped, row)) for row in rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return re.sub(r"[\\`*|<]", r"\\\g<0>", text)
