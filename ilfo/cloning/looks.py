"""Evaluation of a cloned policy in its environment, and in variants that only look different."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ilfo._evaluations import Evaluation
from ilfo._tools.checks import check_each_once
from ilfo._tools.cores import threads
from ilfo._tools.errors import InputError
from ilfo._tools.marks import split_marks
from ilfo._tools.seeds import EVALUATION, derived_seed
from ilfo._tools.words import UNKNOWN, estimate
from ilfo.cloning.policy import ClonedPolicy, load_clone, play, play_each
from ilfo.envs import Protocol, describe
from ilfo.runs import read_config, read_summary
from ilfo.variants import Kind, Split, Variant, split_id

__all__ = [
    "PLAIN",
    "KindAndSplit",
    "Looks",
    "evaluate_clone",
    "evaluate_looks",
    "evaluation_of",
    "looks_of",
    "read_looks",
]

KindAndSplit = tuple[str, str]
"""Kind of variant and split: which look a policy is played in."""

PLAIN: KindAndSplit = ("plain", "")
"""The look without a variant."""


@dataclass(frozen=True)
class Looks:
    """Evaluations of a policy in environments that differ only in their looks.

    Attributes:
        plain: In the environment as it is, on the same initial states as the others.
        each: What it did in each kind and split of variants.
        variants: For these, the index of the variant of each episode.
        shown: Kinds of which the demonstrations show variants, which are then the seen ones.
        stop_after_success: Steps that episodes went on after their first success; None: to their end.
    """

    plain: Evaluation
    each: Mapping[KindAndSplit, Evaluation]
    variants: Mapping[KindAndSplit, Sequence[int]]
    shown: frozenset[Kind] = frozenset()
    stop_after_success: int | None = None

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Kind, split, success with its Wilson interval, time to success, return with its bootstrap interval: words."""
        looks: list[tuple[str, str, Evaluation]] = [("none", UNKNOWN, self.plain)]
        looks += [(kind, split, found) for (kind, split), found in self.each.items()]
        return [
            (
                kind,
                split,
                found.success_text,
                found.time_text,
                estimate(found.return_mean, found.return_interval, "{:,.1f}"),
            )
            for kind, split, found in looks
        ]

    @property
    def seen_text(self) -> str | None:
        """What the seen variants are, in words; None where none was played."""
        kinds = [kind for kind, split in self.each if split == "seen"]
        known, unknown = ([kind for kind in kinds if (kind in self.shown) == shown] for shown in (True, False))
        parts = [f"the variants of {', '.join(known)} that the demonstrations show, in turn"] if known else []
        if unknown:
            parts.append(
                f"variants of {', '.join(unknown)} that the demonstrations do not show, of the ranges to train on"
            )
        return "; ".join(parts) or None

    def as_dict(self) -> dict[str, Any]:
        """All of it but the states, as ``variants.json`` holds it."""
        each = [
            {"kind": look[0], "split": look[1], "variants": list(self.variants[look])} | found.as_dict()
            for look, found in self.each.items()
        ]
        return {"plain": self.plain.as_dict(), "each": each, "stop_after_success": self.stop_after_success}


def looks_of(kinds: Sequence[Kind]) -> list[KindAndSplit]:
    """The looks that a policy is played in: plain, then each kind seen and unseen."""
    return [PLAIN, *((kind, split) for kind in kinds for split in ("seen", "unseen"))]


def read_looks(
    run: str | os.PathLike[str], kinds: Sequence[Kind], episodes: int, stop_after_success: int | None
) -> dict[KindAndSplit, dict[str, Any]] | None:
    """Reads a policy's results in every look from its ``variants.json``.

    Args:
        run: Folder of its run.
        kinds: What varied.
        episodes: Episodes in each look.
        stop_after_success: Steps that an episode went on after its first success; None: to its end.

    Returns:
        Look to results; None unless it was played in all of these looks, with these settings, from the initial states
        that follow from the run's seed.

    Raises:
        InputError: It was played by earlier code, which did not store in which variants.
    """
    file = Path(run) / "variants.json"
    if not file.is_file():
        return None
    content = json.loads(file.read_text())
    seed = derived_seed(read_config(run)["config"]["seed"], EVALUATION)
    if (content.get("stop_after_success"), content["plain"]["seed"]) != (stop_after_success, seed):
        return None
    found = {PLAIN: content["plain"]} | {(each["kind"], each["split"]): each for each in content["each"]}
    if not all("variants" in each for each in content["each"]):
        raise InputError(
            f"{file} was written by earlier code, which counted variants as seen that nobody had been shown, and did "
            f"not say which: clone {run} again"
        )
    done = all(look in found and len(found[look]["episodes"]) == episodes for look in looks_of(kinds))
    return found if done else None


def evaluation_of(policy: ClonedPolicy, env_id: str, protocol: Protocol, episodes: int, seed: int) -> Evaluation:
    """Plays a policy; expert and random policy are left open."""
    played = play(policy, env_id, episodes, protocol=protocol, seed=seed)
    return Evaluation(env_id, protocol, seed, steps=0, trajectories=tuple(played))


