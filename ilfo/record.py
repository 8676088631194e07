"""``ilfo record``: writes demonstrations of a trained policy, or of a scripted expert."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import ilfo
from ilfo import demos
from ilfo._errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.envs import Protocol, describe
from ilfo.evaluate import check_episodes, check_seed, fresh_seed
from ilfo.rollouts import Policy, rollout
from ilfo.runs import read_summary
from ilfo.training import load

__all__ = ["RecordOptions", "main", "record", "scripted_policy"]

_TRIES_FOR_EACH = 20
_COPIES = 10
_PURPOSE = 1


@dataclass(frozen=True)
class RecordOptions:
    """What to record, and which episodes are good enough."""

    env: str | None = None
    """Gymnasium id of the environment. May be left out with --run; if given, it must be the run's."""
    run: str | None = None
    """Folder of the run whose policy is recorded, without exploration noise, under the run's protocol."""
    scripted: bool = False
    """Record the scripted expert of the environment instead; Meta-World's tasks have one."""
    episodes: int = 1
    """Episodes to keep."""
    min_return: float | None = None
    """Keep only episodes of at least this return of the environment."""
    success_only: bool = False
    """Keep only episodes that met the task's own criterion of success."""
    actions: bool = False
    """Write the actions too. Without them the file holds states, and the environment's rewards for evaluation."""
    seed: int | None = None
    """Chooses the initial states; by default the run's own. Neither training nor evaluation plays the same ones."""
    max_tries: int | None = None
    """Episodes to play before giving up; by default 20 for each one wanted."""


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
        InputError: Neither a run nor a scripted expert (or both), an environment that is not the run's, a folder
            that does not exist, a negative seed, a task without success where success is asked for, or too few good
            episodes.
    """
    target = Path(out)
    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist. Make it first.")
    check_episodes(options.episodes)
    check_seed(options.seed)
    tries = options.max_tries if options.max_tries is not None else _TRIES_FOR_EACH * options.episodes
    if tries < options.episodes:
        raise InputError(f"--max-tries is {tries}; expected at least the {options.episodes} episodes to keep")
    expert = _open_expert(options)
    # Purposes keep apart what is recorded and what is evaluated, also where both are told the same seed.
    base = fresh_seed(expert.seed, _PURPOSE)
    kept: list[Trajectory] = []
    seen: list[float] = []
    while len(kept) < options.episodes:
        if len(seen) >= tries:
            raise InputError(
                f"gave up after {tries} episodes, of which {len(kept)} passed and {options.episodes} are wanted"
                f"{_bar(options)}; their returns were {min(seen):,.1f} to {max(seen):,.1f}. Lower the bar, train "
                "longer, or raise --max-tries"
            )
        count = min(_COPIES, options.episodes - len(kept), tries - len(seen))
        # Each round has seeds of its own, whatever the rounds before it kept.
        seed = int(np.random.SeedSequence(base, spawn_key=(len(seen),)).generate_state(1)[0])
        played = rollout(expert.policy, expert.env_id, count, protocol=expert.protocol, seed=seed)
        seen += [trajectory.env_return or 0.0 for trajectory in played]
        kept += [trajectory for trajectory in played if _passes(trajectory, options, expert.env_id)]
        if progress is not None:
            progress(len(kept), len(seen))
    if not options.actions:
        kept = [replace(trajectory, actions=None) for trajectory in kept]
    provenance, _, _ = describe(expert.env_id)
    source = (
        f"{_command_line(target, options)} (ilfo {ilfo.__version__}): {expert.what}, protocol {expert.protocol}; "
        f"kept {len(kept)} of {len(seen)} episodes played{_bar(options)}; --seed {expert.seed}"
    )
    expert_return = float(np.mean([trajectory.env_return or 0.0 for trajectory in kept]))
    provenance = replace(provenance, expert_return=expert_return, source=source)
    demonstrations = Demonstrations(tuple(kept), provenance)
    demos.write(target, demonstrations)
    return demonstrations


def scripted_policy(env_id: str) -> Policy:
    """The scripted expert of an environment.

    Raises:
        InputError: It has none, or what has it is not installed.
    """
    if not env_id.startswith("ilfo.metaworld:"):
        raise InputError(
            f"environment {env_id!r} has no scripted expert; Meta-World's tasks have one, for example "
            "'ilfo.metaworld:MetaWorld/reach-v3'"
        )
    from ilfo import metaworld

    return metaworld.scripted_policy(env_id)


@dataclass(frozen=True)
class _Expert:
    policy: Policy
    env_id: str
    protocol: Protocol
    seed: int
    what: str


def _open_expert(options: RecordOptions) -> _Expert:
    if options.scripted == (options.run is not None):
        raise InputError("give either --run FOLDER or --scripted: the policy comes from one of them")
    if options.run is None:
        if options.env is None:
            raise InputError("--scripted needs --env: the environment to record")
        return _Expert(scripted_policy(options.env), options.env, "standard", options.seed or 0, "scripted expert")
    training = load(options.run)
    config = training.config
    if options.env not in (None, config.env):
        raise InputError(f"--env is {options.env}, but {options.run} was trained in {config.env}; leave --env out")
    steps = (read_summary(options.run) or {}).get("steps", training.step)
    return _Expert(
        policy=training.act,
        env_id=config.env,
        protocol=config.protocol,
        seed=config.seed if options.seed is None else options.seed,
        what=f"{config.agent} after {steps} steps on the {config.reward} reward, seed {config.seed} of training",
    )


def _passes(trajectory: Trajectory, options: RecordOptions, env_id: str) -> bool:
    if options.success_only and trajectory.success is None:
        raise InputError(f"--success-only: {env_id} does not say whether an episode succeeded; use --min-return")
    enough = options.min_return is None or (trajectory.env_return or 0.0) >= options.min_return
    return enough and (not options.success_only or bool(trajectory.success))


def _bar(options: RecordOptions) -> str:
    """The end of a sentence that says what an episode had to do to be kept."""
    bars = []
    if options.min_return is not None:
        bars.append(f"a return of at least {options.min_return:g}")
    if options.success_only:
        bars.append("success")
    return f" (bar: {' and '.join(bars)})" if bars else ""


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
    """Write demonstrations from a trained run, or from a scripted expert.

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
        f"{out}: {len(written)} episode(s), {steps:,} steps, mean return {written.expert_return:,.1f}, "
        f"{'with' if options.actions else 'without'} actions",
        markup=False,
    )
    console.print(written.provenance.source, markup=False)
