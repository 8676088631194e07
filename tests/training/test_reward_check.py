"""Before training, a reward is asked about episodes whose worth is known."""

import dataclasses
import io
from contextlib import closing

import numpy as np
import pytest
import torch
from rich.console import Console
from small_runs import configure

from ilfo import demos
from ilfo.demos import Demonstrations, Trajectory
from ilfo.training import Sources, Training
from ilfo.training.reward_check import Finding, _worth, findings_of, print_findings, remark_on, remedies

KINDS = ["expert", "stops halfway", "stands still", "out of order", "random policy"]


@pytest.fixture
def checked(demo, tmp_path):
    """What is found of a run with these flags."""

    def check(*flags: str, file=demo) -> dict[str, Finding]:
        with closing(Training.begin(Sources(configure(file, tmp_path, *flags)))) as training:
            return {one.name: one for one in findings_of(training, training.random_episodes(5)[0])}

    return check


def found(**rewards: float) -> list[Finding]:
    """Findings of these rewards a step, by the first words of their names; of a random policy none."""
    names = dict(zip(("expert", "stops", "stands", "shuffled", "random"), KINDS, strict=True))
    worth = {"expert": 1.0, "stops": 0.4, "stands": 0.1, "shuffled": 0.1, "random": 0.0} | rewards
    return [Finding(names[key], value, value, 1.0, None, value / worth["expert"]) for key, value in worth.items()]


def test_the_expert_is_all_and_a_random_policy_nothing(checked):
    shares = {name: one.share for name, one in checked().items()}
    assert list(shares) == KINDS
    assert (shares["expert"], shares["random policy"]) == (1.0, 0.0)
    assert shares["stands still"] < shares["stops halfway"] < 0.9


def test_numbers_are_of_a_step_and_of_an_episode(checked, demo):
    (recorded,) = demos.open(demo)
    expert = checked()["expert"]
    assert expert.length == len(recorded)
    assert expert.imitation_return == pytest.approx(expert.reward * expert.length, rel=1e-5)
    assert expert.env_return == pytest.approx(recorded.env_return)


def test_what_was_not_recorded_is_not_known(checked, demo, tmp_path):
    states = demos.open(demo)
    one = dataclasses.replace(states[0], env_rewards=None)
    file = demos.write(tmp_path / "states.hdf5", dataclasses.replace(states, trajectories=(one,)))
    findings = checked(file=file)
    assert [findings[name].env_return for name in KINDS[:4]] == [None] * 4
    assert findings["random policy"].env_return is not None


@pytest.fixture
def short(demo, tmp_path):
    """A file with 15 steps of the expert's 40, worth 0.5 each."""
    whole = demos.open(demo)
    one = dataclasses.replace(
        whole[0], observations=whole[0].observations[:16], env_rewards=np.full(15, 0.5, np.float32)
    )
    return demos.write(tmp_path / "short.hdf5", dataclasses.replace(whole, trajectories=(one,)))


def test_what_a_held_expert_got_is_what_was_recorded(checked, short):
    expert = checked("--hold-end", file=short)["expert"]
    assert (expert.reward, expert.length, expert.env_return) == (pytest.approx(2), 40, 7.5)


def test_halfway_is_of_what_the_expert_does_and_not_of_how_long_it_is_held(checked, short):
    findings = checked("--hold-end", file=short)
    assert [findings[name].length for name in KINDS[:4]] == [40] * 4
    assert findings["stops halfway"].share < 0.7


def test_episodes_of_another_length_count_for_as_many_steps_as_the_expert_has(checked, short):
    """Where none ends early: a random policy has 40 steps here."""
    findings = checked("--reward", "own_plugins:Height", "--protocol", "fixed-horizon", file=short)
    expert, still, random = (findings[name] for name in ("expert", "stands still", "random policy"))
    assert (expert.length, random.length) == (15, 40)
    assert still.share == pytest.approx((still.reward - random.reward) / (expert.reward - random.reward), abs=1e-5)


