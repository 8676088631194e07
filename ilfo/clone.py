"""``ilfo clone``: a policy from demonstrations that have actions, by behaviour cloning."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ilfo._tools.cores import threads
from ilfo._tools.devices import check_device
from ilfo._tools.seeds import EVALUATION, derived_seed, seeded
from ilfo._tools.words import counted
from ilfo.cloning.configs import CloneConfig, parse_clone, state_columns
from ilfo.cloning.data import Samples, held_out, open_demonstrations
from ilfo.cloning.eyes import EYES
from ilfo.cloning.fit import Epoch, fit_network
from ilfo.cloning.looks import evaluation_of
from ilfo.cloning.policy import VERB, ClonedPolicy
from ilfo.envs import describe, random_policy, rollout
from ilfo.envs.drawing import drawable_env, first_frame, frame
from ilfo.rewards.sight import frame_size_of
from ilfo.runs import HeldFolder, Run, read_summary

__all__ = ["clone", "main"]

_RANDOM_EPISODES = 10


def clone(
    config: CloneConfig,
    *,
    on_epoch: Callable[[Epoch], object] = lambda epoch: None,
    doing: Callable[[str], object] = lambda what: None,
) -> dict[str, Any]:
    """Clones an expert from demonstration files, and evaluates the policy.

    A run that was stopped while it learned starts again; once it has learned, its policy is kept, and the same call
    plays that.

    Args:
        config: What is cloned; see :func:`~ilfo.cloning.configs.clone_config`.
        on_epoch: Called after each pass over the demonstrations.
        doing: Called with what is being done.

    Returns:
        The content of ``summary.json``; for a finished run, what it already holds.

    Raises:
        InputError: The demonstrations lack what the policy needs, nothing can be seen in them, or the folder holds
            another run.
        RenderError: The policy sees frames, and nothing can be drawn here.
    """
    check_device(config.device)
    with threads(config.threads), closing(HeldFolder(config.out)) as folder:
        return _clone(config, folder, on_epoch, doing)


def _clone(
    config: CloneConfig,
    folder: HeldFolder,
    on_epoch: Callable[[Epoch], object],
    doing: Callable[[str], object],
) -> dict[str, Any]:
    started = time.monotonic()
    # Before anything is drawn: the libraries of some eyes crash if they are imported after that.
    eye = EYES[config.sees](getattr(config, config.sees, None), config.device)
    doing("reading the demonstrations")
    demonstrations, digest, shown = open_demonstrations(config)
    described = describe(config.env)
    policy = ClonedPolicy(
        config.sees,
        eye,
        state_columns(config.state_dims, len(described.low)),
        described.action_dim,
        config.hidden_dim,
        frame_size_of(demonstrations) if eye.takes_frames else None,
        config.device,
    )
    chosen, left_out = held_out(len(demonstrations), config.held_out, config.seed)
    seen: list[np.ndarray] = []
    if read_summary(config.out) is None:
        # Before the run begins, so that unusable demonstrations or an undrawable environment leave nothing behind.
        if policy.frame_size is not None:
            _check_drawable(config, policy.frame_size)
        doing("looking at the demonstrations")
        seen = eye.study(demonstrations, doing)
    plain = {"verb": VERB} | {name: value for name, value in dataclasses.asdict(config).items() if name != "out"}
    with closing(Run(folder, plain, digest)) as run:
        finished = read_summary(config.out)
        if finished is not None:
            return finished
        parts = [
            Samples.of([demonstrations[index] for index in rows], [seen[index] for index in rows], policy.own)
            for rows in (chosen, left_out)
            if rows
        ]

        def note(epoch: Epoch) -> None:
            seconds = round(time.monotonic() - started, 3)
            row = {"epoch": epoch.number, "seconds": seconds, "loss": epoch.loss, "held_out_loss": epoch.held_out_loss}
            run.append(row)
            on_epoch(epoch)

        def learn() -> Epoch:
            run.restore(None)
            with seeded(config.seed):
                return fit_network(
                    policy.make_network(),
                    parts[0],
                    parts[1] if left_out else None,
                    epochs=config.epochs,
                    batch_size=config.batch_size,
                    learning_rate=config.learning_rate,
                    device=config.device,
                    on_epoch=note,
                )

        if learned := run.saved_steps():
            state = run.read(max(learned))
            best = Epoch(**state["epoch"])
            policy = ClonedPolicy.from_state_dict(state, config.device, plain.get(config.sees))
        else:
            best = learn()
            # Kept before it is played: what may fail then is the environment, or its pictures.
            run.save(best.number, policy.state_dict() | {"epoch": dataclasses.asdict(best)})
        doing(f"playing {counted(config.eval_episodes, 'episode')}")
        summary = _measured(policy, config, demonstrations.expert_return)
        summary |= {
            "epoch": best.number,
            "loss": best.loss,
            "held_out_loss": best.held_out_loss,
            "samples": len(parts[0]),
            "episodes": len(chosen),
            "held_out_episodes": left_out,
            "variants": [str(variant) for variant in shown],
            "seconds": round(time.monotonic() - started, 3),
            "demo_sha256": digest,
        }
        run.finish(summary, policy.state_dict())
        run.keep_only(None)
    return summary


def _check_drawable(config: CloneConfig, frame_size: tuple[int, int]) -> None:
    """Refuses an environment that cannot be drawn here, before it has cost a training to find that out."""
    with closing(drawable_env(config.env, config.protocol, frame_size)) as env:
        env.reset(seed=config.seed)
        frame(first_frame(env), frame_size)


def _measured(policy: ClonedPolicy, config: CloneConfig, expert_return: float | None) -> dict[str, Any]:
    """What the policy does on the episodes that ``ilfo evaluate`` plays, as plain values."""
    seed = derived_seed(config.seed, EVALUATION)
    at_random = rollout(
        random_policy(policy.action_dim, config.seed), config.env, _RANDOM_EPISODES, protocol=config.protocol, seed=seed
    )
    found = dataclasses.replace(
        evaluation_of(policy, config.env, config.protocol, config.eval_episodes, seed),
        expert_return=expert_return,
        random_return=float(np.mean([each.env_return for each in at_random])),
    )
    count, played = found.successes or (0, 0)
    return {
        "env": config.env,
        "sees": config.sees,
        "expert_return": expert_return,
        "random_return": found.random_return,
        "policy_return": found.return_mean,
        "policy_returns": found.returns,
        "ratio": found.ratio,
        "success": count / played if played else None,
        "success_interval": found.success_interval,
        "time_to_success": found.time_to_success,
        "seed": config.seed,
        "protocol": config.protocol,
    }


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo clone``."""
    config = parse_clone(argv)
    console = Console(highlight=False, soft_wrap=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        disable=not console.is_terminal,
    )
    every = max(1, config.epochs // 10)
    with bar:
        task = bar.add_task("cloning", total=config.epochs, numbers="")

        def show(epoch: Epoch) -> None:
            numbers = f"loss {epoch.loss:.4f}"
            if epoch.held_out_loss is not None:
                numbers += f"  held out {epoch.held_out_loss:.4f}"
            bar.update(task, completed=epoch.number, description="cloning", numbers=numbers)
            if not console.is_terminal and epoch.number % every == 0:
                console.print(f"epoch {epoch.number}/{config.epochs}  {numbers}")

        def tell(what: str) -> None:
            bar.update(task, description=what)
            if not console.is_terminal:
                console.print(what, markup=False)

        summary = clone(config, on_epoch=show, doing=tell)
    _conclude(summary, config, console)
    return 0


def _conclude(summary: dict[str, Any], config: CloneConfig, console: Console) -> None:
    held = summary["held_out_loss"]
    learned = f"{counted(summary['samples'], 'step')} of {counted(summary['episodes'], 'episode')}"
    chosen = "the last one, for nothing is held out" if held is None else f"held-out loss {held:.4f}, the lowest"
    rows = [
        ("policy", f"sees {config.sees}; cloned from {learned} in {summary['seconds']:,.0f} s"),
        ("epoch", f"{summary['epoch']}: loss {summary['loss']:.4f}, {chosen}"),
    ]
    expert = "unknown" if summary["expert_return"] is None else f"{summary['expert_return']:,.1f}"
    returns = f"{summary['policy_return']:,.1f} over {counted(len(summary['policy_returns']), 'episode')}"
    rows.append(("return", f"{returns} (expert {expert}, random policy {summary['random_return']:,.1f})"))
    if summary["success"] is not None:
        low, high = summary["success_interval"]
        rows.append(("success", f"{summary['success']:.0%}, 95 % interval {low:.0%} to {high:.0%} (Wilson)"))
    # Not in the summary of a run that earlier code finished.
    if summary.get("time_to_success") is not None:
        rows.append(("first", f"success after {summary['time_to_success']:,.1f} steps, the mean of those that succeed"))
    rows.append(("folder", f"{config.out}; 'ilfo evaluate {config.out}' plays it again, --variants in other looks"))
    for name, text in rows:
        console.print(f"{name:<10}{text}", markup=False)
