"""The command line's ``ilfo demos``: info, validate, convert, from-videos, list, plot."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo._tools.ranges import read_size
from ilfo._tools.target import file_to_write
from ilfo._tools.words import counted
from ilfo.demos._labels import label_of
from ilfo.demos.files import has_frames
from ilfo.demos.trajectory import Demonstrations
from ilfo.demos.writers import Layout

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main", "new_console", "opened"]


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

    from ilfo.demos._plot_command import PlotOptions
    from ilfo.demos._plot_command import main as plot

    if argv[:1] == ["plot"]:
        return plot(argv[1:])
    tyro.extras.subcommand_cli_from_dict(
        {
            "info": _info,
            "validate": _validate,
            "convert": _convert,
            "from-videos": _from_videos,
            "list": _list,
            "plot": PlotOptions,
        },
        prog="ilfo demos",
        description="Look at files of demonstrations, and write them for other libraries.",
        args=list(argv),
    )
    return 0


def _info(file: str, /, *, filter_key: str | None = None) -> None:
    """Show what a file holds and where it came from.

    Args:
        file: HDF5 file (layout ilfo, Minari, robomimic or D4RL), folder of a Minari or LeRobot dataset, or the name
            of a bundled demonstration.
        filter_key: Look only at the demonstrations of this filter key of a robomimic file.
    """
    from rich.markup import escape

    console = new_console()
    demonstrations = opened(console, file, filter_key=filter_key, frames=has_frames(file, alone=True))
    console.print(f"[bold cyan]{escape(str(demonstrations.path))}[/]", soft_wrap=True, highlight=False)
    for name, value in _facts(demonstrations, has_frames(file)).items():
        shown = f"[dim]{value}[/]" if value == _UNKNOWN else escape(value)
        console.print(f"[bold]{name:<15}[/]{shown}", soft_wrap=True, highlight=False)


def _validate(file: str, /, *, env: str | None = None, filter_key: str | None = None) -> None:
    """Read every episode of a file and say whether it can be used.

    Args:
        file: HDF5 file, folder of a dataset, or the name of a bundled demonstration.
        env: Gymnasium id of the environment whose states it must fit, e.g. Hopper-v5.
        filter_key: Look only at the demonstrations of this filter key of a robomimic file.
    """
    console = new_console()
    demonstrations = opened(console, file, filter_key=filter_key, frames=has_frames(file))
    against, states = "", demonstrations.observation_dim
    if env is not None and not states:
        raise InputError(f"{file} holds frames and no states that could fit {env}: leave --env out")
    if env is not None:
        from ilfo.envs import describe

        for difference in ilfo.demos.check_fits(demonstrations, *describe(env)[:3]):
            _warn(console, difference)
        against = f", fits {env}"
    steps = sum(len(trajectory) for trajectory in demonstrations)
    console.print(
        f"[bold green]OK[/] {counted(len(demonstrations), 'episode')}, {counted(steps, 'step')}, "
        f"{counted(states, 'dimension') if states else 'frames alone'}{against}",
        soft_wrap=True,
        highlight=False,
    )


def _convert(
    file: str,
    out: Path,
    /,
    *,
    to: Layout,
    episodes: tuple[int, ...] | None = None,
    filter_key: str | None = None,
    max_episode_steps: int | None = None,
    clip_actions: bool = False,
    every: int = 1,
    overwrite: bool = False,
) -> None:
    """Write demonstrations in the layout that another library reads.

    The layout of the input is recognised. The ilfo layout can hold states alone; all others demand actions and rewards
    and cannot hold frames or goals, nor, in the case of d4rl, seeds and successes.

    Args:
        file: HDF5 file (layout ilfo, Minari, robomimic or D4RL), folder of a Minari or LeRobot dataset, or the name
            of a bundled demonstration.
        out: HDF5 file to write; for Minari a new folder with a version in its name, e.g. hopper-expert-v0.
        to: Layout to write.
        episodes: Episodes to take, counted from 0; by default all.
        filter_key: Take only the demonstrations of this filter key of a robomimic file.
        max_episode_steps: Time limit of the environment, for old D4RL files that do not say where it ended episodes.
        clip_actions: Cut actions to [-1, 1], which the robomimic layout demands.
        every: Steps that become one, without their actions: 3 for an agent in an environment like Hopper-v5@repeat-3.
        overwrite: Replace the file that is there, once the new one is whole.
    """
    if out.is_file() and not overwrite:
        raise InputError(f"{out} exists: name another file, or give --overwrite to replace it")
    console = new_console()
    with _warnings_printed(console):
        written = ilfo.demos.convert(
            file,
            out,
            to,
            episodes=episodes,
            filter_key=filter_key,
            max_episode_steps=max_episode_steps,
            clip_actions=clip_actions,
            every=every,
        )
        if to != "ilfo":
            _warn_of_units(written, out)
    steps = sum(len(trajectory) for trajectory in written)
    console.print(
        f"{out}: layout {to}, {counted(len(written), 'episode')}, {counted(steps, 'step')}, "
        f"{counted(written.observation_dim, 'dimension')}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _from_videos(
    videos: tuple[Path, ...], /, *, out: Path, frame_size: str | None = None, time_step: float | None = None
) -> None:
    """Make demonstrations of videos: frames without states, an episode a video, for --features keypoints.

    Args:
        videos: Films of the expert, in any format that OpenCV decodes.
        out: HDF5 file to write.
        frame_size: Pixels to scale frames to: one number for both sides, or width and height like 128x96. Training
            draws the environment in the same size. By default as they are.
        time_step: Seconds from one frame to the next: take those of the environment's step ('ilfo demos info' of a
            demonstration of it tells). By default every frame of the video.
    """
    file_to_write(out, reads=videos)
    size = None if frame_size is None else read_size("--frame-size", frame_size)
    made = ilfo.demos.from_videos(videos, frame_size=size, time_step=time_step)
    console = new_console()
    with console.status(f"decoding {counted(len(made), 'video')}"):
        ilfo.demos.write(out, made)
    frames = made[0].frames
    assert frames is not None
    console.print(
        f"{out}: {counted(len(made), 'episode')}, {counted(sum(map(len, made)), 'step')} of "
        f"{made.provenance.time_step:.4g} s, frames of {frames.shape[2]} x {frames.shape[1]}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _warn_of_units(written: Demonstrations, out: Path) -> None:
    """Says where other libraries would take actions in [-1, 1] for the environment's own."""
    from ilfo.envs import describe

    known = written.provenance
    if known.own_actions is not False or known.env_id is None:
        return
    try:
        same = describe(known.env_id).own_bounds
    except InputError:
        return
    if not same:
        warnings.warn(
            f"{out}: actions are in [-1, 1], which stand for the bounds of {known.env_id}: other libraries will take "
            "them for the environment's own. Multiply them by the bounds there.",
            stacklevel=2,
        )


