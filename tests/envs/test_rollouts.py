"""Which episodes are played, and where."""

from contextlib import closing

import numpy as np
import pytest
from small_envs import LEDGE
from small_episodes import leftwards, same

from ilfo.envs import Stage, rollout


def test_a_rollout_depends_on_its_seed_alone():
    once, again, other = (rollout(leftwards, LEDGE, 3, seed=seed) for seed in (1, 1, 2))
    assert all(same(a, b) for a, b in zip(once, again, strict=True))
    assert not any(same(a, b) for a, b in zip(once, other, strict=True))


def test_copies_play_their_episodes_in_turn():
    played = rollout(leftwards, LEDGE, 13, seed=4)
    expected = [np.random.SeedSequence(4, spawn_key=(i % 10, i // 10)).generate_state(1)[0] for i in range(13)]
    assert [episode.seed for episode in played] == expected
    assert rollout(leftwards, LEDGE, 0) == []


def test_the_rows_of_a_policy_are_the_copies_of_one_seed_after_the_other():
    shapes, seen = set(), []

    def policy(observations, ages):
        shapes.add(observations.shape)
        seen.append(observations[0].copy())
        return leftwards(observations)

    with closing(Stage(LEDGE, "standard", (8, 9))) as stage:
        first, _ = stage.play(policy, 5)
    assert shapes == {(10, 2)}
    np.testing.assert_array_equal(seen[0], first[0].observations[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stage_plays_the_episodes_of_each_seed_alone_however_often_and_however_many(workers):
    with closing(Stage(LEDGE, "standard", (5, 6, 7), workers)) as stage:
        for episodes in (3, 12, 3):
            for seed, found in zip((5, 6, 7), stage.play(leftwards, episodes), strict=True):
                expected = rollout(leftwards, LEDGE, episodes, seed=seed)
                assert len(found) == episodes
                assert all(same(a, b) for a, b in zip(expected, found, strict=True))


def test_a_stage_begins_anew_after_a_policy_failed():
    def failing(observations, ages):
        if ages[0] == 2:
            raise RuntimeError("out of ideas")
        return leftwards(observations)

    with closing(Stage(LEDGE, "standard", (5,))) as stage:
        with pytest.raises(RuntimeError, match="out of ideas"):
            stage.play(failing, 3)
        (found,) = stage.play(leftwards, 3)
    assert all(same(a, b) for a, b in zip(rollout(leftwards, LEDGE, 3, seed=5), found, strict=True))
