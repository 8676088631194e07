"""Pieces of long arrays: all of it once, as much at a time as fits."""

import numpy as np
import pytest

from ilfo._tools.pieces import PIECE_BYTES, pieces_of


def pieces(shape, dtype=np.uint8, multiple=1):
    array = np.broadcast_to(np.zeros((), dtype), shape)
    found = list(pieces_of(array, multiple))
    assert [index for piece in found for index in range(piece.start, piece.stop)] == list(range(len(array)))
    return [piece.stop - piece.start for piece in found]


def test_a_piece_is_as_many_frames_as_fit():
    assert pieces((100, 480, 640, 3)) == [36, 36, 28]
    assert 36 * 480 * 640 * 3 <= PIECE_BYTES < 37 * 480 * 640 * 3
    assert pieces((100, 64, 64, 3)) == [100]


def test_a_row_that_is_larger_is_a_piece():
    assert pieces((3, 4096, 4096, 3)) == [1, 1, 1]


def test_bytes_count_and_not_numbers():
    assert pieces((40, 2**20), np.float32) == [8] * 5
    assert pieces((40, 2**20), np.float64) == [4] * 10


@pytest.mark.parametrize("shape", [(5, 0), (5,), (0, 3)])
def test_rows_of_hardly_anything_are_one_piece(shape):
    assert pieces(shape, np.float32) == [shape[0]] * (shape[0] > 0)


def test_rows_of_a_chunk_stay_together(monkeypatch):
    monkeypatch.setattr("ilfo._tools.pieces.PIECE_BYTES", 100)
    assert pieces((10, 10), multiple=4) == [8, 2]
    assert pieces((10, 10), multiple=3) == [9, 1]
    assert pieces((90, 10), multiple=40) == [40, 40, 10]
