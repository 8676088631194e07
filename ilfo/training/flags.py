"""From what a user says to the configuration of a run: defaults, then a preset, a file or dictionary, and the flags."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from ilfo._tools.effects import check_groups
from ilfo._tools.errors import InputError, closest
from ilfo._tools.filling import fill
from ilfo._tools.ranges import with_columns_spelled_out
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.plugins import check_chosen, check_tables, option_group
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.rewards.registry import reward_class, terms_of
from ilfo.training.configs import SEEN, Sees, TrainConfig, check_names, config_type, resolved

__all__ = ["Words", "make_config", "parse_train", "presets", "read_words"]


def presets() -> dict[str, Path]:
    """Name to file of the presets that come with the package."""
    return {path.stem: path for path in sorted((Path(__file__).parents[1] / "presets").glob("*.toml"))}


def make_config(settings: Mapping[str, Any], preset: str | None = None) -> TrainConfig:
    """The configuration of a run from settings by name, as a configuration file of ``ilfo train`` has them.

    Args:
        settings: ``{"env": ..., "demo": ..., "td3": {"discount": 0.98}}``; ``ilfo train --help`` lists all. What looks
            at keypoints has ``"sees": "keypoints"``, for ``--features keypoints``.
        preset: What the settings are added to. As on the command line, it is ``"imitation"`` where something is
            imitated and none is given.

    Raises:
        InputError: An unknown preset, setting, reward or agent, a value of the wrong type or one that makes no sense,
            or an option that has no effect: of a reward or agent that was not chosen, or beside the value of another.

    Examples:
        >>> make_config({"env": "HalfCheetah-v5", "demo": "halfcheetah", "steps": 20_000}).td3.layer_norm
        True
    """
    source = "the settings"
    given = _with_underscores(settings)
    check_names(given, source)
    values = _above_preset(preset, given)
    made = config_type(values)
    for kind, chosen, built_in in _choices(values):
        check_tables(given, _groups(made), kind, chosen, built_in, source)
    config = fill(made, values, source)
    check_groups(config, _preset_below(preset, given))
    return resolved(config)


def parse_train(argv: Sequence[str]) -> tuple[TrainConfig, bool]:
    """Reads the flags of ``ilfo train``.

    Returns:
        The resolved configuration, with a field for the options of the reward and one for those of the agent
        (``config.transport``, ``config.td3``), and whether ``--dry-run`` was given.

    Raises:
        InputError: As :func:`make_config`.
        SystemExit: A wrong flag (status 2) or ``--help`` (status 0).
    """
    said = read_words(argv)
    made = config_type(said.values)
    for kind, chosen, built_in in _choices(said.values):
        check_tables(said.file, _groups(made), kind, chosen, built_in, str(said.config))
        check_chosen(said.rest, _groups(made), kind, chosen, built_in)
    default = fill(made, said.values, said.config or said.preset or "the flags", absent=tyro.MISSING)
    description = (TrainConfig.__doc__ or "") + (
        "\n\nAlso: --preset NAME (" + ", ".join(presets()) + "), --config FILE (TOML or JSON), --dry-run (print the "
        "plan and stop). Defaults < preset < file < flags; with --demo and no preset, the preset is 'imitation'."
    )
    words = with_columns_spelled_out(said.rest)
    config = tyro.cli(made, args=words, default=default, prog="ilfo train", description=description)
    check_groups(config, _preset_below(said.preset, said.values))
    return resolved(config), said.dry_run


class Words(NamedTuple):
    """What is read of the flags of ``ilfo train`` before it is known which flags there are.

    Attributes:
        preset: The name given with ``--preset``.
        config: The file given with ``--config``.
        dry_run: Whether ``--dry-run`` was given.
        rest: The other words.
        file: The settings in the file.
        values: Those of preset, file and the flags that decide which others exist, combined.
    """

    preset: str | None
    config: str | None
    dry_run: bool
    rest: list[str]
    file: dict[str, Any]
    values: dict[str, Any]

    @property
    def sees(self) -> str:
        """What the reward looks at."""
        return str(self.values.get("sees", TrainConfig.sees))

    @property
    def of_preset(self) -> dict[str, Any]:
        """The settings of the preset that was named; none without one."""
        return _read_preset(self.preset, self.values)


def read_words(argv: Sequence[str]) -> Words:
    """Reads the flags that decide which others exist, and the file and the preset that they name.

    Args:
        argv: The flags, perhaps fewer than a run needs.

    Raises:
        InputError: An unknown preset, file or reward.
        SystemExit: A wrong flag (status 2).
    """
    early = argparse.ArgumentParser("ilfo train", add_help=False, allow_abbrev=False)
    early.add_argument("--preset")
    early.add_argument("--config")
    early.add_argument("--dry-run", action="store_true")
    if "+" in argv:
        raise InputError("--reward: a sum of rewards is one word; quote it, like --reward 'transport + 0.5*flow'")
    known, rest = early.parse_known_args(list(argv))
    names, _ = _plugin_names().parse_known_args(rest)
    given = {name: value for name, value in vars(names).items() if value is not None}
    file = _read(Path(known.config)) if known.config is not None else {}
    check_names(file, known.config)
    return Words(known.preset, known.config, known.dry_run, rest, file, _above_preset(known.preset, file | given))


def _above_preset(preset: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, and what the preset says beside them: 'imitation' where something is imitated and none is given."""
    return _merge(_preset_below(preset, settings), settings)


