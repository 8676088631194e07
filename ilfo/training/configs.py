"""The configuration of a training run: one dataclass, filled from defaults, then a preset, a file and the flags."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ilfo._tools.errors import InputError, closest
from ilfo._tools.filling import converted, fill
from ilfo._tools.ranges import read_ranges, with_columns_spelled_out
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.agents import Agent
from ilfo.envs import Protocol
from ilfo.plugins import check_chosen, check_tables, option_group, resolve
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.rewards import ColumnOptions, FeatureOptions, ScalingOptions
from ilfo.rewards.registry import option_groups, reward_class, terms_of
from ilfo.rewards.scaling import DISCOUNT
from ilfo.training.policy_inputs import Normalization

__all__ = ["TrainConfig", "config_from_dict", "parse_train", "presets", "sees_of", "several_seeds"]

Sees = Literal["states", "keypoints"]

SEEN = ("keypoints",)
"""What rewards can look at that has options of its own."""


@dataclass(frozen=True)
class TrainConfig:
    """Learn a policy from one file of expert states."""

    env: str
    """Gymnasium id of the environment; 'module:Id' imports a module that registers it, 'Id@200-steps' cuts episodes off
    after 200 steps, and 'Id@seed-3' lets all of them begin alike, with the goal and the places of objects that the seed
    gives. 'Id@no-shadows' is drawn without shadows and reflections, several times as fast without a GPU."""
    demo: str | None = None
    """Expert states: an HDF5 file (layout ilfo, Minari, robomimic or D4RL), the folder of a Minari or LeRobot dataset,
    or the name of a bundled demonstration ('ilfo demos list'). The reward 'environment' needs none."""
    filter_key: str | None = None
    """Learn only from the demonstrations of this filter key, where --demo is a robomimic file."""
    out: str = "runs/latest"
    """Folder of the run. The same command on the same folder goes on where it stopped."""
    reward: str = "transport"
    """Reward generator: coverage, discriminator, environment, flow, nearest, pwil, random-expert-distillation, segment,
    temporal-transport, transport, or 'module:Class' for your own, or a sum like 'transport + 0.5*flow'. The flags of
    each are listed below."""
    agent: str = "td3"
    """Learner: sac, sb3-sac, sb3-td3, td3, td7, or 'module:Class' for your own. Its flags are listed below: --agent td7
    --help. 'sb3-' are Stable-Baselines3's networks and updates."""
    steps: int = 100_000
    """Environment steps in all, over all copies."""
    seed: int = 0
    """Seed of everything random: weights, exploration, episodes, sampling. Fitting a reward has a seed of its own, like
    --flow.seed, so that all seeds of a run share one reward."""
    seeds: str = ""
    """Seeds to train side by side as one computation, like '0-9' or '0,3,7', in place of --seed. Each gets a folder
    'seed_N' in --out and trains as it would alone, if every seed has finished an episode within the random steps."""
    protocol: Protocol = "standard"
    """How episodes end: as the environment says, or only at the time limit (in the evaluation, rewards
    after the environment would have ended the episode count 0)."""
    absorbing: bool = True
    """Give a terminated episode the value of staying in an absorbing state for ever, so that neither dying nor
    living pays by itself. Only under 'standard'."""
    num_envs: int = 1
    """Copies of the environment that step together (for each seed); each step brings --updates-per-step updates for
    every copy."""
    env_workers: int = 0
    """Processes that step the environments while the agent learns; 0: the learner's own process steps them, between
    updates. Results are the same."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the agent and its replay live."""
    threads: int = 1
    """Processor threads of the learner; another number changes results in the last bits. Two on an idle machine are
    1.3 times as fast as one, and many times slower where other processes want the same cores."""
    compile: bool = False
    """Compile the agent's updates with torch.compile, and replay them as CUDA graphs. Made for GPUs: on the CPU the
    plain path is faster. Takes up to a minute at the start, and changes results in the last bits."""
    random_steps: int = 5_000
    """Steps of uniformly random actions at the start, before any learning. TD3's authors take 25,000."""
    updates_per_step: int = 1
    """Updates of the agent for each step of an environment (the update-to-data ratio): more updates learn from fewer
    steps, but each step takes proportionally longer."""
    replay_size: int = 1_000_000
    """Transitions kept; never more than the steps of the run."""
    keep_replay: bool = False
    """Keep the last checkpoint, with its replay, when the run is finished: the same command with more --steps then
    trains it further."""
    reward_keys: tuple[str, ...] = ()
    """Parts of a dict observation that the reward sees, by their names in the environment; all by default. With
    --features keypoints, concepts: 'concept 0', 'concept 3'."""
    policy_keys: tuple[str, ...] = ()
    """Parts of a dict observation that the policy sees; all by default. With --policy-sees keypoints: the parts that it
    sees beside the keypoints; none by default."""
    normalize_observations: Normalization = "expert"
    """Whose statistics standardise the policy's observations: the expert's (of its states, or its keypoints), the
    expert's and the random steps' in equal parts (as in OOPS), the random steps' alone, or none. Without a
    demonstration, observations are raw."""
    time_aware: bool = False
    """Show the policy how much of the horizon is left, and treat the time limit as a true end of the episode."""
    eval_every: int = 5_000
    """Environment steps between evaluations."""
    eval_episodes: int = 10
    """Episodes of each evaluation, without exploration noise."""
    log_every: int = 1_000
    """Environment steps between rows of metrics.jsonl."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints, which is what a crash can cost. If writing one takes long, the interval grows to 20
    times the writing time, so that checkpoints take at most 5 % of the time."""
    report: bool = False
    """Write the report, with a video of the best episode, at the end."""
    sees: Annotated[Sees, tyro.conf.arg(name="features")] = "states"
    """What the reward looks at: the states, or keypoints found in the frames of the demonstration and of the
    environment (for their flags: --features keypoints --help). In a configuration file, this is 'sees'."""
    policy_sees: Sees = "states"
    """What the policy looks at: the states, or keypoints of the newest frame. Keypoints need --features keypoints:
    reward and policy then see the same ones. To show the policy a part of the state beside the keypoints, such as a
    robot's own joints, name it with --policy-keys or --policy-features.dims."""
    features: FeatureOptions = field(default_factory=FeatureOptions)
    """Which columns the reward looks at, and in which units."""
    hold_end: bool = False
    """Hold a demonstration that is shorter than the environment's time limit in its last state until then, unless it
    ended by a termination: for tasks that are finished before the episode is over, like opening a door."""
    scaling: ScalingOptions = field(default_factory=ScalingOptions)
    """How rewards are scaled; in a sum, each term before its weight."""
    policy_features: ColumnOptions = field(default_factory=lambda: ColumnOptions(std_floor=0.1))
    """Which columns the policy looks at, and in which units, like the reward's features. With --policy-sees keypoints,
    'dims' are columns of the state that it sees beside the keypoints; none by default."""


