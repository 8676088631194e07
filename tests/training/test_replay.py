"""Replay keeps what it was given, forgets the oldest, and draws evenly."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilfo._tools.errors import InputError
from ilfo.agents import Batch
from ilfo.training.replay import Replay

COLUMNS = [field.name for field in dataclasses.fields(Batch)]


class Source:
    """Steps whose every number tells them apart, given to a replay and to plain lists of transitions beside it."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.counter = 0
        self.newest: dict[tuple[int, int], float] = {}
        self.given: list[list[tuple[float, ...]]] = [[] for _ in range(replay.members)]

    def observation(self) -> float:
        self.counter += 1
        return float(self.counter)

    def path(self, steps: int, stream: int, member: int, ended: bool) -> list[float]:
        first = self.newest.get((member, stream)) or self.observation()
        path = [first, *(self.observation() for _ in range(steps))]
        self.newest[member, stream] = 0.0 if ended else path[-1]
        return path

    def remember(self, path: list[float], terminated: bool, member: int) -> None:
        for number, (before, after) in enumerate(itertools.pairwise(path), start=2):
            last = number == len(path)
            self.given[member].append((before, before + after, after / 2, after, float(terminated and last)))

    def extend(self, steps: int, terminated: bool, ended: bool, stream: int = 0, member: int = 0) -> None:
        path = self.path(steps, stream, member, ended)
        self.remember(path, terminated, member)
        states = torch.tensor(path)
        wide = torch.stack([states, -states], dim=1)
        before, after = states[:-1], states[1:]
        self.replay.extend(wide, (before + after)[:, None], after / 2, terminated, ended, stream=stream, member=member)

    def append(self, ended: np.ndarray, terminated: np.ndarray) -> None:
        """One step of every stream; both arrays are ``(S, N)``."""
        paths = {index: self.path(1, index[1], index[0], bool(over)) for index, over in np.ndenumerate(ended)}
        for index, path in paths.items():
            self.remember(path, bool(terminated[index]), index[0])
        before, after = torch.tensor(list(paths.values())).T
        self.replay.append(
            torch.stack([before, -before], dim=1),
            (before + after)[:, None],
            after / 2,
            torch.stack([after, -after], dim=1),
            torch.from_numpy(terminated.reshape(-1)),
            ended.reshape(-1),
        )

    def check(self) -> None:
        """What the replay holds are the newest of what it was given, whole and in order."""
        for member, size in enumerate(self.replay.sizes):
            held, expected = rows(self.replay.contents(member)), self.given[member][-size:] if size else []
            assert held == expected


def rows(batch: Batch) -> list[tuple[float, ...]]:
    for values in (batch.observations, batch.next_observations):
        assert torch.equal(values[..., 0], -values[..., 1])
    first, last = batch.observations[:, 0], batch.next_observations[:, 0]
    columns = (first, batch.actions[:, 0], batch.rewards, last, batch.terminated)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def filled(episodes: list[int], capacity: int = 10, **options: object) -> Source:
    source = Source(Replay(capacity, 2, 1, **options))  # type: ignore[arg-type]
    for number, steps in enumerate(episodes):
        source.extend(steps, terminated=number % 2 == 0, ended=True)
    return source


@pytest.mark.parametrize("episodes", [[4, 4, 4], [10], [7, 7], [25], [1] * 23, [3, 10, 2], [40, 1, 11]])
def test_a_full_ring_holds_the_newest(episodes):
    source = filled(episodes)
    assert len(source.replay) == min(sum(episodes), 10)
    source.check()


@pytest.mark.parametrize("chunks", [[1] * 37, [3, 1, 5, 8, 2], [30, 3], [2, 40, 1]])
def test_an_episode_may_come_in_pieces(chunks):
    source = Source(Replay(12, 2, 1))
    for number, steps in enumerate(chunks, start=1):
        source.extend(steps, terminated=number == len(chunks), ended=number == len(chunks))
        source.check()
    assert len(source.replay) == min(sum(chunks), 12)


STEPS = st.tuples(
    st.integers(1, 9), st.sampled_from(["open", "terminated", "truncated"]), st.integers(0, 2), st.integers(0, 1)
)
EVERY_STREAM = st.lists(st.sampled_from(["open", "terminated", "truncated"]), min_size=6, max_size=6)


