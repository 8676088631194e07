"""Frames that are read as they are looked at."""

import hashlib
import os
import tracemalloc

import h5py
import numpy as np
import pytest

from ilfo import demos
from ilfo._tools import pieces
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory

PICTURES = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path):
    film = Trajectory(np.zeros((7, 2), np.float32), frames=PICTURES)
    return demos.write(tmp_path / "film.hdf5", Demonstrations((film,)))


@pytest.fixture
def frames(path):
    return demos.open(path, frames=True)[0].frames


@pytest.mark.parametrize(
    "index",
    [0, -1, np.int64(3), slice(2, 5), slice(None), slice(-2, None), slice(0, 7, 3), [4, 1, 1], np.arange(7) > 4],
)
def test_any_index_gives_what_it_gives_of_the_array(frames, index):
    np.testing.assert_array_equal(frames[index], PICTURES[index])


def test_it_looks_like_an_array(frames):
    assert (frames.shape, frames.dtype, frames.ndim, frames.size, len(frames)) == ((7, 4, 6, 3), np.uint8, 4, 504, 7)
    np.testing.assert_array_equal(np.asarray(frames), PICTURES)
    np.testing.assert_array_equal(np.stack(list(frames)), PICTURES)
    with pytest.raises(IndexError):
        frames[7]


def test_a_copy_of_all_takes_no_more_than_one(tmp_path):
    """Of 4 MB of frames."""
    film = Trajectory(np.zeros((100, 2), np.float32), frames=np.zeros((100, 96, 144, 3), np.uint8))
    (one,) = demos.open(demos.write(tmp_path / "film.hdf5", Demonstrations((film,))), frames=True)
    tracemalloc.start()
    try:
        whole = np.array(one.frames)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert whole.flags.writeable
    assert peak < 1.5 * whole.nbytes


def test_only_what_is_looked_at_is_read(path, frames):
    """One frame of the file is overwritten with rubbish; the others can still be read, and it cannot."""
    with h5py.File(path) as file:
        chunk = file["episode_0/frames"].id.get_chunk_info(5)
    written = path.stat()
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(bytes(chunk.size))
    # As a failing disk does it: the file does not look as if somebody had written to it.
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    np.testing.assert_array_equal(frames[:5], PICTURES[:5])
    with pytest.raises(InputError, match=r"'/episode_0/frames': cannot be read: .* truncated or damaged"):
        frames[5]


def test_a_file_that_is_gone_or_another_is_an_error(path, frames):
    like_it = Trajectory(np.zeros((7, 2), np.float32), frames=255 - PICTURES)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        frames[0]
    demos.write(path, Demonstrations((like_it,)))
    with pytest.raises(InputError, match="another file is there now, or it was written to"):
        frames[0]


def test_a_file_that_was_written_to_is_an_error(path, frames):
    with h5py.File(path, "r+") as file:
        file["episode_0/frames"][0] = 255 - PICTURES[0]
    with pytest.raises(InputError, match="another file is there now, or it was written to"):
        frames[:2]


def test_they_are_written_again_as_they_are(path, tmp_path):
    read = demos.open(path, frames=True)
    copy = demos.write(tmp_path / "copy.hdf5", read)
    np.testing.assert_array_equal(demos.open(copy, frames=True)[0].frames, PICTURES)
    assert demos.open(copy, frames=True).sha256 == read.sha256


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A file of 97 MB of frames, of which 36 are a piece."""
    film = Trajectory(np.zeros((105, 0), np.float32), frames=np.zeros((105, 480, 640, 3), np.uint8))
    return demos.write(tmp_path_factory.mktemp("long") / "film.hdf5", Demonstrations((film,)))


@pytest.mark.parametrize("copied", [False, True])
def test_frames_of_a_file_are_never_in_memory_together(long, tmp_path, copied):
    tracemalloc.start()
    try:
        read = demos.open(long, frames=True)
        if copied:
            demos.write(tmp_path / "copy.hdf5", read)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * pieces.PIECE_BYTES


def test_the_sha256_is_that_of_whole_arrays(long):
    expected = hashlib.sha256(b"observations(105, 0)frames(105, 480, 640, 3)")
    expected.update(bytes(105 * 480 * 640 * 3))
    expected.update(b"FalseTrueNone")
    assert demos.open(long, frames=True).sha256 == expected.hexdigest()


@pytest.mark.parametrize("piece_bytes", [1, 150, 300])
def test_the_file_and_its_sha256_are_the_same_whatever_the_pieces(path, tmp_path, monkeypatch, piece_bytes):
    """A frame has 72 bytes: pieces of one, two and four frames, and one of all."""
    read = demos.open(path, frames=True)
    whole = read.sha256
    monkeypatch.setattr(pieces, "PIECE_BYTES", piece_bytes)
    assert read.sha256 == whole
    copy = demos.write(tmp_path / "copy.hdf5", read)
    assert copy.read_bytes() == path.read_bytes()
    with h5py.File(copy) as file:
        assert file["episode_0/frames"].chunks == (1, 4, 6, 3)
        assert file.attrs["sha256_with_frames"] == whole