def several_seeds(spelled_out: str) -> tuple[int, ...]:
    """The seeds of ``--seeds``: ``(0, 1, 2, 7)`` for ``0-2,7``; empty for an empty string, where ``--seed`` counts.

    Raises:
        InputError: It is not a list of numbers and ranges, or names a seed twice.
    """
    return read_ranges("--seeds", spelled_out)


def presets() -> dict[str, Path]:
    """Name to file of the presets that come with the package."""
    return {path.stem: path for path in sorted((Path(__file__).parents[1] / "presets").glob("*.toml"))}


def parse_train(argv: Sequence[str]) -> tuple[TrainConfig, bool]:
    """Reads the flags of ``ilfo train``.

    Returns:
        The resolved configuration, with a field for the options of the reward and one for those of the agent
        (``config.transport``, ``config.td3``), and whether ``--dry-run`` was given.

    Raises:
        InputError: An unknown preset, file, key, reward or agent, a value of the wrong type, or an option that has no
            effect: of a reward or agent that was not chosen, or of another method of scaling.
        SystemExit: A wrong flag (status 2) or ``--help`` (status 0).
    """
    known, rest, file, values = _layers(argv)
    config_class = _config_type_of(values)
    description = (TrainConfig.__doc__ or "") + (
        "\n\nAlso: --preset NAME (" + ", ".join(presets()) + "), --config FILE (TOML or JSON), --dry-run (print the "
        "plan and stop). Defaults < preset < file < flags; with --demo and no preset, the preset is 'imitation'."
    )
    groups = {item.name for item in dataclasses.fields(config_class)}
    for kind, key, built_in in (("reward", "reward", REWARDS), ("agent", "agent", AGENTS), ("features", "sees", SEEN)):
        chosen = values.get(key, getattr(TrainConfig, key))
        check_tables(file, groups, kind, chosen, built_in, known.config)
        check_chosen(rest, groups, kind, chosen, built_in)
    default = fill(config_class, values, known.config or known.preset or "the flags", absent=tyro.MISSING)
    words = with_columns_spelled_out(rest)
    config = tyro.cli(config_class, args=words, default=default, prog="ilfo train", description=description)
    _check(config)
    return _with_discount(config), known.dry_run


