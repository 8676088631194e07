import base64
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.report import _figures as figures
from ilfo.report import _page as html
from ilfo.report import write_report
from ilfo.rewards import Explanation

PNG = b"\x89PNG\r\n\x1a\n"


class Reader(HTMLParser):
    """Collects what a page shows and what it loads."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.headings, self.words, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.sources += [(tag, value) for name, value in attrs if name in ("src", "href")]
        if tag in ("meta", "img", "link"):
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "summary"):
            self.headings.append(data)
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())


def read(path):
    page = Reader(path.read_text())
    assert page.open == []
    return page


def rewritten(run, tmp_path, rows=None, summary=True):
    """A copy of a run, with other rows of metrics, or unfinished."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    if rows is not None:
        (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if not summary:
        (copy / "summary.json").unlink()
    return copy


def test_one_page_that_needs_nothing_else(imitation_run, tmp_path):
    run = rewritten(imitation_run, tmp_path)
    doing = []
    path = write_report(run, episodes=2, video=False, progress=doing.append)
    page, summary = read(path), json.loads((run / "summary.json").read_text())
    assert path == run / "report" / "index.html"
    assert doing[0] == "loading the run"
    assert page.headings == [
        "Learning",
        "Training",
        "Reward along an episode",
        "Match with the expert",
        "Configuration",
        "Versions",
    ]
    assert not re.search(r"https?:|@import|url\(", path.read_text())
    embedded = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for _, source in page.sources]
    beside = [
        (run / "report" / name).read_bytes()
        for name in ("learning", "training", "rewards", "plan")
        for name in [f"{name}.png"]
    ]
    assert embedded == beside
    assert all(png.startswith(PNG) for png in embedded)
    words = " ".join(page.words)
    for value in (
        f"{summary['policy_return']:,.1f}",
        f"{summary['expert_return']:,.1f}",
        f"{summary['random_return']:,.1f}",
        summary["demo_sha256"],
        "finished",
        "standard",
        "td3.discount",
    ):
        assert value in words


def test_a_run_under_way_without_demonstrations_or_rewards_to_explain(environment_run, tmp_path):
    run = rewritten(environment_run, tmp_path, summary=False)
    page = read(write_report(run, episodes=1, video=False))
    assert "Match with the expert" not in page.headings
    assert "expert's return" not in page.words
    assert "random policy's return" in page.words
    assert any(word.startswith("under way") for word in page.words)
    assert not (run / "report" / "plan.png").exists()


def test_it_says_whose_policy_is_evaluated(imitation_run, demonstration, tmp_path, capsys):
    """The latest; or with checkpoints the best so far, which the plan says too."""
    said = "the policy of the best imitation return with absorbing states so far"
    assert said not in write_report(imitation_run, episodes=1, video=False).read_text()
    assert "its best policy so far" not in capsys.readouterr().out
    given = ["--env", "InvertedPendulum-v5", "--demo", str(demonstration), "--out", str(tmp_path), "--td3.checkpoints"]
    small = ["--steps", "100", "--random-steps", "50", "--eval-every", "100", "--eval-episodes", "1"]
    assert main(["train", *given, *small]) == 0
    assert "its best policy so far" in " ".join(capsys.readouterr().out.split())
    assert said in write_report(tmp_path, episodes=1, video=False).read_text()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 50, "seconds": 0.5}],
        [{"step": 50, "seconds": 0.5, "eval_return": 3.0, "eval_returns": [3.0], "critic_loss": float("nan")}],
        [
            {"step": step, "seconds": 0.5, "eval_return": float("nan"), "eval_returns": [float("nan")]}
            for step in (1, 2)
        ],
    ],
    ids=["no rows", "no evaluation", "one row", "not a number"],
)
def test_whatever_the_metrics_hold_the_page_comes_out(imitation_run, tmp_path, rows):
    page = read(write_report(rewritten(imitation_run, tmp_path, rows), episodes=1, video=False))
    assert "Reward along an episode" in page.headings
    assert ("Learning" in page.headings) == any("eval_return" in row for row in rows)


def test_there_is_no_share_of_a_return_below_zero(imitation_run, tmp_path):
    run = rewritten(imitation_run, tmp_path)
    assert "of the expert's return" in read(write_report(run, episodes=1, video=False)).words
    saved = run / "checkpoints" / "final.pt"
    torch.save(torch.load(saved, weights_only=True) | {"expert_return": -15.0}, saved)
    words = read(write_report(run, episodes=1, video=False)).words
    assert "-15.0" in words
    assert "of the expert's return" not in words


