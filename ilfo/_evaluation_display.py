"""What ``ilfo evaluate`` prints: for one policy, for those of several seeds, and for one policy in many looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ilfo._evaluations import Evaluation, SeedsEvaluation
from ilfo._tools.words import UNKNOWN, counted, estimate_in_words, if_known
from ilfo.cloning import Looks
from ilfo.statistics import bootstrap_interval, interquartile_mean

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_evaluation", "print_looks", "print_seeds"]


def print_looks(looks: Looks, console: Console) -> None:
    """A row for each kind of variant and split."""
    from rich.table import Table

    table = Table("variants", "split", "success (Wilson)", "first", "return (bootstrap)")
    for row in looks.rows():
        table.add_row(*row)
    console.print(table)
    found = looks.plain
    rows = [("policy", f"{found.env_id}, cloned")]
    if found.expert_return is not None:
        rows.append(("expert", f"{found.expert_return:,.1f}"))
    each = f"{len(found.trajectories)} in each row, from the same initial states in all rows"
    rows.append(("episodes", f"{each}; protocol {found.protocol}, seed {found.seed}"))
    if looks.seen_text is not None:
        rows.append(("seen", looks.seen_text))
    if looks.stop_after_success is not None:
        rows.append(("ended", f"{counted(looks.stop_after_success, 'step')} after a first success, if not before"))
    if found.successes is not None:
        rows.append(("first", "success after so many steps, the mean of those that succeed"))
    _print_rows(rows, console)


def print_evaluation(found: Evaluation, console: Console) -> None:
    """All that the numbers of one policy need."""
    rows = [
        ("policy", f"{found.env_id} after {found.steps:,} steps" if found.steps else f"{found.env_id}, cloned"),
        ("return", found.return_text),
    ]
    rows += _successes(found)
    rows.append(("length", f"{found.length_mean:,.1f} steps"))
    if found.ratio is not None:
        rows.append(("ratio", f"{found.ratio:.3f} of the expert's {found.expert_return:,.1f}"))
    elif found.expert_return is not None:
        rows.append(("expert", f"{found.expert_return:,.1f}, not above 0: of such a return there is no ratio"))
    if found.random_return is not None:
        rows.append(("random", f"{found.random_return:,.1f} (random policy)"))
    rows.append(("episodes", f"{len(found.trajectories)}, protocol {found.protocol}, seed {found.seed}"))
    _print_rows(rows, console)


def print_seeds(found: SeedsEvaluation, seed: int | None, console: Console) -> None:
    """A row for each seed, and what they come to; ``seed`` is that of the initial states, if one was given."""
    from rich.table import Table

    table = Table("seed", "return", "95 % interval", "ratio", "success (Wilson)", "first")
    for trained, one in found.each.items():
        table.add_row(
            str(trained),
            f"{one.return_mean:,.1f}",
            UNKNOWN if one.return_interval is None else _ends(one.return_interval),
            if_known(one.ratio, "{:.3f}"),
            one.success_text,
            one.time_text,
        )
    console.print(table)
    every = list(found.each.values())
    first, steps = every[0], [one.steps for one in every]
    span = " to ".join(f"{number:,}" for number in dict.fromkeys((min(steps), max(steps))))
    rows = [
        ("policies", f"{first.env_id}, {counted(len(every), 'seed')}, after {span} steps"),
        ("return", f"{estimate_in_words(found.return_mean, found.return_interval, '{:,.1f}')}: mean over seeds"),
        *_successes(found),
    ]
    if found.scores is not None:
        interval = bootstrap_interval(found.scores, interquartile_mean)
        text = estimate_in_words(interquartile_mean(found.scores), interval, "{:.3f}")
        rows.append(("score", f"{text}: interquartile mean over seeds; 0 is a random policy, 1 the expert"))
    if first.expert_return is not None:
        rows.append(("expert", f"{first.expert_return:,.1f}"))
    starts = "initial states of its own" if seed is None else f"seed {seed}"
    rows.append(("episodes", f"{len(first.trajectories)} for each, {starts}, protocol {first.protocol}"))
    _print_rows(rows, console)


def _successes(found: Evaluation | SeedsEvaluation) -> list[tuple[str, str]]:
    """Rows on success, where the task has one: how often, and how soon."""
    rows = []
    if found.successes is not None and found.success_interval is not None:
        low, high = found.success_interval
        count, played = found.successes
        rows.append(("success", f"{count} of {played}, 95 % interval {low:.0%} to {high:.0%} (Wilson)"))
    if found.time_to_success is not None:
        rows.append(("first", f"success after {found.time_to_success:,.1f} steps, the mean of those that succeed"))
    return rows


def _print_rows(rows: Sequence[tuple[str, str]], console: Console) -> None:
    for name, text in rows:
        console.print(f"{name:<10}{text}", markup=False)


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:,.1f} to {interval[1]:,.1f}"
