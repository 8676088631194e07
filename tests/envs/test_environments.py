"""Lockstep: what a step hands over, in this process and in workers."""

import numpy as np
import pytest
from small_envs import LEDGE
from small_episodes import leftwards, same

from ilfo._tools.errors import InputError
from ilfo.envs import Environments, random_policy, rollout

HOPPER = "Hopper-v5"


def play(environments: Environments, steps: int, seed: int = 0):
    policy = random_policy(environments.action_dim, seed)
    return [environments.step(policy(environments.observations)) for _ in range(steps)]


def assert_same_steps(expected, found):
    for a, b in zip(expected, found, strict=True):
        for x, y in zip(a[:5], b[:5], strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        assert [row for row, _ in a.finished] == [row for row, _ in b.finished]
        assert all(same(x, y) for (_, x), (_, y) in zip(a.finished, b.finished, strict=True))


@pytest.fixture(scope="module")
def in_workers():
    """Three seeds' two copies in two processes."""
    environments = Environments(LEDGE, 2, seed=[5, 6, 7], workers=2)
    yield environments
    environments.close()


def test_the_observation_after_an_end_is_the_final_one_and_the_next_episode_starts_fresh():
    environments = Environments(LEDGE)
    while True:
        steps = environments.step(leftwards(environments.observations))
        if steps.finished:
            break
    ((row, trajectory),) = steps.finished
    assert row == 0
    assert steps.terminated[0]
    assert trajectory.terminated
    assert not trajectory.truncated
    assert steps.next_observations[0, 0] < -0.5, "the final observation, not the reset's"
    np.testing.assert_array_equal(trajectory.observations[-1], steps.next_observations[0])
    assert len(trajectory.observations) == len(trajectory.actions) + 1 == len(trajectory.env_rewards) + 1
    assert abs(environments.observations[0, 0]) <= 0.1


def test_a_time_limit_truncates_and_does_not_terminate():
    environments = Environments(LEDGE)
    for _ in range(40):
        steps = environments.step(np.array([[0.5]], np.float32))
    ((_, trajectory),) = steps.finished
    assert len(trajectory) == 40
    assert trajectory.truncated
    assert not trajectory.terminated
    assert not steps.terminated[0]
    assert trajectory.success is True


def test_no_transition_joins_two_episodes():
    steps = play(Environments(LEDGE, num_envs=3), 200)
    jumps = np.concatenate([np.abs(s.next_observations[:, 0] - s.observations[:, 0]) for s in steps])
    assert jumps.max() <= 0.2 + 1e-6
    assert sum(len(s.finished) for s in steps) > 3


def test_a_buffer_that_the_environment_writes_to_again_is_copied():
    (reusing,), (plain,) = (rollout(lambda o, ages: -0.5 * leftwards(o), env, 1) for env in ("Reusing-v0", LEDGE))
    assert len(np.unique(reusing.observations[:, 0])) == len(reusing) + 1 == 41
    np.testing.assert_array_equal(reusing.observations, plain.observations)
    environments = Environments("Reusing-v0")
    steps = environments.step(np.array([[0.5]], np.float32))
    assert steps.observations[0, 1] == 0
    assert steps.next_observations[0, 1] == pytest.approx(0.1)


def test_an_environment_that_changes_an_action_changes_none_that_is_kept():
    environments, action = Environments("Halving-v0"), np.array([[0.1]], np.float32)
    for _ in range(40):
        steps = environments.step(action)
    assert action[0, 0] == np.float32(0.1)
    assert (steps.finished[0][1].actions == np.float32(0.1)).all()


def test_what_a_caller_writes_into_is_not_what_the_episodes_are_kept_in():
    spoilt, plain = Environments(LEDGE, seed=3), Environments(LEDGE, seed=3)
    actions = np.array([[0.5]], np.float32)
    for _ in range(40):
        spoilt.observations.fill(7)
        spoilt.begin(actions)
        actions.fill(7)
        steps = spoilt.finish()
        ended = [episode for _, episode in steps.finished]
        for array in steps[:5]:
            array.fill(7)
        actions.fill(0.5)
        expected = plain.step(actions)
    assert same(ended[0], expected.finished[0][1])
    np.testing.assert_array_equal(spoilt.observations, plain.observations)


def test_episodes_depend_on_seed_copy_and_number_alone():
    one, three = Environments(LEDGE, 1, seed=5), Environments(LEDGE, 3, seed=5)
    np.testing.assert_array_equal(one.observations[0], three.observations[0])
    assert len(np.unique(three.observations[:, 0])) == 3
    assert not np.array_equal(one.observations, Environments(LEDGE, 1, seed=6).observations)


def test_a_seed_plays_the_same_episodes_alone_and_among_others():
    together = Environments(LEDGE, 2, seed=[5, 6, 7])
    alone = [Environments(LEDGE, 2, seed=seed) for seed in (5, 6, 7)]
    assert len(together) == 6
    policy = random_policy(1, 0)
    ends = 0
    for _ in range(100):
        actions = policy(together.observations)
        steps = together.step(actions)
        for k, single in enumerate(alone):
            rows = slice(2 * k, 2 * k + 2)
            expected = single.step(actions[rows])
            for x, y in zip(expected[:5], steps[:5], strict=True):
                np.testing.assert_array_equal(x, y[rows])
            found = [(row - 2 * k, episode) for row, episode in steps.finished if row // 2 == k]
            assert [row for row, _ in found] == [row for row, _ in expected.finished]
            assert all(same(x, y) for (_, x), (_, y) in zip(expected.finished, found, strict=True))
            ends += len(found)
    assert ends > 6


def test_workers_compute_what_this_process_does(in_workers):
    in_workers.restart()
    here = Environments(LEDGE, 2, seed=[5, 6, 7])
    assert (in_workers.observation_dim, in_workers.action_dim, in_workers.horizon) == (2, 1, 40)
    np.testing.assert_array_equal(here.observations, in_workers.observations)
    expected = play(here, 100)
    assert {row for steps in expected for row, _ in steps.finished} == set(range(6))
    assert_same_steps(expected, play(in_workers, 100))


def test_a_worker_computes_a_robot_as_this_process_does():
    environments = Environments(HOPPER, 2, "fixed-horizon", seed=3, workers=1)
    assert_same_steps(play(Environments(HOPPER, 2, "fixed-horizon", seed=3), 120), play(environments, 120))
    environments.close()


def test_more_workers_than_copies_are_not_started():
    environments = Environments(LEDGE, workers=3)
    assert len(environments._groups) == 1
    assert_same_steps(play(Environments(LEDGE), 45), play(environments, 45))
    environments.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_step_is_begun_and_finished_in_turn(in_workers, workers):
    environments = in_workers if workers else Environments(LEDGE, 2, seed=[5, 6, 7])
    environments.restart()
    before, actions = environments.observations, np.full((6, 1), 0.5, np.float32)
    with pytest.raises(RuntimeError, match="begin a step first"):
        environments.finish()
    environments.begin(actions)
    np.testing.assert_array_equal(environments.observations, before)
    for forbidden in (lambda: environments.begin(actions), environments.state_dicts, environments.restart):
        with pytest.raises(RuntimeError, match="finish the step first"):
            forbidden()
    steps = environments.finish()
    np.testing.assert_array_equal(steps.observations, before)
    np.testing.assert_array_equal(steps.actions, actions)
    np.testing.assert_allclose(environments.observations[:, 0], before[:, 0] + 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_envs": 0}, "num_envs 0"), ({"seed": []}, r"0 seed\(s\)"), ({"workers": -1}, "workers -1")],
)
def test_nothing_to_step_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Environments(LEDGE, **settings)


def test_actions_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"shape \(2,\); expected \(2, 1\)"):
        Environments(LEDGE, 2).step(np.zeros(2, np.float32))


@pytest.mark.parametrize("action", [1.01, -1.01, np.nan])
def test_actions_beyond_one_or_that_are_no_numbers_are_refused(action):
    with pytest.raises(InputError, match=r"small_envs:Ledge-v0: actions from .* expected finite numbers in \[-1, 1\]"):
        Environments(LEDGE, 2).step(np.array([[0.5], [action]], np.float32))


def test_rounding_beyond_one_is_cut_off():
    assert Environments(LEDGE).step(np.array([[1 + 1e-5]], np.float32)).actions == 1


@pytest.mark.parametrize("env_id", [LEDGE, HOPPER])
def test_restored_environments_go_on_where_they_were(env_id):
    environments = Environments(env_id, 2, seed=3)
    play(environments, 57)
    restored = Environments(env_id, 2, seed=3)
    restored.load_state_dicts(environments.state_dicts())
    assert_same_steps(play(environments, 60, seed=1), play(restored, 60, seed=1))


def test_workers_are_restored_from_what_this_process_saved_and_the_other_way_round(in_workers):
    here = Environments(LEDGE, 2, seed=[5, 6, 7])
    in_workers.restart()
    play(here, 57)
    play(in_workers, 57)
    states = here.state_dicts()
    assert states == in_workers.state_dicts()
    assert len(states) == 3
    play(in_workers, 5)
    in_workers.load_state_dicts(states)
    alone = Environments(LEDGE, 2, seed=6)
    alone.load_state_dicts(states[1:2])
    np.testing.assert_array_equal(alone.observations, here.observations[2:4])
    assert_same_steps(play(here, 60, seed=1), play(in_workers, 60, seed=1))


def test_a_state_of_other_numbers_is_refused():
    states = Environments(LEDGE, 2, seed=[5, 6]).state_dicts()
    with pytest.raises(InputError, match=r"2 seed\(s\) of \[2\] copies .* expected 2 of 3"):
        Environments(LEDGE, 3, seed=[5, 6]).load_state_dicts(states)
    with pytest.raises(InputError, match="expected 1 of 2"):
        Environments(LEDGE, 2).load_state_dicts(states)


def test_an_environment_that_is_not_deterministic_is_not_restored_in_silence():
    environments = Environments("Unsteady-v0")
    play(environments, 5)
    with pytest.raises(InputError, match="not deterministic"):
        Environments("Unsteady-v0").load_state_dicts(environments.state_dicts())


@pytest.mark.parametrize("env_id", [LEDGE, HOPPER, "Worn-v0"])
def test_a_restart_is_as_good_as_new(env_id):
    environments = Environments(env_id, 2, seed=3)
    play(environments, 70)
    environments.restart()
    fresh = Environments(env_id, 2, seed=3)
    np.testing.assert_array_equal(environments.observations, fresh.observations)
    assert_same_steps(play(fresh, 70, seed=1), play(environments, 70, seed=1))


def test_who_has_played_enough_stands_still_and_is_not_stepped():
    environments = Environments("Clumsy-v0", 2)
    environments.rest_after([1, 2])
    rightwards = np.full((2, 1), 0.5, np.float32)
    for _ in range(40):
        steps = environments.step(rightwards)
    assert [row for row, _ in steps.finished] == [0, 1]
    stands = environments.observations[0]
    steps = environments.step(np.array([[-0.5], [0.5]], np.float32))
    np.testing.assert_array_equal(steps.next_observations[0], stands, "a step to the left would have raised")
    assert (steps.env_rewards[0], steps.terminated[0]) == (0, False)
    assert steps.next_observations[1, 1] == pytest.approx(0.1)
    with pytest.raises(RuntimeError, match="no state to save"):
        environments.state_dicts()
    environments.restart()
    assert environments.state_dicts()[0]["numbers"] == [0, 0]
