import tracemalloc

import numpy as np
import pytest
from small_vits import noise

from ilfo._tools.errors import InputError
from ilfo.vision.reel import Reel

FILMS = [noise(count, 8, 8, seed=count) for count in (3, 1, 5)]
NAMES = ["one", "two", "three"]


def test_a_reel_is_its_films_one_after_the_other():
    reel, whole = Reel(FILMS, NAMES), np.concatenate(FILMS)
    assert len(reel) == 9
    assert reel.shape == whole.shape
    for start in range(9):
        for stop in range(start + 1, 12):
            assert np.array_equal(reel[start:stop], whole[start:stop])


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 8]), (3, [0, 4, 8]), (9, range(9)), (50, range(9))])
def test_frames_are_chosen_evenly(count, expected):
    assert np.array_equal(Reel(FILMS, NAMES).evenly(count), np.concatenate(FILMS)[list(expected)])


def test_frames_that_are_chosen_are_copied_once():
    reel = Reel([np.broadcast_to(np.uint8(7), (500, 64, 64, 3))], ["long"])
    tracemalloc.start()
    try:
        chosen = reel.evenly(100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (chosen == 7).all()
    assert peak < 1.1 * chosen.nbytes


def test_every_frame_belongs_to_one_film():
    reel = Reel(FILMS, NAMES)
    for start in range(9):
        for stop in range(start + 1, 10):
            batch = reel[start:stop]
            for film, rows in reel.pieces(start, stop):
                at = start + rows.start - reel.starts[film]
                assert np.array_equal(batch[rows], FILMS[film][at : at + rows.stop - rows.start])
            lengths = [rows.stop - rows.start for _, rows in reel.pieces(start, stop)]
            assert sum(lengths) == stop - start
            assert min(lengths) > 0


def test_films_of_different_sizes_are_refused_by_name():
    with pytest.raises(InputError, match="two: frames of 9 x 8 pixels, and those of one have 8 x 8"):
        Reel([FILMS[0], noise(2, 8, 9)], ["one", "two"])
    with pytest.raises(InputError, match="two: float64"):
        Reel([FILMS[0], np.zeros((2, 8, 8, 3))], ["one", "two"])
    with pytest.raises(InputError, match="no films"):
        Reel([], [])
