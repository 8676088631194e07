"""What a run is about to do: printed when it begins, and by ``ilfo train --dry-run``."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ilfo._tools.words import counted, duration
from ilfo.agents.many import Separate
from ilfo.rewards.registry import scalings_of
from ilfo.training.reward_check import print_findings
from ilfo.training.training import Training
from ilfo.vision import EncodingPlan

__all__ = ["print_plan"]


def print_plan(training: Training, measure: bool = False, console: Console | None = None) -> None:
    """Prints shapes, bytes and protocol; with ``measure`` also what the reward says of episodes whose worth is known.

    Args:
        training: A run that has not started.
        measure: Score the expert, variations of its episodes, and random ones: :mod:`ilfo.training.reward_check`.
        console: Where to print.
    """
    console = console or Console()
    config, environments, replay = training.config, training.environments, training.replay
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))

    def row(name: str, value: str) -> None:
        table.add_row(name, Text(value))  # As it is: brackets in a path are no markup.

    row("environment", f"{config.env} x {_copies(training)}, time limit {environments.horizon} steps")
    row("observations", f"({environments.observation_dim},) float32; policy input: {_policy_input(training)}")
    row("actions", f"({environments.action_dim},) float32 in [-1, 1]")
    row("demonstration", _expert_line(training))
    if training.sight is not None and training.demonstrations is not None:
        row("frames", _frames_line(training, training.sight.plan(training.demonstrations)))
    row("reward", _reward_line(training))
    scalings = scalings_of(training.reward)
    if scalings:
        row("scaling", "\n".join(f"{name}: {each}" if name else str(each) for name, each in scalings.items()))
    row(
        "agent",
        f"{config.agent} on {config.device}, batch {training.agent.batch_size}, discount {training.agent.discount}"
        + (
            "; evaluations play its best policy so far, by the imitation return with absorbing states"
            if training.agent.plays_best
            else ""
        ),
    )
    row(
        "replay",
        f"{replay.capacity:,} transitions{' of each seed' if config.seeds else ''} on {replay.device}, "
        f"{replay.num_bytes:,} bytes preallocated",
    )
    row("protocol", protocol_line(training))
    row(
        "steps",
        f"{config.steps:,}, the first {config.random_steps:,} random; {counted(config.updates_per_step, 'update')} a "
        f"step; evaluation every {config.eval_every:,} over {config.eval_episodes} episodes; {_seeds(training)}",
    )
    row("run", config.out)
    console.print(table)
    if measure:
        print_findings(training, console)


def _copies(training: Training) -> str:
    config = training.config
    where = f" in {config.env_workers} processes" if config.env_workers else ""
    return f"{config.num_envs}{' for each seed' if config.seeds else ''}{where}"


def _seeds(training: Training) -> str:
    if not training.config.seeds:
        return f"seed {training.config.seed}"
    how = "updated in turn" if isinstance(training.agent, Separate) else "at once"
    return f"seeds {training.config.seeds}: {len(training.seeds)} {how}"


def protocol_line(training: Training) -> str:
    """The protocol and how it treats terminations, in one line."""
    if training.config.protocol == "fixed-horizon":
        return "fixed-horizon: episodes never end early; steps after the environment would have ended count 0"
    if not training.reward.imitates:
        return "standard: the environment ends episodes; a terminated episode is worth 0 from there on"
    if training.absorbing:
        return "standard: the environment ends episodes; absorbing states after a termination"
    return "standard: the environment ends episodes; NO absorbing states, so terminations leak into the reward"


def _policy_input(training: Training) -> str:
    inputs, view = training.inputs, training.view
    kind = "states" if view is None else "keypoints"
    whose = {
        "expert": f"the expert's {kind}",
        "expert-and-random": f"the expert's {kind} and those of the random steps",
        "random": f"the {kind} of the random steps",
    }.get(inputs.normalization)
    how = f"standardised by {whose}" if whose else "raw"
    what = ""
    if view is not None:
        beside = f" and {counted(len(view.columns), 'column')} of the state" if view.columns else ""
        what = f" ({counted(len(view.sight.features.concepts), 'keypoint')} of the newest frame{beside})"
    return f"{inputs.width} numbers{what}, {how}{', with the time that is left' if inputs.horizon else ''}"


def _frames_line(training: Training, plan: EncodingPlan) -> str:
    """What encoding frames takes: the demonstrations', and all that the run has yet to see."""
    assert training.sight is not None
    config, seeds = training.config, len(training.seeds)
    width, height = training.sight.frame_size
    options = training.sight.features.options
    steps = (config.steps - training.step) * seeds
    seen = f"of the run {counted(steps, 'frame')}"
    in_step = ""
    if training.view is not None:
        evaluations = -(-config.steps // config.eval_every) - training.step // config.eval_every
        evaluated = evaluations * config.eval_episodes * training.environments.horizon * seeds
        seen += f" and of its evaluations up to {evaluated:,}"
        steps += evaluated
        in_step = f", {1000 * plan.seconds_per_pass * len(training.environments):.1f} ms a step"
    took = duration(plan.seconds_per_pass * steps)
    return (
        f"{width} x {height}, seen by {options.backbone}, votes {options.votes:g}; of the demonstration {plan}; "
        f"{seen}: about {took}{in_step}, drawing them aside"
    )


def _reward_line(training: Training) -> str:
    config = training.config
    line = f"{config.reward}, once {'an episode' if training.scorer.needs == 'trajectory' else 'a step'}"
    if not training.reward.imitates or config.features.time is None:
        return line
    line += f", by the time too: {config.features.time:g} steps count as one standard deviation"
    return (
        line
        if config.time_aware
        else f"{line}\nthe policy is not shown the time that the reward looks at: --time-aware"
    )


def _expert_line(training: Training) -> str:
    demonstrations, sha256 = training.demonstrations, training.demo_sha256
    if demonstrations is None or sha256 is None:
        return "none"
    steps = sum(len(trajectory) for trajectory in demonstrations)
    expert = demonstrations.expert_return
    worth = "return unknown" if expert is None else f"return {expert:,.1f}"
    size = f"{counted(len(demonstrations), 'episode')}, {counted(steps, 'step')}"
    held = ", held at its end until the time limit" if training.config.hold_end else ""
    line = f"{size}{held}, {worth}, sha256 {sha256[:12]}"
    horizon = training.environments.horizon
    if not training.config.hold_end and all(one.success and len(one) < horizon for one in demonstrations):
        line += f"\ndone before step {horizon}: --hold-end compares episodes with an expert that then stands still"
    return line
