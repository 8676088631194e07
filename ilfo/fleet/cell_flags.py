"""The flags of ``ilfo train`` for one cell of a table: which reach it, and which are refused.

What counts for more comes first: what the table decides (environment, reward, agent and so on), the user's flags, a
suite's own, a configuration file, a preset. What the user or the suite says and the table would overrule is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from ilfo._tools.errors import InputError
from ilfo.cloning.configs import CloneConfig
from ilfo.plugins import option_group
from ilfo.rewards.registry import terms_of
from ilfo.training.configs import TrainConfig
from ilfo.training.flags import read_words

__all__ = ["check_free", "dotted", "flags_of_cell", "read_table", "without_columns", "without_flags", "words_of_cell"]


_Options = TypeVar("_Options")

_DECIDED = {"env", "demo", "reward", "agent", "seed", "seeds", "steps", "out"}
"""What tables decide for their cells, or have options of their own for."""


def read_table(
    kind: type[_Options], argv: Sequence[str], prog: str, description: str, verb: str = "train"
) -> tuple[_Options, list[str]]:
    """Reads the command line of a table: its own options, and after ``--`` the flags for all of its cells.

    Args:
        kind: The class of its options.
        argv: The words.
        prog: What it is called, like ``"ilfo compare"``.
        description: For ``--help``.
        verb: Whose flags those of cells are, train or clone.

    Raises:
        InputError: A cell's flag stands before ``--``.
        SystemExit: A wrong flag (status 2) or ``--help`` (status 0).
    """
    import tyro

    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    own = {each.name for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    theirs = (
        {each.name for each in dataclasses.fields(CloneConfig if verb == "clone" else TrainConfig)} - own - _DECIDED
    )
    theirs |= {"preset", "config"} if verb == "train" else set()
    for word in words[:end]:
        name = word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        if word.startswith("--") and (name in theirs or "." in name):
            raise InputError(
                f"{word} is a flag of 'ilfo {verb}': those of cells come last, after '--': {prog} ... -- {word} ..."
            )
    return tyro.cli(kind, args=words[:end], prog=prog, description=description), words[end + 1 :]


def check_free(flags: Sequence[str], decided: Collection[str]) -> None:
    """Refuses flags that are decided otherwise: they would win, and what is shown would not be what was run.

    Raises:
        InputError: Names the first.
    """
    for word in flags:
        name = word.partition("=")[0].replace("_", "-")
        if word.startswith("--") and name in decided:
            hint = {"--seed": "give --seeds before '--'", "--dry-run": "it is for 'ilfo train' alone"}
            raise InputError(
                f"{word} after '--', or among a suite's flags: the table decides that for every cell; "
                f"{hint.get(name, f'if {name} may be given before --, give it there, else leave it out')}"
            )


def words_of_cell(decided: Mapping[str, str], flags: Sequence[str], own: Sequence[str] = ()) -> list[str]:
    """The flags of ``ilfo train`` for a cell of a table.

    Args:
        decided: Values of flags that the table decides, by their names without hyphens.
        flags: What its user chose beyond.
        own: Further flags of the table; where ``flags`` has the same, those count.

    Raises:
        InputError: A flag of ``flags`` or ``own`` is decided, or would train nothing; a configuration file sets what is
            decided or among ``own``, which would count for more than the file; two files are named, of which one would
            count; or a preset has another reward, agent or protocol than is decided.
    """
    check_free([*own, *flags], [*(f"--{name}" for name in decided), "--seed", "--seeds", "--dry-run"])
    before = [*(part for name, value in decided.items() for part in (f"--{name}", value)), *own]
    set_before = {word[2:].partition("=")[0].replace("-", "_") for word in before if word.startswith("--")}
    _check_one_file([*own, *flags])
    said = read_words([*before, *flags])
    _check_preset(decided, said.of_preset)
    set_before |= {"seed"} | ({"sees"} if "features" in set_before else set())
    unheard = sorted(set_before & dotted(said.file).keys())
    if unheard:
        raise InputError(
            f"the file of --config sets {', '.join(unheard)}, which flags of the table set too, and flags count for "
            "more: take it out of the file, and give it as a flag if it may be chosen"
        )
    return [*before, *flags]


def _check_one_file(flags: Sequence[str]) -> None:
    """Refuses a second configuration file: only the last would be read."""
    number = sum(word.partition("=")[0] == "--config" for word in flags)
    if number > 1:
        raise InputError(
            f"the flags of a cell, a suite's own and those after '--', name {number} files by --config, and only one "
            "is read: give what yours sets as flags, or put all of it into the suite's file"
        )


def _check_preset(decided: Mapping[str, str], preset: Mapping[str, Any]) -> None:
    """Refuses a preset for another reward, agent or protocol; its number of steps gives way to the table's."""
    for name in ("reward", "agent", "protocol"):
        if name in decided and preset.get(name, decided[name]) != decided[name]:
            raise InputError(
                f"the preset of --preset has the {name} {preset[name]!r}, and the table decides {decided[name]!r}, "
                f"which counts for more: ask the table for {preset[name]!r}, or give what you want of it as flags"
            )


def flags_of_cell(
    flags: Sequence[str], reward: str, agent: str, rewards: Sequence[str], agents: Sequence[str]
) -> list[str]:
    """Selects the flags of ``ilfo train`` for one cell of a table: those of other rewards and agents are left out.

    Args:
        flags: Words for the whole table.
        reward: The cell's reward, or sum of rewards.
        agent: The cell's agent.
        rewards: All rewards of the table.
        agents: All agents of the table.

    Examples:
        >>> flags = ["--td3.layer-norm", "--td7.batch-size", "128", "--num-envs", "2"]
        >>> flags_of_cell(flags, "nearest", "td7", rewards=["nearest"], agents=["td3", "td7"])
        ['--td7.batch-size', '128', '--num-envs', '2']
    """
    own = {option_group(name) for name in (*terms_of(reward), agent)}
    known = {option_group(name) for each in rewards for name in terms_of(each)} | set(map(option_group, agents))
    return without_flags(flags, [f"--{group}." for group in known - own])


def without_columns(own: Sequence[str], given: Sequence[str]) -> list[str]:
    """Removes a suite's own flags that choose parts of states, if the given flags switch the reward to keypoints.

    They switch by ``--features``, or in the file that ``--config`` names. If the suite itself uses keypoints, its flags
    are about keypoints, and stay.

    Raises:
        InputError: See :func:`ilfo.training.flags.read_words`.

    Examples:
        >>> without_columns(["--features.dims", "3", "--eval-every", "9"], ["--features", "keypoints"])
        ['--eval-every', '9']
    """
    named = ("--features.dims", "--features.relative", "--reward-keys")
    turned = read_words([*own, *given]).sees == "keypoints" != read_words(own).sees
    return without_flags(own, named if turned else ())


def without_flags(flags: Sequence[str], beginnings: Sequence[str]) -> list[str]:
    """Removes flags with one of these beginnings, and their values; underscores count as hyphens."""
    unwanted = tuple(each.replace("_", "-") for each in beginnings)
    kept, concerns = [], True
    for word in flags:
        if word.startswith("--"):
            concerns = not word.replace("_", "-").startswith(unwanted)
        if concerns:
            kept.append(word)
    return kept


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their names, those of a table with its name and a dot in front."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
