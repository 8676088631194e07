import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from small_films import BALL_SCENE

from ilfo._tools.errors import InputError
from ilfo.pretraining.command import ErrorConfig, error_table
from ilfo.pretraining.frames import EPISODE, HELD_OUT, read_frames, render_frames
from ilfo.pretraining.scenes import SCENES, Scene, scenes_named
from ilfo.pretraining.studio import Studio


@pytest.fixture(scope="module")
def studio():
    try:
        made = Studio(BALL_SCENE)
    except InputError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def ball_in(frame):
    """Middle of what is red, in pixels."""
    red, green, blue = np.moveaxis(frame.astype(int), -1, 0)
    y, x = np.nonzero((red > 100) & (red > 2 * green) & (red > 2 * blue))
    return np.array([x.mean() + 0.5, y.mean() + 0.5])


def test_the_ball_is_seen_where_it_is_said_to_be(studio):
    """From many places, by plain colours: what varies is the camera alone."""
    seen = 0
    for seed in range(12):
        film = studio.film(3, seed)
        colours = studio._model.geom_rgba[:, :3].copy()
        studio._appearance.plain()
        if not np.array_equal(colours, studio._model.geom_rgba[:, :3]):
            continue
        for frame, positions, visible in zip(film.frames, film.positions, film.visible, strict=True):
            if visible[0]:
                assert np.linalg.norm(ball_in(frame) - positions[0]) < 1
                seen += 1
    assert seen >= 6


def test_what_is_inside_of_something_else_is_not_visible(studio):
    film = studio.film(3, 0, varied=False)
    assert not film.visible[:, 1].any()
    assert film.visible[:, 0].all()


def test_a_seed_decides_every_pixel_and_position(studio):
    one, other, again = studio.film(3, 5), studio.film(3, 6), studio.film(3, 5)
    assert np.array_equal(one.frames, again.frames)
    assert np.array_equal(one.positions, again.positions)
    assert not np.array_equal(one.frames, other.frames)


def test_plain_episodes_have_one_camera_and_one_look(studio):
    floors = [studio.film(1, seed, varied=False).frames[0, -1] for seed in range(2)]
    assert np.array_equal(*floors)


def test_an_episode_goes_on_beyond_the_time_limit(studio):
    assert len(studio.film(8, 0).frames) == 8


def test_a_body_that_is_not_there_is_named(studio):
    with pytest.raises(InputError, match="ball: the model has no body 'cube'"):
        Studio(Scene("ball", BALL_SCENE.env_id, ("cube",), (0.0, 0.0, 0.0), (1.0, 1.0)))


def test_a_scene_whose_package_is_missing_says_so():
    with pytest.raises(InputError, match="needs a package that is not installed"):
        Studio(Scene("gone", "no_such_package:Task-v0", ("a",), (0.0, 0.0, 0.0), (1.0, 1.0)))


def test_a_scene_whose_extra_is_missing_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    monkeypatch.delitem(sys.modules, "ilfo.robotics", raising=False)
    with pytest.raises(InputError, match=r"fetch-slide: .*ilfo\[robotics\].* other scenes with --scenes"):
        Studio(*scenes_named(["fetch-slide"]))


def test_frames_are_written_and_read_back(studio, tmp_path):
    lines = []
    path = render_frames(tmp_path / "frames.hdf5", [BALL_SCENE], 1, seed=3, size=32, say=lines.append)
    frames = read_frames([path, path])
    assert len(frames) == 2 * EPISODE
    assert frames.images.shape[1:] == (32, 32, 3)
    assert frames.names == ("ball", "ball")
    assert list(np.unique(frames.scenes)) == [0, 1]
    assert frames.objects == (("ball", "inside"),) * 2
    assert np.isnan(frames.positions[:, 2:]).all()
    assert np.isfinite(frames.positions[:, :2]).all()
    assert len(lines) == 1
    assert f"{EPISODE} of {EPISODE} frames" in lines[0]
    assert [each.name for each in tmp_path.iterdir()] == ["frames.hdf5"]


def test_frames_of_a_scene_do_not_depend_on_the_others(studio, tmp_path):
    other = Scene("other", BALL_SCENE.env_id, ("ball",), (0.0, 0.0, 0.3), (1.0, 2.0))
    alone = read_frames([render_frames(tmp_path / "a.hdf5", [BALL_SCENE], 20, size=32, say=str)])
    second = read_frames([render_frames(tmp_path / "b.hdf5", [other, BALL_SCENE], 40, size=32, say=str)])
    assert np.array_equal(alone.images, second.images[second.scenes == 1])


def test_episodes_that_are_held_out_are_not_rendered(tmp_path):
    number = HELD_OUT * EPISODE + 1
    with pytest.raises(InputError, match=r"are 1001 episodes of each scene; .* at most --number 20000"):
        render_frames(tmp_path / "frames.hdf5", [BALL_SCENE], number, say=str)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"nonsense", "empty"])
def test_what_is_no_file_of_frames_is_refused(tmp_path, content):
    path = tmp_path / "frames.hdf5"
    if content == "empty":
        h5py.File(path, "w").close()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"frames\.hdf5"):
        read_frames([path])


def test_scenes_go_by_their_names_and_beginnings():
    assert [scene.name for scene in scenes_named(["hopper", "fetch"])] == [
        "hopper",
        "fetch-pick-and-place",
        "fetch-slide",
    ]
    assert scenes_named([]) == SCENES
    assert len({scene.name for scene in SCENES}) == len(SCENES)
    with pytest.raises(InputError, match="did you mean 'hopper'"):
        scenes_named(["hoper"])


@pytest.mark.parametrize("name", ["halfcheetah", "pusher"])
def test_a_scene_of_gymnasium_shows_its_objects(studio, name):
    made = Studio(scenes_named([name])[0], size=48)
    film = made.film(1, 0, varied=False)
    made.close()
    assert film.frames.std() > 5
    assert film.visible.mean() > 0.5


def test_a_scene_of_gymnasium_robotics_shows_its_objects(studio, tmp_path):
    """In a process of its own: where ilfo.robotics is imported already, all of its tasks can be made."""
    pytest.importorskip("gymnasium_robotics", reason="needs the extra robotics")
    file = tmp_path / "frames.hdf5"
    words = ["frames", "--scenes", "fetch-slide", "--number", "1", "--size", "32", "--out", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "ilfo.pretraining", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    frames = read_frames([file])
    assert frames.images.std() > 5
    assert frames.visible[:, :4].mean() > 0.2


def test_the_error_of_keypoints_is_measured_with_the_descriptors_asked_for(studio):
    config = ErrorConfig(scenes=("reacher",), episodes=1, length=3, size=64, image_size=64, stride=8, k=4)
    keys = error_table(config)
    assert [row[:2] for row in keys] == [("reacher", each) for each in ("body0", "body1", "fingertip", "target")]
    tokens = error_table(replace(config, facet="token"))
    assert [row[2] for row in tokens] == [row[2] for row in keys], "the mean position is the same"
    assert [row[4] for row in tokens] != [row[4] for row in keys]
    with pytest.raises(InputError, match="layer is 9: ilfo_vit_tiny has 6 blocks"):
        error_table(replace(config, layer=9))
