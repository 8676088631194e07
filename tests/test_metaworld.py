"""Meta-World's tasks: what their seed decides, what their goal is, how they are filmed and recorded."""

import gymnasium
import numpy as np
import pytest

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.envs import describe, make_env
from ilfo.envs.drawing import drawable_env, first_frame
from ilfo.record import RecordOptions, record

pytest.importorskip("metaworld", reason="needs the extra metaworld")
metaworld = pytest.importorskip("ilfo.metaworld")
pytestmark = pytest.mark.metaworld

DOOR = "ilfo.metaworld:MetaWorld/door-open-v3"
REACH = "ilfo.metaworld:MetaWorld/reach-v3"


def beginning(env, seed, steps=30):
    """The first observations of an episode, the scripted expert's."""
    policy = metaworld.scripted_policy(env.spec.id)
    observations = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        action = policy(observations[-1][None].astype(np.float32), np.zeros(1))
        observations.append(env.step(action[0])[0])
    return np.array(observations)


@pytest.mark.parametrize("env_id", [DOOR, REACH])
def test_the_seed_of_the_reset_decides_the_episode(env_id):
    used, fresh = make_env(env_id), make_env(env_id)
    first = beginning(used, 5)
    assert np.abs(beginning(used, 6)[0] - first[0]).max() > 1e-3
    np.testing.assert_array_equal(beginning(used, 5), first)
    np.random.seed(3)  # noqa: NPY002 what Meta-World draws from when it is left alone
    np.testing.assert_array_equal(beginning(fresh, 5), first)


def test_episodes_without_a_seed_differ():
    env = make_env(REACH)
    env.reset(seed=0)
    assert not np.array_equal(env.reset()[1]["goal"], env.reset()[1]["goal"])


def test_the_reset_tells_the_goal():
    env = make_env(REACH)
    observation, info = env.reset(seed=1)
    np.testing.assert_allclose(info["goal"], env.unwrapped._target_pos, atol=1e-6)
    np.testing.assert_allclose(info["goal"], observation[-3:], atol=1e-6)
    assert info["goal"].dtype == np.float32


def test_the_parts_of_the_observation_are_what_they_are_called():
    env = make_env(DOOR)
    before = env.reset(seed=0)[0]
    after, *_ = env.step(np.array([1, 0, 0, -1], np.float32))
    np.testing.assert_array_equal(after[18:36], before[:18], "one step before")
    np.testing.assert_allclose(after[:3], env.unwrapped.get_endeff_pos())
    np.testing.assert_allclose(after[4:7], env.unwrapped._get_pos_objects())
    for _ in range(10):
        closed, *_ = env.step(np.array([0, 0, 0, 1], np.float32))
    assert closed[3] < after[3] - 0.1


def test_every_task_is_made_and_reset():
    tasks = [name for name in gymnasium.registry if name.startswith("MetaWorld/")]
    assert len(tasks) >= 50
    for name in tasks[::10]:
        env = make_env(f"ilfo.metaworld:{name}")
        observation, info = env.reset(seed=0)
        assert observation.shape == (39,)
        assert np.isfinite(info["goal"]).all()
        env.close()


def test_is_described_with_its_version_time_step_and_action_repeat():
    provenance, low, high, *_ = describe(REACH)
    assert provenance.versions["metaworld"]
    assert provenance.time_step == pytest.approx(0.0125)
    assert provenance.action_repeat == 5
    parts = [("hand", 3), ("gripper", 1), ("objects", 14), ("previous", 18), ("goal", 3)]
    assert list(provenance.observation_keys.items()) == parts
    assert (low[-3:] < high[-3:]).all(), "the goal is seen"


def test_a_demonstration_ends_soon_after_success(tmp_path):
    options = RecordOptions(env=REACH, scripted=True, success_only=True, stop_after_success=5)
    (trajectory,) = written = record(tmp_path / "a.hdf5", options)
    assert trajectory.success
    assert len(trajectory) < 150
    assert (trajectory.truncated, trajectory.terminated) == (True, False)
    np.testing.assert_allclose(trajectory.goal, trajectory.observations[-1, -3:], atol=1e-6)
    distance = np.linalg.norm(trajectory.observations[:, :3] - trajectory.goal, axis=1)
    assert distance[-1] < 0.05 < distance[0]
    assert written.sha256 == record(tmp_path / "b.hdf5", options).sha256
    assert demos.open(tmp_path / "a.hdf5").sha256 == written.sha256


@pytest.mark.usefixtures("camera")
def test_is_filmed_from_the_corner_the_right_way_up():
    env = drawable_env(DOOR, "standard", (48, 32))
    env.reset(seed=0)
    picture = first_frame(env).astype(int)
    env.close()
    assert picture.shape == (32, 48, 3)
    red, green, blue = picture.reshape(-1, 3).T
    assert (red - np.maximum(green, blue) > 60).any(), "the robot"
    assert np.ptp(picture[0], axis=0).max() == 0, "nothing above the horizon"
    assert np.ptp(picture[-1], axis=0).max() > 100, "floor and legs of the table below"


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="did you mean 'reach-v3'"):
        metaworld.scripted_policy("ilfo.metaworld:MetaWorld/reech-v3")