@pytest.mark.usefixtures("camera")
def test_holds_the_video_and_drops_a_stale_one(imitation_run, tmp_path):
    run = rewritten(imitation_run, tmp_path)
    path = write_report(run, episodes=1)
    video = [source for tag, source in read(path).sources if tag == "video"]
    beside = run / "report" / "best.webm"
    assert [base64.b64decode(source.removeprefix("data:video/webm;base64,")) for source in video] == [
        beside.read_bytes()
    ]
    concepts = beside.with_name("keypoints.webm")
    concepts.write_bytes(b"of an earlier report")
    write_report(run, episodes=1, video=False)
    assert not beside.exists()
    assert not concepts.exists()


def test_goes_on_without_a_video_where_nothing_can_be_drawn(imitation_run, tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "no-such-library")
    with pytest.warns(UserWarning, match="without a video.*libegl1") as caught:
        path = write_report(rewritten(imitation_run, tmp_path), episodes=1)
    assert len(caught) == 1
    page = read(path)
    assert "Video" in page.headings
    assert not [tag for tag, _ in page.sources if tag == "video"]


def test_the_command(imitation_run, tmp_path, capsys):
    run = rewritten(imitation_run, tmp_path)
    assert main(["report", str(run), "--episodes", "1", "--no-video"]) == 0
    assert str(run / "report" / "index.html") in capsys.readouterr().out
    assert main(["report", str(run), "--episodes", "0"]) == 2
    assert main(["report", str(tmp_path)]) == 2


