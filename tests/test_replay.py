"""Replay keeps what it was given, forgets the oldest, and draws evenly."""

import pytest
import torch

from ilfo.agents import Batch
from ilfo.replay import Replay


def transitions(first: int, count: int) -> Batch:
    """Transitions whose every number is their own index."""
    index = torch.arange(first, first + count, dtype=torch.float32)
    return Batch(index[:, None].repeat(1, 3), index[:, None], index, index[:, None].repeat(1, 3) + 0.5, index % 2)


def held(replay: Replay) -> list[int]:
    return sorted(int(reward) for reward in replay.state_dict()["data"]["rewards"])


def test_rows_of_a_sample_belong_together():
    replay = Replay(100, 3, 1)
    replay.add(transitions(0, 60))
    batch = replay.sample(256)
    assert batch.observations.shape == (256, 3)
    torch.testing.assert_close(batch.observations[:, 0], batch.rewards)
    torch.testing.assert_close(batch.actions[:, 0], batch.rewards)
    torch.testing.assert_close(batch.next_observations[:, 2], batch.rewards + 0.5)
    torch.testing.assert_close(batch.terminated, batch.rewards % 2)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [10], [7, 7], [25], [1] * 23, [3, 10, 2]])
def test_a_full_ring_holds_the_newest(sizes):
    replay, total = Replay(10, 3, 1), 0
    for size in sizes:
        replay.add(transitions(total, size))
        total += size
    assert len(replay) == min(total, 10)
    assert held(replay) == list(range(max(0, total - 10), total))


def test_sampling_is_uniform_over_what_is_filled():
    replay = Replay(1000, 3, 1)
    replay.add(transitions(0, 10))
    counts = torch.bincount(replay.sample(20_000).rewards.long(), minlength=10)
    assert len(counts) == 10
    assert counts.float().div(2000).sub(1).abs().max() < 0.1


def test_an_empty_replay_says_so():
    with pytest.raises(IndexError, match="empty"):
        Replay(10, 3, 1).sample(1)


def test_bytes_are_those_of_the_arrays():
    assert Replay(1000, 11, 3).num_bytes == 1000 * 4 * (11 + 3 + 1 + 11 + 1)


def test_a_restored_replay_draws_the_same(tmp_path):
    replay = Replay(10, 3, 1, seed=3)
    replay.add(transitions(0, 14))
    replay.sample(5)
    torch.save(replay.state_dict(), tmp_path / "replay.pt")
    restored = Replay(10, 3, 1, seed=9)
    restored.load_state_dict(torch.load(tmp_path / "replay.pt", weights_only=True))
    for one in (replay, restored):
        one.add(transitions(14, 3))
    assert torch.equal(replay.sample(64).rewards, restored.sample(64).rewards)
    assert held(replay) == held(restored)
