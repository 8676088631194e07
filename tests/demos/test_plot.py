"""The picture: a PNG of the documented layout, written whole or not at all."""

import cv2
import numpy as np
import pytest

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory, plot_demonstrations


def expert(width, episodes=1, rewarded=True, **provenance):
    generator = np.random.default_rng(0)
    return Demonstrations(
        tuple(
            Trajectory(
                generator.normal(size=(20 + number, width)).astype(np.float32),
                env_rewards=np.ones(19 + number) if rewarded else None,
            )
            for number in range(episodes)
        ),
        Provenance(**provenance),
    )


@pytest.mark.parametrize(
    ("demonstrations", "rows", "columns"),
    [
        (expert(1, rewarded=False), 1, 1),
        (expert(11), 3, 4),
        (expert(39, episodes=3, time_step=0.04, observation_keys={"hand": 30, "door": 9}), 10, 4),
        (expert(200, rewarded=False), 15, 4),
    ],
)
def test_the_picture_has_a_panel_a_dimension(tmp_path, demonstrations, rows, columns):
    path = plot_demonstrations(demonstrations, tmp_path / "states.png")
    image = cv2.imread(str(path))
    height, width = image.shape[:2]
    assert abs(width / 110 - (3.5 * columns + 0.4)) < 0.02
    assert abs(height / 110 - (1.45 * rows + 1.0)) < 0.02
    assert image.min() < 100 < image.max()
    assert list(tmp_path.iterdir()) == [path]


def test_the_return_has_a_line_of_its_own_colour(tmp_path):
    def orange(image):
        return int((np.abs(image.astype(int) - (14, 127, 255)).sum(axis=-1) < 60).sum())

    with_return = cv2.imread(str(plot_demonstrations(expert(3), tmp_path / "with.png")))
    without = cv2.imread(str(plot_demonstrations(expert(3, rewarded=False), tmp_path / "without.png")))
    assert orange(with_return) > 100
    assert orange(without) == 0


def test_the_same_demonstrations_give_the_same_picture(tmp_path):
    first = plot_demonstrations(expert(4, 2), tmp_path / "first.png")
    second = plot_demonstrations(expert(4, 2), tmp_path / "second.png")
    assert first.read_bytes() == second.read_bytes()


def test_only_a_png_is_drawn_and_never_over_the_states(tmp_path):
    path = demos.write(tmp_path / "states.hdf5", expert(2))
    hidden = path.rename(tmp_path / "hidden.png")
    before = hidden.read_bytes()
    with pytest.raises(InputError, match=r"states\.hdf5: states are drawn as \.png"):
        plot_demonstrations(expert(2), path)
    with pytest.raises(InputError, match=r"hidden\.png: is what is read"):
        plot_demonstrations(demos.open(hidden), hidden)
    assert hidden.read_bytes() == before
    assert not path.exists()


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        plot_demonstrations(expert(2), tmp_path / "no" / "states.png")
    with pytest.raises(InputError, match="is a folder, expected the file to write"):
        plot_demonstrations(expert(2), tmp_path)
    assert not list(tmp_path.iterdir())
