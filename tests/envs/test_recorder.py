"""Episodes played for a recording: what is written down, when it stops, and which actions are refused."""

from contextlib import closing

import gymnasium
import numpy as np
import pytest
from small_envs import LEDGE, Signposted

from ilfo._tools.errors import InputError
from ilfo.envs import RenderError, rollout
from ilfo.envs.recorder import Recorder
from ilfo.experts import own_policy

SIGNPOSTED = "small_envs:Signposted-v0"


def play(name, env_id=SIGNPOSTED, seed=0, protocol="standard", **options):
    with closing(
        Recorder(env_id, protocol, own_policy(f"own_policies:{name}"), f"policy {name}", **options)
    ) as recorder:
        return recorder.play(seed)


def test_an_episode_is_that_of_a_rollout_with_its_seed():
    recorded = play("walk", LEDGE, seed=3)
    (played,) = rollout(own_policy("own_policies:walk"), LEDGE, 1, seed=3)
    for name in ("observations", "actions", "env_rewards"):
        np.testing.assert_array_equal(getattr(recorded, name), getattr(played, name))
    assert (recorded.seed, recorded.success, recorded.truncated) == (played.seed, played.success, played.truncated)
    assert recorded.goal is None
    assert recorded.frames is None


def test_the_next_episode_owes_nothing_to_the_one_before():
    with closing(Recorder(SIGNPOSTED, "standard", own_policy("own_policies:walk"), "policy walk")) as recorder:
        first, other, again = (recorder.play(seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first.observations, again.observations)
    assert first.observations[0, 0] != other.observations[0, 0]


def test_the_goal_of_the_reset_is_kept():
    trajectory = play("walk")
    assert trajectory.goal.dtype == np.float32
    assert trajectory.goal.tolist() == [1.0]


class Errand(Signposted):
    """The same, sent to a goal of any kind, of which numbers are its own to write to."""

    def __init__(self, goal):
        super().__init__()
        self.goal = goal

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return observation, info | {"goal": self.goal}

    def step(self, action):
        if isinstance(self.goal, np.ndarray):
            self.goal += 1
        return super().step(action)


@pytest.mark.parametrize(
    ("given", "kept"), [(np.ones((1, 2)), [1, 1]), (2, [2]), ("the sign", None), ({"at": 1}, None), (None, None)]
)
def test_a_goal_is_kept_as_it_was_if_it_is_made_of_numbers(given, kept):
    gymnasium.register("Errand-v0", Errand, max_episode_steps=40, kwargs={"goal": given})
    try:
        goal = play("walk", "Errand-v0").goal
    finally:
        del gymnasium.registry["Errand-v0"]
    assert goal is None if kept is None else goal.tolist() == kept


def test_success_stays_true_once_it_was():
    trajectory = play("walk")
    assert trajectory.observations[-1, 0] > 1.5, "the sign is left behind"
    assert trajectory.success
    assert play("creep").success is False


@pytest.mark.parametrize("steps", [0, 3, 10])
def test_stops_so_many_steps_after_the_first_success(steps):
    whole, trimmed = play("walk"), play("walk", stop_after_success=steps)
    first = int(np.flatnonzero(whole.observations[:, 0] > 1)[0])
    assert len(trimmed) == first + steps < len(whole) == 40
    np.testing.assert_array_equal(trimmed.observations, whole.observations[: first + steps + 1])
    assert trimmed.env_return == pytest.approx(whole.env_rewards[: first + steps].sum())
    assert (trimmed.success, trimmed.truncated, trimmed.terminated) == (True, True, False)


def test_without_success_or_with_more_steps_than_are_left_an_episode_is_whole():
    assert len(play("creep", stop_after_success=0)) == 40
    assert len(play("walk", stop_after_success=1000)) == 40


def test_success_that_is_spoken_of_only_when_it_comes_is_heard():
    assert play("walk", "Boastful-v0", stop_after_success=0).success
    assert play("creep", "Boastful-v0", stop_after_success=0).success is None


@pytest.mark.parametrize(("size", "shape"), [((80, 60), (60, 80, 3)), ((16, 12), (12, 16, 3)), ((20, 20), (20, 20, 3))])
def test_a_frame_is_kept_of_every_observation(size, shape):
    trajectory = play("walk", frame_size=size)
    assert trajectory.frames.shape == (41, *shape)
    assert trajectory.frames.dtype == np.uint8
    come = trajectory.frames.mean((1, 2, 3)) / 128
    np.testing.assert_allclose(come, np.clip(trajectory.observations[:, 0] / 2, 0, 1), atol=0.02)


@pytest.mark.usefixtures("camera")
def test_mujoco_draws_in_the_size_that_is_asked_for():
    frames = play("walk", "InvertedPendulum-v5", frame_size=(96, 64)).frames
    assert frames.shape[1:] == (64, 96, 3)
    assert frames.std() > 5
    assert (frames[0] != frames[-1]).any()


@pytest.mark.filterwarnings("ignore:.*render_modes")  # Gymnasium says it too, in words for its author
def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(RenderError, match="render_mode"):
        play("walk", LEDGE, frame_size=(8, 8))


def test_says_what_to_install_where_nothing_can_be_drawn(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "no-such-library")
    with pytest.raises(RenderError, match=r"libegl1 and libgl1-mesa-dri .* MUJOCO_GL=egl"):
        play("walk", "InvertedPendulum-v5", frame_size=(8, 8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("without_a_row", r"returned actions of shape \(1,\) for observations of shape \(1, 2\), expected \(1, 1\)"),
        ("too_wide", r"returned actions of shape \(1, 2\)"),
        ("in_newtons", r"returned the action \[3\.5\], expected finite numbers in \[-1, 1\]"),
        ("lost", r"returned the action \[nan\]"),
        ("boundless", r"returned the action \[inf\]"),
        ("silent", "returned a dict, expected an array of actions"),
        ("with_gradients", "returned a Tensor, expected an array of actions.*free of gradients"),
    ],
)
def test_actions_that_are_none_are_refused(name, message):
    with pytest.raises(InputError, match=rf"policy {name}, step 0 of the episode with seed \d+: it {message}"):
        play(name)


def test_rounding_is_forgiven():
    assert (play("barely_beyond", LEDGE).actions == 1).all()


def test_a_policy_may_write_into_what_it_is_shown():
    np.testing.assert_array_equal(play("scribble", LEDGE).observations, play("walk", LEDGE).observations)


def test_a_diverging_simulation_is_named():
    with pytest.raises(InputError, match=r"Exploding-v0 returned a NaN or an infinity at step 10 of the episode"):
        play("walk", "small_envs:Exploding-v0")


@pytest.mark.parametrize(("protocol", "steps"), [("standard", 6), ("fixed-horizon", 40)])
def test_the_protocol_is_kept(protocol, steps):
    def leftwards(observations, ages):
        return -np.ones((1, 1), np.float32)

    with closing(Recorder(LEDGE, protocol, leftwards, "leftwards")) as recorder:
        trajectory = recorder.play(0)
    assert len(trajectory) <= steps
    assert trajectory.terminated == (protocol == "standard")
    assert trajectory.truncated == (protocol == "fixed-horizon")
