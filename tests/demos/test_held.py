"""An expert that is done stands still until an episode is over."""

import numpy as np
import pytest

from ilfo import demos
from ilfo.demos import Demonstrations, Trajectory

STATES = np.arange(8, dtype=np.float32).reshape(4, 2)


def test_the_last_state_is_repeated_and_nothing_else_is_invented():
    recorded = Trajectory(
        STATES,
        actions=np.ones((3, 1), np.float32),
        env_rewards=np.ones(3, np.float32),
        frames=np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8),
        success=True,
        success_step=2,
        seed=7,
    )
    before = recorded.observations.copy()
    grown = demos.held(Demonstrations((recorded,)), 6)[0]
    assert len(grown) == 6
    np.testing.assert_array_equal(grown.observations, [*STATES, STATES[-1], STATES[-1], STATES[-1]])
    assert grown.frames is not None
    assert grown.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 3, 3, 3]
    assert grown.actions is None
    assert grown.env_rewards is None
    assert (grown.success, grown.success_step, grown.seed) == (True, 2, 7)
    np.testing.assert_array_equal(recorded.observations, before)


@pytest.mark.parametrize(
    ("trajectory", "steps"),
    [(Trajectory(STATES, terminated=True, truncated=False), 6), (Trajectory(STATES), 3), (Trajectory(STATES), 2)],
    ids=["ended by the environment", "as long", "longer"],
)
def test_others_stay_what_they_are(trajectory, steps):
    assert demos.held(Demonstrations((trajectory,)), steps)[0] is trajectory


def test_each_grows_by_what_it_lacks():
    grown = demos.held(
        Demonstrations((Trajectory(STATES), Trajectory(STATES[:3]), Trajectory(np.tile(STATES, (3, 1))))), 5
    )
    assert [len(each) for each in grown] == [5, 5, 11]
