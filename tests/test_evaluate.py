import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from ilfo._evaluation_display import print_evaluation, print_seeds
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.demos import Trajectory
from ilfo.evaluate import Evaluation, SeedsEvaluation, evaluate, evaluate_seeds, write_evaluation
from ilfo.runs import read_metrics, read_summary
from ilfo.statistics import interquartile_mean, wilson_interval
from ilfo.training.imitation import load


def with_outcome(value, success=None):
    return Trajectory(np.zeros((3, 1), np.float32), env_rewards=np.array([value, 0], np.float32), success=success)


def outcomes(*trajectories, **more):
    return Evaluation("Any-v0", "standard", 0, 0, tuple(trajectories), **more)


def test_plays_the_policy_on_fresh_episodes(imitation_run):
    found = evaluate(imitation_run, 3)
    summary = json.loads((imitation_run / "summary.json").read_text())
    assert len(found.trajectories) == len({trajectory.seed for trajectory in found.trajectories}) == 3
    trained = {trajectory.seed for trajectory in load(imitation_run).evaluate_all(3)[0]}
    assert trained.isdisjoint(trajectory.seed for trajectory in found.trajectories)
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


def test_a_loaded_policy_repeats_the_last_evaluation_in_training(imitation_run):
    played = load(imitation_run).evaluate_all(2)[0]
    assert [trajectory.env_return for trajectory in played] == read_metrics(imitation_run)[-1]["eval_returns"]


def test_episodes_that_are_the_same_say_no_more_than_one():
    one, four = outcomes(with_outcome(2, True)), outcomes(*[with_outcome(2, True)] * 4)
    assert four.successes == (4, 4)
    assert four.success_interval == one.success_interval
    assert four.return_interval is None is one.return_interval
    assert outcomes(with_outcome(2, True), with_outcome(3, True)).success_interval[0] > one.success_interval[0]


def test_success_counts_where_the_task_has_one():
    found = outcomes(with_outcome(1, True), with_outcome(9, False), with_outcome(2, True), expert_return=8.0)
    assert found.successes == (2, 3)
    low, high = found.success_interval
    assert low < 2 / 3 < high
    assert found.ratio == pytest.approx(0.5)
    assert found.ranked() == [2, 0, 1]


def test_the_time_to_success_is_of_those_that_succeed():
    each = [replace(with_outcome(1, True), success_step=step) for step in (1, 2)]
    assert outcomes(*each, with_outcome(1, False)).time_to_success == 1.5
    assert outcomes(with_outcome(1, False)).time_to_success is None


def test_no_expert_no_ratio():
    assert outcomes(with_outcome(1)).ratio is None


def test_one_episode_has_no_interval():
    assert outcomes(with_outcome(1)).return_text == "1.0"
    assert "interval" in outcomes(with_outcome(1), with_outcome(2)).return_text


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


def test_what_was_played_is_kept_with_seed_and_goal(imitation_run, group_run, capsys):
    assert main(["evaluate", str(imitation_run), "--episodes", "2"]) == 0
    kept = json.loads((imitation_run / "evaluation.json").read_text())
    found = evaluate(imitation_run, 2)
    assert kept == json.loads(json.dumps(found.as_dict()))
    assert [each["seed"] for each in kept["episodes"]] == [trajectory.seed for trajectory in found.trajectories]
    assert [each["return"] for each in kept["episodes"]] == found.returns
    assert main(["evaluate", str(group_run), "--episodes", "1"]) == 0
    seeds = [json.loads((group_run / f"seed_{seed}" / "evaluation.json").read_text())["seed"] for seed in range(3)]
    assert len(set(seeds)) == 3
    capsys.readouterr()


def test_a_goal_is_written_as_numbers():
    goal = replace(with_outcome(1, True), goal=np.array([0.5, 2], np.float32), success_step=1)
    (episode,) = json.loads(json.dumps(outcomes(goal).as_dict()))["episodes"]
    assert episode == {"seed": None, "goal": [0.5, 2], "return": 1, "length": 2, "success": True, "success_step": 1}


