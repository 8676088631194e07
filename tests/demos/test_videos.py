"""Videos become demonstrations: which frames are taken, in which size and order, and what is refused."""

import re

import numpy as np
import pytest
from PIL import Image
from small_videos import write_video

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.demos import commands
from ilfo.demos.videos import VideoFrames

RATE, COUNT = 20, 25


def pictures(count=COUNT, height=32, width=48):
    """Red grows and blue fades from left to right and over time: a mirrored, swapped or misplaced frame is seen."""
    for number in range(count):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[..., 0] = 10 * number
        picture[..., 2] = np.linspace(240, 0, width)
        yield picture


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "film.avi", pictures(), RATE)


def test_every_frame_is_there_once_in_order_and_in_its_colours(video):
    (episode,) = made = demos.from_videos([video])
    assert len(episode) == COUNT - 1
    assert episode.observations.shape == (COUNT, 0)
    assert made.provenance.time_step == pytest.approx(1 / RATE)
    assert made.provenance.source == "frames of film.avi"
    assert episode.frames.shape == (COUNT, 32, 48, 3)
    assert np.array_equal(episode.frames[:], list(pictures()))


def test_frames_are_the_same_in_whatever_order_they_are_taken(video):
    frames = VideoFrames(video)
    whole = np.asarray(frames)
    assert np.array_equal(frames[7], whole[7])
    assert np.array_equal(frames[3:9], whole[3:9])
    assert np.array_equal(frames[np.array([9, 2, 2, 24])], whole[[9, 2, 2, 24]])
    assert np.array_equal(frames[-1], whole[-1])
    assert frames[5:5].shape == (0, 32, 48, 3)
    with pytest.raises(IndexError):
        frames[COUNT]


@pytest.mark.parametrize(("step", "numbers"), [(0.05, range(25)), (0.1, range(0, 25, 2)), (0.125, [0, 2, 5, 8, 10])])
def test_the_nearest_frames_are_those_of_the_environments_steps(video, step, numbers):
    whole, frames = np.asarray(VideoFrames(video)), VideoFrames(video, time_step=step)
    assert frames.time_step == step
    assert len(frames) == int((COUNT - 1) / RATE / step + 1e-6) + 1
    assert np.array_equal(frames[: len(numbers)], whole[list(numbers)])


def test_frames_are_scaled_to_what_the_environment_is_drawn_in(video):
    frames = VideoFrames(video, frame_size=(24, 16))
    assert frames.shape == (COUNT, 16, 24, 3)
    expected = list(pictures(height=16, width=24))[10]
    assert np.abs(frames[10].astype(int) - expected).max() < 8


def test_the_command_writes_what_ilfo_trains_on(video, tmp_path, capsys):
    other = write_video(tmp_path / "other.avi", pictures(12), RATE)
    out = tmp_path / "film.hdf5"
    flags = ["--out", str(out), "--frame-size", "24x16", "--time-step", "0.1"]
    assert main(["demos", "from-videos", str(video), str(other), *flags]) == 0
    assert "2 episodes, 17 steps of 0.1 s, frames of 24 x 16" in " ".join(capsys.readouterr().out.split())
    written = demos.open(out, frames=True)
    assert [len(episode) for episode in written] == [12, 5]
    assert written.provenance.time_step == 0.1
    assert np.array_equal(written[0].frames[:], VideoFrames(video, (24, 16), 0.1)[:])


def test_the_command_does_not_write_over_a_video(video, tmp_path, monkeypatch):
    before = video.read_bytes()
    monkeypatch.chdir(video.parent)
    with pytest.raises(InputError, match=r"film\.avi: is what is read"):
        commands.main(["from-videos", str(video), "--out", video.name])
    assert video.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_step": 0.01}, r"film\.avi: has a frame every 0\.05 s, expected one every 0\.01 s"),
        ({"time_step": 9.0}, r"film\.avi: 1 of its 25 frames are to be taken; expected at least 2"),
    ],
)
def test_a_time_step_that_the_video_does_not_have_is_refused(video, options, message):
    with pytest.raises(InputError, match=message):
        demos.from_videos([video], **options)


