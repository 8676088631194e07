"""``ilfo record``: writes demonstrations of a trained policy, of a scripted expert, or of any callable."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import ilfo
from ilfo import demos
from ilfo._tools.checks import check_episode_count, check_seed
from ilfo._tools.cores import threads
from ilfo._tools.errors import InputError
from ilfo._tools.ranges import read_size
from ilfo._tools.seeds import RECORDING, derived_seed
from ilfo._tools.target import file_to_write
from ilfo._tools.words import counted
from ilfo.demos import Demonstrations, Trajectory
from ilfo.demos.files import has_frames
from ilfo.envs import describe, has_success
from ilfo.envs.recorder import Recorder
from ilfo.experts import Expert, own_policy, scripted_policy, trained_expert

__all__ = ["RecordOptions", "check_recorded", "main", "record", "until_success"]

_TRIES_FOR_EACH = 20
_FRAME_SIZE = "84"
_AFTER_SUCCESS = 10
"""Steps that an episode goes on after its success, where the expert only stands still."""


@dataclass(frozen=True)
class RecordOptions:
    """What to record, and which episodes are good enough."""

    env: str | None = None
    """Gymnasium id of the environment. May be left out with --run; if given, it must be the run's."""
    run: str | None = None
    """Folder of the run whose policy is recorded, without exploration noise, under the run's protocol."""
    policy: str | None = None
    """module:callable of your own to record: observations (N, D) float32 in, actions (N, A) in [-1, 1] out. The
    parts of a dict observation lie side by side, in the order that 'ilfo demos info' shows."""
    scripted: bool = False
    """Record the scripted expert of the environment instead; Meta-World's tasks have one."""
    episodes: int = 1
    """Episodes to keep."""
    min_return: float | None = None
    """Keep only episodes of at least this return of the environment."""
    success_only: bool = False
    """Keep only episodes that met the task's own criterion of success."""
    stop_after_success: int | None = None
    """End an episode this many steps after its first success; what follows is often an expert standing still."""
    actions: bool = False
    """Write the actions too. Without them the file holds states, and the environment's rewards for evaluation."""
    frames: bool = False
    """Write what a camera saw at every observation. Drawing needs OpenGL, and time."""
    frame_size: str | None = None
    """Pixels of a frame with --frames: 84 for a square, or width and height, 128x96. By default 84, or
    what the run's policy sees."""
    seed: int | None = None
    """Chooses the initial states, which neither training nor evaluation plays; by default the run's own seed, or 0."""
    max_tries: int | None = None
    """Episodes to play before giving up; by default 20 for each one wanted."""
    overwrite: bool = False
    """Replace the file that is there, once the new one is whole."""