def sees_of(argv: Sequence[str]) -> str:
    """What the reward looks at, according to flags of ``ilfo train`` and to the preset or file that they name.

    Args:
        argv: The flags, perhaps fewer than a run needs.

    Raises:
        InputError: An unknown preset, file or reward.
        SystemExit: A wrong flag (status 2).
    """
    return str(_layers(argv)[-1].get("sees", TrainConfig.sees))


def file_of(argv: Sequence[str]) -> dict[str, Any]:
    """The settings in the file that ``--config`` names among flags of ``ilfo train``; none without it.

    Raises:
        InputError: It cannot be read.
    """
    return _layers(argv)[2]


def _layers(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str], dict[str, Any], dict[str, Any]]:
    """Reads what decides which flags exist; returns ``--preset`` and the like, the other words, and two dictionaries.

    These are the settings of the file, and those of preset, file and these flags combined.
    """
    early = argparse.ArgumentParser("ilfo train", add_help=False, allow_abbrev=False)
    early.add_argument("--preset")
    early.add_argument("--config")
    early.add_argument("--dry-run", action="store_true")
    known, rest = early.parse_known_args(list(argv))
    names, _ = _plugin_names().parse_known_args(rest)
    given = {name: value for name, value in vars(names).items() if value is not None}
    file = _read(Path(known.config)) if known.config is not None else {}
    _check_names(file, known.config)
    terms = terms_of((file | given).get("reward", TrainConfig.reward))
    imitates = any(reward_class(name).imitates for name in terms)
    implicit = "imitation" if imitates and "demo" in given | file else None
    values = _merge(_read_preset(known.preset or implicit, given | file), file) | given
    return known, rest, file, values


def _with_discount(config: TrainConfig) -> TrainConfig:
    """The configuration with the agent's discount in the scaling, where its method takes one and none was given.

    It is the agent's option of that name; without one, it is the attribute of the agent's class.
    """
    discount = config.scaling.discount
    if discount is None and config.scaling.method == "running":
        options = getattr(config, option_group(config.agent), None)
        discount = getattr(options, "discount", resolve(config.agent, AGENTS, "agent", Agent).discount)
    resolved = dataclasses.replace(config.scaling, discount=DISCOUNT if discount is None else discount)
    return dataclasses.replace(config, scaling=resolved)


