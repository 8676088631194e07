"""The progress bar: how fast it is said to go, and what it says while no step is taken."""

import io
from contextlib import closing
from types import SimpleNamespace

import pytest
from rich.console import Console
from small_runs import configure

from ilfo import _progress
from ilfo._progress import Progress
from ilfo.training import Sources, Training


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now.seconds)
    return now


def shown(progress: Progress) -> dict:
    (task,) = progress._bar.tasks
    return {"completed": task.completed, **task.fields}


def test_the_pace_counts_the_pauses_in_which_updates_are_made(clock):
    """Episodes of 1000 steps in a second each, and after it 19 seconds of updates."""
    config = SimpleNamespace(steps=60_000, seeds="")
    progress = Progress(config, Console(file=io.StringIO(), force_terminal=True))
    assert shown(progress)["left"] == "-:--:--"
    for episode in range(20):
        for step in range(1000):
            clock.seconds += 0.001
            progress.show(1000 * episode + step + 1, {})
        for due in range(1000, 0, -1):
            clock.seconds += 0.019
            progress.show(1000 * (episode + 1), {}, due)
    seen = shown(progress)
    assert seen["completed"] == 20_000
    assert float(seen["speed"].removesuffix("/s")) == pytest.approx(50, abs=5)
    minutes, seconds = map(int, seen["left"].split(":")[1:])
    assert 60 * minutes + seconds == pytest.approx(40_000 / 50, rel=0.1)
    assert seen["numbers"] == "  1 update to make"


def test_elsewhere_than_on_a_terminal_a_new_evaluation_is_a_line(clock):
    """Its pace is this process's: a run that goes on had taken an hour for its first 90 steps."""
    written = io.StringIO()
    progress = Progress(SimpleNamespace(steps=400, seeds=""), Console(file=written, width=200))
    row: dict = {"step": 100, "seconds": 3600.0, "eval_return": 7.0, "eval_ratio": 0.25, "imitation_return": -3.0}
    for step in range(90, 103):
        progress.show(step, row)
        clock.seconds += 0.2
    assert written.getvalue() == "step 100/400  5/s  0:01:00 left  imitation -3.0  evaluation 7.0  ratio 0.25\n"
    progress.show(408, row | {"step": 408})
    assert "  0:00:00 left  " in written.getvalue(), "copies that step together may take a few steps more"


@pytest.mark.parametrize(("seeds", "before"), [("0-1", "mean of 2 seeds: "), ("3", ""), ("", "")])
def test_success_is_shown_and_of_how_many_seeds_it_is_the_mean(clock, seeds, before):
    written = io.StringIO()
    progress = Progress(SimpleNamespace(steps=400, seeds=seeds), Console(file=written, width=200))
    progress.show(100, {"step": 100, "eval_return": 7.0, "eval_success": 0.9})
    assert written.getvalue() == f"step 100/400  -/s  -:--:-- left  {before}evaluation 7.0  success 90%\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_brackets_are_no_markup(terminal):
    config = SimpleNamespace(steps=400, seeds="", out="runs/[hopper]/a[/b]")
    written = io.StringIO()
    progress = Progress(config, Console(file=written, force_terminal=terminal, width=200, _environ={"TERM": "xterm"}))
    with progress:
        progress.doing("seeing [red]")
        progress.fitting(0.5, "[/loss] 3")
        progress.already_finished()
        for goes_on in (False, True):
            progress.saved(100, goes_on)
            progress.interrupted()
    said = written.getvalue()
    assert said.count(config.out) == 3
    assert ("[/loss] 3" if terminal else "seeing [red]") in said


def test_a_reward_that_is_fitted_has_a_bar_of_its_own(demo, tmp_path):
    """Drawn on a terminal while it learns; elsewhere a line when it is done."""
    config = configure(demo, tmp_path, "--reward", "flow", "--flow.updates", "40", "--flow.hidden-dim", "8")
    for terminal in (True, False):
        written = io.StringIO()
        console = Console(file=written, force_terminal=terminal, width=200, _environ={"TERM": "xterm"})
        with Progress(config, console) as progress:
            shares = []

            def tell(share, numbers, progress=progress, shares=shares):
                progress.fitting(share, numbers)
                shares.append(progress._fitting.tasks[0].completed)

            with closing(Training.begin(Sources(config), tell)) as training:
                progress.begin(training)
        assert shares == sorted(shares)
        assert {0.5, 1.0} <= set(shares), "after each of the two densities"
        said = written.getvalue()
        assert ("fitting the reward" in said and "━" in said) is terminal
        assert ("the reward is fitted: best at update" in said) is not terminal
        assert "held-out" in said