def evaluate_clone(run: str | os.PathLike[str], episodes: int, seed: int, *, env_id: str | None = None) -> Evaluation:
    """Plays the policy of a cloned run.

    Args:
        run: Its folder.
        episodes: How many.
        seed: Of their initial states.
        env_id: An environment other than the run's, like ``ENV@colours-unseen-3``.

    Raises:
        InputError: It has not learned yet, or its environment cannot be made.
        RenderError: The policy takes frames, and nothing can be drawn here.
    """
    config = read_config(run)["config"]
    with threads(config["threads"]):
        found = evaluation_of(load_clone(run), env_id or config["env"], config["protocol"], episodes, seed)
    return _on_the_scale(run, found)


def evaluate_looks(
    run: str | os.PathLike[str],
    kinds: Sequence[Kind],
    splits: Sequence[Split] = ("seen", "unseen"),
    episodes: int = 10,
    *,
    seed: int = 0,
    stop_after_success: int | None = None,
    progress: Callable[[str], object] = lambda doing: None,
) -> Looks:
    """Plays the policy of a cloned run where everything looks different.

    Seen variants are those that its demonstrations show, in turn; for a kind that they do not show, and for held-out
    variants, every episode has its own. All rows begin in the same states, so that they differ only in what the policy
    sees.

    Args:
        run: Its folder.
        kinds: What varies, one at a time.
        splits: Variants to train on, and variants that are held out.
        episodes: Of each kind and split.
        seed: Of the initial states.
        stop_after_success: Steps that an episode goes on after its first success; None: to its end. A policy that
            succeeds spends most of an episode after its success, and its returns count that.
        progress: Called with what is being done.

    Raises:
        InputError: It is not finished, a kind or split is named twice, the environment has no such variants, fewer than
            0 steps after success, or a run of earlier code that does not say what its demonstrations show.
        RenderError: The policy takes frames, and nothing can be drawn here.
    """
    check_each_once("variants", kinds)
    check_each_once("split", splits)
    if stop_after_success is not None and stop_after_success < 0:
        raise InputError(f"--stop-after-success is {stop_after_success}; expected 0 or more steps")
    config = read_config(run)["config"]
    env_id = f"{split_id(config['env'])[0]}{split_marks(config['env'])[1]}"
    protocol = config["protocol"]
    for kind in kinds:
        describe(f"{env_id}@{Variant(kind, 0, 'seen')}")  # Refuses now what would be found after other kinds' episodes.
    policy = load_clone(run)
    shown = _shown(run, "seen" in splits)

    def evaluation(name: str, ids: Sequence[str]) -> Evaluation:
        progress(f"playing {episodes} episodes in {name}")
        with threads(config["threads"]):
            played = play_each(policy, ids, protocol=protocol, seed=seed, stop_after_success=stop_after_success)
        return _on_the_scale(run, Evaluation(name, protocol, seed, steps=0, trajectories=tuple(played)))

    plain = evaluation(env_id, [env_id] * episodes)
    variants: dict[KindAndSplit, list[int]] = {}
    each: dict[KindAndSplit, Evaluation] = {}
    for kind in kinds:
        for split in splits:
            variants[kind, split] = _played(shown.get((kind, split), []), split, episodes)
            ids = [f"{env_id}@{Variant(kind, index, split)}" for index in variants[kind, split]]
            each[kind, split] = evaluation(f"{env_id}@{kind}-{split}-*", ids)
    seen = frozenset(kind for kind, split in shown if split == "seen")
    return Looks(plain, each, variants, seen, stop_after_success)


def _played(shown: Sequence[int], split: Split, episodes: int) -> list[int]:
    """The variant of each episode: for the seen split those that were shown, if any, in turn; else others."""
    if split == "seen" and shown:
        return [shown[index % len(shown)] for index in range(episodes)]
    held_out = (index for index in itertools.count() if index not in shown)
    return list(itertools.islice(held_out, episodes))


def unfinished(run: str | os.PathLike[str]) -> InputError:
    """What to raise of a run that was stopped while it was cloned, or before it had played."""
    return InputError(f"{run} is not finished: give the same 'ilfo clone' command again")


def _shown(run: str | os.PathLike[str], needed: bool) -> dict[tuple[Kind, Split], list[int]]:
    """Kind and split to the indices of the variants that the demonstrations of a run show."""
    summary = read_summary(run)
    if summary is None:
        raise unfinished(run)
    if needed and "variants" not in summary:
        raise InputError(
            f"{run} was cloned by earlier code, which did not keep the variants that demonstrations show: clone it "
            "again with another --out, or play --split unseen alone"
        )
    found: dict[tuple[Kind, Split], list[int]] = {}
    for variant in map(Variant.named, summary.get("variants", ())):
        found.setdefault((variant.kind, variant.split), []).append(variant.index)
    return found


def _on_the_scale(run: str | os.PathLike[str], found: Evaluation) -> Evaluation:
    """With the returns of the expert and of a random policy, as the run's summary has them."""
    summary = read_summary(run) or {}
    return replace(found, expert_return=summary.get("expert_return"), random_return=summary.get("random_return"))
