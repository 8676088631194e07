import json
import re
import shutil

import numpy as np
import pytest

from ilfo._errors import InputError
from ilfo.cli import main
from ilfo.demos import Trajectory
from ilfo.evaluate import Evaluation, evaluate, fresh_seed
from ilfo.training import load


def with_outcome(value, success=None):
    return Trajectory(np.zeros((3, 1), np.float32), env_rewards=np.array([value, 0], np.float32), success=success)


def outcomes(*trajectories, **more):
    return Evaluation("Any-v0", "standard", 0, 0, tuple(trajectories), **more)


def test_plays_the_policy_on_fresh_episodes(imitation_run):
    found = evaluate(imitation_run, 3)
    summary = json.loads((imitation_run / "summary.json").read_text())
    assert len(found.trajectories) == len({trajectory.seed for trajectory in found.trajectories}) == 3
    assert found.seed != load(imitation_run).eval_seed
    assert found.steps == summary["steps"]
    assert found.protocol == summary["protocol"]
    assert found.random_return == summary["random_return"]
    assert found.ratio == pytest.approx(found.return_mean / summary["expert_return"])
    assert found.return_interval[0] <= found.return_mean <= found.return_interval[1]
    assert found.successes is None is found.success_interval


def test_the_seed_names_the_episodes(imitation_run):
    first = evaluate(imitation_run, 2)
    assert evaluate(imitation_run, 2, seed=first.seed).returns == first.returns
    other = evaluate(imitation_run, 2, seed=first.seed + 1)
    assert not np.array_equal(other.trajectories[0].observations[0], first.trajectories[0].observations[0])


def test_the_training_seed_repeats_the_last_evaluation(imitation_run):
    rows = [json.loads(line) for line in (imitation_run / "metrics.jsonl").read_text().splitlines()]
    found = evaluate(imitation_run, 2, seed=load(imitation_run).eval_seed)
    assert found.returns == rows[-1]["eval_returns"]


def test_success_counts_where_the_task_has_one():
    found = outcomes(with_outcome(1, True), with_outcome(9, False), with_outcome(2, True), expert_return=8.0)
    assert found.successes == (2, 3)
    low, high = found.success_interval
    assert low < 2 / 3 < high
    assert found.ratio == pytest.approx(0.5)
    assert found.ranked() == [2, 0, 1]


def test_no_expert_no_ratio():
    assert outcomes(with_outcome(1)).ratio is None


def test_one_episode_has_no_interval():
    assert outcomes(with_outcome(1)).return_text == "1.0"
    assert "interval" in outcomes(with_outcome(1), with_outcome(2)).return_text


def test_seeds_differ_by_run_and_purpose():
    assert len({fresh_seed(run, purpose) for run in range(5) for purpose in range(3)}) == 15


def test_prints_all_that_a_number_needs(imitation_run, capsys):
    assert main(["evaluate", str(imitation_run), "--episodes", "2", "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    for pattern in (
        r"policy +InvertedPendulum-v5 after 300 steps",
        r"return +[\d.]+, 95 % interval [\d.]+ to [\d.]+ \(bootstrap\)",
        r"length +[\d.]+ steps",
        r"ratio +[\d.]+ of the expert's [\d.]+",
        r"random +[\d.]+ \(random policy\)",
        r"episodes +2, protocol standard, seed 5",
    ):
        assert re.search(pattern, printed), pattern


@pytest.mark.usefixtures("camera")
def test_films_the_best_episode(imitation_run, tmp_path, capsys):
    video = tmp_path / "best.webm"
    assert main(["evaluate", str(imitation_run), "--episodes", "1", "--video", str(video)]) == 0
    assert video.read_bytes()[:4] == b"\x1aE\xdf\xa3"  # EBML, which WebM is
    assert str(video) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--episodes", "0"], "at least 1"),
        (["--seed", "-1"], "--seed is -1; expected 0 or more"),
        (["--video", "best.avi"], ".webm or .mp4"),
        (["--video", "nowhere/best.webm"], "does not exist"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_played(imitation_run, flags, message, capsys):
    assert main(["evaluate", str(imitation_run), *flags]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "return" not in captured.out


def test_refuses_what_is_not_a_run(tmp_path, imitation_run):
    with pytest.raises(InputError, match="not the folder of a run"):
        evaluate(tmp_path)
    unsaved = tmp_path / "unsaved"
    unsaved.mkdir()
    shutil.copy(imitation_run / "config.json", unsaved)
    with pytest.raises(InputError, match="no checkpoint"):
        evaluate(unsaved)
