"""The configuration of a training run: one dataclass with every setting, and which values make sense."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from ilfo._tools.errors import InputError
from ilfo._tools.filling import converted, fill
from ilfo._tools.ranges import read_ranges
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.agents import Agent
from ilfo.envs import Protocol
from ilfo.plugins import check_prefixes, option_group, resolve
from ilfo.rewards import ColumnOptions, FeatureOptions, ScalingOptions
from ilfo.rewards.registry import option_groups
from ilfo.rewards.scaling import DISCOUNT
from ilfo.training.policy_inputs import Normalization

__all__ = [
    "SEEN",
    "Sees",
    "TrainConfig",
    "check_names",
    "config_from_dict",
    "config_type",
    "resolved",
    "several_seeds",
]

Sees = Literal["states", "keypoints"]

SEEN = ("keypoints",)
"""What rewards can look at that has options of its own."""


@dataclass(frozen=True)
class TrainConfig:
    """Learn a policy from one file of expert states."""

    env: str
    """Gymnasium id of the environment; 'module:Id' imports a module that registers it, 'Id@200-steps' cuts episodes off
    after 200 steps, and 'Id@seed-3' lets all of them begin alike, with the goal and the places of objects that the seed
    gives. In 'Id@repeat-3' each action is done for three steps. 'Id@no-shadows' is drawn without shadows and
    reflections, several times as fast without a GPU."""
    demo: str | None = None
    """Expert states: an HDF5 file (layout ilfo, Minari, robomimic or D4RL), the folder of a Minari or LeRobot dataset,
    or the name of a bundled demonstration ('ilfo demos list'). The reward 'environment' needs none."""
    filter_key: str | None = None
    """Learn only from the demonstrations of this filter key, where --demo is a robomimic file."""
    demo_every: int = 1
    """Learn from one of every so many states of each demonstration, where it was recorded at shorter time steps than
    the environment's: 3 for 'Id@repeat-3' and a demonstration of 'Id'."""
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


def config_type(values: Mapping[str, Any]) -> type[TrainConfig]:
    """``TrainConfig`` with fields for the options of what is chosen.

    There is one for each term of the reward, one for the agent and, where the reward sees keypoints, one for these.

    Args:
        values: Settings by name, of which ``reward``, ``agent`` and ``sees`` are looked at.

    Raises:
        InputError: There is no such reward or agent, or its flags would have the prefix of others.
    """
    reward, agent, sees = (values.get(name, getattr(TrainConfig, name)) for name in ("reward", "agent", "sees"))
    groups = list(option_groups(reward).items())
    learner = resolve(agent, AGENTS, "agent", Agent).Options
    if learner is not None:
        groups.append((option_group(agent), learner))
    if sees == "keypoints":
        from ilfo.rewards.keypoints import KeypointOptions

        groups.append(("keypoints", KeypointOptions))
    own = (each.name for each in dataclasses.fields(TrainConfig))
    check_prefixes((name for name, _ in groups), own, f"--reward {reward} with --agent {agent}")
    extra = [(name, options, field(default_factory=options)) for name, options in groups]
    made = dataclasses.make_dataclass("TrainConfig", extra, bases=(TrainConfig,), frozen=True)
    made.__doc__ = TrainConfig.__doc__
    return made


def config_from_dict(values: Mapping[str, Any], source: str) -> TrainConfig:
    """Restores the resolved configuration that ``dataclasses.asdict`` made these values of.

    Raises:
        InputError: An unknown key or a value of the wrong type; ``source`` says where it stands.
    """
    check_names(values, source)
    return fill(config_type(values), values, source)


def check_names(values: Mapping[str, Any], source: str) -> None:
    """Refuses values that are not names for the settings that decide which others exist."""
    for name in ("reward", "agent", "sees"):
        if name in values:
            converted(str, values[name], source, name)


def resolved(config: TrainConfig) -> TrainConfig:
    """The configuration of a run from the one that was given: what depends on other settings is filled in.

    Raises:
        InputError: A value that makes no sense.
    """
    _check(config)
    return _with_discount(config)


def _with_discount(config: TrainConfig) -> TrainConfig:
    """The configuration with the agent's discount in the scaling, where its method takes one and none was given.

    It is the agent's option of that name; without one, it is the attribute of the agent's class.
    """
    discount = config.scaling.discount
    if discount is None and config.scaling.method == "running":
        options = getattr(config, option_group(config.agent), None)
        discount = getattr(options, "discount", resolve(config.agent, AGENTS, "agent", Agent).discount)
    scaling = dataclasses.replace(config.scaling, discount=DISCOUNT if discount is None else discount)
    return dataclasses.replace(config, scaling=scaling)


def _check(config: TrainConfig) -> None:
    for name in (
        "steps",
        "num_envs",
        "updates_per_step",
        "threads",
        "replay_size",
        "eval_every",
        "eval_episodes",
        "log_every",
        "demo_every",
    ):
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(config, name)}; expected at least 1")
    for name in ("seed", "env_workers", "random_steps", "checkpoint_seconds"):
        if getattr(config, name) < 0:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(config, name)}; it cannot be negative")
    if several_seeds(config.seeds) and config.seed != TrainConfig.seed:
        raise InputError(f"--seed is {config.seed} and --seeds {config.seeds!r}: give one of them")
    for name in ("filter_key", "demo_every"):
        if config.demo is None and getattr(config, name) != getattr(TrainConfig, name):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} is {getattr(config, name)}, and there is no --demo to take it from: leave it out")
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
