"""Varied environments, made by their ids as a user types them: the same to live in, and others to look at."""

import gymnasium
import numpy as np
import pytest
import scene  # noqa: F401  It registers the rooms.

from ilfo._tools.errors import InputError
from ilfo.envs import describe, make_env, random_policy
from ilfo.envs.drawing import drawable_env
from ilfo.envs.recorder import Recorder
from ilfo.variants import KINDS, Variant, vary

CHEETAH, ROOM = "HalfCheetah-v5", "Room-v0"
SIZE = (64, 64)


def life(env, steps=12, every=4):
    """States, rewards and ends of an episode, drawn now and then; and the drawings."""
    env.reset(seed=3)
    env.action_space.seed(0)
    states, frames = [], [np.array(env.render())]
    for step in range(steps):
        observation, *rest, _ = env.step(env.action_space.sample())
        bare = env.unwrapped
        states.append([*observation, *map(float, rest), *bare.data.qpos, *bare.data.qvel, bare.data.time])
        if step % every == 0:
            frames.append(np.array(env.render()))
    env.close()
    return np.array(states), np.array(frames)


@pytest.fixture(scope="module")
def plain(camera):
    return {env_id: life(drawable_env(env_id, "standard", SIZE)) for env_id in (CHEETAH, ROOM)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("env_id", [CHEETAH, ROOM])
def test_a_variant_is_lived_in_bit_for_bit_alike_and_looks_different(plain, env_id, kind):
    states, frames = plain[env_id]
    looks = [frames]
    for name in ("seen-0", "seen-1", "unseen-0"):
        lived, seen = life(drawable_env(f"{env_id}@{kind}-{name}", "standard", SIZE))
        assert np.array_equal(lived, states)
        looks.append(seen)
    assert len({look.tobytes() for look in looks}) == len(looks)
    assert all(look.shape == frames.shape for look in looks)


def test_a_variant_looks_the_same_wherever_it_is_made(camera):
    first, second = (life(drawable_env(f"{CHEETAH}@distractors-unseen-5", "standard", SIZE), 4)[1] for _ in range(2))
    assert np.array_equal(first, second)


def test_distractors_stand_where_they_stand_whatever_episode_was_drawn_first(camera):
    """A camera that follows the cheetah begins elsewhere in every episode."""
    frames = []
    for before in ([], [9, 4]):
        env = drawable_env(f"{CHEETAH}@distractors-unseen-1", "standard", SIZE)
        for seed in [*before, 3]:
            env.reset(seed=seed)
            frame = np.array(env.render())
        frames.append(frame)
        env.close()
    assert np.array_equal(*frames)


def test_what_a_variant_does_not_change_is_drawn_as_it_was(camera):
    """All that varies is behind the camera's back: arm, tip and rope are drawn where they are, pixel for pixel."""
    plain = life(drawable_env("RoomBehind-v0", "standard", SIZE))[1]
    varied = life(drawable_env("RoomBehind-v0@proportions-unseen-0", "standard", SIZE))[1]
    assert np.array_equal(plain, varied)
    assert not np.array_equal(plain[0], plain[-1])


def test_a_camera_that_is_nobodys_moves_too(camera):
    plain, varied = (life(drawable_env(f"Reacher-v5{end}", "standard", SIZE), 2)[1] for end in ("", "@camera-seen-0"))
    assert not np.array_equal(plain, varied)


def test_recordings_are_of_the_variant(camera):
    episodes = []
    for env_id in ("InvertedPendulum-v5", "InvertedPendulum-v5@colours-unseen-0"):
        recorder = Recorder(env_id, "standard", random_policy(1, seed=0), "random", frame_size=(32, 32))
        episodes.append(recorder.play(0))
        recorder.close()
    plain, varied = episodes
    assert np.array_equal(plain.observations, varied.observations)
    assert plain.frames.shape == varied.frames.shape
    assert (plain.frames != varied.frames).any(axis=(1, 2, 3)).all()


def test_what_is_not_drawn_is_left_alone():
    env = make_env(f"{CHEETAH}@colours-seen-0")
    assert type(env.unwrapped.mujoco_renderer).__module__.startswith("gymnasium")
    env.close()
    varied, low, *_ = describe(f"{CHEETAH}@colours-seen-0")
    plain, its_low, *_ = describe(CHEETAH)
    assert varied.env_id == f"{CHEETAH}@colours-seen-0"
    assert varied.observation_keys == plain.observation_keys
    assert np.array_equal(low, its_low)


def test_from_python_options_reach_the_environment(camera):
    env = vary(gymnasium.make(ROOM, render_mode="rgb_array", passive=""), Variant("lights", 0))
    assert env.unwrapped.model.nbody == 2
    env.reset(seed=0)
    assert env.render().shape == (64, 64, 3)
    env.close()


def test_what_mujoco_does_not_draw_has_no_variants():
    with pytest.raises(InputError, match=r"Pendulum-v1 has no variants such as colours-seen-0.*MuJoCo"):
        make_env("Pendulum-v1@colours-seen-0")


def test_what_has_nothing_to_vary_is_named():
    env = gymnasium.make("InvertedPendulum-v5", render_mode="rgb_array")
    with pytest.raises(InputError, match=r"InvertedPendulum-v5, variant textures-seen-0: .* no textures"):
        vary(env, Variant("textures", 0))
    env.close()


@pytest.mark.parametrize("make", [describe, make_env])
def test_it_is_named_where_nothing_is_drawn_too(make):
    """A run that learns from states would else be trained, and could never be filmed."""
    with pytest.raises(InputError, match=r"InvertedPendulum-v5, variant textures-seen-0: .* no textures"):
        make("InvertedPendulum-v5@textures-seen-0")


def test_an_unknown_variant_is_refused_before_anything_is_made():
    with pytest.raises(InputError, match="did you mean 'camera'"):
        make_env("NoSuchEnvironment-v0@kamera-seen-0")


def test_the_environment_itself_is_returned(camera):
    env = gymnasium.make(ROOM, render_mode="rgb_array")
    assert vary(env, Variant("camera", 0)) is env
    env.close()


@pytest.mark.metaworld
@pytest.mark.parametrize("kind", KINDS)
def test_meta_worlds_tasks_vary_too(camera, kind):
    pytest.importorskip("metaworld", reason="needs the extra metaworld")
    task = "ilfo.metaworld:MetaWorld/door-open-v3"
    (states, frames), (lived, looks) = (
        life(drawable_env(env_id, "standard", SIZE), 4) for env_id in (task, f"{task}@{kind}-unseen-0")
    )
    assert np.array_equal(states, lived)
    assert not np.array_equal(frames, looks)