def test_videos_that_differ_are_refused_unless_they_are_made_alike(video, tmp_path):
    small = write_video(tmp_path / "small.avi", pictures(8, height=16, width=24), RATE)
    slow = write_video(tmp_path / "slow.avi", pictures(8), RATE / 2)
    with pytest.raises(InputError, match=r"small\.avi: frames of 24 x 16 pixels, those of .*film\.avi have 48 x 32"):
        demos.from_videos([video, small])
    with pytest.raises(InputError, match=r"slow\.avi: 10 frames a second, and .*film\.avi has 20"):
        demos.from_videos([video, slow])
    made = demos.from_videos([video, small, slow], frame_size=(24, 16), time_step=0.1)
    assert [len(episode) for episode in made] == [12, 3, 7]


def test_what_is_no_video_is_refused(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    with pytest.raises(InputError, match=r"text\.mp4: is no video that OpenCV can decode"):
        demos.from_videos([text])
    with pytest.raises(InputError, match=r"gone\.mp4: there is no such file"):
        demos.from_videos([tmp_path / "gone.mp4"])
    with pytest.raises(InputError, match="no videos; expected at least one"):
        demos.from_videos([])


def test_a_video_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = write_video(tmp_path / "film.avi", pictures(), RATE)
    frames = VideoFrames(path)
    assert len(frames[:]) == COUNT
    write_video(path, pictures(6), RATE)
    with pytest.raises(InputError, match=r"film\.avi: frame 6 cannot be read; the video is damaged or changed"):
        frames[:]


def test_a_video_given_as_a_demonstration_is_told_how_to_become_one(video):
    out = video.with_suffix(".hdf5")
    said = f"is a video. Make demonstrations of it first: 'ilfo demos from-videos {video} --out {out}'"
    with pytest.raises(InputError, match=re.escape(said)):
        demos.open(video)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """A film with pauses: its frames are to be seen after 0, 0.1, 0.2, 0.5, 0.6, 1.1, 1.2 and 1.3 s."""
    path = tmp_path_factory.mktemp("videos") / "uneven.gif"
    first, *rest = [Image.fromarray(np.full((32, 48, 3), 20 * number, np.uint8)) for number in range(8)]
    first.save(path, save_all=True, append_images=rest, duration=[100, 100, 300, 100, 500, 100, 100, 100])
    return path


def numbers_of(frames):
    return (np.asarray(frames)[:, 0, 0, 0] // 20).tolist()


@pytest.mark.parametrize(("step", "numbers"), [(0.33, [0, 2, 4, 5, 7]), (0.65, [0, 4, 7])])
def test_of_uneven_frames_the_nearest_in_time_are_taken(uneven, step, numbers):
    frames = VideoFrames(uneven, time_step=step)
    assert (numbers_of(frames), frames.time_step) == (numbers, step)


def test_frames_that_are_repeated_for_want_of_others_are_told_of(uneven):
    with pytest.warns(UserWarning, match=r"uneven\.gif: 6 of 14 frames are those before .* none for up to 0\.5 s"):
        frames = VideoFrames(uneven, time_step=0.1)
    assert numbers_of(frames) == [0, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 7]


def test_uneven_frames_that_are_all_taken_are_told_of(uneven):
    with pytest.warns(UserWarning, match=r"uneven intervals, 0\.1 to 0\.5 s; .* every 0\.186 s\. .*--time-step"):
        made = demos.from_videos([uneven])
    assert numbers_of(made[0].frames) == list(range(8))
    assert made.provenance.time_step == pytest.approx(1.3 / 7)


def test_more_frames_a_second_than_an_uneven_video_has_are_refused(uneven):
    with pytest.raises(InputError, match=r"has a frame every 0\.1 s, expected one every 0\.05 s"):
        VideoFrames(uneven, time_step=0.05)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("rate", "step"), [(29.97, 0.0333), (60, 0.0166)])
def test_a_step_that_is_rounded_is_the_films(tmp_path, rate, step):
    film = write_video(tmp_path / "film.avi", [np.zeros((16, 16, 3), np.uint8)] * 300, rate)
    assert len(VideoFrames(film, time_step=step)) >= 300


@pytest.mark.filterwarnings("error")
def test_hundredths_of_a_second_are_roundings(tmp_path):
    first, *rest = [Image.fromarray(np.full((16, 16, 3), 10 * number, np.uint8)) for number in range(12)]
    first.save(tmp_path / "film.gif", save_all=True, append_images=rest, duration=[60, 70, 70] * 4)
    assert len(VideoFrames(tmp_path / "film.gif")) == 12
    assert len(VideoFrames(tmp_path / "film.gif", time_step=1 / 15)) == 12