@settings(deadline=None)
@given(st.integers(3, 12), st.integers(0, 12), st.lists(st.one_of(STEPS, EVERY_STREAM), max_size=60))
def test_like_a_list_of_transitions(capacity, spare, commands):
    """Three streams of two seeds, a step of all or some of one at a time, with rows to spare or without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ilfo.training.replay.SPARE_ROWS", spare)
        source = Source(Replay(capacity, 2, 1, seed=[0, 1], streams=3))
    for command in commands:
        if isinstance(command, tuple):
            steps, end, stream, member = command
            source.extend(steps, end == "terminated", end != "open", stream, member)
        else:
            ends = np.array(command).reshape(2, 3)
            source.append(ends != "open", ends == "terminated")
        source.check()
    for given_steps, size in zip(source.given, source.replay.sizes, strict=True):
        # A step takes two rows at most, and rows to spare for each of the capacity's let nothing go before its time.
        least = capacity if spare >= capacity else (capacity + spare) // 2
        assert min(len(given_steps), least) <= size <= min(len(given_steps), capacity)


def test_nothing_is_lost_of_streams_that_step_in_turn():
    source = Source(Replay(5000, 2, 1, streams=50))
    generator = np.random.default_rng(0)
    for _ in range(250):
        for stream in range(50):
            end = generator.random()
            source.extend(1, end < 0.02, end < 0.04, stream)
    assert len(source.replay) == 5000
    source.check()


def test_episodes_of_one_step_leave_half_of_a_large_ring():
    source = Source(Replay(60_000, 2, 1, streams=2000))
    over = np.ones((1, 2000), bool)
    for _ in range(80):
        source.append(over, over)
    assert (60_000 + 16_384) // 2 <= len(source.replay) < 60_000
    source.check()


def test_a_step_of_all_streams_is_a_step_of_each_in_turn():
    together, in_turn = (Source(Replay(64, 2, 1, seed=[3, 4], streams=4)) for _ in range(2))
    generator = np.random.default_rng(1)
    for _ in range(50):
        ended = generator.random((2, 4)) < 0.2
        terminated = ended & (generator.random((2, 4)) < 0.5)
        together.append(ended, terminated)
        for (member, stream), over in np.ndenumerate(ended):
            in_turn.extend(1, bool(terminated[member, stream]), bool(over), stream, member)
    for member in range(2):
        assert rows(together.replay.contents(member)) == rows(in_turn.replay.contents(member))
    assert torch.equal(together.replay.sample(32).rewards, in_turn.replay.sample(32).rewards)


def test_an_observation_is_stored_once():
    source = Source(Replay(100, 2, 1))
    for _ in range(30):
        source.extend(1, terminated=False, ended=False)
    assert len(source.replay.state_dicts()[0]["arrays"]["observations"]) == 31


def test_sampling_is_uniform_over_what_is_held():
    source = filled([1, 2, 30, 4, 3, 3], capacity=20)
    rewards = source.replay.contents().rewards
    drawn = source.replay.sample(40_000).rewards
    counts = (drawn[:, None] == rewards).sum(dim=0)
    assert counts.sum() == 40_000
    assert counts.float().div(2000).sub(1).abs().max() < 0.1


def test_what_is_sampled_is_held():
    source = filled([5, 7, 4, 9], capacity=16)
    assert set(rows(source.replay.sample(256))) == set(source.given[0][-16:])


def test_seeds_draw_what_they_would_draw_alone():
    many = Source(Replay(20, 2, 1, seed=[5, 6, 7]))
    alone = [Source(Replay(20, 2, 1, seed=seed)) for seed in (5, 6, 7)]
    for member, source in enumerate(alone):
        for steps in range(1, 9 + member):
            source.counter = many.counter
            many.extend(steps, terminated=True, ended=True, member=member)
            source.extend(steps, terminated=True, ended=True)
    for _ in range(3):
        together = many.replay.sample(64)
        separate = [source.replay.sample(64) for source in alone]
        for name in COLUMNS:
            assert torch.equal(getattr(together, name), torch.stack([getattr(one, name) for one in separate]))
    assert together.observations.shape == (3, 64, 2)
    assert together.actions.shape == (3, 64, 1)
    assert together.terminated.dtype == torch.float32


def test_a_list_of_one_seed_still_has_its_dimension():
    source = filled([9], seed=[1])
    assert source.replay.sample(4).observations.shape == (1, 4, 2)


@pytest.mark.parametrize("seeds", [0, [0, 1]])
def test_an_empty_replay_says_so(seeds):
    replay = Replay(10, 2, 1, seed=seeds)
    if replay.members > 1:
        Source(replay).extend(3, terminated=True, ended=True)
    assert len(replay) == 0
    with pytest.raises(IndexError, match="empty"):
        replay.sample(1)


def test_the_size_is_that_of_the_fewest():
    source = Source(Replay(10, 2, 1, seed=[0, 1]))
    source.extend(7, terminated=True, ended=True, member=0)
    source.extend(4, terminated=True, ended=True, member=1)
    assert source.replay.sizes == [7, 4]
    assert len(source.replay) == 4


def test_bytes_are_little_more_than_one_copy_of_everything():
    replay = Replay(1_000_000, 11, 3)
    single = 1_000_000 * 4 * (11 + 3 + 1 + 1)
    assert single < replay.num_bytes < 1.1 * single


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_the_memory_is_there_from_the_start():
    code = """
