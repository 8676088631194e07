"""The plan shows how rewards are scaled, and by what a measurement found."""

import dataclasses
import io
from contextlib import closing

import pytest
from rich.console import Console
from small_envs import LEDGE
from small_runs import configure

from ilfo import demos
from ilfo.training import Sources, Training
from ilfo.training.plan import print_plan


@pytest.fixture
def planned(demo, tmp_path):
    """Makes a run with these flags; gives the lines of its plan, and the run."""

    def make(*flags: str) -> tuple[list[str], Training]:
        printed = io.StringIO()
        with closing(Training.begin(Sources(configure(demo, tmp_path, *flags)))) as training:
            print_plan(training, console=Console(width=200, file=printed))
        return printed.getvalue().splitlines(), training

    return make


def said(lines: list[str], row: str) -> list[str]:
    """What a row of the plan says, line by line; nothing where there is no such row."""
    if not (start := [number for number, line in enumerate(lines) if line.startswith(f"{row} ")]):
        return []
    first, *rest = lines[start[0] :]
    more = next((number for number, line in enumerate(rest) if not line.startswith(" ")), len(rest))
    return [line.removeprefix(row).strip() for line in (first, *rest[:more])]


def test_rewards_that_are_not_scaled_take_no_line(planned):
    assert said(planned()[0], "scaling") == []


def test_a_factor_is_shown(planned):
    lines, _ = planned("--scaling.method", "fixed", "--scaling.factor", "100")
    assert said(lines, "scaling") == ["fixed: 100 * reward"]


def test_the_range_of_the_expert_is_shown_as_it_was_measured(planned):
    lines, training = planned("--reward", "nearest", "--scaling.method", "expert-range", "--scaling.factor", "2")
    scaling = training.reward.scaling
    assert (scaling.multiplier, scaling.offset) != (1.0, 0.0)
    found = f"expert-range, factor 2: {scaling.multiplier:.4g} * (reward - {scaling.offset:.4g})"
    assert said(lines, "scaling") == [found]


def test_each_term_of_a_sum_has_its_own(planned):
    lines, training = planned("--reward", "nearest + 0.5*pwil", "--scaling.method", "expert-range")
    nearest, pwil = (each.scaling for each in training.reward.generators.values())
    assert nearest.multiplier != pwil.multiplier
    assert said(lines, "scaling") == [f"nearest: {nearest}", f"pwil: {pwil}"]


def test_what_is_measured_later_says_where_to_look_and_has_the_agents_discount(planned):
    lines, _ = planned("--scaling.method", "running", "--td3.discount", "0.9")
    later = "measured while the agent learns, see reward_multiplier in the metrics"
    assert said(lines, "scaling") == [f"running, factor 1, discount 0.9: {later}"]


def test_a_reward_that_looks_at_the_time_says_so_and_whether_the_policy_does(planned):
    timed = ("--reward", "nearest", "--features.time", "20")
    by_time = "nearest, once a step, by the time too: 20 steps count as one standard deviation"
    blind = "the policy is not shown the time that the reward looks at: --time-aware"
    assert said(planned(*timed)[0], "reward") == [by_time, blind]
    assert said(planned(*timed, "--time-aware")[0], "reward") == [by_time]
    assert said(planned(*timed[:2])[0], "reward") == ["nearest, once a step"]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ((), "standard: the environment ends episodes; absorbing states after a termination"),
        (
            ("--no-absorbing",),
            "standard: the environment ends episodes; NO absorbing states, so terminations leak into the reward",
        ),
        (
            ("--protocol", "fixed-horizon"),
            "fixed-horizon: episodes never end early; steps after the environment would have ended count 0",
        ),
        (
            ("--reward", "environment"),
            "standard: the environment ends episodes; a terminated episode is worth 0 from there on",
        ),
    ],
)
def test_the_protocol_says_what_follows_a_termination(planned, flags, line):
    assert said(planned(*flags)[0], "protocol") == [line]


def test_an_expert_that_is_held_at_its_end_is_said_to_be(planned):
    assert "held at its end until the time limit" in said(planned("--hold-end")[0], "demonstration")[0]
    assert "held" not in said(planned()[0], "demonstration")[0]


@pytest.mark.parametrize("flags", [(), ("--hold-end",)])
def test_the_demonstration_is_named_by_the_hash_of_its_file(planned, demo, flags):
    assert f"sha256 {demos.open(demo).sha256[:12]}" in said(planned(*flags)[0], "demonstration")[0]


def test_brackets_in_a_path_are_shown_as_they_are(planned, tmp_path):
    out = str(tmp_path / "a[b]" / "[/b]")
    assert "".join(said(planned("--out", out)[0], "run")) == out


def test_an_expert_that_is_done_early_brings_the_flag_to_mind(demo, tmp_path):
    whole = demos.open(demo)
    done = dataclasses.replace(whole[0], observations=whole[0].observations[:16], env_rewards=None, success=True)
    path = demos.write(tmp_path / "done.hdf5", dataclasses.replace(whole, trajectories=(done,)))

    def line(*flags: str) -> str:
        printed = io.StringIO()
        with closing(Training.begin(Sources(configure(path, tmp_path, *flags)))) as training:
            print_plan(training, console=Console(width=200, file=printed))
        return printed.getvalue()

    assert "done before step 40: --hold-end" in line()
    assert "done before" not in line("--hold-end")


def test_an_expert_that_goes_on_after_the_time_limit_is_told_of(demo, tmp_path):
    short = f"{LEDGE}@15-steps"
    with pytest.warns(UserWarning, match=r"has 40 steps, and .* after 15: .*every ratio to it.*@40-steps, or cut"):
        Sources(configure(demo, tmp_path, "--env", short))
    with (
        pytest.warns(UserWarning, match=r"after 5: .*--env .*@120-steps@repeat-3, or cut"),
        pytest.warns(UserWarning, match="actions that last 1 steps"),
    ):
        Sources(configure(demo, tmp_path, "--env", f"{short}@repeat-3"))