def config_type(reward: str, agent: str, sees: str = TrainConfig.sees) -> type[TrainConfig]:
    """``TrainConfig`` with a field for the options of each term of this reward and one for those of this agent.

    Where the reward sees keypoints, their options have a field too, ``keypoints``.

    Raises:
        InputError: There is no such reward or agent, or its flags would have the prefix of others.
    """
    groups = list(option_groups(reward).items())
    learner = resolve(agent, AGENTS, "agent", Agent).Options
    if learner is not None:
        groups.append((option_group(agent), learner))
    if sees == "keypoints":
        from ilfo.rewards.keypoints import KeypointOptions

        groups.append(("keypoints", KeypointOptions))
    taken = {each.name for each in dataclasses.fields(TrainConfig)}
    for name, _ in groups:
        if name in taken:
            raise InputError(
                f"--reward {reward} with --agent {agent}: other flags are already called --{name} or begin with it; "
                "rename the class"
            )
        taken.add(name)
    extra = [(name, options, field(default_factory=options)) for name, options in groups]
    made = dataclasses.make_dataclass("TrainConfig", extra, bases=(TrainConfig,), frozen=True)
    made.__doc__ = TrainConfig.__doc__
    return made


def config_from_dict(values: Mapping[str, Any], source: str) -> TrainConfig:
    """Restores a configuration from the dictionary that ``dataclasses.asdict`` made of it.

    Raises:
        InputError: An unknown key or a value of the wrong type; ``source`` says where it stands.
    """
    _check_names(values, source)
    return fill(_config_type_of(values), values, source)


def _check_names(values: Mapping[str, Any], source: str) -> None:
    """Refuses values that are not names for the settings that decide which others exist."""
    for name in ("reward", "agent", "sees"):
        if name in values:
            converted(str, values[name], source, name)


def _config_type_of(values: Mapping[str, Any]) -> type[TrainConfig]:
    return config_type(*(values.get(name, getattr(TrainConfig, name)) for name in ("reward", "agent", "sees")))


def _plugin_names() -> argparse.ArgumentParser:
    """The flags that decide which others exist."""
    parser = argparse.ArgumentParser("ilfo train", add_help=False, allow_abbrev=False)
    parser.add_argument("--features", dest="sees", choices=typing.get_args(Sees))
    parser.add_argument("--reward")
    parser.add_argument("--agent")
    parser.add_argument("--demo")
    return parser


def _read_preset(name: str | None, chosen: dict[str, Any]) -> dict[str, Any]:
    """A preset without the tables of built-in rewards, agents and keypoints that were not chosen."""
    if name is None:
        return {}
    available = presets()
    if name not in available:
        raise InputError(f"there is no preset {name!r}; {closest(name, available)}")
    values = _read(available[name])
    used = {*terms_of((values | chosen).get("reward", TrainConfig.reward))}
    used.add((values | chosen).get("agent", TrainConfig.agent))
    unused = {option_group(plugin) for plugin in (REWARDS | AGENTS).keys() - used}
    if (values | chosen).get("sees") != "keypoints":
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


def _check(config: TrainConfig) -> None:
    config.scaling.check_used()
    for name in (
        "steps",
        "num_envs",
        "updates_per_step",
        "threads",
        "replay_size",
        "eval_every",
        "eval_episodes",
        "log_every",
    ):
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(config, name)}; expected at least 1")
    for name in ("seed", "env_workers", "random_steps", "checkpoint_seconds"):
        if getattr(config, name) < 0:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(config, name)}; it cannot be negative")
    if several_seeds(config.seeds) and config.seed != TrainConfig.seed:
        raise InputError(f"--seed is {config.seed} and --seeds {config.seeds!r}: give one of them")
    if config.policy_sees == "keypoints" and config.sees != "keypoints":
        raise InputError(
            f"--policy-sees keypoints with --features {config.sees}: keypoints are found for the reward, and the "
            "policy sees the same ones; give --features keypoints too"
        )
    if config.random_steps >= config.steps:
        raise InputError(
            f"--random-steps is {config.random_steps} and --steps {config.steps}: nothing would be learned; "
            "give more steps, or fewer random ones"
        )
