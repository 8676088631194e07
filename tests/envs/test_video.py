from dataclasses import replace

import cv2
import numpy as np
import pytest
from small_envs import LEDGE, walk

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.envs import RenderError, random_policy, rollout, video
from ilfo.envs.video import SUFFIXES, check_video_path, write_pictures, write_video

ENV = "InvertedPendulum-v5"


@pytest.fixture(scope="module")
def episode():
    return max(rollout(random_policy(1, seed=0), ENV, 8), key=len)


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame)


@pytest.mark.usefixtures("camera")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_films_every_step_that_is_shown(tmp_path, episode, suffix, capfd):
    steps = []
    path = write_video(
        tmp_path / f"episode{suffix}", episode, ENV, "standard", progress=lambda *done: steps.append(done)
    )
    frames, rate = frames_of(path)
    assert rate == pytest.approx(25)
    assert len(frames) == len(episode) + 1
    assert frames[0].shape == (480, 480, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 100
    assert steps[-1] == (len(episode), len(episode))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("camera")
def test_warns_where_the_episode_does_not_come_back(tmp_path, episode):
    other = Trajectory(episode.observations + 1, episode.actions, episode.env_rewards, seed=episode.seed)
    with pytest.warns(UserWarning, match="not deterministic"):
        write_video(tmp_path / "episode.webm", other, ENV, "standard")


@pytest.mark.parametrize("name", ["episode.avi", "episode.gif", "episode"])
def test_refuses_what_browsers_do_not_play(tmp_path, name):
    with pytest.raises(InputError, match=r"\.webm or \.mp4"):
        check_video_path(tmp_path / name)


def test_refuses_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        check_video_path(tmp_path / "nowhere" / "episode.webm")


@pytest.mark.parametrize("missing", ["actions", "seed"])
def test_refuses_an_episode_that_cannot_be_lived_again(tmp_path, episode, missing):
    given = {"actions": episode.actions, "seed": episode.seed} | {missing: None}
    with pytest.raises(InputError, match="lived again"):
        write_video(tmp_path / "episode.webm", Trajectory(episode.observations, **given), ENV, "standard")


def test_says_what_to_install_where_nothing_can_be_drawn(tmp_path, episode, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "no-such-library")
    with pytest.raises(RenderError, match=r"libegl1 and libgl1-mesa-dri .* MUJOCO_GL=egl"):
        write_video(tmp_path / "episode.webm", episode, ENV, "standard")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*render_modes")  # Gymnasium says it too, in words for its author
def test_an_environment_that_takes_no_render_mode_is_said_to_be_undrawable(tmp_path):
    trajectory = walk(0.1)
    trajectory = replace(trajectory, actions=np.zeros((len(trajectory), 1), np.float32), seed=0)
    with pytest.raises(RenderError, match="render_mode"):
        write_video(tmp_path / "film.webm", trajectory, LEDGE, "standard")


def test_the_label_darkens_its_corner_alone():
    frame = np.full((480, 480, 3), 200, np.uint8)
    labelled = video._labelled(frame, 7, 12.5)
    assert (frame == 200).all()
    assert (labelled[:10, :10] < 200).all()
    assert (labelled[60:] == 200).all()


@pytest.mark.parametrize("speed", [20, 30, 40, 44, 125])
def test_a_video_has_thirty_frames_a_second_or_fewer_and_its_own_speed(tmp_path, speed):
    pictures = [np.full((16, 16, 3), 9 * index, np.uint8) for index in range(24)]
    frames, rate = frames_of(write_pictures(tmp_path / "film.webm", pictures, speed))
    assert rate <= 30
    assert len(frames) == -(-24 // round(speed / rate))
