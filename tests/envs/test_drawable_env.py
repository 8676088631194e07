"""Pictures of environments that are drawn side by side in one process."""

import gc

import numpy as np
import pytest

from ilfo.envs.drawing import drawable_env, first_frame, frame

CHEETAH = "HalfCheetah-v5"
pytestmark = pytest.mark.usefixtures("camera")


def begun(env_id: str):
    """An environment, and its first frame."""
    env = drawable_env(env_id, "standard", (48, 48))
    env.reset(seed=0)
    return env, frame(first_frame(env), (48, 48))


def second_frame(env) -> np.ndarray:
    env.step(np.full(6, 0.2, np.float32))
    return np.array(env.render())


def alone(env_id: str) -> np.ndarray:
    env, _ = begun(env_id)
    drawn = second_frame(env)
    env.close()
    return drawn


def test_each_is_drawn_with_its_own_textures():
    ids = [CHEETAH, f"{CHEETAH}@textures-seen-0", f"{CHEETAH}@colours-unseen-1"]
    expected = [alone(env_id) for env_id in ids]
    assert np.abs(expected[0].astype(int) - expected[1]).max() > 50, "a look that would not be missed"
    together = [begun(env_id)[0] for env_id in ids]
    for env, picture in zip(together, expected, strict=True):
        np.testing.assert_array_equal(second_frame(env), picture)
    for env in together:
        env.close()


@pytest.mark.parametrize("closed_first", [True, False])
def test_the_end_of_one_leaves_the_others_their_pictures(closed_first):
    expected = alone(CHEETAH)
    first, second = (begun(CHEETAH)[0] for _ in range(2))
    env, other = (second, first) if closed_first else (first, second)
    other.close()
    del first, second, other
    gc.collect()
    np.testing.assert_array_equal(second_frame(env), expected)
    env.close()
    env.close()


def test_the_camera_stands_where_it_stood_in_the_episode_before():
    """Of a model that neither names a camera nor aims one: what stands still is drawn where it was."""

    def drawn(place: float) -> tuple[np.ndarray, np.ndarray]:
        env = drawable_env("InvertedPendulum-v5", "standard", (64, 64))
        env.reset(seed=0)
        env.unwrapped.set_state(np.array([place, 0.0]), np.zeros(2))
        picture = np.array(env.render())
        aim = np.array(env.unwrapped.mujoco_renderer.viewer.cam.lookat)
        env.close()
        return picture, aim

    (first, aim), (second, other) = drawn(0.0), drawn(0.4)
    np.testing.assert_array_equal(aim, other)
    assert not np.array_equal(first, second), "the cart stands elsewhere"