def record(
    out: str | os.PathLike[str],
    options: RecordOptions,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Demonstrations:
    """Plays episodes until enough of them pass the bar, and writes these to one file.

    Args:
        out: The HDF5 file; written whole or not at all.
        options: What to record.
        progress: Called with the episodes kept and the episodes played.

    Returns:
        What was written.

    Raises:
        InputError: Not exactly one of a run, a policy and a scripted expert, an environment that is not the run's, an
            ``out`` that is a folder, whose folder does not exist, or that exists and ``overwrite`` is False, a negative
            seed, actions that are not in [-1, 1], a task without success where success is asked for, or too few good
            episodes.
        RenderError: Frames are asked for where nothing can be drawn.

    Warns:
        UserWarning: Some of the episodes are the same.
    """
    target = file_to_write(out)
    if target.exists() and not options.overwrite:
        raise InputError(f"{target} exists: name another file, or give --overwrite to replace it")
    check_episode_count(options.episodes)
    check_seed(options.seed)
    tries = options.max_tries if options.max_tries is not None else _TRIES_FOR_EACH * options.episodes
    if tries < options.episodes:
        raise InputError(f"--max-tries is {tries}; expected at least the {options.episodes} episodes to keep")
    if options.stop_after_success is not None and options.stop_after_success < 0:
        raise InputError(f"--stop-after-success is {options.stop_after_success}; expected 0 or more steps")
    frame_size = _frame_size(options)
    expert = _open_expert(options)
    if expert.view is not None and options.frames and options.frame_size is None:
        frame_size = expert.view.frame_size
    with threads(expert.threads):
        kept, played = _play(expert, options, tries, frame_size, progress)
    if not options.actions:
        kept = [replace(trajectory, actions=None) for trajectory in kept]
    provenance = describe(expert.env_id).provenance
    bar, stop = _bar(options), options.stop_after_success
    went_on = {None if each.success_step is None else len(each) - each.success_step for each in kept}
    trimmed = ""
    if stop is not None and went_on != {None}:
        trimmed = f"; each ends {stop} steps after its first success"
        trimmed += "" if went_on == {stop} else ", where it was not over before"
    source = (
        f"{_command_line(target, options)} (ilfo {ilfo.__version__}): {expert.what}, protocol {expert.protocol}; "
        f"kept {len(kept)} of {played} episodes played{_bracketed(bar)}{trimmed}; --seed {expert.seed}"
    )
    expert_return = float(np.mean([trajectory.env_return or 0.0 for trajectory in kept]))
    provenance = replace(provenance, expert_return=expert_return, source=source, bar=bar, own_actions=False)
    demonstrations = Demonstrations(tuple(kept), provenance)
    demos.write(target, demonstrations)
    different = len({trajectory.observations.tobytes() for trajectory in kept})
    if different < len(kept):
        warnings.warn(
            f"{target}: of {len(kept)} episodes {different} differ. {expert.env_id} begins alike and the policy does "
            "the same each time, so that more episodes show no more.",
            stacklevel=2,
        )
    return demonstrations


def check_recorded(recorded: Demonstrations, options: RecordOptions) -> None:
    """Refuses demonstrations of another environment or another expert than options name.

    Args:
        recorded: A file that :func:`record` wrote.
        options: With ``env``, and ``policy`` or ``scripted``.

    Raises:
        InputError: Says who was recorded where; or frames are wanted, and there are none.
    """
    found, expert = recorded.provenance, _called(options)
    if found.env_id != options.env or f"): {expert}, protocol " not in (found.source or ""):
        raise InputError(
            f"{recorded.path} has the environment {found.env_id!r} and the source {found.source!r}; expected "
            f"{options.env!r} and {expert!r}: remove the file to record it again, or name another --out"
        )
    if options.frames and recorded.path is not None and not has_frames(recorded.path):
        raise InputError(
            f"{recorded.path} has no frames, which keypoints are sought in: remove the file to record it again, or "
            "name another --out"
        )


def until_success(options: RecordOptions, steps: int = _AFTER_SUCCESS) -> RecordOptions:
    """Options for episodes with success that end so many steps after it; unchanged where the task has no success.

    Args:
        options: With ``env``.
        steps: What an expert that is done still shows; by default as much as in the demonstrations that are bundled.

    Raises:
        InputError: There is no such environment.
    """
    assert options.env is not None
    return replace(options, success_only=True, stop_after_success=steps) if has_success(options.env) else options


def _play(
    expert: Expert,
    options: RecordOptions,
    tries: int,
    frame_size: tuple[int, int] | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Trajectory], int]:
    """The episodes that pass the bar, and how many it took."""
    # The purpose keeps recorded and evaluated episodes apart, even where both are given the same seed.
    base = derived_seed(expert.seed, RECORDING)
    kept: list[Trajectory] = []
    seen: list[float] = []
    said = False
    recorder = Recorder(
        expert.env_id,
        expert.protocol,
        expert.policy,
        expert.what,
        frame_size=frame_size,
        stop_after_success=options.stop_after_success,
        view=expert.view,
    )
    with closing(recorder):
        while len(kept) < options.episodes:
            if not said and len(seen) >= (options.max_tries or min(tries, _TRIES_FOR_EACH)):
                _refuse_silence(options, expert.env_id)
            if len(seen) >= tries:
                raise InputError(
                    f"gave up after {tries} episodes, of which {len(kept)} passed and {options.episodes} are wanted"
                    f"{_bracketed(_bar(options))}; their returns were {min(seen):,.1f} to {max(seen):,.1f}. Lower "
                    "the bar, find a better expert, or raise --max-tries"
                )
            # Each try has a seed of its own, whatever became of those before it.
            seed = derived_seed(base, len(seen))
            trajectory = recorder.play(seed)
            seen.append(trajectory.env_return or 0.0)
            said |= trajectory.success is not None
            if _passes(trajectory, options):
                kept.append(trajectory)
            if progress is not None:
                progress(len(kept), len(seen))
    if options.stop_after_success is not None and not said:
        warnings.warn(f"--stop-after-success: {_silence(expert.env_id)}; none was cut", stacklevel=3)
    return kept, len(seen)