def _preset_below(preset: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What the preset says beside these settings."""
    imitates = any(reward_class(name).imitates for name in terms_of(settings.get("reward", TrainConfig.reward)))
    implicit = "imitation" if imitates and settings.get("demo") is not None else None
    return _read_preset(preset or implicit, settings)


def _choices(values: Mapping[str, Any]) -> Iterable[tuple[str, str, Iterable[str]]]:
    """What has options of its own: the flag that chooses it, what is chosen, and the names of all that there are."""
    for flag, key, built_in in (("reward", "reward", REWARDS), ("agent", "agent", AGENTS), ("features", "sees", SEEN)):
        yield flag, values.get(key, getattr(TrainConfig, key)), built_in


def _groups(made: type[TrainConfig]) -> set[str]:
    return {item.name for item in dataclasses.fields(made)}


def _plugin_names() -> argparse.ArgumentParser:
    """The flags that decide which others exist."""
    parser = argparse.ArgumentParser("ilfo train", add_help=False, allow_abbrev=False)
    parser.add_argument("--features", dest="sees", choices=typing.get_args(Sees))
    parser.add_argument("--reward")
    parser.add_argument("--agent")
    parser.add_argument("--demo")
    return parser


def _read_preset(name: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """A preset without the tables of built-in rewards, agents and keypoints that are not chosen on top of it."""
    if name is None:
        return {}
    available = presets()
    if name not in available:
        raise InputError(f"there is no preset {name!r}; {closest(name, available)}")
    values = _read(available[name])
    chosen = values | settings
    used = {*terms_of(chosen.get("reward", TrainConfig.reward)), chosen.get("agent", TrainConfig.agent)}
    unused = {option_group(plugin) for plugin in (REWARDS | AGENTS).keys() - used}
    if chosen.get("sees") != "keypoints":
        unused.add("keypoints")
    return {key: value for key, value in values.items() if key not in unused}


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError as error:
        raise InputError(f"there is no configuration file {path}") from error
    except OSError as error:
        raise InputError(
            f"the configuration {path} cannot be read: {error.strerror}; expected a TOML or JSON file"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f'{path} holds a {type(values).__name__}; expected settings by name, like {{"steps": 50000}}')
    return _with_underscores(values)


def _with_underscores(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, each under the one name that it has in a configuration: ``std-floor`` is ``std_floor``."""
    return {
        name.replace("-", "_"): _with_underscores(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merge(under if isinstance(under, dict) else {}, value) if isinstance(value, dict) else value
    return merged
