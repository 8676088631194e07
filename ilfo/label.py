"""``ilfo label``: a logged dataset with its rewards replaced by those of an imitation reward."""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

import ilfo
from ilfo import demos, rewards
from ilfo._dataset_labeller import DatasetLabeller, Labelled
from ilfo._tools.devices import check_device
from ilfo._tools.effects import check_groups
from ilfo._tools.errors import InputError
from ilfo._tools.ranges import with_columns_spelled_out
from ilfo._tools.target import check_not_read
from ilfo._tools.words import counted
from ilfo.demos import Demonstrations
from ilfo.demos.files import resolved
from ilfo.demos.lerobot import is_lerobot
from ilfo.demos.logged import Logged, open_logged
from ilfo.demos.minari import minari_metadata
from ilfo.demos.relabelled import check_target, relabelled
from ilfo.plugins import check_chosen, check_prefixes, option_group
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.rewards import FeatureOptions, RewardGenerator, ScalingOptions
from ilfo.rewards.labelling import without_terminations
from ilfo.rewards.registry import option_groups, terms_of

__all__ = ["LabelConfig", "label", "main", "parse_label"]


@dataclass(frozen=True)
class LabelConfig:
    """Write a copy of a logged dataset whose rewards are those of an imitation reward."""

    data: tyro.conf.Positional[str]
    """The dataset: an HDF5 file (layout D4RL, robomimic, Minari or ilfo), or the folder of a Minari dataset in HDF5."""
    out: tyro.conf.Positional[Path]
    """What to write, in the same layout: a file, or for a Minari dataset a new folder like hopper-labelled-v0."""
    demo: str
    """Expert states: an HDF5 file of any layout, the folder of a Minari or LeRobot dataset, or the name of a bundled
    demonstration ('ilfo demos list')."""
    reward: str = "transport"
    """Reward generator: a built-in's name, 'module:Class' for your own, or a sum like 'transport + 0.5*flow'. Its flags
    are listed below."""
    fold_absorbing: float | None = None
    """Discount of the learner, to fold the value of an absorbing state into the last reward of each episode that
    terminated. By default rewards are the generator's own, step by step, and a termination is simply the end."""
    reward_keys: tuple[str, ...] = ()
    """Parts of the observation that the reward sees, by their names in the dataset; all by default."""
    filter_key: str | None = None
    """Take only the demonstrations of this filter key, where --demo is a robomimic file. The dataset is labelled
    whole."""
    max_episode_steps: int | None = None
    """Time limit of the environment, for D4RL datasets that do not record where it ended episodes."""
    overwrite: bool = False
    """Replace what is at the output, once the new dataset is whole."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where episodes are scored."""
    features: FeatureOptions = field(default_factory=FeatureOptions)
    """What the reward looks at."""
    scaling: ScalingOptions = field(default_factory=ScalingOptions)
    """How large rewards are: none, fixed or expert-range; the other methods are measured while an agent learns."""

    def __post_init__(self) -> None:
        discount = self.fold_absorbing
        if discount is not None and not 0 <= discount < 1:
            raise InputError(f"--fold-absorbing is {discount}; expected a discount, at least 0 and below 1")


