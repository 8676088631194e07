"""Suites of clones: what is recorded, cloned and played, what is found again, what the table and the picture say."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace

import pytest
from rich.console import Console
from small_carts import CART, push
from small_clones import OPTIONS, record, write
from small_runs import results

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.cloning import PLAIN, evaluate_looks, parse_clone, read_looks
from ilfo.evaluate import evaluate, write_looks
from ilfo.fleet._display import Display
from ilfo.fleet.clone_jobs import CloneJob, flags_for
from ilfo.runs import read_config, read_summary
from ilfo.suites import Suite, Task, open_suite
from ilfo.suites.evaluate_clones import CloneSuiteOptions, evaluate_clones
from ilfo.suites.figure import Reached
from ilfo.suites.look_recordings import plan_recordings, record_missing
from ilfo.suites.looks_figure import looks_figure
from ilfo.suites.looks_table import CloneCell, looks_table, means_table
from ilfo.variants import KINDS

KEYPOINTS = OPTIONS["keypoints"]
FLAGS = [
    *("--epochs", "4", "--hidden-dim", "16", "--batch-size", "32", "--learning-rate", "0.01", "--eval-episodes", "1"),
    *("--pixels.points", "4", "--pixels.shift", "1", "--state-dims", "2"),
    *("--keypoints.no-pretrained", "--keypoints.image-size", str(KEYPOINTS.image_size), "--keypoints.votes", "0"),
    *("--keypoints.layer", str(KEYPOINTS.layer), "--keypoints.k", "3"),
]
KIND = ("colours", "lights")
SMALL = {"kinds": KIND, "seeds": "0", "episodes": 2, "jobs": 1}
CARTS = f"""
title = "Rolls a cart"
verb = "clone"
flags = {json.dumps(FLAGS)}

[[tasks]]
name = "roll"
env = "{CART}"
demo = ["elsewhere", "roll"]
"""


@pytest.fixture(scope="module")
def given(camera, tmp_path_factory):
    """A folder with a suite, and with demonstrations of its task in two looks."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "roll").mkdir()
    for name, look in (("plain", CART), ("dim", f"{CART}@lights-seen-0")):
        write(folder / "roll", f"{name}.hdf5", record(look, lambda observations, ages: push(observations), 3))
    (folder / "carts.toml").write_text(CARTS)
    return folder


@pytest.fixture(scope="module")
def evaluated(given, tmp_path_factory):
    """All three eyes, one after the other."""
    out = tmp_path_factory.mktemp("clones") / "[all]"
    options = CloneSuiteOptions(out=out, demo_dir=given, **SMALL)
    return options, *evaluate_clones(open_suite(str(given / "carts.toml")), options)


def test_every_eye_is_cloned_from_all_looks_and_played_in_every_look(evaluated, given):
    options, cells, failures = evaluated
    assert failures == []
    assert [(cell.task, cell.sees) for cell in cells] == [("roll", sees) for sees in ("states", "keypoints", "pixels")]
    for cell in cells:
        config = read_config(options.out / f"roll--{cell.sees}--seed-0")["config"]
        assert config["demo"] == [str(given / "roll" / name) for name in ("dim.hdf5", "plain.hdf5")]
        assert (config["epochs"], config["state_dims"]) == (4, "" if cell.sees == "states" else "2")
        looks = read_looks(options.out / f"roll--{cell.sees}--seed-0", KIND, 2, 10)
        assert list(looks) == [PLAIN, *((kind, split) for kind in KIND for split in ("seen", "unseen"))]
        starts = [[episode["seed"] for episode in look["episodes"]] for look in looks.values()]
        assert all(each == starts[0] for each in starts)


def test_what_was_played_otherwise_is_not_what_was_asked_for(evaluated):
    run = evaluated[0].out / "roll--states--seed-0"
    assert read_looks(run, KIND, 2, 10) is not None
    assert read_looks(run, KIND, 3, 10) is None
    assert read_looks(run, KIND, 2, None) is None
    assert read_looks(run, (*KIND, "camera"), 2, 10) is None