def test_refuses_what_is_not_a_run(tmp_path):
    with pytest.raises(InputError, match="not the folder of a run"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


class TestSeveralSeeds:
    def test_one_page_on_all_and_one_on_the_best(self, group_run, tmp_path):
        run = rewritten(group_run, tmp_path)
        doing = []
        path = write_report(run, episodes=1, video=False, progress=doing.append)
        assert path == run / "report" / "index.html"
        page, summary = read(path), json.loads((run / "summary.json").read_text())
        assert page.headings == ["Learning", "Seeds", "Training", "Configuration", "Versions"]
        beside = [(run / "report" / name).read_bytes() for name in ("learning.png", "training.png")]
        embedded = [source for tag, source in page.sources if tag == "img"]
        assert [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in embedded] == beside
        assert all(png.startswith(PNG) for png in beside)

        best = max(summary["each"], key=lambda each: each["policy_return"])["seed"]
        assert doing[0] == f"seed {best}, loading the run"
        links = [source for tag, source in page.sources if tag == "a"]
        assert links == [f"../seed_{best}/report/index.html"]
        assert "Match with the expert" in read(path.parent / links[0]).headings
        assert [seed for seed in range(3) if (run / f"seed_{seed}" / "report").exists()] == [best]

        words = [word for word in page.words if word]
        for value in (
            f"{summary['score_iqm']:.2f}",
            f"{summary['policy_return']:,.1f}",
            f"{summary['expert_return']:,.1f}",
            f"{summary['random_return']:,.1f}",
            summary["demo_sha256"],
            "finished",
            "0-2, trained side by side",
        ):
            assert value in words
        low, high = summary["score_interval"]
        assert f"interval {low:.3f} to {high:.3f}" in " ".join(words)
        for each in summary["each"]:
            at = words.index(f"seed {each['seed']}")
            assert words[at + 1 : at + 5] == [
                "300",
                f"{each['policy_return']:,.1f}",
                f"{each['random_return']:,.1f}",
                f"{each['ratio']:.3f}",
            ]

    def test_a_seed_asked_for_by_itself_gets_its_report_and_its_link(self, group_run, tmp_path):
        run = rewritten(group_run, tmp_path)
        for seed in range(3):
            write_report(run / f"seed_{seed}", episodes=1, video=False)
        page = read(write_report(run, episodes=1, video=False))
        links = [source for tag, source in page.sources if tag == "a"]
        assert links == [f"../seed_{seed}/report/index.html" for seed in range(3)]

    @pytest.mark.usefixtures("camera")
    def test_holds_the_video_of_the_best_seed(self, group_run, tmp_path):
        run = rewritten(group_run, tmp_path)
        page = read(write_report(run, episodes=1))
        (video,) = [source for tag, source in page.sources if tag == "video"]
        content = (run / "report" / "best.webm").read_bytes()
        assert base64.b64decode(video.removeprefix("data:video/webm;base64,")) == content
        (own,) = run.glob("seed_*/report/best.webm")
        assert own.read_bytes() == content
        write_report(run, episodes=1, video=False)
        assert not (run / "report" / "best.webm").exists()

    def test_under_way_the_random_policy_is_measured_and_nothing_is_claimed(self, group_run, tmp_path):
        run = rewritten(group_run, tmp_path, summary=False)
        for seed in range(3):
            (run / f"seed_{seed}" / "summary.json").unlink()
            (run / f"seed_{seed}" / "metrics.jsonl").write_text('{"step": 50, "seconds": 0.5, "q": 1.0}\n')
        page = read(write_report(run, episodes=1, video=False))
        assert page.headings == ["Seeds", "Training", "Configuration", "Versions"]
        assert "under way to 300 steps" in page.words
        assert "random policy's return" in page.words
        assert not {"score", "mean return of the policies"} & set(page.words[: page.words.index("state of the runs")])
        assert not (run / "report" / "learning.png").exists()

    def test_a_row_that_other_seeds_do_not_have_yet_is_no_mean(self):
        def rows(*returns):
            return [{"step": 10 * at, "eval_return": value} for at, value in enumerate(returns)]

        whole = figures.learning_curves({0: rows(1.0, 2.0), 1: rows(3.0, 4.0)}, None, None)
        assert whole.startswith(PNG)
        assert figures.learning_curves({0: rows(1.0), 1: rows()}, 5.0, 0.0).startswith(PNG)
        assert figures.training_curves([{"step": 1, "q": 1.0}], []).startswith(PNG)
        steps, means, lows, highs = figures._mean_curve([{0: 1.0, 10: 2.0}, {0: 3.0}])
        assert (steps, means) == ([0], [2.0])
        assert (lows, highs) == ([1.0], [3.0]), "one draw in four is of the lower one alone"
        assert figures._mean_curve([{0: 1.0}, {}]) == ([], [], [], [])

    def test_before_the_first_checkpoint_nothing_is_written(self, group_run, tmp_path):
        run = rewritten(group_run, tmp_path)
        for path in run.glob("seed_*/checkpoints/final.pt"):
            path.unlink()
        with pytest.raises(InputError, match=r"seed_\d holds no checkpoint yet"):
            write_report(run, episodes=1)
        assert not list(run.rglob("report"))


def test_a_grid_escapes_its_cells_and_links():
    text = html.grid(["<b>"], [["<i>"], [html.Link("<a>", 'x"><script>')]])
    page = Reader(text)
    assert [word for word in page.words if word] == ["<b>", "<i>", "<a>"]
    assert page.sources == [("a", 'x"><script>')]


def test_values_are_escaped():
    evil = "<script>alert('&')</script>"
    body = [
        html.tiles({evil: evil}),
        html.table({evil: {evil: [evil]}}, evil),
        html.section(evil, evil),
        html.picture(PNG, evil),
    ]
    text = html.page(evil, evil, body)
    assert "<script" not in text
    assert evil in Reader(text).words


def test_nested_tables_have_dotted_names():
    page = Reader(html.table({"td3": {"tau": 0.5, "on": True}, "steps": 100_000, "demo": None}))
    assert [word for word in page.words if word] == ["td3.tau", "0.5", "td3.on", "yes", "steps", "100,000", "demo", "–"]


def test_lone_entries_of_an_exact_plan_survive_the_shrinking():
    plan = np.zeros((1000, 700))
    plan[np.arange(700) + 100, np.arange(700)] = 1
    small = figures._pooled(plan, 320)
    assert max(small.shape) <= 320
    assert (small.max(axis=0) == 1).all()


@pytest.mark.parametrize("plan", [None, np.full((4, 3), np.nan), np.eye(4, 3)])
def test_draws_any_explanation(plan):
    found = Explanation(0, np.array([0, 1, 2, 2]), np.zeros(4, np.float32), plan)
    assert figures.plans({"best": found, "worst": found}).startswith(PNG)