def test_where_nothing_can_be_kept_the_evaluation_is_still_shown(imitation_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(imitation_run, run, ignore=shutil.ignore_patterns("evaluation.json"))
    (run / "evaluation.json").mkdir()
    with pytest.warns(UserWarning, match=r"evaluation\.json is not kept"):
        write_evaluation(run, evaluate(run, 1))


def test_the_help_names_the_suites(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "metaworld-easy" in capsys.readouterr().out


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


@pytest.mark.parametrize("flags", [[], ["--rewards", "flow"], ["--help"]])
def test_a_mistyped_suite_is_told_from_a_run(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "metaworld-esy", *flags]) == 2
    assert (
        "neither the folder of a run nor a suite; of suites, did you mean 'metaworld-easy'" in capsys.readouterr().err
    )
    assert main(["evaluate", "runs/metaworld-esy"]) == 2
    assert "not the folder of a run: it does not exist" in capsys.readouterr().err
    (tmp_path / "metaworld-esy").mkdir()
    assert main(["evaluate", "metaworld-esy"]) == 2
    assert "it has no config.json" in capsys.readouterr().err


class TestSeveralSeeds:
    def test_each_plays_what_it_would_play_alone(self, group_run):
        said = []
        found = evaluate_seeds(group_run, 2, progress=said.append)
        assert list(found.each) == [0, 1, 2]
        for seed, one in found.each.items():
            alone = evaluate(group_run / f"seed_{seed}", 2)
            assert (one.seed, one.returns) == (alone.seed, alone.returns)
            assert one.random_return == read_summary(group_run / f"seed_{seed}")["random_return"]
        assert len({one.seed for one in found.each.values()}) == 3
        assert said[-1] == "playing 2 episodes with seed 2, 3 of 3"

    def test_a_given_seed_is_the_same_for_all(self, group_run):
        first, *others = evaluate_seeds(group_run, 1, seed=5).each.values()
        assert {one.trajectories[0].seed for one in others} == {first.trajectories[0].seed}

    def test_the_mean_and_the_score_over_seeds(self):
        ends = {"expert_return": 10.0, "random_return": 0.0}
        found = SeedsEvaluation({seed: outcomes(with_outcome(seed), **ends) for seed in (0, 2, 4, 10)})
        assert found.return_mean == 4
        low, high = found.return_interval
        assert 0 <= low < 4 < high <= 10
        assert found.scores == pytest.approx([0, 0.2, 0.4, 1])
        unknown = SeedsEvaluation(found.each | {7: outcomes(with_outcome(1), expert_return=10.0)})
        assert unknown.scores is None

    def test_success_is_pooled_over_seeds(self):
        soon, late = (replace(with_outcome(step, True), success_step=step) for step in (1, 2))
        found = SeedsEvaluation({0: outcomes(soon, with_outcome(5, False)), 1: outcomes(late, with_outcome(6, False))})
        assert found.successes == (2, 4)
        assert found.success_interval == wilson_interval(2, 4)
        assert found.time_to_success == 1.5
        # Of a seed that plays one and the same episode, but not of two that play alike.
        silent = with_outcome(7, None)
        assert outcomes(soon, silent, silent).successes == (1, 3), "some environments speak only of what succeeds"
        assert outcomes(silent).successes is None
        assert SeedsEvaluation({0: outcomes(soon, soon)}).success_interval == wilson_interval(1, 1)
        assert SeedsEvaluation({0: outcomes(soon), 1: outcomes(soon)}).success_interval == wilson_interval(2, 2)
        nothing = SeedsEvaluation({0: outcomes(with_outcome(1))})
        assert nothing.successes is nothing.success_interval is nothing.time_to_success is None

    def test_prints_success_of_each_seed_and_of_all(self):
        soon = replace(with_outcome(1, True), success_step=1)
        each = {0: outcomes(soon, with_outcome(5, False)), 1: outcomes(with_outcome(2, False), with_outcome(6, False))}
        written = io.StringIO()
        print_seeds(SeedsEvaluation(each), None, Console(file=written, width=80))
        printed = written.getvalue()
        assert re.search(r"│ 0 .*│ 1 of 2 \(9% to 91%\) +│ 1\.0 +│", printed)
        assert re.search(r"│ 1 .*│ 0 of 2 \(0% to 66%\) +│ – +│", printed)
        assert re.search(r"success +1 of 4, 95 % interval 5% to 70% \(Wilson\)", printed)
        assert re.search(r"first +success after 1.0 steps, the mean of those that succeed", printed)

    def test_a_single_seed_has_no_interval(self):
        assert SeedsEvaluation({3: outcomes(with_outcome(1))}).return_interval is None

    def test_the_best_seed_succeeds_most_often(self):
        each = {
            0: outcomes(with_outcome(1, True), with_outcome(2, True)),
            1: outcomes(with_outcome(9, True), with_outcome(9, False)),
            2: outcomes(with_outcome(3, True), with_outcome(2, True)),
        }
        assert SeedsEvaluation(each).best == 2
        assert SeedsEvaluation({4: outcomes(with_outcome(1)), 5: outcomes(with_outcome(2))}).best == 5

    def test_prints_all_that_the_numbers_need(self, group_run, capsys):
        assert main(["evaluate", str(group_run), "--episodes", "2"]) == 0
        printed = capsys.readouterr().out
        found = evaluate_seeds(group_run, 2)
        for seed, one in found.each.items():
            assert re.search(
                rf"│ {seed} +│ {one.return_mean:.1f} +│ [\d.]+ to [\d.]+ +│ {one.ratio:.3f} +│ – +│", printed
            )
        for pattern in (
            r"policies +InvertedPendulum-v5, 3 seeds, after 300 steps",
            rf"return +{found.return_mean:.1f}, 95 % interval [\d.]+ to [\d.]+ \(bootstrap\): mean over seeds",
            rf"score +{interquartile_mean(found.scores):.3f}, 95 % interval .*interquartile mean over seeds",
            r"expert +[\d.]+",
            r"episodes +2 for each, initial states of its own, protocol standard",
        ):
            assert re.search(pattern, printed), pattern

    @pytest.mark.usefixtures("camera")
    def test_films_the_best_episode_of_the_best_seed(self, group_run, tmp_path, capsys):
        video = tmp_path / "best.webm"
        assert main(["evaluate", str(group_run), "--episodes", "1", "--video", str(video)]) == 0
        best = evaluate_seeds(group_run, 1).best
        assert f"{video} (the best episode of seed {best})" in capsys.readouterr().out
        assert video.read_bytes()[:4] == b"\x1aE\xdf\xa3"

    def test_under_way_there_is_no_score_and_before_that_nothing_to_play(self, group_run, tmp_path, capsys):
        run = tmp_path / "run"
        shutil.copytree(group_run, run)
        for path in (run, run / "seed_1"):
            (path / "summary.json").unlink()
        assert main(["evaluate", str(run), "--episodes", "1"]) == 0
        said = capsys.readouterr().out
        assert "return" in said
        assert "score" not in said
        (run / "seed_1" / "checkpoints" / "final.pt").unlink()
        assert main(["evaluate", str(run), "--episodes", "1"]) == 2
        captured = capsys.readouterr()
        assert f"{run / 'seed_1'} holds no checkpoint yet" in captured.err
        assert "return" not in captured.out
        (run / "seed_2" / "config.json").unlink()
        assert main(["evaluate", str(run)]) == 2
        assert "seed_2 is missing or not begun" in capsys.readouterr().err

    def test_one_and_many_are_not_mistaken_for_each_other(self, group_run):
        with pytest.raises(InputError, match="give the folder of one, seed_0, seed_1, seed_2"):
            evaluate(group_run)
        with pytest.raises(InputError, match="expected the folder of several"):
            evaluate_seeds(group_run / "seed_0")


@pytest.mark.parametrize(
    ("expert", "row"), [(8.0, r"ratio +0\.250 of the expert's 8\.0"), (-8.0, r"expert +-8\.0, not")]
)
def test_an_expert_with_a_return_below_zero_is_shown_without_a_ratio(expert, row):
    printed = io.StringIO()
    print_evaluation(outcomes(with_outcome(2), expert_return=expert), Console(width=200, file=printed))
    assert re.search(row, printed.getvalue())