def test_after_a_fall_nothing_is_added_and_what_was_cut_goes_on_as_it_was():
    fell, cut, long = (
        Trajectory(np.zeros((steps + 1, 1), np.float32), terminated=terminated, truncated=not terminated)
        for steps, terminated in ((3, True), (5, False), (20, True))
    )
    of_each = torch.stack([torch.arange(20) < len(one) for one in (fell, cut, long)]).float()
    assert _worth(of_each[:2], [fell, cut], 10) == (3 + 10) / 2
    assert _worth(of_each[2:], [long], 10) == 10, "it fell later than that"


def test_a_reward_that_imitates_nobody_has_a_random_policy_alone(checked):
    assert list(checked("--reward", "environment")) == ["random policy"]


def test_of_many_demonstrations_ten_are_scored(checked, demo, tmp_path):
    whole = demos.open(demo)
    lengths = range(3, 26)
    several = [dataclasses.replace(whole[0], observations=whole[0].observations[: n + 1]) for n in lengths]
    several = [dataclasses.replace(one, actions=None, env_rewards=None) for one in several]
    many = Demonstrations(tuple(several), whole.provenance)
    found = checked("--reward", "nearest", file=demos.write(tmp_path / "many.hdf5", many))
    chosen = np.linspace(0, len(lengths) - 1, 10).astype(int)
    assert found["expert"].length == pytest.approx(np.mean([lengths[each] for each in chosen]))


def test_a_reward_in_order_brings_no_remark():
    assert remark_on(found()) is None
    assert remark_on(found(stops=0.69)) is None
    assert remark_on([Finding("random policy", 1.0, 1.0, 1.0, None, None)]) is None


@pytest.mark.parametrize(
    ("worth", "words"),
    [
        ({"stops": 0.7}, "Stopping halfway is worth 70% of the expert"),
        ({"stands": 0.7, "stops": 0.9}, "Standing still is worth 70% of the expert"),
    ],
)
def test_loitering_that_is_worth_much_is_remarked_upon(worth, words):
    assert remark_on(found(**worth)).startswith(words)


def test_a_reward_that_prefers_a_random_policy_is_remarked_upon():
    remark = remark_on([dataclasses.replace(one, share=None) for one in found()])
    assert remark.startswith("The reward prefers a random policy to the expert")


def test_what_may_help_is_what_the_run_was_not_told(demo, tmp_path):
    of_transport = remedies(configure(demo, tmp_path))
    assert all(flag in of_transport for flag in ("--features.time", "--hold-end", "--transport.temperature"))
    of_another = remedies(configure(demo, tmp_path, "--reward", "nearest", "--hold-end", "--features.time", "5"))
    assert "--features.dims" in of_another
    assert not any(flag in of_another for flag in ("--features.time", "--hold-end", "--transport.temperature"))


def test_a_reward_that_learns_is_not_judged_before_it_has(demo, tmp_path):
    printed = io.StringIO()
    with closing(Training.begin(Sources(configure(demo, tmp_path, "--reward", "discriminator")))) as training:
        print_findings(training, Console(width=200, file=printed))
    assert "learns while the agent does" in printed.getvalue()
    assert "prefers" not in printed.getvalue()


@pytest.mark.parametrize("scaling", [(), ("--scaling.method", "running")])
def test_a_remark_stands_below_the_table(demo, tmp_path, scaling):
    """The height of one who walks up evenly: halfway there it is three quarters of the whole, in any scale."""
    printed = io.StringIO()
    flags = ("--reward", "own_plugins:Height", *scaling)
    with closing(Training.begin(Sources(configure(demo, tmp_path, *flags)))) as training:
        print_findings(training, Console(width=200, file=printed))
    table, remark = printed.getvalue().split("over equally many steps")
    assert all(kind in table for kind in KINDS)
    assert "Stopping halfway is worth" in remark
    assert "What may help: let the reward look at other columns" in remark


def test_an_expert_that_begins_elsewhere_is_remarked_upon(demo, tmp_path):
    states = demos.open(demo)
    later = dataclasses.replace(states[0], observations=states[0].observations + np.float32([50, 0]))
    file = demos.write(tmp_path / "later.hdf5", dataclasses.replace(states, trajectories=(later,)))
    for path, begins in ((demo, False), (file, True)):
        printed = io.StringIO()
        with closing(Training.begin(Sources(configure(path, tmp_path)))) as training:
            print_findings(training, Console(width=200, file=printed))
        assert ("The expert begins where episodes do not" in printed.getvalue()) is begins
