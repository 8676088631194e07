"""Priorities decide how often a transition is drawn, and nothing else does."""

import numpy as np
import pytest
import torch

from ilfo.training.priorities import Priorities
from ilfo.training.replay import Replay


def filled(steps: int, *, seed=0, capacity: int = 64, refresh: int = 3) -> Replay:
    """A replay of one-step transitions that are numbered by their action, and by their reward."""
    replay = Replay(capacity, 1, 1, seed=seed, refresh_priorities_every=refresh)
    for member in range(replay.members):
        add(replay, 0, steps, member)
    return replay


def add(replay: Replay, start: int, stop: int, member: int = 0) -> None:
    numbers = torch.arange(start, stop, dtype=torch.float32)
    replay.extend(torch.zeros(len(numbers) + 1, 1), numbers[:, None], numbers, False, ended=True, member=member)


def frequencies(replay: Replay, count: int, member: int | None = None) -> np.ndarray:
    drawn = replay.sample(20_000, member).rewards.long()
    return np.bincount(drawn.numpy(), minlength=count) / 20_000


def test_what_is_new_is_drawn_uniformly():
    assert frequencies(filled(8), 8) == pytest.approx(np.full(8, 1 / 8), abs=0.01)


def test_transitions_are_drawn_in_proportion_to_their_priorities():
    replay = filled(8)
    drawn = replay.sample(400).rewards
    assert set(drawn.tolist()) == set(range(8)), "every one was drawn, and gets its priority"
    replay.update_priorities(drawn + 1)
    expected = np.arange(1, 9) / np.arange(1, 9).sum()
    assert frequencies(replay, 8) == pytest.approx(expected, abs=0.015)


def test_what_enters_has_the_largest_priority_seen():
    replay = filled(4)
    replay.update_priorities(torch.where(replay.sample(100).rewards == 2, 5.0, 1.0))
    add(replay, 4, 5)
    assert frequencies(replay, 5) == pytest.approx(np.array([1, 1, 5, 1, 5]) / 13, abs=0.015)


def test_the_largest_priority_is_measured_anew_every_so_many_updates():
    replay = filled(4, refresh=3)
    for largest in (9.0, 2.0, 2.0):
        batch = replay.sample(100)
        replay.update_priorities(torch.full_like(batch.rewards, largest))
    add(replay, 4, 5)
    assert frequencies(replay, 5) == pytest.approx(np.full(5, 1 / 5), abs=0.015), "9 is forgotten, all are 2"


def test_what_was_let_go_of_is_not_drawn():
    replay = Replay(4, 1, 1, refresh_priorities_every=10)
    add(replay, 0, 4)
    replay.update_priorities(torch.full_like(replay.sample(100).rewards, 3.0))
    add(replay, 4, 6)
    expected = [0, 0, *[1 / 4] * 4]
    assert frequencies(replay, 6) == pytest.approx(expected, abs=0.02)


def test_what_gives_way_because_rows_run_out_is_not_drawn_either(monkeypatch):
    monkeypatch.setattr("ilfo.training.replay.SPARE_ROWS", 0)
    replay = Replay(64, 1, 1, refresh_priorities_every=10)
    for number in range(200):  # one step an episode takes two rows
        add(replay, number, number + 1)
    assert len(replay) < 64
    assert replay.sample(5000).rewards.min() >= 200 - len(replay)


def test_each_seed_draws_as_it_would_alone_whoever_else_is_there():
    together, alone = filled(8, seed=[5, 7]), filled(8, seed=7)
    for _ in range(4):
        batch, own = together.sample(32), alone.sample(32)
        assert torch.equal(batch.rewards[1], own.rewards)
        together.update_priorities(batch.rewards + 1)
        alone.update_priorities(own.rewards + 1)
    assert torch.equal(together.sample(32, member=1).rewards, alone.sample(32).rewards)


def test_one_seed_is_updated_and_the_other_left_alone():
    replay = filled(8, seed=[5, 7])
    drawn = replay.sample(400, member=1)
    assert drawn.rewards.shape == (400,)
    replay.update_priorities(drawn.rewards + 1)
    assert frequencies(replay, 8, member=0) == pytest.approx(np.full(8, 1 / 8), abs=0.01)
    assert frequencies(replay, 8, member=1)[7] == pytest.approx(8 / 36, abs=0.015)


def test_a_restored_replay_draws_what_the_first_would_have():
    first = filled(8)
    first.update_priorities(first.sample(64).rewards + 1)
    second = Replay(64, 1, 1, seed=1, refresh_priorities_every=3)
    second.load_state_dicts(first.state_dicts())
    for _ in range(4):
        batch, again = first.sample(16), second.sample(16)
        assert torch.equal(batch.rewards, again.rewards)
        for replay in (first, second):
            replay.update_priorities(2 * batch.rewards + 1)
        add(first, 8, 10)
        add(second, 8, 10)


def test_priorities_are_asked_for_before_they_are_given():
    with pytest.raises(RuntimeError, match="sample first"):
        filled(3).update_priorities(torch.ones(3))
    with pytest.raises(RuntimeError, match="from a replay that keeps them"):
        Replay(8, 1, 1).update_priorities(torch.ones(3))


def test_a_million_places_are_summed_exactly_enough():
    priorities = Priorities(1, 1_000_000, refresh_every=250)
    priorities.enter(torch.arange(1_000_000))
    uniform = torch.tensor([[0.0, 0.5, 0.999_999_4, 1 - 2**-53]], dtype=torch.float64)
    assert priorities.draw([0], 1_000_000, uniform).tolist() == [[0, 500_000, 999_999, 999_999]]