def _refuse_silence(options: RecordOptions, env_id: str) -> None:
    """Refuses to go by a success of which nothing was said so far: some environments speak only when it comes."""
    flags = {"--success-only": options.success_only, "--stop-after-success": options.stop_after_success is not None}
    for flag, given in flags.items():
        if given:
            raise InputError(f"{flag}: {_silence(env_id)}; leave it out, or use --min-return")


def _silence(env_id: str) -> str:
    return f"{env_id} did not say of any episode whether it succeeded, in its info['success'] or info['is_success']"


def _open_expert(options: RecordOptions) -> Expert:
    given = [options.run is not None, options.policy is not None, options.scripted]
    if sum(given) != 1:
        raise InputError(
            f"{sum(given)} policies to record; expected one: give --run FOLDER, --policy MODULE:CALLABLE or --scripted"
        )
    if options.run is not None:
        return trained_expert(options.run, options.env, options.seed)
    if options.env is None:
        raise InputError(f"{'--scripted' if options.scripted else '--policy'} needs --env: the environment to record")
    policy = scripted_policy(options.env) if options.policy is None else own_policy(options.policy)
    return Expert(policy, options.env, "standard", options.seed or 0, _called(options))


def _called(options: RecordOptions) -> str:
    """What the source of a file calls a scripted expert, or a policy of the user's own."""
    return "scripted expert" if options.policy is None else f"policy {options.policy}"


def _frame_size(options: RecordOptions) -> tuple[int, int] | None:
    """Width and height in pixels of the frames, or None where none are wanted."""
    if not options.frames:
        if options.frame_size is not None:
            raise InputError("--frame-size without --frames: give both, or neither")
        return None
    return read_size("--frame-size", options.frame_size or _FRAME_SIZE)


def _passes(trajectory: Trajectory, options: RecordOptions) -> bool:
    enough = options.min_return is None or (trajectory.env_return or 0.0) >= options.min_return
    return enough and (not options.success_only or bool(trajectory.success))


def _bar(options: RecordOptions) -> str | None:
    """What an episode has to do to be kept, in words; None where every one is."""
    bars = []
    if options.min_return is not None:
        bars.append(f"a return of at least {options.min_return:g}")
    if options.success_only:
        bars.append("success")
    return " and ".join(bars) or None


def _bracketed(bar: str | None) -> str:
    return f" (bar: {bar})" if bar else ""


def _command_line(target: Path, options: RecordOptions) -> str:
    """The command that repeats a recording."""
    words = ["ilfo", "record"]
    for name, value in vars(options).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag] if value else []
        elif value is not None:
            words += [flag, str(value)]
    return shlex.join([*words, str(target)])


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo record``."""
    tyro.cli(_command, args=list(argv), prog="ilfo record")
    return 0


def _command(out: Path, /, options: Annotated[RecordOptions, tyro.conf.arg(name="")]) -> None:
    """Write demonstrations of a trained run, of a scripted expert, or of a function of your own.

    Args:
        out: HDF5 file to write.
        options: What to record.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(highlight=False, soft_wrap=True)
    columns = TextColumn("kept {task.completed}/{task.total}"), BarColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=options.episodes)
        written = record(
            out,
            options,
            progress=lambda kept, played: bar.update(task, completed=kept, description=f"{played} played"),
        )
    steps = sum(len(trajectory) for trajectory in written)
    console.print(
        f"{out}: {counted(len(written), 'episode')}, {counted(steps, 'step')}, "
        f"mean return {written.expert_return:,.1f}, "
        f"{'with' if options.actions else 'without'} actions{' and with frames' if options.frames else ''}",
        markup=False,
    )
    console.print(written.provenance.source, markup=False)
