import numpy as np
import pytest

from ilfo._tools.errors import InputError
from ilfo.vision import draw_keypoints
from ilfo.vision.drawing import concept_colours

BLACK = np.zeros((4, 64, 96, 3), np.uint8)


def points(*positions):
    """The same positions ``(u, v, visibility)`` in all four frames."""
    return np.tile(np.array(positions, np.float32), (4, 1, 1))


def middle_of(drawn, colour):
    """Mean row and column of the pixels of a colour, and their number."""
    rows, cols = np.nonzero((drawn == colour).all(axis=-1))
    return rows.mean(), cols.mean(), len(rows)


def test_a_disc_of_the_concepts_colour_is_where_the_keypoint_is():
    first, second = concept_colours(2)
    drawn = draw_keypoints(BLACK, points((0.0, 0.0, 1.0), (-0.5, 0.5, 1.0)), smallest_side=256)
    assert drawn.shape == (4, 256, 384, 3)
    np.testing.assert_allclose(middle_of(drawn[2], first)[:2], [127.5, 191.5], atol=0.5)
    np.testing.assert_allclose(middle_of(drawn[2], second)[:2], [191.5, 95.5], atol=0.5)


def test_a_hidden_concept_is_smaller():
    colour = concept_colours(1)[0]
    seen, hidden = (draw_keypoints(BLACK, points((0.0, 0.0, visible))) for visible in (1.0, 0.1))
    assert middle_of(seen[0], colour)[2] > 2 * middle_of(hidden[0], colour)[2]


def test_a_faint_line_leads_along_the_last_positions():
    moving = points((0.0, 0.0, 1.0))
    moving[:, 0, 0] = [-0.9, -0.9, 0.5, 0.9]
    drawn = draw_keypoints(BLACK, moving, trail=2)
    between = drawn[:, 120:136, 150:170]
    assert between[2:].any(axis=(1, 2, 3)).all()
    assert not between[:2].any()
    assert between.max() < max(concept_colours(1)[0])
    without = draw_keypoints(BLACK, moving, trail=0)
    assert not without[2, 120:136, 150:170].any()


def test_frames_stay_as_they_are_and_large_ones_are_not_enlarged():
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), np.uint8)
    before = frames.copy()
    drawn = draw_keypoints(frames, points((0.0, 0.0, 1.0)).reshape(4, 3), smallest_side=64)
    assert drawn.shape == frames.shape
    assert np.array_equal(frames, before)
    assert np.array_equal(drawn[:, :, :30], frames[:, :, :30])
    assert np.array_equal(draw_keypoints(frames, np.zeros((4, 0, 3)), smallest_side=64), frames)


def test_a_keypoint_at_the_border_and_a_wide_range_of_values_can_be_drawn():
    drawn = draw_keypoints(BLACK, points((1.0, -1.0, 2.0), (-1.0, 1.0, -3.0)))
    assert drawn[0, :10, -10:].any()
    assert drawn[0, -10:, :10].any()


def test_colours_are_distinct():
    colours = np.array(concept_colours(15), float)
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1) + 1000 * np.eye(15)
    assert apart.min() > 40


def test_keypoints_that_do_not_belong_to_the_frames_are_refused():
    with pytest.raises(InputError, match="for 4 frames"):
        draw_keypoints(BLACK, points((0.0, 0.0, 1.0))[:3])
    with pytest.raises(InputError, match="for 4 frames"):
        draw_keypoints(BLACK, np.zeros((4, 5)))
    with pytest.raises(InputError, match="float32"):
        draw_keypoints(BLACK.astype(np.float32), points((0.0, 0.0, 1.0)))