def test_what_was_played_from_other_states_is_not_what_was_asked_for(evaluated, tmp_path):
    """As ``ilfo evaluate RUN --variants --seed`` leaves it."""
    run = tmp_path / "run"
    shutil.copytree(evaluated[0].out / "roll--states--seed-0", run)
    write_looks(run, evaluate_looks(run, KIND, episodes=2, seed=5, stop_after_success=10))
    assert read_looks(run, KIND, 2, 10) is None


def test_seen_is_what_the_demonstrations_show(evaluated, tmp_path):
    run = evaluated[0].out / "roll--states--seed-0"
    assert read_summary(run)["variants"] == ["lights-seen-0"]
    each = {(each["kind"], each["split"]): each for each in json.loads((run / "variants.json").read_text())["each"]}
    assert {look: found["variants"] for look, found in each.items()} == {
        ("colours", "seen"): [0, 1],
        ("colours", "unseen"): [0, 1],
        ("lights", "seen"): [0, 0],
        ("lights", "unseen"): [0, 1],
    }
    shutil.copytree(run, tmp_path / "run")
    summary = read_summary(run)
    (tmp_path / "run" / "summary.json").write_text(
        json.dumps(summary | {"variants": ["colours-seen-3", "colours-seen-5", "lights-unseen-0"]})
    )
    looks = evaluate_looks(tmp_path / "run", KIND, episodes=3)
    assert looks.variants["colours", "seen"] == [3, 5, 3]
    assert looks.variants["lights", "seen"] == [0, 1, 2], "what was held out is not seen"
    assert looks.variants["lights", "unseen"] == [1, 2, 3], "and what was shown is not held out"
    assert looks.seen_text == (
        "the variants of colours that the demonstrations show, in turn; variants of lights that the demonstrations do "
        "not show, of the ranges to train on"
    )
    assert evaluate_looks(tmp_path / "run", KIND, ("unseen",), episodes=1).seen_text is None


def _plain_config(run):
    """What a run was told, but where it is."""
    return {name: value for name, value in read_config(run)["config"].items() if name not in ("out", "verb")}


