"""TD7's state machine of checkpoints, step by step."""

import math

import pytest

from ilfo.agents._assessment import Assessment

GOES_ON, FAILED = (0, False), False
INF = math.inf


def play(assessment: Assessment, *episodes: tuple[float, int]) -> list[tuple[int, bool]]:
    return [assessment.add(*episode) for episode in episodes]


@pytest.mark.parametrize(
    ("wanted", "best", "episodes", "expected", "best_after"),
    [
        pytest.param(1, -INF, [(-500.0, 30)], [(30, True)], -500.0, id="the first policy is kept, however bad"),
        pytest.param(1, 5.0, [(5.0, 7)], [(7, True)], 5.0, id="as good is good enough"),
        pytest.param(1, 5.0, [(4.9, 7)], [(7, False)], 5.0, id="a worse one is not kept but trained"),
        pytest.param(
            3, 5.0, [(9.0, 10), (6.0, 20), (8.0, 30)], [GOES_ON, GOES_ON, (60, True)], 6.0, id="its worst counts"
        ),
        pytest.param(3, 5.0, [(9.0, 10), (4.0, 20)], [GOES_ON, (30, False)], 5.0, id="one bad episode ends it early"),
        pytest.param(
            2,
            5.0,
            [(4.0, 10), (9.0, 20), (7.0, 5)],
            [(10, False), GOES_ON, (25, True)],
            7.0,
            id="every policy starts with a clean sheet",
        ),
        pytest.param(2, -3.0, [(-2.0, 1), (-2.5, 1)], [GOES_ON, (2, True)], -2.5, id="returns may be negative"),
    ],
)
def test_what_is_due_after_each_episode(wanted, best, episodes, expected, best_after):
    assessment = Assessment(wanted=wanted, best=best)
    assert play(assessment, *episodes) == expected
    assert assessment.best == best_after
    assert (assessment.episodes, assessment.steps, assessment.worst) == (0, 0, INF)


def test_a_long_training_makes_one_update_for_each_step():
    assessment = Assessment()
    played = [(float(number % 7), 10 + number) for number in range(100)]
    due = [assessment.add(*episode)[0] for episode in played[:50]]
    assessment.tighten(4, 0.9)
    due += [assessment.add(*episode)[0] for episode in played[50:]]
    assert sum(due) + assessment.steps == sum(steps for _, steps in played)
    assert due[:50] == [steps for _, steps in played[:50]]
    assert any(count == 0 for count in due[50:])


@pytest.mark.parametrize(("best", "after"), [(100.0, 90.0), (-100.0, -90.0), (-INF, -INF)])
def test_tightening_lowers_a_positive_bar_and_raises_a_negative_one(best, after):
    assessment = Assessment(best=best)
    assessment.tighten(20, 0.9)
    assert (assessment.wanted, assessment.best) == (20, after)


def test_it_goes_on_where_it_was_saved():
    assessment, restored = Assessment(wanted=3, best=1.0), Assessment()
    assessment.add(4.0, 11)
    restored.load_state_dict(assessment.state_dict())
    rest = [(3.0, 5), (2.0, 6), (0.5, 7)]
    assert play(restored, *rest) == play(assessment, *rest) == [GOES_ON, (22, True), (7, FAILED)]
    assert restored == assessment
