"""The HTML of a report: one page that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ilfo._tools.atomic import atomic_path
from ilfo._tools.words import UNKNOWN

__all__ = ["Link", "duration", "grid", "page", "picture", "section", "table", "tiles", "versions", "video", "write"]

_BESIDE = ("learning.png", "training.png", "rewards.png", "plan.png", "best.webm", "keypoints.webm")

_STYLE = """
:root { color-scheme: light dark; --ink: #1d252c; --quiet: #5d6b78; --paper: #f6f7f9; --card: #fff; --line: #e0e5ea;
  --accent: #2364aa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --quiet: #9aa8b5; --paper: #14181c; --card: #1d2329;
  --line: #323b44; --accent: #7fb2e5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .3rem; }
p { margin: .3rem 0 .8rem; color: var(--quiet); max-width: 46rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.55rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile:first-child b { color: var(--accent); }
.tile span { color: var(--quiet); font-size: .85rem; }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: .6rem; }
img, video { display: block; max-width: 100%; margin: 0 auto; border-radius: 6px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
td { border-bottom: 1px solid var(--line); padding: .28rem .8rem .28rem 0; vertical-align: top;
  overflow-wrap: anywhere; }
td:first-child { color: var(--quiet); white-space: nowrap; width: 1%; padding-right: 2rem; }
table.grid td, table.grid th { text-align: right; white-space: nowrap; width: auto; color: var(--ink);
  font-variant-numeric: tabular-nums; padding: .28rem 0 .28rem 1.2rem; }
table.grid th { color: var(--quiet); font-weight: 500; border-bottom: 2px solid var(--line); }
table.grid :is(td, th):first-child { text-align: left; padding-left: 0; }
a { color: var(--accent); }
details { margin-top: 2.5rem; } summary { cursor: pointer; font-size: 1.15rem; font-weight: 600; }
details table { margin-top: .6rem; }
"""


@dataclass(frozen=True)
class Link:
    """Words of a cell that lead to a file, by its path from the page's folder."""

    words: str
    path: str


def page(title: str, subtitle: str, body: Sequence[str]) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(subtitle)}</p>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def tiles(values: Mapping[str, str]) -> str:
    """Large numbers, each with its name below."""
    cells = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in values.items()
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def section(heading: str, text: str, *content: str) -> str:
    """A heading, a sentence or two, and what they are about."""
    return f"<h2>{escape(heading)}</h2>\n<p>{escape(text)}</p>\n" + "\n".join(content)


def picture(png: bytes, description: str) -> str:
    """An embedded PNG."""
    return f'<figure><img src="data:image/png;base64,{_base64(png)}" alt="{escape(description)}"></figure>'


def video(webm: bytes) -> str:
    """An embedded WebM video, which starts by itself, without sound."""
    source = f"data:video/webm;base64,{_base64(webm)}"
    return f'<figure><video controls loop muted autoplay playsinline src="{source}"></video></figure>'


def table(values: Mapping[str, Any], heading: str | None = None) -> str:
    """Names and values, nested ones with dotted names; folded away below a heading where one is given."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(_text(value))}</td></tr>" for name, value in _flat(values))
    whole = f'<div class="scroll"><table>{rows}</table></div>'
    return whole if heading is None else f"<details><summary>{escape(heading)}</summary>{whole}</details>"


def grid(head: Sequence[str], rows: Sequence[Sequence[str | Link]]) -> str:
    """Columns of cells below their names."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="grid"><tr>{names}</tr>{lines}</table></div>'


def _cell(cell: str | Link) -> str:
    if isinstance(cell, Link):
        return f'<a href="{escape(cell.path)}">{escape(cell.words)}</a>'
    return escape(cell)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + str(name), value


def _text(value: Any) -> str:
    if value is None or value == []:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return str(value)


def versions(config: Mapping[str, Any]) -> str:
    """What ``config.json`` says of the code and the machine, folded away."""
    return table({"git commit": config["git_commit"]} | config["versions"] | config["machine"], "Versions")


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def write(folder: Path, whole: str, files: dict[str, bytes]) -> Path:
    """Writes the page as ``index.html``, and beside it the files that it holds; those of an older page go.

    Returns:
        The page.
    """
    folder.mkdir(exist_ok=True)
    for name in _BESIDE:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for name, content in (files | {"index.html": whole.encode()}).items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return folder / "index.html"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