def test_what_earlier_code_cloned_and_played_does_not_say_what_was_seen(evaluated, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(evaluated[0].out / "roll--states--seed-0", run)
    summary = read_summary(run)
    del summary["variants"]
    (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=r"was cloned by earlier code, .* play --split unseen alone"):
        evaluate_looks(run, KIND, episodes=1)
    assert evaluate_looks(run, KIND, ("unseen",), episodes=1).variants["lights", "unseen"] == [0]
    played = json.loads((run / "variants.json").read_text())
    for each in played["each"]:
        del each["variants"]
    (run / "variants.json").write_text(json.dumps(played))
    with pytest.raises(InputError, match=r"variants\.json was written by earlier code, .*: clone .* again"):
        read_looks(run, KIND, 2, 10)
    job = CloneJob.read("states", ["--demo", "x.hdf5", "--env", CART, "--out", str(run)], KIND, 2, 10)
    job = replace(job, config=replace(job.config, **_plain_config(run)))
    with pytest.raises(InputError, match=r"cloned by earlier code, .* remove it, or name another --out"):
        job.check()


def test_states_are_the_same_in_every_look_and_pixels_are_not(evaluated):
    _, (states, _, pixels), _ = evaluated
    returns = [{look: each["return_mean"] for look, each in cell.found[0].items()} for cell in (states, pixels)]
    assert len(set(returns[0].values())) == 1
    assert len({states.success(look) for look in returns[0]}) == 1
    assert len(set(returns[1].values())) > 1


def test_an_episode_may_end_with_its_success(evaluated):
    run = evaluated[0].out / "roll--states--seed-0"
    whole = evaluate_looks(run, KIND, episodes=2, seed=3).plain
    stopped = evaluate_looks(run, KIND, episodes=2, seed=3, stop_after_success=0)
    assert stopped.as_dict()["stop_after_success"] == 0
    assert json.loads((run / "variants.json").read_text())["stop_after_success"] == 10
    assert stopped.plain.successes == whole.successes == (2, 2)
    for short, long in zip(stopped.plain.trajectories, whole.trajectories, strict=True):
        assert len(short) == short.success_step == long.success_step < len(long)
    assert [row[3] for row in stopped.rows()] == [f"{whole.time_to_success:.1f}"] * 5


def test_a_clone_says_how_soon_it_succeeds(evaluated, given, capsys):
    run = evaluated[0].out / "roll--states--seed-0"
    found = evaluate(run, 1)
    assert read_summary(run)["time_to_success"] == found.time_to_success > 0
    demo = [str(given / "roll" / name) for name in ("dim.hdf5", "plain.hdf5")]
    flags = ["--env", CART, "--demo", *demo, "--sees", "states", "--seed", "0", "--out", str(run)]
    assert main(["clone", *flags, *flags_for("states", FLAGS)]) == 0
    assert f"first     success after {found.time_to_success:.1f} steps" in capsys.readouterr().out


def test_the_table_and_the_picture_are_written(evaluated, given):
    options, cells, _ = evaluated
    written = (options.out / "table.md").read_text()
    assert "| task | sees | plain | colours seen | colours unseen | lights seen | lights unseen |" in written
    low, high = cells[0].success(PLAIN).interval
    plain = f"{cells[0].success(PLAIN).value:.0%} ({low:.0%} to {high:.0%})"
    assert f"| roll | states | {' | '.join([plain] * 5)} |" in written
    assert "Rolls a cart. Seeds 0, 2 episodes of each in every look" in written
    assert f"- roll is learned from what was given, {given / 'roll'}" in written
    assert means_table(cells, KIND) in written
    assert f"| roll | states | {' | '.join([f'{cells[0].returns(PLAIN)[0]:.1f}'] * 5)} |" in written
    assert f"| roll | states | {' | '.join([f'{cells[0].time_to_success(PLAIN):.0f}'] * 5)} |" in written
    assert (options.out / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.xdist_group("ray")
def test_a_ray_cluster_leaves_the_same_results(evaluated, given, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("ilfo.fleet.fleet.start_child", None)  # The cluster's processes start them, not this one.
    out, missing = tmp_path / "out", shutil.ignore_patterns("roll--pixels--seed-0", "table.md")
    shutil.copytree(evaluated[0].out, out, ignore=missing)
    command = ["evaluate", str(given / "carts.toml"), "--out", str(out), "--demo-dir", str(given), "--ray", cluster]
    assert main([*command, "--kinds", *KIND, "--seeds", "0", "--episodes", "2"]) == 0
    assert results(out) == results(evaluated[0].out)


def test_the_same_command_goes_on_with_what_is_missing_alone_in_a_process_of_its_own(evaluated, given, capsys):
    options, _, _ = evaluated
    kept = {path: path.stat().st_mtime_ns for path in options.out.glob("*/*.json")}
    command = ["evaluate", str(given / "carts.toml"), "--out", str(options.out), "--demo-dir", str(given)]
    command += ["--kinds", *KIND, "--seeds", "0", "--episodes", "2", "--jobs", "2"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "begun" not in printed
    assert f"written to {options.out}: table.md" in printed, "a bracket is no markup"
    lost = options.out / "roll--pixels--seed-0" / "variants.json"
    before = lost.read_text()
    lost.unlink()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "roll/pixels/0: finished, 1 of 1" in printed
    assert "Means over 2 kinds" in printed
    assert lost.read_text() == before
    changed = [path for path in options.out.glob("*/*.json") if path.stat().st_mtime_ns != kept[path]]
    assert changed == [lost], "nothing is cloned again"


def test_a_policy_is_known_by_the_content_of_its_demonstrations(evaluated, given, tmp_path):
    options, cells, _ = evaluated
    suite = open_suite(str(given / "carts.toml"))
    shutil.copytree(given / "roll", tmp_path / "roll")
    assert evaluate_clones(suite, replace(options, demo_dir=tmp_path)) == (cells, [])
    (tmp_path / "roll" / "dim.hdf5").unlink()
    with pytest.raises(InputError, match=r"demo was .* and is now"):
        evaluate_clones(suite, replace(options, demo_dir=tmp_path))


@pytest.mark.parametrize(
    ("changed", "flags", "message"),
    [
        ({}, ["--epochs", "5"], "holds a run of another kind: epochs was 4 and is now 5"),
        (
            {"demo_dir": None},
            [],
            "no task can be run: roll: its demonstration elsewhere or roll is not there: give a f",
        ),
        ({}, ["--out=elsewhere"], "--out=elsewhere after '--', or among a suite's flags: the table decides"),
        ({"sees": ("pixels", "pixels")}, [], "--sees is pixels pixels: give each once"),
        ({"kinds": ()}, [], "--kinds is empty"),
        ({"tasks": ("run",)}, [], "--tasks names 'run', which carts has not; expected some of roll"),
        ({"seeds": ""}, [], "--seeds is empty"),
        ({"seeds": "0-x"}, [], "--seeds is '0-x'; expected numbers and ranges"),
        ({"episodes": 0}, [], "--episodes is 0; expected at least 1"),
        ({"looks": -1}, [], "--looks is -1; expected at least 0"),
        ({"demo_dir": "nowhere"}, [], "--demo-dir nowhere is no folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:carts. roll is left out")
def test_what_cannot_be_meant_is_refused_before_anything_is_done(evaluated, given, changed, flags, message):
    options, _, _ = evaluated
    if changed.get("demo_dir"):
        changed = changed | {"demo_dir": given / changed["demo_dir"]}
        message = message.replace("nowhere", str(given / "nowhere"))
    before = sorted(options.out.rglob("*"))
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate_clones(open_suite(str(given / "carts.toml")), replace(options, **changed), flags)
    assert sorted(options.out.rglob("*")) == before


@pytest.mark.parametrize("flags", [["--seed", "7"], ["--env=Elsewhere-v0"], ["--demo", "other.hdf5"]])
@pytest.mark.parametrize("whose", ["suite", "task"])
def test_a_suite_of_clones_decides_in_its_flags_nothing_that_the_table_does(given, tmp_path, whose, flags):
    suite = open_suite(str(given / "carts.toml"))
    tasks = tuple(replace(task, flags=tuple(flags)) for task in suite.tasks)
    wrong = replace(suite, tasks=tasks) if whose == "task" else replace(suite, flags=(*suite.flags, *flags))
    options = CloneSuiteOptions(out=tmp_path / "out", demo_dir=given, **SMALL)
    with pytest.raises(InputError, match=f"{flags[0]} after '--', or among a suite's flags: the table decides"):
        evaluate_clones(wrong, options)
    assert not options.out.exists()


def test_where_nothing_can_be_drawn_it_is_said_of_the_task(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "no-such-library")
    suite = Suite("carts", "Carts", (Task("roll", CART, (), policy="small_carts:push"),), verb="clone")
    options = CloneSuiteOptions(sees=("states",), demos=3, looks=1, out=tmp_path / "out", **SMALL)
    with (
        pytest.warns(UserWarning, match="roll is left out: no picture can be drawn here"),
        pytest.raises(InputError, match="no task can be run: roll: no picture can be drawn here"),
    ):
        evaluate_clones(suite, options, FLAGS)


def test_an_expert_is_recorded_once_in_every_look(camera, tmp_path):
    task = Task("roll", CART, ("none",), policy="small_carts:push")
    suite = Suite("carts", "Carts", (task,), verb="clone", flags=tuple(FLAGS))
    options = CloneSuiteOptions(sees=("states",), demos=4, looks=1, out=tmp_path / "out", **SMALL)
    (cell,), failures = evaluate_clones(suite, options)
    assert failures == []
    assert cell.success(PLAIN) is not None
    files = {path.stem: path for path in (tmp_path / "out" / "demos" / "roll").iterdir()}
    assert files.keys() == {"plain", "colours-seen-0", "lights-seen-0"}
    opened = {name: demos.open(path, frames=True) for name, path in files.items()}
    assert {name: len(each) for name, each in opened.items()} == {"plain": 2, "colours-seen-0": 1, "lights-seen-0": 1}
    episodes = [episode for each in opened.values() for episode in each]
    assert len({episode.seed for episode in episodes}) == 4
    assert all(episode.success and episode.actions is not None for episode in episodes)
    assert len({episode.frames[0].tobytes() for episode in episodes}) == 4
    assert (
        "- roll is learned from 4 episodes of the expert, as the task is and in 1 seen variant of each kind"
        in (tmp_path / "out" / "table.md").read_text()
    )
    times = [path.stat().st_mtime_ns for path in files.values()]
    evaluate_clones(suite, replace(options, episodes=1))
    assert [path.stat().st_mtime_ns for path in files.values()] == times
    with pytest.raises(InputError, match=r"colours-seen-0.hdf5 has 1 episode, expected 2: give --demos and"):
        evaluate_clones(suite, replace(options, demos=5))
    with pytest.raises(InputError, match=r"demo was \[.*lights-seen-0.hdf5'\] and is now \[.*plain.hdf5'\]"):
        evaluate_clones(suite, replace(options, demos=2, looks=0))
    other = replace(suite, tasks=(replace(task, policy="small_carts:rush"),))
    with pytest.raises(InputError, match=r"plain.hdf5 .*: policy small_carts:push, .*; expected .*small_carts:rush"):
        evaluate_clones(other, options)
    moved = replace(suite, tasks=(replace(task, env=f"{CART}@19-steps"),))
    with pytest.raises(InputError, match=rf"plain.hdf5 has the environment '{CART}' .*; expected '{CART}@19-steps'"):
        evaluate_clones(moved, options)


def test_what_has_no_variants_is_left_out(given, tmp_path):
    tasks = (Task("roll", CART, ("roll",)), Task("square", "small_envs:Square-v0", ("roll",)))
    suite = Suite("some", "Some", tasks, verb="clone", flags=tuple(FLAGS))
    options = CloneSuiteOptions(sees=("states",), demo_dir=given, out=tmp_path / "out", **SMALL)
    with pytest.warns(UserWarning, match="square is left out: Square-v0 has no variants such as colours-seen-0"):
        cells, failures = evaluate_clones(suite, options)
    assert failures == []
    assert [len(cell.found) for cell in cells] == [1, 0]
    written = (tmp_path / "out" / "table.md").read_text()
    assert "| square | states | – | – | – | – | – |" in written
    assert "- square is left out: Square-v0 has no variants" in written
    assert "| states | 1 |" in written


def test_one_that_fails_is_told_and_the_table_written_all_the_same(given, tmp_path, capsys):
    silent = demos.open(given / "roll" / "plain.hdf5")
    write(tmp_path, "roll.hdf5", silent)
    command = ["evaluate", str(given / "carts.toml"), "--out", str(tmp_path / "out"), "--demo-dir", str(tmp_path)]
    assert main([*command, "--sees", "states", "pixels", "--kinds", "colours", "--seeds", "0", "--jobs", "1"]) == 1
    printed = capsys.readouterr().out
    assert "1 run failed" in printed
    assert "roll/pixels/0: " in printed
    assert "there are no frames" in printed
    assert "| roll | pixels | – | – | – |" in (tmp_path / "out" / "table.md").read_text()


def test_a_ray_cluster_is_asked_for_what_is_missing(given, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    options = CloneSuiteOptions(sees=("states",), demo_dir=given, out=tmp_path / "out", ray="local", **SMALL)
    with pytest.raises(InputError, match=r"Ray is not installed: pip install \"ilfo\[ray\]\""):
        evaluate_clones(open_suite(str(given / "carts.toml")), options)


def test_the_bundled_suite_is_one_of_clones_with_flags_for_every_eye(tmp_path):
    suite = open_suite("generalisation")
    assert suite.verb == "clone"
    for task in suite.tasks:
        assert task.expert == {"scripted": True}
        assert task.find_demo(None) is None, "bundled demonstrations have neither actions nor frames"
        for sees in ("states", "keypoints", "pixels"):
            words = ["--env", task.env, "--demo", "any.hdf5", "--sees", sees, "--out", str(tmp_path)]
            assert parse_clone([*words, *flags_for(sees, [*suite.flags, *task.flags])]).sees == sees
        recordings = plan_recordings(task, KINDS, CloneSuiteOptions().looks, CloneSuiteOptions().demos, tmp_path)
        assert sum(each.episodes for each in recordings) == CloneSuiteOptions().demos
        assert len({each.env for each in recordings}) == len({each.seed for each in recordings}) == 15


def test_fewer_episodes_than_looks_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"--demos is 14, and there are 15 looks to record.* Give at least --demos 15"):
        plan_recordings(Task("any", CART, ()), KINDS, 2, 14, tmp_path)


@pytest.mark.metaworld
def test_the_scripted_expert_of_metaworld_is_filmed_in_a_variant(camera, tmp_path):
    pytest.importorskip("metaworld", reason="needs the extra metaworld")
    (task, *_) = open_suite("generalisation").tasks
    recordings = plan_recordings(task, ("colours",), 1, 2, tmp_path)
    record_missing(recordings, task)
    plain, coloured = (demos.open(each.file, frames=True)[0] for each in recordings)
    assert plain.success
    assert coloured.success
    assert plain.frames.shape[1:] == coloured.frames.shape[1:] == (84, 84, 3)


def test_a_flag_of_one_eye_goes_to_it_alone():
    words = ["--epochs", "3", "--keypoints.k", "8", "--pixels.shift=0", "--state-dims", "0-3", "--threads", "2"]
    assert flags_for("states", words) == ["--epochs", "3", "--threads", "2"]
    assert flags_for("pixels", words) == [
        *("--epochs", "3", "--pixels.shift=0", "--state-dims", "0-3", "--threads", "2"),
    ]


def look(successes, score=None, returned=0.0, steps=()):
    episodes = [{"success_step": step} for step in steps]
    return {"successes": successes, "score": score, "return_mean": returned, "episodes": episodes}


def test_seeds_are_pooled_and_kinds_and_tasks_averaged():
    looks = [PLAIN, ("colours", "seen"), ("colours", "unseen"), ("lights", "seen"), ("lights", "unseen")]
    counts = {"a": [(10, 8, 2, 6, 0), (8, 8, 4, 4, 2)], "b": [(4, 4, 4, 4, 4), (4, 4, 4, 4, 4)]}
    cells = [
        CloneCell(
            task, "pixels", tuple({at: look((n, 10)) for at, n in zip(looks, seed, strict=True)} for seed in each)
        )
        for task, each in counts.items()
    ]
    assert cells[0].success(PLAIN).value == 0.9
    assert cells[0].success(PLAIN).interval == pytest.approx((0.699, 0.972), abs=5e-4)
    cells.append(CloneCell("a", "states", ()))
    suite = Suite("some", "Some", (), verb="clone")
    written = looks_table(suite, cells, ("colours", "lights"), ["a note"], "0-1", 10)
    assert "| a | pixels | 90% (70% to 97%) | 80% (58% to 92%) | 30% (15% to 52%) |" in written
    assert "| a | states | – | – | – | – | – |" in written
    assert "| pixels | 2 | 65% | 52% | 30% |" in written
    assert "| states | 0 | – | – | – |" in written
    assert "95 % Wilson interval" in written
    assert written.endswith("- a note\n")


def test_returns_and_times_to_success_have_tables_of_their_own():
    first = {PLAIN: look((2, 2), None, 5.0, [3, 6]), ("colours", "seen"): look((0, 2), None, 1.0, [None, None])}
    other = {PLAIN: look((1, 2), None, 7.0, [12, None]), ("colours", "seen"): look((0, 2), None, 1.0, [None, None])}
    cell = CloneCell("a", "pixels", tuple(each | {("colours", "unseen"): each[PLAIN]} for each in (first, other)))
    suite, missing = Suite("some", "Some", (), verb="clone"), CloneCell("a", "states", ())
    _, returns, times = re.split(
        "Return, mean.*|Mean steps.*", looks_table(suite, [cell, missing], ("colours",), [], "0-1", 2)
    )
    assert "| a | pixels | 6.0 (5.0 to 7.0) | 1.0 (1.0 to 1.0) | 6.0 (5.0 to 7.0) |" in returns
    assert "| a | pixels | 7 | – | 7 |" in times
    assert "| a | states | – | – | – |" in returns
    assert "| a | states | – | – | – |" in times
    single = looks_table(suite, [CloneCell("a", "pixels", cell.found[:1])], ("colours",), [], "0", 2)
    assert "| a | pixels | 5.0 | 1.0 | 5.0 |" in single


def test_where_there_is_no_success_the_score_is_shown():
    looks = {PLAIN: look(None, 0.5), ("colours", "seen"): look(None, 0.25), ("colours", "unseen"): look(None, None)}
    cell = CloneCell("a", "pixels", (looks,))
    written = looks_table(Suite("some", "Some", ()), [cell], ("colours",), [], "0", 1)
    assert "| a | pixels | 50% | 25% | – |" in written
    assert "Score, 0 % a random policy" in written
    assert "those of the random policy are whole all the same" in written
    assert "first success" not in written


def test_of_the_seeds_scores_the_middle_half_is_taken():
    cell = CloneCell("a", "pixels", tuple({PLAIN: look(None, score)} for score in (0.5, 1.0, 0.0, 0.4)))
    assert cell.score(PLAIN) == (pytest.approx(0.45), (0, 1))


def test_the_display_counts_epochs(evaluated):
    options, _, _ = evaluated
    written = io.StringIO()
    with Display(Console(file=written, force_terminal=True, width=150), 1, 4, "epoch") as display:
        display.begin("roll/states/0", options.out / "roll--states--seed-0", 4)
        display.refresh()
    assert "4/4 epochs" in written.getvalue()


def test_the_picture_has_a_panel_for_each_task():
    reached = {
        ("a", "pixels", PLAIN): Reached(0.5, (0.2, 0.8)),
        ("a", "pixels", ("colours", "seen")): Reached(1, (0.8, 1)),
    }
    one, two = (looks_figure(tasks, ["pixels"], ["colours"], reached, "Some", "success") for tasks in ("a", "ab"))
    heights = [int.from_bytes(picture[20:24], "big") for picture in (one, two)]
    assert heights[1] > 1.5 * heights[0]


def test_a_suite_of_clones_has_no_steps(tmp_path):
    task = '[[tasks]]\nname = "a"\nenv = "b"\ndemo = "c"\n'
    for text in (f'verb = "clone"\nsteps = 9\n{task}', f'verb = "clone"\n{task}steps = 9\n'):
        (tmp_path / "mine.toml").write_text(text)
        with pytest.raises(InputError, match="has steps, and nothing that is cloned counts them"):
            open_suite(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text(f'verb = "play"\n{task}')
    with pytest.raises(InputError, match="verb is 'play'; expected one of 'train', 'clone'"):
        open_suite(str(tmp_path / "mine.toml"))


def test_the_help_says_what_is_cloned(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "generalisation", "--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "button-press-topdown" in printed
    assert "--looks" in printed
    assert "--ray" in printed
