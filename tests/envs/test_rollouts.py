"""Which episodes are played, and where."""

from contextlib import closing

import numpy as np
import pytest
from small_envs import LEDGE
from small_episodes import leftwards, same

from ilfo._tools.errors import InputError
from ilfo.envs import Environments, Stage, rollout

HOPPER = "Hopper-v5"


def test_a_rollout_depends_on_its_seed_alone():
    def lengths(num_envs, seed):
        return [len(t) for t in rollout(leftwards, LEDGE, 7, seed=seed, num_envs=num_envs)]

    assert lengths(3, 1) == lengths(3, 1)
    assert len(lengths(3, 1)) == 7
    seeds = {t.seed for t in rollout(leftwards, LEDGE, 7, num_envs=3)}
    assert len(seeds) == 7


def test_copies_play_their_episodes_in_turn():
    played = rollout(leftwards, LEDGE, 7, seed=4, num_envs=3)
    expected = [np.random.SeedSequence(4, spawn_key=(i % 3, i // 3)).generate_state(1)[0] for i in range(7)]
    assert [episode.seed for episode in played] == expected
    assert rollout(leftwards, LEDGE, 0) == []


def test_rollouts_of_several_seeds_are_those_of_each():
    shapes = set()

    def policy(observations, ages):
        shapes.add(observations.shape)
        return leftwards(observations)

    together = rollout(policy, LEDGE, 5, seed=[8, 9], num_envs=3)
    assert shapes == {(6, 2)}
    for seed, played in zip((8, 9), together, strict=True):
        alone = rollout(leftwards, LEDGE, 5, seed=seed, num_envs=3)
        assert all(same(a, b) for a, b in zip(alone, played, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_environments_that_are_given_are_played_in_from_the_start(workers):
    with closing(Environments(LEDGE, 2, seed=[5, 6, 7], workers=workers)) as given:
        for _ in range(13):
            given.step(leftwards(given.observations))
        for _ in range(2):
            played = rollout(leftwards, LEDGE, 3, seed=[5, 6, 7], num_envs=2, environments=given)
            expected = rollout(leftwards, LEDGE, 3, seed=[5, 6, 7], num_envs=2)
            assert all(same(a, b) for x, y in zip(expected, played, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize(
    "other", [{"env_id": HOPPER}, {"protocol": "fixed-horizon"}, {"seed": 6}, {"num_envs": 3}, {"episodes": 1}]
)
def test_other_environments_than_are_described_are_refused(other):
    described = {"env_id": LEDGE, "episodes": 4, "seed": 5, "num_envs": 2} | other
    with pytest.raises(InputError, match="make others"):
        rollout(leftwards, **described, environments=Environments(LEDGE, 2, seed=5))


def test_a_stage_plays_the_same_episodes_each_time_however_many_are_asked_for():
    with closing(Stage(LEDGE, "standard", (5, 6))) as stage:
        for episodes in (3, 12, 3):
            found = stage.play(leftwards, episodes)
            expected = rollout(leftwards, LEDGE, episodes, seed=(5, 6))
            assert [len(played) for played in found] == [episodes, episodes]
            assert all(same(a, b) for x, y in zip(expected, found, strict=True) for a, b in zip(x, y, strict=True))
