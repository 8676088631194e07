"""What rewards say where the goal is another than the demonstration's: of the expert, of one who loiters, of nobody.

    python benchmarks/goals.py
    python benchmarks/goals.py --rewards flow --tasks reach door-open
    python benchmarks/goals.py --rewards transport --tasks door-open assembly -- --transport.temperature 0.25

Meta-World draws a goal and the places of objects for every episode, and a demonstration has one of them. A reward that
is to teach all of them has to tell the expert from a random policy there, too. Each is fitted on a bundled
demonstration, by all columns and by the features of the suites; printed is what a step is worth on average to the
demonstration, to the scripted expert in other episodes, as long after their success as the demonstration goes on, and
to a random policy in the same ones.

A second table has what is worth more, to do the task or to stop on the way: whole episodes, until the time limit, of
the expert, of one who does as it does and then holds the hand where it is, of a random policy, and of nothing but the
demonstration's first state; with the preset that imitates by default and with the suites', and with what flags of
``ilfo train`` stand after ``--``.

A third table says, with the suites' preset, how a reward grades whole episodes between a random policy, 0, and the
expert, 1: of one who stops halfway, of the expert with noise on its actions, and of one whose hand never closes. An
agent has to get through episodes like these before it is an expert. Needs the extra ``metaworld``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import tyro

from ilfo import demos
from ilfo._tools.errors import InputError, closest
from ilfo._tools.marks import split_marks
from ilfo.demos import Trajectory
from ilfo.envs import Policy, random_policy, rollout
from ilfo.metaworld import scripted_policy
from ilfo.rewards import Episodes, FeatureOptions, RewardGenerator, make_reward
from ilfo.suites import Task, open_suite
from ilfo.training.flags import parse_train
from ilfo.training.parts import make_reward as config_reward

AFTER_SUCCESS = 10
"""Steps that the bundled demonstrations go on after their success."""


@dataclass(frozen=True)
class Options:
    """Scores experts and random policies at other goals."""

    rewards: tuple[str, ...] = ("transport", "flow")
    """Rewards to fit."""
    tasks: tuple[str, ...] = ("reach", "window-open", "button-press-topdown", "door-open", "assembly")
    """Tasks of the suites metaworld-easy and metaworld-medium."""
    episodes: int = 8
    """Other episodes of each."""
    flags: tyro.conf.Positional[tuple[str, ...]] = ()
    """Flags of 'ilfo train' for the second table, after '--'."""


def features_of(task: Task, flags: tuple[str, ...]) -> FeatureOptions:
    """The reward's features as the suite's flags have them."""
    return parse_train(["--env", task.env, "--demo", task.demo[0], *flags, *task.flags])[0].features


def trimmed(episode: Trajectory, most: int) -> Trajectory:
    """An episode until shortly after its success, or the first steps of one that never has any; states alone."""
    steps = most if episode.success_step is None else min(episode.success_step + AFTER_SUCCESS, len(episode))
    return Trajectory(episode.observations[: steps + 1], truncated=True)


def worth(reward: RewardGenerator, episodes: list[Trajectory]) -> float:
    """Mean reward a step."""
    scored = [float(reward.score(Episodes.from_trajectories([episode])).mean()) for episode in episodes]
    return float(np.mean(scored))


def stopping(expert: Policy, steps: int) -> Policy:
    """The expert for so many steps, and its hand where it is from then on."""

    def act(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
        actions = expert(observations, ages)
        actions[ages >= steps, :3] = 0
        return actions

    return act


def noisy(expert: Policy, noise: float) -> Policy:
    """The expert with normal noise on its actions."""
    generator = np.random.default_rng(0)

    def act(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
        actions = expert(observations, ages)
        return (actions + noise * generator.normal(size=actions.shape)).clip(-1, 1).astype(np.float32)

    return act


def open_handed(expert: Policy) -> Policy:
    """The expert, but its hand never closes."""

    def act(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
        actions = expert(observations, ages)
        actions[:, 3] = -1
        return actions

    return act


def until(episodes: list[Trajectory], steps: int) -> list[Trajectory]:
    """Episodes that are cut off, states alone."""
    return [Trajectory(episode.observations[: steps + 1], truncated=True) for episode in episodes]


def print_loiterers(task: Task, suite_flags: tuple[str, ...], options: Options) -> None:
    """Prints what whole episodes are worth a step, one line for each reward and preset."""
    demonstration = demos.open(task.demo[0])
    env_id, marks = split_marks(task.env)
    limit = marks.steps
    assert limit is not None
    length = len(demonstration[0])
    policies = [
        scripted_policy(env_id),
        *(stopping(scripted_policy(env_id), int(share * length)) for share in (0.75, 0.5)),
        random_policy(4, seed=1),
    ]
    played = [until(rollout(policy, task.env, options.episodes, seed=100), limit) for policy in policies]
    played.append([Trajectory(np.repeat(demonstration[0].observations[:1], limit + 1, axis=0))])
    for reward in options.rewards:
        for preset in ("imitation", "manipulation"):
            flags = ["--reward", reward, *suite_flags, *task.flags, "--preset", preset, *options.flags]
            config = parse_train(["--env", task.env, "--demo", task.demo[0], *flags])[0]
            compared = demos.held(demonstration, limit) if config.hold_end else demonstration
            fitted = config_reward(config).fit(compared)
            print(
                f"| {task.name} | `{reward}` | {preset} | {' | '.join(f'{worth(fitted, one):.2f}' for one in played)} |"
            )


def print_grades(task: Task, suite_flags: tuple[str, ...], options: Options) -> None:
    """Prints how each reward grades whole episodes between a random policy and the expert."""
    demonstration = demos.open(task.demo[0])
    env_id, marks = split_marks(task.env)
    limit = marks.steps
    assert limit is not None

    def expert() -> Policy:
        return scripted_policy(env_id)

    halfway = stopping(expert(), len(demonstration[0]) // 2)
    policies = [random_policy(4, seed=1), expert(), halfway, noisy(expert(), 0.3), noisy(expert(), 1.0)]
    policies.append(open_handed(expert()))
    played = [until(rollout(policy, task.env, options.episodes, seed=100), limit) for policy in policies]
    for reward in options.rewards:
        flags = ["--reward", reward, *suite_flags, *task.flags, *options.flags]
        config = parse_train(["--env", task.env, "--demo", task.demo[0], *flags])[0]
        fitted = config_reward(config).fit(demos.held(demonstration, limit) if config.hold_end else demonstration)
        low, high, *others = (worth(fitted, episodes) for episodes in played)
        grades = " | ".join(f"{(each - low) / (high - low):.2f}" for each in others)
        print(f"| {task.name} | `{reward}` | {low:.2f}, {high:.2f} | {grades} |")


def main(options: Options) -> None:
    """Prints three tables, with lines for each task and reward."""
    torch.set_num_threads(1)
    suites = [open_suite(name) for name in ("metaworld-easy", "metaworld-medium")]
    known = {task.name: (task, suite.flags) for suite in suites for task in suite.tasks}
    print("| task | reward | features | demonstration | expert, other goals | random policy, there |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.tasks:
        if name not in known:
            raise InputError(f"no suite has a task {name!r}; {closest(name, known)}")
        task, flags = known[name]
        demonstration = demos.open(task.demo[0])
        length = len(demonstration[0])
        # The whole of an episode is played: what the suite cuts off would be cut off here too.
        env_id, _ = split_marks(task.env)
        played = rollout(scripted_policy(env_id), env_id, options.episodes, seed=100)
        experts = [trimmed(episode, length) for episode in played]
        random = [
            trimmed(replace(episode, success_step=None), length)
            for episode in rollout(random_policy(4, seed=1), env_id, options.episodes, seed=100)
        ]
        for reward in options.rewards:
            for words, features in (("all columns", FeatureOptions()), ("the suite's", features_of(task, flags))):
                fitted = make_reward(reward, features=features).fit(demonstration)
                numbers = (worth(fitted, list(demonstration)), worth(fitted, experts), worth(fitted, random))
                print(f"| {name} | `{reward}` | {words} | " + " | ".join(f"{each:.2f}" for each in numbers) + " |")
    kinds = ["expert", "stops after three quarters", "stops halfway", "random policy", "the first state"]
    print(f"\n| task | reward | preset | {' | '.join(kinds)} |\n|{' --- |' * (3 + len(kinds))}")
    for name in options.tasks:
        print_loiterers(*known[name], options)
    kinds = ["random, expert, a step", "stops halfway", "noise of 0.3", "noise of 1", "never closes the hand"]
    print(f"\n| task | reward | {' | '.join(kinds)} |\n|{' --- |' * (2 + len(kinds))}")
    for name in options.tasks:
        print_grades(*known[name], options)


if __name__ == "__main__":
    main(tyro.cli(Options))
