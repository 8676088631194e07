"""Runs that are trained further: the same as if they had been meant to be as long from the start."""

import pytest
from small_envs import LEDGE
from small_runs import SMALL, SMALL_TD7, assert_same_run, configure, newest_checkpoint, save_after_every_step

import ilfo.train
from ilfo._tools.errors import InputError
from ilfo.compare import CompareOptions, compare
from ilfo.runs import read_config, read_summary
from ilfo.train import train
from ilfo.training import Training, load
from ilfo.training.flags import parse_train


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


def whole_of(folder):
    """Every file of a run, with its content."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_seeds_of_which_one_lost_its_checkpoint_are_left_alone(demo, tmp_path):
    run = tmp_path / "run"
    train(configure(demo, run, "--seeds", "0-1", "--keep-replay", steps=200))
    for path in (run / "seed_1" / "checkpoints").glob("step_*.pt"):
        path.unlink()
    before = whole_of(run)
    with pytest.raises(InputError, match=r"seed_1 holds a run of another configuration: steps was 200 and is now 400"):
        train(configure(demo, run, "--seeds", "0-1", steps=400))
    assert whole_of(run) == before


def test_a_run_that_cannot_be_trained_further_is_left_alone(demo, tmp_path, monkeypatch):
    """As where its replay was full of episodes so short that the oldest are lost."""
    run = tmp_path / "run"
    train(configure(demo, run, "--keep-replay", steps=200))
    before = whole_of(run)
    with monkeypatch.context() as patched:
        patched.setattr("ilfo.training.replay._never_full", lambda state: False)
        with pytest.raises(InputError, match=r"was full of episodes so short .* cannot be made longer"):
            train(configure(demo, run, steps=400))
    assert whole_of(run) == before
    assert train(configure(demo, run, "--keep-replay", steps=200))["steps"] == 200


def test_what_was_finished_is_given_up_with_the_first_save_of_what_follows(demo, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(configure(demo, run, "--keep-replay", steps=200))
    longer = configure(demo, run, "--keep-replay", "--checkpoint-seconds", "0", steps=400)
    save_after_every_step(monkeypatch)
    steps = iter(range(3))
    advance = Training.advance

    def short_of_breath(training):
        if next(steps, None) is None:
            raise StoppedError
        advance(training)

    monkeypatch.setattr(Training, "advance", short_of_breath)
    with pytest.raises(StoppedError):
        train(longer)
    assert read_summary(run) is None
    assert not (run / "checkpoints" / "final.pt").exists()
    assert load(run).step == newest_checkpoint(run) == 203
    assert read_config(run)["config"]["steps"] == 400


def test_asking_for_the_result_again_keeps_the_replay(demo, tmp_path):
    train(configure(demo, tmp_path, "--keep-replay", steps=200))
    train(configure(demo, tmp_path, steps=200))
    assert newest_checkpoint(tmp_path) == 200


def test_a_comparison_is_trained_further_and_shows_nothing_short_of_its_steps(demo, tmp_path):
    def compared(steps, **changes):
        cells = {"rewards": ("transport", "nearest"), "seeds": "0", "steps": steps, "out": tmp_path}
        return CompareOptions(LEDGE, str(demo), **cells, **changes)

    flags = ["--keep-replay", "--random-steps", "100", "--eval-every", "100", "--eval-episodes", "1", *SMALL[:4]]
    compare(compared(200), flags)
    with pytest.raises(InputError, match="steps was 200 and is now 300"):
        compare(compared(300, show=True), flags)
    with pytest.raises(InputError, match=r"nearest--td3 holds .* steps was 200 and is now 300"):
        compare(compared(300, only=("transport/td3",)), flags)
    assert [cell.summary["steps"] for cell in compare(compared(300), flags)] == [300, 300]