def _list() -> None:
    """List the demonstrations that come with ilfo."""
    from rich.table import Table

    console = new_console()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for each in ilfo.demos.bundled():
        table.add_row(f"[bold]{each.name}[/]", each.title)
    console.print(table if table.row_count else "No demonstrations are bundled.", highlight=False)


_UNKNOWN = "not recorded"


def _facts(demonstrations: Demonstrations, frames: bool) -> dict[str, str]:
    """What ``info`` says, in its order."""
    provenance = demonstrations.provenance
    steps = [len(trajectory) for trajectory in demonstrations]
    returns = [each.env_return for each in demonstrations if each.env_return is not None]
    successes = [each.success for each in demonstrations if each.success is not None]
    actions, goal = demonstrations[0].actions, demonstrations[0].goal
    ends = Counter(
        "terminated" if each.terminated else "truncated" if each.truncated else "unmarked" for each in demonstrations
    )
    stated = demonstrations.expert_return
    facts = {
        "layout": demonstrations.layout,
        "episodes": f"{len(demonstrations)} ({', '.join(f'{count} {end}' for end, count in ends.items())})",
        "steps": f"{sum(steps):,}" + ("" if len(steps) == 1 else f" ({_spread(steps, '.0f')} an episode)"),
        "observations": _observations(demonstrations),
        "actions": "no" if actions is None else f"yes, {counted(actions.shape[1], 'dimension')}",
        "rewards": _rewards(demonstrations),
        "frames": "yes" if frames else "",
        "goal": "" if goal is None else f"yes, {counted(len(goal), 'dimension')}",
        "expert return": _UNKNOWN if stated is None else f"{stated:.1f}",
        "returns": f"{_spread(returns, '.1f')}" if len(returns) > 1 else "",
        "success": f"{sum(successes)} of {len(successes)}" if successes else _UNKNOWN,
        "kept for": provenance.bar or "",
        "environment": provenance.env_id or _UNKNOWN,
        "time step": f"{provenance.time_step:g} s" if provenance.time_step else _UNKNOWN,
        "action repeat": _UNKNOWN if provenance.action_repeat is None else f"{provenance.action_repeat}",
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()) or _UNKNOWN,
        "source": provenance.source or _UNKNOWN,
        "sha256": demonstrations.sha256,
    }
    return {name: value for name, value in facts.items() if value}


def _observations(demonstrations: Demonstrations) -> str:
    if not demonstrations.observation_dim:
        return "none: the frames are all that was seen, which is enough for --features keypoints"
    keys = ", ".join(f"{key}[{width}]" for key, width in demonstrations.provenance.observation_keys.items())
    return f"{counted(demonstrations.observation_dim, 'dimension')}: {keys or 'keys not recorded'}"


def _rewards(demonstrations: Demonstrations) -> str:
    """Whose rewards the file holds; nothing where it has none."""
    label = label_of(demonstrations.path)
    known = demonstrations[0].env_rewards is not None
    if label is None:
        return "the environment's" if known else ""
    beside = "; the environment's stay beside them, as env_rewards" if known else ""
    return f"of {label.get('reward')!r} by {label.get('demo')}, written by ilfo label{beside}"


def opened(console: Console, file: str, **how: Any) -> Demonstrations:
    """The demonstrations, what their reader warns of printed as sentences."""
    with _warnings_printed(console):
        return ilfo.demos.open(file, **how)


@contextmanager
def _warnings_printed(console: Console) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for each in caught:
        _warn(console, str(each.message))


def _warn(console: Console, sentence: str) -> None:
    from rich.markup import escape

    console.print(f"[yellow]warning:[/] {escape(sentence)}", soft_wrap=True, highlight=False)


def new_console() -> Console:
    """Where the verbs print."""
    from rich.console import Console

    return Console()


def _spread(values: Sequence[float], form: str) -> str:
    low, mean, high = np.min(values), np.mean(values), np.max(values)
    return f"{low:{form}} to {high:{form}}, mean {mean:.1f}"
