"""An expert that stops on the way is like it until then, and stands still afterwards."""

import numpy as np
import pytest

from ilfo.demos import Trajectory, stopped

STATES = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.mark.parametrize(("steps", "order"), [(0, [0, 0, 0, 0]), (1, [0, 1, 1, 1]), (3, [0, 1, 2, 3])])
def test_the_state_that_it_stops_in_is_repeated(steps, order):
    np.testing.assert_array_equal(stopped(Trajectory(STATES), steps).observations, STATES[order])


def test_what_nobody_recorded_of_it_is_left_out():
    recorded = Trajectory(
        STATES,
        actions=np.ones((3, 1), np.float32),
        env_rewards=np.ones(3, np.float32),
        frames=np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8),
        terminated=True,
        truncated=False,
        success=True,
        success_step=2,
    )
    halted = stopped(recorded, 2)
    assert (halted.actions, halted.env_rewards, halted.success, halted.success_step) == (None, None, None, None)
    assert (halted.terminated, halted.truncated) == (False, True)
    assert halted.frames is not None
    assert halted.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 2]
