"""Runs that are trained further: the same as if they had been meant to be as long from the start."""

import pytest
from small_envs import LEDGE
from small_runs import SMALL_TD7, assert_same_run, configure, newest_checkpoint

import ilfo.train
from ilfo._tools.errors import InputError
from ilfo.runs import read_config, read_summary
from ilfo.train import train
from ilfo.training.configs import parse_train


class StoppedError(Exception):
    """Where a process ends."""


def stop(*_):
    raise StoppedError


@pytest.mark.parametrize("flags", [(), ("--num-envs", "2"), ("--seeds", "0-1")], ids=["one", "environments", "seeds"])
def test_a_finished_run_is_trained_further_bit_for_bit(demo, tmp_path, flags):
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    train(configure(demo, whole, *flags))
    train(configure(demo, grown, *flags, "--keep-replay", steps=200))
    assert read_summary(grown)["steps"] == 200
    train(configure(demo, grown, *flags, steps=400))
    runs = ["seed_0", "seed_1"] if "--seeds" in flags else ["."]
    for run in runs:
        assert_same_run(whole / run, grown / run)
        assert not newest_checkpoint(grown / run), "dropped, as it is not to be kept any longer"
        assert read_summary(grown / run)["steps"] == read_config(grown / run)["config"]["steps"] == 400


def test_priorities_and_updates_between_episodes_are_trained_further(demo, tmp_path):
    """TD7's, whose replay draws by priority."""

    def td7(name, steps, *flags):
        given = ["--env", LEDGE, "--demo", str(demo), "--out", str(tmp_path / name), "--steps", str(steps)]
        return parse_train([*given, "--random-steps", "100", "--eval-every", "200", *SMALL_TD7, *flags])[0]

    train(td7("whole", 400))
    train(td7("grown", 200, "--keep-replay"))
    train(td7("grown", 400))
    assert_same_run(tmp_path / "whole", tmp_path / "grown")


def test_a_run_under_way_may_be_given_more_steps(demo, tmp_path, monkeypatch):
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    train(configure(demo, whole))
    shorter = configure(demo, grown, steps=200)
    with monkeypatch.context() as patched:
        patched.setattr(ilfo.train, "_finish", stop)
        with pytest.raises(StoppedError):
            train(shorter)
    train(configure(demo, grown))
    assert_same_run(whole, grown)


def test_a_finished_run_that_kept_nothing_is_left_alone(demo, tmp_path):
    train(configure(demo, tmp_path / "run", steps=200))
    with pytest.raises(InputError, match=r"steps was 200 and is now 400 \(only --keep-replay lets a finished run be"):
        train(configure(demo, tmp_path / "run", steps=400))
    assert read_summary(tmp_path / "run")["steps"] == 200


def test_a_run_is_never_made_shorter(demo, tmp_path):
    train(configure(demo, tmp_path / "run", "--keep-replay", steps=200))
    with pytest.raises(InputError, match="steps was 200 and is now 150"):
        train(configure(demo, tmp_path / "run", "--keep-replay", steps=150))


def test_seeds_of_which_one_lost_its_checkpoint_are_left_alone(demo, tmp_path):
    run = tmp_path / "run"
    train(configure(demo, run, "--seeds", "0-1", "--keep-replay", steps=200))
    for path in (run / "seed_1" / "checkpoints").glob("step_*.pt"):
        path.unlink()
    with pytest.raises(
        InputError, match=r"seed_1 (holds a run of another|was finished after 200 steps, and the checkp)"
    ):
        train(configure(demo, run, "--seeds", "0-1", steps=400))
    assert read_summary(run / "seed_0")["steps"] == 200
