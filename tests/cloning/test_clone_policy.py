from dataclasses import replace

import numpy as np
import pytest
import torch
from small_clones import MIRRORED, OPTIONS, SQUARE, error, expert

from ilfo._tools.seeds import seeded
from ilfo.cloning import EYES, ClonedPolicy, Samples, fit_network, play, play_each
from ilfo.cloning.policy import COPIES
from ilfo.envs import random_policy, rollout


@pytest.fixture(scope="module")
def clones(squares):
    """A policy of each kind, on the first six episodes."""
    made = {}
    for sees, kind in EYES.items():
        eye = kind(OPTIONS.get(sees))
        size = (32, 32) if eye.takes_frames else None
        policy = ClonedPolicy(sees, eye, [], action_dim=1, hidden_dim=32, frame_size=size)
        samples = Samples.of(squares[:6].trajectories, eye.study(squares[:6]), [])
        with seeded(0):
            fit_network(policy.make_network(), samples, None, epochs=60, batch_size=32, learning_rate=2e-3)
        made[sees] = policy
    return made


def alike(some, others):
    fields = ("observations", "actions", "env_rewards")
    return all(
        np.array_equal(getattr(one, field), getattr(other, field))
        for one, other in zip(some, others, strict=True)
        for field in fields
    )


@pytest.mark.parametrize("sees", EYES)
def test_imitates_far_better_than_a_random_policy(clones, sees):
    at_random = error(rollout(random_policy(1, seed=0), SQUARE, 4))
    assert at_random > 0.3
    assert error(play(clones[sees], SQUARE, 4)) < 0.1 * at_random


def test_plays_the_episodes_that_a_rollout_plays(clones):
    policy, count = clones["states"], COPIES + 3
    played = play(policy, SQUARE, count, seed=3)
    expected = rollout(lambda states, ages: policy.act(states, None, ages), SQUARE, count, seed=3)
    assert [each.seed for each in played] == [each.seed for each in expected]
    # Networks round a batch in which copies rest like any other.
    np.testing.assert_allclose(*[[each.observations for each in some] for some in (played, expected)], atol=1e-5)


def test_the_next_episode_of_a_copy_is_a_new_one():
    class Noting:
        frame_size, ages = None, []

        def act(self, observations, frames, ages):
            self.ages.append(ages.copy())
            return np.zeros((len(ages), 1), np.float32)

    policy = Noting()
    play(policy, SQUARE, COPIES + 1)
    assert np.array(policy.ages)[:, 0].tolist() == [*range(20), *range(20)]


def test_an_episode_in_each_environment_begins_as_that_copys_first(clones):
    count = COPIES + 2
    some, others = (play_each(clones["states"], [env_id] * count, seed=3) for env_id in (SQUARE, MIRRORED))
    assert alike(some, others), "only the picture differs, and it is not looked at"
    assert len({each.seed for each in some}) == count
    assert [each.seed for each in some[:COPIES]] == [
        each.seed for each in play(clones["states"], SQUARE, COPIES, seed=3)
    ]


@pytest.mark.parametrize("sees", ["keypoints", "pixels"])
def test_pictures_alone_decide_for_who_sees_frames(clones, sees):
    there, mirrored = (play(clones[sees], env_id, 2) for env_id in (SQUARE, MIRRORED))
    assert np.array_equal(there[0].observations[0], mirrored[0].observations[0])
    assert not alike(there, mirrored)
    assert all(each.frames is None for each in there)


def test_keypoints_are_followed_step_by_step_as_through_whole_episodes(clones, squares):
    eye, episodes = (
        clones["keypoints"].eye,
        [squares[0], replace(squares[1], frames=squares[1].frames[:12])],
    )
    whole = [eye.features(each.frames) for each in episodes]
    # The second row begins anew after its last frame: by the first one's frames.
    second = np.concatenate([episodes[1].frames, squares[0].frames[:9]])
    ages = np.stack([np.arange(21), np.r_[np.arange(12), np.arange(9)]], axis=1)
    rows = zip(episodes[0].frames, second, ages, strict=True)
    seen = np.array([eye.look(np.zeros((2, 2)), np.stack([one, other]), age) for one, other, age in rows])
    np.testing.assert_allclose(seen[:, 0], whole[0], atol=1e-5)
    np.testing.assert_allclose(seen[:12, 1], whole[1], atol=1e-5)
    np.testing.assert_allclose(seen[12:, 1], whole[0][:9], atol=1e-5)


@pytest.mark.parametrize("sees", EYES)
def test_comes_back_from_what_was_saved(clones, sees, tmp_path):
    torch.save(clones[sees].state_dict(), tmp_path / "policy.pt")
    state = torch.load(tmp_path / "policy.pt", weights_only=True)
    restored = ClonedPolicy.from_state_dict(state)
    assert restored.frame_size == clones[sees].frame_size
    assert alike(play(restored, SQUARE, 2), play(clones[sees], SQUARE, 2))


def test_columns_of_the_state_stand_beside_what_is_seen(squares):
    eye = EYES["pixels"](OPTIONS["pixels"])
    policy = ClonedPolicy("pixels", eye, [0], action_dim=1, hidden_dim=32, frame_size=(32, 32))
    dark = [np.zeros_like(each) for each in eye.study(squares)]
    samples = Samples.of(list(squares), dark, policy.own)
    with seeded(0):
        fit_network(policy.make_network(), samples, None, epochs=60, batch_size=32, learning_rate=2e-3)
    states = squares[0].observations[:-1]
    acted = policy.act(states, np.zeros((20, 32, 32, 3), np.uint8), np.arange(20))
    assert np.abs(acted - expert(states)).mean() < 0.1
    other = np.stack([states[:, 0], states[:, 1] + 9], axis=1)
    np.testing.assert_array_equal(policy.act(other, np.zeros((20, 32, 32, 3), np.uint8), np.arange(20)), acted)