def label(
    config: LabelConfig,
    *,
    fitting: Callable[[float, str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Labelled:
    """Scores every episode of a dataset and writes a copy with these rewards, whole or not at all.

    Without ``fold_absorbing``, all episodes count as cut off where they end, the expert's too, since the learner counts
    nothing after the end either. A transition whose successor was not recorded cannot be scored: it gets the reward of
    the step before it.

    Args:
        config: What to label, and with what; from :func:`parse_label` where the reward has options.
        fitting: Called while the reward is fitted, with the share done and its figures as text.
        progress: Called with the number of transitions labelled so far, and the number of all.

    Returns:
        What was written.

    Raises:
        InputError: A dataset, a demonstration or an output that cannot be used; a reward that does not imitate, or
            that learns from an agent; states of other widths; an episode that cannot be scored.

    Warns:
        UserWarning: What differs between the demonstration and the dataset, what was left out of the observations, and
            that the rewards make dying attractive.
    """
    source = resolved(config.data)
    if source.is_dir():
        raise InputError(_only_hdf5(source))
    check_device(config.device)
    check_target(source, config.out, overwrite=config.overwrite)
    reward = _make_reward(config)
    with open_logged(source, config.max_episode_steps) as logged:
        demonstrations, sha256 = _open_demonstrations(config, logged)
        if logged.left_out:
            warnings.warn(f"{source}: left out of the observations: {', '.join(sorted(logged.left_out))}", stacklevel=2)
        folds = config.fold_absorbing is not None
        reward.fit_with_progress(demonstrations if folds else without_terminations(demonstrations), fitting)
        labeller = DatasetLabeller(
            logged,
            reward,
            expert_steps=sum(map(len, demonstrations)),
            fold_absorbing=config.fold_absorbing,
            device=config.device,
        )
        with relabelled(logged, config.out, _facts(config, sha256)) as written:
            labelled = labeller.write(written, progress)
    _warn_of_ends(config, labelled)
    return labelled


def _only_hdf5(source: Path) -> str:
    """Why the folder of a dataset is not labelled, and how to get what is."""
    convert = f"Convert it first: ilfo demos convert {source}"
    if is_lerobot(source):
        return f"{source}: LeRobot datasets cannot be labelled. {convert} NEW.hdf5 --to ilfo"
    form = minari_metadata(source)["data_format"]
    return (
        f"{source}: its episodes are stored as {form!r}, and only Minari datasets in HDF5 are labelled. {convert} "
        "NEW-v0 --to minari; or, to keep images and infos, create it again with Minari and data_format='hdf5'."
    )


def _make_reward(config: LabelConfig) -> RewardGenerator:
    """The reward, not fitted yet, sure to be one that a file can hold."""
    options = {name: getattr(config, option_group(name), None) for name in terms_of(config.reward)}
    reward = rewards.make_reward(
        config.reward, options, features=config.features, keys=config.reward_keys, scaling=config.scaling
    )
    if not reward.imitates:
        raise InputError(
            f"--reward {config.reward} passes the environment's rewards through, which the dataset has already: choose "
            "a reward that imitates"
        )
    if config.scaling.method in ("first-episode", "running"):
        raise InputError(
            f"--scaling.method {config.scaling.method} is measured on an agent's episodes while it learns; a logged "
            "dataset has no order of learning: choose none, fixed or expert-range"
        )
    if reward.observes or not reward.stationary:
        raise InputError(
            f"--reward {config.reward} learns from the agent's own episodes while it trains, so that it has no reward "
            "to write down before: it would have to be trained against this dataset. Choose a reward that is fitted on "
            "demonstrations alone, or train with 'ilfo train', which scores again when it samples"
        )
    return reward


def _open_demonstrations(config: LabelConfig, logged: Logged) -> tuple[Demonstrations, str]:
    """The demonstrations in the dataset's layout, and the SHA-256 of their file's data as it is."""
    opened = demos.open(config.demo, filter_key=config.filter_key, assumed_episode_steps=config.max_episode_steps)
    check_not_read(config.out, [opened.path])
    fitting, differences = demos.fit_to(opened, logged.provenance, keys=config.reward_keys)
    for difference in differences:
        warnings.warn(difference, stacklevel=3)
    if fitting.observation_dim != logged.observation_dim:
        raise InputError(
            f"{opened.path}: its states have {fitting.observation_dim} dimensions, but those of {logged.path} have "
            f"{logged.observation_dim}. Use a demonstration of the environment that was logged."
        )
    return fitting, opened.sha256


def _facts(config: LabelConfig, demo_sha256: str) -> dict[str, Any]:
    """Where the rewards come from, for the file."""
    groups = option_groups(config.reward).items()
    return {
        "reward": config.reward,
        "options": {name: dataclasses.asdict(getattr(config, name, None) or made()) for name, made in groups},
        "features": dataclasses.asdict(config.features),
        "scaling": dataclasses.asdict(config.scaling),
        "reward_keys": config.reward_keys,
        "fold_absorbing": config.fold_absorbing,
        "demo": Path(config.demo).name,
        "filter_key": config.filter_key,
        "demo_sha256": demo_sha256,
        "ilfo_version": ilfo.__version__,
    }


def _warn_of_ends(config: LabelConfig, labelled: Labelled) -> None:
    """Says what a termination is worth under these rewards, where that is easily overlooked."""
    ended = counted(labelled.terminated, "episode")
    if config.fold_absorbing is not None and not labelled.terminated:
        warnings.warn(
            "--fold-absorbing: the dataset marks no episode as terminated, so nothing was folded", stacklevel=3
        )
    elif config.fold_absorbing is None and labelled.terminated and labelled.mean_reward < 0:
        warnings.warn(
            f"rewards are below 0 on average, and {ended} terminated: to a learner that counts nothing after the end, "
            "dying early pays. Label with --fold-absorbing DISCOUNT, or with a reward above 0",
            stacklevel=3,
        )


def parse_label(argv: Sequence[str]) -> LabelConfig:
    """Reads the flags of ``ilfo label``.

    Returns:
        The configuration, with a field for the options of each term of the reward (``config.transport``).

    Raises:
        InputError: An unknown reward, one whose flags would have the prefix of others, an option of another, one that
            takes no effect, or a value that is refused.
        SystemExit: A wrong flag (status 2) or ``--help`` (status 0).
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--reward", default=LabelConfig.reward)
    reward = early.parse_known_args(list(argv))[0].reward
    groups = option_groups(reward)
    check_chosen(argv, groups, "reward", reward, REWARDS)
    check_prefixes(groups, (each.name for each in dataclasses.fields(LabelConfig)), f"--reward {reward}")
    extra = [(name, options, field(default_factory=options)) for name, options in groups.items()]
    made = dataclasses.make_dataclass("LabelConfig", extra, bases=(LabelConfig,), frozen=True)
    words = with_columns_spelled_out(argv)
    config: LabelConfig = tyro.cli(made, args=words, prog="ilfo label", description=LabelConfig.__doc__)
    check_groups(config)
    return config


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo label``."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    config = parse_label(argv)
    console = Console(highlight=False, soft_wrap=True)
    doing = TextColumn("{task.description}", markup=False)
    columns = doing, BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    start = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        fit, task = bar.add_task("fitting", total=1.0), bar.add_task("labelling", total=None)

        def fitting(share: float, numbers: str) -> None:
            bar.update(fit, completed=share, description=f"fitting  {numbers}")

        def progress(done: int, everything: int) -> None:
            description = f"labelling  {done:,} of {counted(everything, 'transition')}"
            bar.update(fit, visible=False)
            bar.update(task, completed=done, total=everything, description=description)

        labelled = label(config, fitting=fitting, progress=progress)
    for line in _sentences(config, labelled, time.monotonic() - start):
        console.print(line, markup=False)
    return 0


def _sentences(config: LabelConfig, labelled: Labelled, seconds: float) -> Iterator[str]:
    """What to say at the end."""
    yield (
        f"{config.out}: {counted(labelled.episodes, 'episode')}, {counted(labelled.transitions, 'transition')}, "
        f"mean reward {labelled.mean_reward:.4g}, in {seconds:.1f} s"
    )
    if labelled.rank_correlation is not None:
        yield (
            f"rank correlation {labelled.rank_correlation:.3f} of the episodes' returns with those under the "
            "environment's rewards, which stay in the file as env_rewards"
        )
    if labelled.continued + labelled.averaged:
        unknown = counted(labelled.continued + labelled.averaged, "transition")
        alone = f"; the mean of all stands in {labelled.averaged:,}, which none precedes" if labelled.averaged else ""
        yield f"{unknown} without a known successor: the reward of the step before stands there{alone}"