import resource
from pathlib import Path
from ilfo.training.replay import Replay
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
Replay(10, 11, 3)
before = resident()
replay = Replay(500_000, 11, 3)
print((resident() - before) / replay.num_bytes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert 0.95 < float(done.stdout) < 1.05


@pytest.mark.parametrize(("seed", "advice"), [(0, "lower --replay-size"), ([0, 1], "train fewer seeds at once")])
def test_too_little_memory_is_an_error_at_the_start(seed, advice):
    with pytest.raises(InputError, match=rf"wants [\d,]{{20,}} bytes on cpu .*{advice}"):
        Replay(10**15, 11, 3, seed=seed)


def test_more_streams_than_room_is_an_error():
    with pytest.raises(InputError, match=r"11 environments .* 10 transitions.*--num-envs"):
        Replay(10, 2, 1, streams=11)


@pytest.mark.parametrize(("observations", "actions", "rewards"), [(4, 4, 4), (5, 4, 3), (1, 0, 0)])
def test_lengths_that_do_not_fit_are_an_error(observations, actions, rewards):
    with pytest.raises(InputError, match=f"{observations} observations, {actions} actions and {rewards} rewards"):
        Replay(10, 2, 1).extend(
            torch.zeros(observations, 2), torch.zeros(actions, 1), torch.zeros(rewards), True, ended=True
        )


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("steps", [9, 14, 41])
def test_a_restored_replay_goes_on_the_same(tmp_path, steps, members):
    source = Source(Replay(20, 2, 1, seed=list(range(members)), streams=2))
    for number in range(steps):
        for member in range(members):
            source.extend(1, number % 5 == 0, number % 5 == 0, number % 2, member)
    source.replay.sample(5)
    torch.save(source.replay.state_dicts(), tmp_path / "replay.pt")
    restored = Replay(20, 2, 1, seed=[9] * members, streams=2)
    restored.load_state_dicts(torch.load(tmp_path / "replay.pt", weights_only=True))
    again = Source(restored)
    again.given, again.newest = [list(given) for given in source.given], dict(source.newest)
    again.counter = source.counter
    for _ in range(3):
        for one in (source, again):
            one.extend(7, terminated=False, ended=False, stream=1, member=members - 1)
            one.check()
        assert torch.equal(source.replay.sample(64).rewards, restored.sample(64).rewards)


def test_a_checkpoint_is_as_large_as_what_is_in_it(tmp_path):
    replay = Replay(100_000, 11, 3, seed=[0, 1])
    for member in range(2):
        replay.extend(torch.zeros(101, 11), torch.zeros(100, 3), torch.zeros(100), True, True, member=member)
    torch.save(replay.state_dicts(), tmp_path / "replay.pt")
    generators = sum(state["generator"].nbytes for state in replay.state_dicts())
    assert (tmp_path / "replay.pt").stat().st_size < 2 * 100 * 4 * (11 + 3 + 1 + 1 + 2) + generators + 8000


def test_a_checkpoint_copies_nothing():
    replay = Replay(50, 2, 1)
    Source(replay).extend(20, terminated=True, ended=True)
    saved = replay.state_dicts()[0]["arrays"]["rewards"]
    assert saved.untyped_storage().nbytes() == 20 * 4
    Source(replay).extend(40, terminated=True, ended=True)
    assert torch.equal(saved, replay.state_dicts()[0]["arrays"]["rewards"][:20])


@pytest.mark.parametrize(
    ("other", "episodes"),
    [({"capacity": 15}, [5]), ({"capacity": 30}, [15, 10]), ({"streams": 2}, [5]), ({"seed": [0, 1]}, [5])],
    ids=["smaller", "larger, and it was full", "streams", "seeds"],
)
def test_the_state_of_another_replay_is_refused(other, episodes):
    options = {"capacity": 20, "streams": 1, "seed": [0]} | other
    replay = Replay(options.pop("capacity"), 2, 1, **options)
    with pytest.raises(InputError, match=r"saved replay has 1 seed\(s\), 1 stream\(s\) and a capacity of 20"):
        replay.load_state_dicts(filled(episodes, capacity=20).replay.state_dicts())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_holds_and_draws_the_same_without_being_waited_for():
    here, there = (Source(Replay(50, 2, 1, seed=[0, 1], streams=2, device=device)) for device in ("cpu", "cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for source in (here, there):
            for number in range(60):
                source.append(np.full((2, 2), number % 9 == 0), np.full((2, 2), number % 18 == 0))
            source.extend(30, terminated=True, ended=True, stream=1, member=1)
        drawn = there.replay.sample(32)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    there.check()
    assert rows(here.replay.contents(1)) == rows(there.replay.contents(1))
    torch.testing.assert_close(here.replay.sample(32).rewards, drawn.rewards.cpu(), rtol=0, atol=0)
