"""``ilfo report`` of a cloned policy."""

import json
import re
import shutil

import pytest
from small_clones import SQUARE, configure, expert, record, write

from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.clone import clone
from ilfo.evaluate import evaluate
from ilfo.report import write_report
from ilfo.runs import read_summary


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("film"), "square.hdf5", record(SQUARE, expert, 4))


@pytest.fixture(scope="module")
def cloned(film, tmp_path_factory):
    """A finished run of a policy that sees keypoints."""
    folder = tmp_path_factory.mktemp("runs") / "keypoints"
    clone(configure("keypoints", film, folder, epochs=3))
    return folder


@pytest.fixture
def run(cloned, tmp_path):
    return shutil.copytree(cloned, tmp_path / "run")


def headings(page) -> list[str]:
    return re.findall(r"<(?:h2|summary)>(.*?)</", page.read_text())


def test_it_shows_the_error_of_the_actions_and_what_the_policy_saw(run):
    doing = []
    page = write_report(run, episodes=2, progress=doing.append)
    text = page.read_text()
    assert headings(page) == ["Learning", "Best episode", "What the policy saw", "Configuration", "Versions"]
    assert f"{evaluate(run, 2).return_mean:,.1f}" in text
    assert "the frames of 32 x 32 pixels that the policy sees" in text
    kept = read_summary(run)["epoch"]
    assert f"{kept} of 3, the best on 1 held-out episode" in text
    assert {each.name for each in page.parent.iterdir()} == {
        *("index.html", "learning.png", "best.webm", "keypoints.webm")
    }
    assert doing[0] == "playing 2 episodes"
    assert doing[-1] == "writing the page"


def test_without_the_videos_those_of_before_go(run):
    write_report(run, episodes=1)
    page = write_report(run, episodes=1, video=False)
    assert headings(page) == ["Learning", "Configuration", "Versions"]
    assert {each.name for each in page.parent.iterdir()} == {"index.html", "learning.png"}


def test_other_looks_are_shown_as_they_were_measured(run):
    plain = {"return_mean": 3.25, "return_interval": [3.0, 3.5], "time_to_success": 12.5}
    plain |= {"successes": [3, 4], "success_interval": [0.3, 0.95]}
    unseen = {"return_mean": 1.0, "return_interval": None, "time_to_success": None}
    unseen |= {"successes": None, "success_interval": None, "kind": "colours", "split": "unseen"}
    (run / "variants.json").write_text(json.dumps({"plain": plain, "each": [unseen]}))
    text = write_report(run, episodes=1, video=False).read_text()
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]
    assert ["none", "–", "3 of 4 (30% to 95%)", "12.5", "3.2 (3.0 to 3.5)"] in rows
    assert ["colours", "unseen", "–", "–", "1.0"] in rows


def test_a_policy_that_sees_states_needs_nothing_drawn(film, tmp_path, monkeypatch, capsys):
    clone(configure("states", film, tmp_path / "run", epochs=1, held_out=0.0))
    monkeypatch.setattr("ilfo.report._films.write_video", None)
    assert main(["report", str(tmp_path / "run"), "--episodes", "1", "--no-video"]) == 0
    page = tmp_path / "run" / "report" / "index.html"
    assert str(page) in capsys.readouterr().out
    assert "1 of 1, the last: none is held out" in page.read_text()


def test_goes_on_without_a_video_where_nothing_can_be_drawn(film, tmp_path, monkeypatch):
    from ilfo.envs import RenderError

    def broken(*_, **__):
        raise RenderError("no library draws here")

    clone(configure("states", film, tmp_path / "run", epochs=1))
    monkeypatch.setattr("ilfo.report._films.write_video", broken)
    with pytest.warns(UserWarning, match="without a video: no library draws here") as caught:
        page = write_report(tmp_path / "run", episodes=1)
    assert caught[0].filename == __file__
    assert headings(page) == ["Learning", "Video", "Configuration", "Versions"]


def test_an_unfinished_run_is_refused(film, tmp_path):
    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clone(configure("states", film, tmp_path / "run", epochs=2), on_epoch=stop)
    with pytest.raises(InputError, match="is not finished: give the same"):
        write_report(tmp_path / "run")
    assert not (tmp_path / "run" / "report").exists()
