"""Frames of another array by their numbers: what that array gives, and no more of it than is looked at."""

import tracemalloc

import h5py
import numpy as np
import pytest

from ilfo import demos
from ilfo.demos import Demonstrations, Trajectory, held, shuffled
from ilfo.demos.chosen_frames import ChosenFrames
from ilfo.demos.stored_frames import StoredFrames

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
HELD, SHUFFLED = [0, 1, 2, 3, 4, 5, 5, 5, 5], [4, 1, 5, 0, 3, 2]


@pytest.fixture(params=["memory", "file"])
def frames(request, tmp_path):
    if request.param == "memory":
        return PICTURES
    with h5py.File(tmp_path / "film.hdf5", "w") as file:
        file["frames"] = PICTURES
    with h5py.File(tmp_path / "film.hdf5") as file:
        return StoredFrames(file["frames"])


@pytest.mark.parametrize("numbers", [HELD, SHUFFLED])
@pytest.mark.parametrize(
    "index",
    [
        *(0, -1, np.int64(3), slice(2, 4), slice(4, None), slice(-2, None), slice(0, 9, 3), slice(None, None, -1)),
        *(slice(3, 3), [4, 1, 1], (slice(None), 0, 0), slice(None)),
    ],
)
def test_any_index_gives_what_it_gives_of_the_array(frames, numbers, index):
    whole = PICTURES[numbers]
    chosen = ChosenFrames(frames, np.array(numbers))
    found = chosen[index]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, whole[index])
    assert (chosen.shape, chosen.ndim, chosen.size, len(chosen)) == (whole.shape, 4, whole.size, len(whole))
    np.testing.assert_array_equal(np.stack(list(chosen)), whole)
    with pytest.raises(IndexError):
        chosen[len(whole)]


def test_a_copy_that_is_asked_for_is_one():
    frames = PICTURES.copy()
    chosen = ChosenFrames(frames, np.arange(3))
    assert np.shares_memory(np.asarray(chosen), frames)
    assert not np.shares_memory(np.array(chosen), frames)


@pytest.mark.parametrize("changed", [lambda one: held(Demonstrations((one,)), 400)[0], shuffled])
def test_a_film_is_neither_read_nor_copied_to_be_held_or_shuffled(tmp_path, changed):
    """Of 12 MB of frames."""
    film = Trajectory(np.zeros((300, 1), np.float32), frames=np.zeros((300, 96, 144, 3), np.uint8))
    (one,) = demos.open(demos.write(tmp_path / "film.hdf5", Demonstrations((film,))), frames=True)
    tracemalloc.start()
    try:
        frames = changed(one).frames
        for start in range(0, len(frames), 10):
            frames[start : start + 10]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(frames) >= 300
    assert peak < 3e6


def test_one_that_is_held_is_written_and_read_like_any_other(tmp_path):
    expert = Demonstrations((Trajectory(np.zeros((6, 2), np.float32), frames=PICTURES),))
    read = demos.open(demos.write(tmp_path / "held.hdf5", held(expert, 8)), frames=True)
    np.testing.assert_array_equal(read[0].frames, PICTURES[HELD])
    assert read.sha256 == held(expert, 8).sha256
