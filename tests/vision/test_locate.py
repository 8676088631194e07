import numpy as np
import pytest
import torch

from ilfo._tools.errors import InputError
from ilfo.vision import LocationOptions, locate, similarity_maps

CENTRES = torch.linspace(-0.9, 0.9, 10), torch.linspace(-0.95, 0.95, 20)
"""Of 10 rows and 20 columns of patches."""

STILL = {"motion": 0.0}


def random_maps(batch=2, steps=6, concepts=3):
    return torch.rand((batch, steps, concepts, 10, 20), generator=torch.Generator().manual_seed(0))


def with_peaks(*positions, height=0.9):
    """A level map ``(1, 1, 1, 10, 20)`` with peaks at (row, column)."""
    found = torch.full((1, 1, 1, 10, 20), 0.1)
    for row, column in positions:
        found[..., row, column] = height
    return found


def test_cosines_are_those_of_every_patch_and_concept():
    descriptors, centroids = torch.randn(2, 5, 10, 20, 7), torch.randn(3, 7)
    maps = similarity_maps(descriptors, centroids)
    assert maps.shape == (2, 5, 3, 10, 20)
    torch.testing.assert_close(maps[1, 2, 0, 3, 4], descriptors[1, 2, 3, 4] @ centroids[0])


def test_without_a_window_it_is_the_best_patch():
    maps = random_maps()
    found, peaks = locate(maps, CENTRES, LocationOptions(window=0, **STILL))
    best = maps.flatten(-2).argmax(dim=-1)
    torch.testing.assert_close(found[..., 0], CENTRES[1][best % 20])
    torch.testing.assert_close(found[..., 1], CENTRES[0][best // 20])
    torch.testing.assert_close(found[..., 2], maps.amax(dim=(-1, -2)))
    assert np.array_equal(peaks, best[:, -1])


@pytest.mark.parametrize(("window", "temperature"), [(1, 0.05), (3, 0.2), (100, 0.3)])
def test_the_soft_argmax_is_the_mean_of_the_window(window, temperature):
    maps = random_maps(1, 2, 2)
    found, _ = locate(maps, CENTRES, LocationOptions(temperature, window, **STILL))
    for step in range(2):
        for concept in range(2):
            each = maps[0, step, concept]
            top, left = divmod(int(each.argmax()), 20)
            rows = range(max(top - window, 0), min(top + window, 9) + 1)
            cols = range(max(left - window, 0), min(left + window, 19) + 1)
            weights = {(row, col): float(torch.exp(each[row, col] / temperature)) for row in rows for col in cols}
            u = sum(weight * float(CENTRES[1][col]) for (_, col), weight in weights.items()) / sum(weights.values())
            v = sum(weight * float(CENTRES[0][row]) for (row, _), weight in weights.items()) / sum(weights.values())
            np.testing.assert_allclose(found[0, step, concept, :2], [u, v], atol=1e-5)


def test_between_two_equal_patches_lies_their_middle():
    found, _ = locate(with_peaks((4, 7), (4, 8)), CENTRES, LocationOptions(temperature=0.01))
    np.testing.assert_allclose(found[0, 0, 0], [CENTRES[1][7:9].mean(), CENTRES[0][4], 0.9], atol=1e-5)


def test_look_alikes_do_not_change_places_where_motion_counts():
    """One stays left; from the second frame on its double at the right is a little more alike."""
    maps = torch.cat([with_peaks((5, 2), height=0.9), with_peaks((5, 3), height=0.85).repeat(1, 4, 1, 1, 1)], dim=1)
    maps[:, 1:, :, 5, 18] = 0.88
    followed, _ = locate(maps, CENTRES, LocationOptions(window=0, motion=0.3))
    alone, _ = locate(maps, CENTRES, LocationOptions(window=0, **STILL))
    assert (followed[0, 1:, 0, 0] < -0.5).all()
    assert (alone[0, 1:, 0, 0] > 0.5).all()
    assert followed[0, 1, 0, 2] == pytest.approx(0.85), "visibility is that of the patch that it follows"


def test_a_concept_that_clearly_went_elsewhere_is_found_there():
    maps = torch.cat([with_peaks((5, 2)), with_peaks((5, 18), height=0.9)], dim=1)
    found, _ = locate(maps, CENTRES, LocationOptions(window=0, motion=0.5))
    assert found[0, 1, 0, 0] > 0.5


@pytest.mark.parametrize("motion", [0.0, 0.2])
def test_a_film_in_pieces_and_among_others_is_seen_as_alone(motion):
    maps, options = random_maps(), LocationOptions(motion=motion)
    whole, end = locate(maps, CENTRES, options)
    first, between = locate(maps[:, :4], CENTRES, options)
    second, last = locate(maps[:, 4:], CENTRES, options, between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=0)
    assert np.array_equal(last, end)
    torch.testing.assert_close(locate(maps[1:], CENTRES, options)[0], whole[1:], rtol=0, atol=0)


@pytest.mark.parametrize("option", [{"temperature": 0.0}, {"window": -1}, {"motion": -0.1}, {"motion": float("nan")}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InputError, match=next(iter(option))):
        LocationOptions(**option)
