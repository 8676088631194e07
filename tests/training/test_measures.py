"""Rows of metrics and summaries, of one seed and of several."""

from dataclasses import replace

import numpy as np
import pytest
from small_envs import walk
from small_runs import configure

from ilfo.statistics import normalized_score
from ilfo.training import Sources, Training
from ilfo.training.measures import evaluation_row, mean_row, mean_success, summarize, summarize_together


def with_success(trajectory, success):
    return replace(trajectory, success=success, success_step=31 if success else None)


def test_a_row_says_what_the_evaluation_was_worth(demo, tmp_path):
    training = Training.begin(Sources(configure(demo, tmp_path)))
    row = evaluation_row(training, [with_success(walk(0.1), True), with_success(walk(0.05), False)])
    assert row["eval_returns"] == pytest.approx([40, 20])
    assert row["eval_return"] == pytest.approx(30)
    assert (row["eval_length"], row["eval_success"]) == (40, 0.5)
    assert row["eval_time_to_success"] == 31, "of those that succeed"
    assert row["eval_ratio"] == pytest.approx(0.75)
    each = [float(training.rewards_of([walk(speed)]).scores.sum()) for speed in (0.1, 0.05)]
    assert row["eval_imitation_return"] == pytest.approx(np.mean(each), rel=1e-5)
    assert each[0] > each[1]


def test_without_an_expert_or_a_criterion_there_is_no_ratio_and_no_success(demo, tmp_path):
    training = Training.begin(Sources(configure(demo, tmp_path)))
    training.expert_return = None
    row = evaluation_row(training, [walk(0.1)])
    assert (row["eval_ratio"], row["eval_success"], row["eval_time_to_success"]) == (None, None, None)
    training.expert_return = -5.0
    assert evaluation_row(training, [walk(0.1)])["eval_ratio"] is None, "of a negative return a share says nothing"


def test_the_mean_over_seeds_takes_what_each_has():
    rows = [
        {"step": 5, "seconds": 2.0, "eval_returns": [1.0], "eval_return": 1.0, "eval_success": None},
        {"step": 5, "seconds": 2.0, "eval_returns": [3.0], "eval_return": 3.0, "train_return": 7.0},
    ]
    assert mean_row(rows) == {"step": 5, "seconds": 2.0, "eval_return": 2.0, "train_return": 7.0}
    assert mean_row(rows[:1]) == rows[0]
    assert mean_row([{}, {}]) == {"step": None}


def test_the_summary_of_a_seed(demo, tmp_path):
    training = Training.begin(Sources(configure(demo, tmp_path, "--seeds", "4,6")))
    training.step = 400
    row = {"eval_return": 30.0, "eval_ratio": 0.75, "eval_success": None, "seconds": 9.0}
    assert summarize(training, row, 6, 8.0) == {
        **{"env": "small_envs:Ledge-v0", "reward": "transport", "agent": "td3", "protocol": "standard"},
        **{"expert_return": pytest.approx(40), "random_return": 8.0, "policy_return": 30.0, "ratio": 0.75},
        **{"success": None, "steps": 400, "seconds": 9.0, "seed": 6},
        "demo_sha256": training.demonstrations.sha256,
    }


def one(seed, policy, random=10.0, expert_return=110.0, success=None, ratio=0.5):
    named = {"env": "E", "reward": "r", "agent": "a", "steps": 9, "seconds": 1.0, "protocol": "standard"}
    return named | {
        **{"seed": seed, "policy_return": policy, "random_return": random, "expert_return": expert_return},
        **{"success": success, "ratio": ratio, "demo_sha256": None},
    }


def test_seeds_are_summarised_by_the_mean_and_by_their_scores():
    each = [one(0, 60.0), one(1, 110.0), one(2, 10.0), one(3, 80.0, random=60.0)]
    found = summarize_together(each)
    assert found["policy_return"] == pytest.approx(65.0)
    assert found["random_return"] == pytest.approx(22.5)
    assert found["score_iqm"] == pytest.approx(0.45), "of the scores 0.5, 1, 0 and 0.4 the middle two"
    assert found["score_interval"] == [0, 1], "in one draw of twenty the middle two of four are both the lowest"
    assert (found["seeds"], found["each"], found["steps"]) == ([0, 1, 2, 3], each, 9)
    assert (found["ratio"], found["success"]) == (0.5, None)
    assert "seed" not in found


@pytest.mark.parametrize(
    "each",
    [
        [one(0, 60.0, expert_return=None, ratio=None), one(1, 60.0, expert_return=None, ratio=None)],
        [one(0, 60.0), one(1, 60.0, random=110.0)],
    ],
    ids=["no expert", "an expert no better than a random policy"],
)
def test_no_score_where_its_scale_is_unknown(each):
    found = summarize_together(each)
    assert found["score_iqm"] is found["score_interval"] is None
    assert found["policy_return"] == 60.0


def test_the_score_of_a_single_seed_has_no_interval():
    found = summarize_together([one(0, 60.0)])
    assert (found["score_iqm"], found["score_interval"]) == (0.5, None)


def test_success_and_ratio_are_means():
    found = summarize_together([one(0, 1.0, success=1.0, ratio=0.2), one(1, 1.0, success=0.5, ratio=0.4)])
    assert found["success"] == 0.75
    assert found["ratio"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("value", "random", "reference", "score"),
    [(10.0, 10.0, 110.0, 0.0), (110.0, 10.0, 110.0, 1.0), (-50.0, -100.0, 0.0, 0.5), (0.0, 10.0, 110.0, -0.1)],
)
def test_a_score_runs_from_the_random_policy_to_the_expert(value, random, reference, score):
    assert normalized_score(value, random, reference) == pytest.approx(score)


@pytest.mark.parametrize(("random", "reference"), [(None, 1.0), (1.0, None), (1.0, 1.0), (2.0, 1.0)])
def test_no_score_without_a_scale(random, reference):
    assert normalized_score(1.0, random, reference) is None


def test_a_seed_of_whose_success_nothing_was_said_had_none():
    assert mean_success([0.5, None, None]) == pytest.approx(1 / 6)
    assert mean_success([None, None]) is None
    assert mean_row([{"step": 3, "eval_success": 0.5}, {"step": 3, "eval_success": None}])["eval_success"] == 0.25
