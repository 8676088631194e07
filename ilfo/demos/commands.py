"""The command line's ``ilfo demos``: info, validate, list, plot."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ilfo.demos
from ilfo.demos.trajectory import Demonstrations

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Runs one of the subcommands.

    Args:
        argv: What follows ``ilfo demos`` on the command line.

    Returns:
        Exit status 0.

    Raises:
        InputError: The file cannot be used.
        SystemExit: The command line itself is wrong (status 2), or asked for help (status 0).
    """
    import tyro

    tyro.extras.subcommand_cli_from_dict(
        {"info": _info, "validate": _validate, "list": _list, "plot": _plot},
        prog="ilfo demos",
        description="Look at files of demonstrations.",
        args=list(argv),
    )
    return 0


def _info(file: str, /) -> None:
    """Show what a file holds and where it came from.

    Args:
        file: HDF5 file (ilfo, Minari or D4RL layout), or the name of a bundled demonstration.
    """
    from rich.markup import escape

    console = _console()
    demonstrations = _opened(file, console)
    console.print(f"[bold cyan]{escape(str(demonstrations.path))}[/]", soft_wrap=True, highlight=False)
    for name, value in _facts(demonstrations).items():
        shown = f"[dim]{value}[/]" if value == _UNKNOWN else escape(value)
        console.print(f"[bold]{name:<15}[/]{shown}", soft_wrap=True, highlight=False)


def _validate(file: str, /, *, env: str | None = None) -> None:
    """Read every episode of a file and say whether it can be used.

    Args:
        file: HDF5 file, or the name of a bundled demonstration.
        env: Gymnasium id of the environment whose states it must fit, e.g. Hopper-v5.
    """
    console = _console()
    demonstrations = _opened(file, console)
    against = ""
    if env is not None:
        from ilfo.envs import describe

        for difference in ilfo.demos.check_fits(demonstrations, *describe(env)):
            _warn(console, difference)
        against = f", fits {env}"
    steps = sum(len(trajectory) for trajectory in demonstrations)
    console.print(
        f"[bold green]OK[/] {_plural(len(demonstrations), 'episode')}, {_plural(steps, 'step')}, "
        f"{_plural(demonstrations.observation_dim, 'dimension')}{against}",
        soft_wrap=True,
        highlight=False,
    )


def _list() -> None:
    """List the demonstrations that come with ilfo."""
    from rich.table import Table

    console = _console()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for each in ilfo.demos.bundled():
        table.add_row(f"[bold]{each.name}[/]", each.title)
    console.print(table if table.row_count else "No demonstrations are bundled.", highlight=False)


def _plot(file: str, /, *, out: Path | None = None) -> None:
    """Draw the states over time, and the return where it is known.

    Args:
        file: HDF5 file, or the name of a bundled demonstration.
        out: PNG to write; by default the file's name with .png, in the current folder.
    """
    console = _console()
    demonstrations = _opened(file, console)
    written = ilfo.demos.plot_demonstrations(demonstrations, out or Path(f"{Path(file).stem}.png"))
    console.print(f"{written}", soft_wrap=True, highlight=False, markup=False)


_UNKNOWN = "not recorded"


def _facts(demonstrations: Demonstrations) -> dict[str, str]:
    """What ``info`` says, in its order."""
    provenance = demonstrations.provenance
    steps = [len(trajectory) for trajectory in demonstrations]
    returns = [each.env_return for each in demonstrations if each.env_return is not None]
    successes = [each.success for each in demonstrations if each.success is not None]
    actions = demonstrations[0].actions
    ends = Counter(
        "terminated" if each.terminated else "truncated" if each.truncated else "unmarked" for each in demonstrations
    )
    stated = demonstrations.expert_return
    facts = {
        "layout": demonstrations.layout,
        "episodes": f"{len(demonstrations)} ({', '.join(f'{count} {end}' for end, count in ends.items())})",
        "steps": f"{sum(steps)}" + ("" if len(steps) == 1 else f" ({_spread(steps, '.0f')} an episode)"),
        "observations": f"{_plural(demonstrations.observation_dim, 'dimension')}: "
        + (", ".join(f"{key}[{width}]" for key, width in provenance.observation_keys.items()) or "keys not recorded"),
        "actions": "no" if actions is None else f"yes, {_plural(actions.shape[1], 'dimension')}",
        "expert return": _UNKNOWN if stated is None else f"{stated:.1f}",
        "returns": f"{_spread(returns, '.1f')}" if len(returns) > 1 else "",
        "success": f"{sum(successes)} of {len(successes)}" if successes else _UNKNOWN,
        "environment": provenance.env_id or _UNKNOWN,
        "time step": f"{provenance.time_step:g} s" if provenance.time_step else _UNKNOWN,
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()) or _UNKNOWN,
        "source": provenance.source or _UNKNOWN,
        "sha256": demonstrations.sha256,
    }
    return {name: value for name, value in facts.items() if value}


def _opened(file: str, console: Console) -> Demonstrations:
    """The demonstrations, what their reader warns of printed as sentences."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        demonstrations = ilfo.demos.open(file)
    for each in caught:
        _warn(console, str(each.message))
    return demonstrations


def _warn(console: Console, sentence: str) -> None:
    from rich.markup import escape

    console.print(f"[yellow]warning:[/] {escape(sentence)}", soft_wrap=True, highlight=False)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _spread(values: Sequence[float], form: str) -> str:
    low, mean, high = np.min(values), np.mean(values), np.max(values)
    return f"{low:{form}} to {high:{form}}, mean {mean:.1f}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
