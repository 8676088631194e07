"""An expert that is held at its end, in larger steps, that stops on the way, and whose time is out of order."""

import numpy as np
import pytest

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.demos import Demonstrations, Provenance, Trajectory, shuffled, stopped, thinned

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


@pytest.mark.parametrize(("steps", "order"), [(0, [0, 0, 0, 0]), (1, [0, 1, 1, 1]), (3, [0, 1, 2, 3])])
def test_the_state_that_it_stops_in_is_repeated(steps, order):
    np.testing.assert_array_equal(stopped(Trajectory(STATES), steps).observations, STATES[order])


@pytest.mark.parametrize("rearrange", [lambda one: stopped(one, 2), shuffled])
def test_what_nobody_recorded_of_it_is_left_out(rearrange):
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
    other = rearrange(recorded)
    assert (other.actions, other.env_rewards, other.success, other.success_step) == (None, None, None, None)
    assert not other.terminated
    assert other.frames is not None
    assert (other.frames[:, 0, 0, 0] == other.observations[:, 0] / 2).all(), "frames stay with their states"


def test_out_of_order_are_the_same_states():
    states = np.arange(20, dtype=np.float32)[:, None]
    order = shuffled(Trajectory(states)).observations
    assert not np.array_equal(order, states)
    np.testing.assert_array_equal(np.sort(order, axis=0), states)


class TestThinned:
    @pytest.mark.parametrize(("steps", "every", "kept"), [(12, 3, [0, 3, 6, 9, 12]), (7, 3, [0, 4, 7]), (2, 5, [0, 2])])
    def test_keeps_the_ends_and_adds_up_the_rewards(self, steps, every, kept):
        states, rewards = np.arange(steps + 1, dtype=np.float32)[:, None], np.arange(steps, dtype=np.float32)
        one = Trajectory(
            states, np.zeros((steps, 1), np.float32), rewards, last_reward=0.5, success_step=2, success=True
        )
        provenance = Provenance(env_id="Hopper-v5@repeat-2", time_step=0.02, action_repeat=5)
        (found,), told = (thin := thinned(Demonstrations((one,), provenance), every)), thin.provenance
        assert found.observations.ravel().tolist() == kept
        assert found.actions is None
        assert found.env_return == one.env_return
        assert found.success_step == 1
        assert (told.time_step, told.action_repeat) == (0.02 * every, 5 * every)
        assert told.env_id == f"Hopper-v5@repeat-{2 * every}"

    def test_frames_are_chosen_too(self):
        frames = np.arange(7, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
        (found,) = thinned(Demonstrations((Trajectory(np.zeros((7, 1), np.float32), frames=frames),)), 2)
        assert np.asarray(found.frames)[:, 0, 0, 0].tolist() == [0, 2, 4, 6]

    def test_nothing_is_taken_where_every_state_is_and_nothing_else_is_less(self):
        demonstrations = Demonstrations((Trajectory(np.zeros((7, 1), np.float32)),))
        assert thinned(demonstrations, 1) is demonstrations
        with pytest.raises(InputError, match="one of every 0 states"):
            thinned(demonstrations, 0)

    def test_a_file_is_converted_to_fit_an_environment_whose_actions_last(self, tmp_path, capsys):
        out = tmp_path / "thin.hdf5"
        assert main(["demos", "convert", "halfcheetah", str(out), "--to", "ilfo", "--every", "4"]) == 0
        assert len(demos.open(out)[0]) == 250
        assert main(["demos", "validate", str(out), "--env", "HalfCheetah-v5@repeat-4"]) == 0
        assert "warning" not in capsys.readouterr().out
