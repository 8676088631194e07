"""Suites: what their files say, what is trained and found again, what is left out, the table."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_envs import LEDGE, expert
from small_runs import results

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.demos import Demonstrations
from ilfo.fleet.cell_flags import without_columns
from ilfo.runs import read_config, read_metrics
from ilfo.suites import Suite, Task, bundled_suites, is_suite, open_suite
from ilfo.suites.evaluate_suite import SuiteOptions, evaluate_suite
from ilfo.suites.table import LeftOut, SuiteCell, left_out_before, suite_table
from ilfo.training.flags import parse_train

FLAGS = ["--random-steps", "100", "--eval-every", "100", "--eval-episodes", "1", "--td3.hidden-dim", "8"]
OPTIONS = {"seeds": "0-1", "episodes": 2, "jobs": 1}
ENDS = {"return_mean": 5.0, "ratio": None, "score": None}

TWO_TASKS = f"""
title = "Walks along a ledge"
steps = 200
flags = {json.dumps(FLAGS)}

[[tasks]]
name = "walk"
env = "{LEDGE}"
demo = ["elsewhere", "walk"]

[[tasks]]
name = "walk-on"
env = "{LEDGE}"
demo = "walk.hdf5"
flags = ["--td3.hidden-dim", "4"]
steps = 300
"""


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "ledges.toml"
    path.write_text(TWO_TASKS)
    return path


@pytest.fixture(scope="module")
def evaluated(suite_file, demo, tmp_path_factory):
    options = SuiteOptions(out=tmp_path_factory.mktemp("evaluated"), demo_dir=demo.parent, **OPTIONS)
    return options, *evaluate_suite(open_suite(str(suite_file)), options)


@pytest.mark.parametrize("name", sorted(bundled_suites()))
def test_a_bundled_suite_can_be_read_and_its_flags_are_flags(name, tmp_path):
    suite = open_suite(name)
    assert suite.name == name
    assert suite.title
    for task in suite.tasks:
        given = ["--env", task.env, "--demo", "any.hdf5", "--out", str(tmp_path), *suite.flags, *task.flags]
        config, _ = parse_train([*given, "--steps", str(task.steps or suite.steps)])
        assert config.steps > config.eval_every


@pytest.mark.parametrize("given", [["--features", "keypoints"], ["--num-envs", "2", "--features=keypoints"]])
def test_a_suite_names_no_columns_of_states_where_keypoints_are_seen(given):
    for name in ("metaworld-easy", "robomimic"):
        suite = open_suite(name)
        words = ["--env", suite.tasks[0].env, "--demo", "any.hdf5"]
        config, _ = parse_train([*words, *without_columns([*suite.flags, *suite.tasks[0].flags], given), *given])
        assert (config.reward_keys, config.features.dims, config.features.relative) == ((), (), ())
        assert config.eval_every > 5000, "other flags stay"
        assert without_columns(suite.flags, ["--features", "states"]) == list(suite.flags)


@pytest.mark.parametrize(
    ("flags", "turned"),
    [((), True), (("--num-envs", "2"), True), (("--features", "states"), False)],
    ids=["file", "file and flag", "flag over file"],
)
@pytest.mark.parametrize("name", ["seen.toml", "seen.json"])
def test_a_file_says_that_keypoints_are_seen_as_the_flag_does(tmp_path, name, flags, turned):
    file = tmp_path / name
    file.write_text('{"sees": "keypoints"}' if file.suffix == ".json" else 'sees = "keypoints"\n')
    suite = open_suite("metaworld-easy")
    own, given = [*suite.flags, *suite.tasks[0].flags], ["--config", str(file), *flags]
    kept = without_columns(own, given)
    assert (kept == own) is not turned
    config, _ = parse_train(["--env", LEDGE, "--demo", "any.hdf5", *kept, *given])
    assert config.sees == ("keypoints" if turned else "states")
    assert (config.features.relative == ()) is turned
    file.write_text("{}" if file.suffix == ".json" else "steps = 900\n")
    assert without_columns(own, given) == own


def test_a_suite_that_sees_keypoints_by_itself_names_columns_of_these():
    own = ["--features", "keypoints", "--features.dims", "0-2"]
    assert without_columns(own, ["--features", "keypoints"]) == without_columns(own, []) == own


def test_suites_are_told_from_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_suite("locomotion")
    assert is_suite("my_suite.toml")
    assert not is_suite("runs/latest")
    Path("locomotion").mkdir()
    assert is_suite("locomotion"), "what a suite left there, with --out locomotion"
    Path("locomotion/config.json").touch()
    assert not is_suite("locomotion"), "a run comes first"


def test_every_cell_is_trained_and_evaluated(evaluated):
    _, cells, failures = evaluated
    assert failures == []
    assert [cell.name for cell in cells] == ["walk/transport/td3", "walk-on/transport/td3"]
    for cell, steps, width in zip(cells, (200, 300), (8, 4), strict=True):
        config = read_config(cell.folder)["config"]
        assert (config["steps"], config["td3"]["hidden_dim"], config["seeds"]) == (steps, width, "0-1")
        assert config["demo"].endswith("walk.hdf5")
        assert len(cell.played) == 4
        assert len(cell.returns) == len(cell.scores) == 2
        low, high = cell.success.interval
        assert 0 <= low <= cell.success.value <= high <= 1


def test_the_table_and_the_picture_are_written(evaluated):
    options, cells, _ = evaluated
    written = (options.out / "table.md").read_text()
    low, high = cells[0].success.interval
    assert f"| walk | transport | td3 | 200 | {cells[0].success.value:.0%} ({low:.0%} to {high:.0%}) |" in written
    assert f"| transport | td3 | 2 | {(cells[0].success.value + cells[1].success.value) / 2:.0%} |" in written
    assert "Walks along a ledge. Seeds 0-1, 2 episodes of each, protocol standard." in written
    assert (options.out / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.xdist_group("ray")
def test_a_ray_cluster_leaves_the_same_results(evaluated, suite_file, demo, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("ilfo.fleet.fleet.start_child", None)  # The cluster's processes start them, not this one.
    command = ["evaluate", str(suite_file), "--out", str(tmp_path), "--demo-dir", str(demo.parent)]
    assert main([*command, "--seeds", "0-1", "--episodes", "2", "--ray", cluster]) == 0
    assert results(tmp_path) == results(evaluated[0].out)


def test_an_address_where_nobody_listens_is_refused_at_once(suite_file, demo, tmp_path, capsys):
    pytest.importorskip("ray", reason="needs the extra ray")
    command = ["evaluate", str(suite_file), "--out", str(tmp_path), "--demo-dir", str(demo.parent)]
    assert main([*command, "--ray", "127.0.0.1:1"]) == 2
    printed = capsys.readouterr().err
    assert "--ray 127.0.0.1:1: no cluster answers" in printed
    assert "Connection refused" in printed, "Ray itself would speak of it much later"


def test_the_same_command_goes_on_and_trains_nothing_twice(evaluated, suite_file, demo, capsys):
    options, cells, _ = evaluated
    before = [path.stat().st_mtime_ns for cell in cells for path in sorted(cell.folder.rglob("*.json"))]
    lost = cells[1].folder / "seed_1" / "evaluation.json"
    kept = lost.read_text()
    lost.unlink()
    command = ["evaluate", str(suite_file), "--out", str(options.out), "--demo-dir", str(demo.parent)]
    assert main([*command, "--seeds", "0-1", "--episodes", "2", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "walk-on/transport/td3 (1 of 1)" in printed
    assert "written to" in printed
    assert lost.read_text() == kept
    after = [path.stat().st_mtime_ns for cell in cells for path in sorted(cell.folder.rglob("*.json"))]
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 2, "the evaluations of one cell"


@pytest.mark.parametrize("other", [{"steps": 100}, {"seed": 5}], ids=["fewer steps", "other episodes"])
def test_another_evaluation_is_not_the_result_of_a_cell(evaluated, suite_file, demo, tmp_path, other):
    """As ``ilfo evaluate`` leaves it in the folder of a seed that is still under way, and ``--seed`` in any."""
    kept = tmp_path / "kept"
    shutil.copytree(evaluated[0].out, kept)
    file = kept / evaluated[1][0].folder.name / "seed_1" / "evaluation.json"
    good = file.read_text()
    file.write_text(json.dumps(json.loads(good) | other | {"return_mean": -1000.0}))
    suite, options = open_suite(str(suite_file)), SuiteOptions(out=kept, demo_dir=demo.parent, **OPTIONS)
    shown, _ = evaluate_suite(suite, replace(options, show=True))
    assert [cell.episodes for cell in shown] == [[], [2]]
    assert "-1,000" not in (kept / "table.md").read_text()
    cells, _ = evaluate_suite(suite, options)
    assert all(cell.episodes == [2] for cell in cells)
    assert file.read_text() == good


def test_one_that_fails_is_told_and_the_table_written_all_the_same(tmp_path, capsys):
    demos.write(tmp_path / "walk.hdf5", Demonstrations(expert().trajectories))
    file = tmp_path / "suite.toml"
    tasks = [("falls", "small_envs:Exploding-v0"), ("walk", LEDGE)]
    tables = [f'[[tasks]]\nname = "{name}"\nenv = "{env}"\ndemo = "walk"' for name, env in tasks]
    file.write_text(f"steps = 200\nflags = {json.dumps(FLAGS)}\n" + "\n".join(tables))
    command = ["evaluate", str(file), "--out", str(tmp_path / "out"), "--demo-dir", str(tmp_path), "--seeds", "0"]
    assert main([*command, "--jobs", "1", "--episodes", "1"]) == 1
    printed = capsys.readouterr().out
    assert "1 run failed" in printed
    assert "falls/transport/td3: small_envs:Exploding-v0 returned a NaN" in printed
    written = (tmp_path / "out" / "table.md").read_text()
    assert "| falls | transport | td3 | – | – | – | – | – | – |" in written
    assert "| walk | transport | td3 | 200 | 0% (0% to 79%) |" in written


@pytest.mark.parametrize("by", ["flag", "file"])
def test_a_suite_that_names_columns_can_be_asked_for_keypoints(demo, tmp_path, by):
    """Its own are left out, so that what is missing is what keypoints are sought in."""
    (tmp_path / "seen.toml").write_text('sees = "keypoints"')
    given = ["--features", "keypoints"] if by == "flag" else ["--config", str(tmp_path / "seen.toml")]
    suite = Suite("walk", "walk", (Task("walk", LEDGE, ("walk",)),), steps=200, flags=(*FLAGS, "--features.dims", "1"))
    options = SuiteOptions(out=tmp_path, demo_dir=demo.parent, **OPTIONS)
    _, (failure,) = evaluate_suite(suite, options, given)
    assert "no dataset 'frames'" in failure.what


def test_what_cannot_be_run_is_left_out_and_the_table_says_why(demo, tmp_path):
    tasks = (
        Task("unknown", "small_envs:Nowhere-v0", ("walk",)),
        Task("unseen", LEDGE, ("other",)),
        Task("unscripted", LEDGE, ("other",), scripted=True),
        Task("walk", LEDGE, ("walk",)),
    )
    suite = Suite("some", "Some", tasks, steps=200, flags=tuple(FLAGS))
    options = SuiteOptions(out=tmp_path / "out", demo_dir=demo.parent, **OPTIONS | {"seeds": "0"})
    with pytest.warns(UserWarning, match="is left out") as warned:
        cells, failures = evaluate_suite(suite, options)
    assert [bool(cell.evaluations) for cell in cells] == [False, False, False, True]
    assert failures == []
    told = [str(each.message) for each in warned]
    assert "Nowhere" in told[0]
    assert re.search(r"its demonstration other is not bundled: .* has neither it nor it\.hdf5", told[1])
    assert "has no scripted expert" in told[2]
    assert "- unseen is left out: its demonstration other" in (options.out / "table.md").read_text()
    with (
        pytest.warns(UserWarning, match="give a folder with --demo-dir"),
        pytest.raises(InputError, match="some: no task can be run: unseen: its demonstration other"),
    ):
        evaluate_suite(suite, SuiteOptions(out=tmp_path / "none", tasks=("unseen",), **OPTIONS))
    assert not (tmp_path / "none").exists()


def test_an_expert_is_recorded_once_until_soon_after_its_success(tmp_path):
    task = Task("signs", "small_envs:Signposted-v0", (), policy="own_policies:walk")
    suite = Suite("signs", "Signs", (task,), steps=200, flags=tuple(FLAGS))
    options = SuiteOptions(out=tmp_path, **OPTIONS | {"seeds": "0"})
    (trained,), failures = evaluate_suite(suite, options)
    assert failures == []
    assert (trained.summary["steps"], trained.episodes) == (200, [2])
    file = tmp_path / "demos" / "signs.hdf5"
    (recorded,) = demos.open(file)
    assert recorded.success
    steps = int(np.argmax(recorded.observations[:, 0] > 1))
    assert len(recorded) == steps + 10 < 40
    before = file.stat().st_mtime_ns
    evaluate_suite(suite, options)
    for changed, wanted in (({"policy": "own_policies:creep"}, "creep"), ({"env": f"{task.env}@9-steps"}, "9-steps")):
        with pytest.raises(InputError, match=rf"signs\.hdf5 .*: policy own_policies:walk, .*; expected .*{wanted}'"):
            evaluate_suite(replace(suite, tasks=(replace(task, **changed),)), options)
    assert file.stat().st_mtime_ns == before


def test_what_is_recorded_fits_what_it_is_for(tmp_path):
    """A task without success is recorded all the same, and with frames where keypoints are sought in them."""
    task = Task("square", "small_envs:Square-v0", (), policy="own_policies:walk")
    suite = Suite("some", "Some", (task,), steps=200, flags=tuple(FLAGS))
    options, file = SuiteOptions(out=tmp_path, **OPTIONS | {"seeds": "0"}), tmp_path / "demos" / "square.hdf5"
    (cell,), failures = evaluate_suite(suite, options)
    assert failures == []
    assert (cell.summary["steps"], cell.episodes) == (200, [2])
    assert len(demos.open(file)[0]) == 20
    with pytest.raises(InputError, match=r"square\.hdf5 has no frames, which keypoints are sought in: remove the file"):
        evaluate_suite(suite, options, ["--features", "keypoints"])
    file.unlink()
    shutil.rmtree(cell.folder)
    evaluate_suite(suite, options, ["--features", "keypoints", "--keypoints.backbone", "no_such_vit"])
    assert len(demos.open(file, frames=True)[0].frames) == 21


def test_a_bundled_demonstration_and_one_of_the_users(tmp_path):
    task = Task("any", LEDGE, ("mine", "halfcheetah"))
    assert task.find_demo(None) == task.find_demo(tmp_path) == "halfcheetah"
    (tmp_path / "mine.hdf5").touch()
    assert task.find_demo(tmp_path) == str(tmp_path / "mine.hdf5")
    assert Task("any", LEDGE, ("mine",)).find_demo(None) is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # The ledge cannot be drawn, and the page does without.
def test_a_report_that_is_asked_for_later_is_written(evaluated, suite_file, demo, tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(evaluated[0].out, kept)
    asked = replace(evaluated[0], out=kept, tasks=("walk",))
    (cell,), failures = evaluate_suite(open_suite(str(suite_file)), asked, ["--report"])
    assert failures == []
    page = cell.folder / "report" / "index.html"
    written = page.stat().st_mtime_ns
    evaluate_suite(open_suite(str(suite_file)), asked, ["--report"])
    assert page.stat().st_mtime_ns == written


def test_a_suite_is_trained_further_where_its_runs_kept_their_replay(demo, tmp_path):
    suite = Suite("walk", "walk", (Task("walk", LEDGE, ("walk",)),), steps=200, flags=tuple(FLAGS))
    options = SuiteOptions(out=tmp_path, demo_dir=demo.parent, **OPTIONS | {"seeds": "0"})
    evaluate_suite(suite, options, ["--keep-replay"])
    (longer,), failures = evaluate_suite(suite, replace(options, steps=300), ["--keep-replay"])
    assert failures == []
    assert (longer.summary["steps"], longer.episodes) == (300, [2])
    assert [row["step"] for row in read_metrics(longer.folder / "seed_0")][-2:] == [200, 300]


def test_other_steps_are_not_passed_off_for_these(evaluated, suite_file, demo):
    options, _, _ = evaluated
    changed = SuiteOptions(out=options.out, demo_dir=demo.parent, steps=250, **OPTIONS)
    with pytest.raises(InputError, match="finished run of another kind: steps was 200 and is now 250"):
        evaluate_suite(open_suite(str(suite_file)), changed)


def test_other_flags_are_not_passed_off_for_these(evaluated, suite_file, demo):
    options, *_ = evaluated
    asked = replace(options, demo_dir=demo.parent)
    with pytest.raises(InputError, match=r"td3\.exploration_noise was 0\.1 and is now 0\.3"):
        evaluate_suite(open_suite(str(suite_file)), asked, ["--td3.exploration-noise", "0.3"])
    with pytest.raises(InputError, match="--protocol after '--', or among a suite's flags"):
        evaluate_suite(open_suite(str(suite_file)), asked, ["--protocol", "fixed-horizon"])


def test_what_a_preset_or_a_file_says_is_heard_or_refused(demo, tmp_path):
    suite = Suite("walk", "walk", (Task("walk", LEDGE, ("walk",)),), steps=200, flags=tuple(FLAGS))
    options = SuiteOptions(out=tmp_path / "out", demo_dir=demo.parent, **OPTIONS)
    with pytest.raises(InputError, match="--preset has the protocol 'fixed-horizon', and the table decides 'standard'"):
        evaluate_suite(suite, options, ["--preset", "oops"])
    for name in ("base", "mine"):
        (tmp_path / f"{name}.toml").write_text("num_envs = 2\n")
    suite = replace(suite, flags=(*FLAGS, "--config", str(tmp_path / "base.toml")))
    with pytest.raises(
        InputError, match="name 2 files by --config, and only one is read: give what yours sets as flag"
    ):
        evaluate_suite(suite, options, [f"--config={tmp_path / 'mine.toml'}"])
    assert not options.out.exists()


def test_flags_of_a_suite_for_what_is_not_in_the_table_are_left_out(demo, tmp_path):
    own = (*FLAGS, "--transport.temperature", "0.5", "--td7.hidden-dim", "16")
    suite = Suite("walk", "walk", (Task("walk", LEDGE, ("walk",)),), steps=200, flags=own)
    options = SuiteOptions(out=tmp_path, demo_dir=demo.parent, rewards=("nearest",), **OPTIONS | {"seeds": "0"})
    (cell,), failures = evaluate_suite(suite, options)
    assert failures == []
    assert (cell.summary["steps"], cell.episodes) == (200, [2])
    with pytest.raises(InputError, match=r"--transport\.temperature is an option of --reward transport"):
        evaluate_suite(suite, options, ["--transport.temperature", "0.5"])


def test_show_trains_nothing(evaluated, suite_file):
    options, _, _ = evaluated
    asked = SuiteOptions(out=options.out, rewards=("transport", "environment"), show=True, **OPTIONS)
    cells, _ = evaluate_suite(open_suite(str(suite_file)), asked)
    assert [bool(cell.evaluations) for cell in cells] == [True, False, True, False]
    assert "| walk | environment | td3 | – | – | – | – | – | – |" in (options.out / "table.md").read_text()


def test_another_run_is_not_shown_as_this_one(evaluated, suite_file):
    suite, options = open_suite(str(suite_file)), replace(evaluated[0], show=True)
    before = (options.out / "table.md").read_text()
    walk, on = suite.tasks
    for changed, message in (
        ({"tasks": (replace(walk, env="small_envs:Reusing-v0"), on)}, f"env was '{LEDGE}' and is now 'small_envs:Reus"),
        ({"protocol": "fixed-horizon"}, "protocol was 'standard' and is now 'fixed-horizon'"),
        ({"tasks": (walk, replace(walk, name="walk!"))}, "walk/transport/td3 and walk!/transport/td3 would share the"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_suite(replace(suite, **changed), options)
    with pytest.raises(InputError, match="reward was 'transport' and is now 'transport '"):
        evaluate_suite(suite, replace(options, rewards=("transport ",)))
    with pytest.raises(InputError, match="no reward is called 'transprot'; did you mean 'transport'"):
        evaluate_suite(suite, replace(options, rewards=("transprot",)))
    assert (options.out / "table.md").read_text() == before


def test_what_is_shown_is_called_what_it_is(evaluated, suite_file, demo, tmp_path, capsys):
    kept = tmp_path / "kept"
    shutil.copytree(evaluated[0].out, kept)
    note = "- other is left out: it is not here\n"
    with (kept / "table.md").open("a") as file:
        file.write(note)
    command = ["evaluate", str(suite_file), "--out", str(kept), "--show"]
    assert main(command) == 0
    written = (kept / "table.md").read_text()
    assert "Seeds 0-1, 2 episodes of each," in written
    assert written.endswith(note)
    assert main([*command, "--seeds", "0,1", "--steps", "300", "--episodes", "2", "--tasks", "walk-on"]) == 0
    for flags, message in (
        (["--seeds", "0-9"], "seeds was (0, 1) and is now (0, 1, 2, 3, 4, 5, 6, 7, 8, 9). Give the same values"),
        (["--episodes", "50"], "episodes was 2 and is now 50"),
        (["--steps", "300"], "steps was 200 and is now 300"),
    ):
        assert main([*command, *flags]) == 2
        assert f"walk--transport--td3 holds a finished run of another kind: {message}" in capsys.readouterr().err
    assert (kept / "table.md").read_text().endswith(note)


def test_brackets_in_the_name_of_a_folder_are_no_markup(evaluated, suite_file, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "[walks]" / "a[" / "b]"
    shutil.copytree(evaluated[0].out, kept)
    command = ["evaluate", str(suite_file), "--out", str(kept), "--show"]
    assert main(command) == 0
    assert f"written to {kept}: table.md" in capsys.readouterr().out

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ilfo.suites.evaluate_suite.evaluate_suite", interrupted)
    assert main(command) == 130
    assert f"What is finished is in {kept}; the same command goes on" in capsys.readouterr().out


def played(successes, failures, returned, ratio, score):
    """An evaluation of a seed: at which step each episode that succeeded did so, and how many others there were."""
    episodes = [{"success": True, "success_step": step} for step in successes]
    episodes += [{"success": False, "success_step": None}] * failures
    return {"episodes": episodes, "return_mean": returned, "ratio": ratio, "score": score}


def finished(task, steps, *evaluations, reward="transport"):
    return SuiteCell(task, reward, "td3", Path(), {"protocol": "standard", "steps": steps}, evaluations, "0-3")


WALK = finished(
    *("walk", 1400),
    played([10, 20, 30, 40, 50], 0, 100.0, 0.1, 0.0),
    played([], 2, 200.0, 0.2, 0.4),
    played([120], 1, 300.0, 0.3, 0.5),
    played([], 1, 1000.0, 1.0, 1.0),
)
RUN = finished(
    *("run", 500),
    played([7], 1, 10.0, 0.2, 0.6),
    played([], 1, 20.0, 0.3, 0.7),
    played([], 1, 30.0, 0.4, 0.8),
    played([], 1, 40.0, 0.7, 0.9),
)


def test_a_row_pools_episodes_and_takes_the_middle_half_of_the_seeds_scores():
    """Of four seeds the interval of the score runs from the lowest to the highest: see the test of summaries."""
    assert (WALK.success.value, WALK.time_to_success) == (0.6, 45.0)
    assert (WALK.ratio, WALK.score) == (pytest.approx(0.4), (pytest.approx(0.45), (0, 1)))
    nearest = replace(RUN, reward="nearest", evaluations=RUN.evaluations[:1])
    written = suite_table(Suite("some", "Some", ()), [WALK, RUN, nearest], [])
    rows = [line for line in written.splitlines() if re.match(r"\| (walk|run|transport|nearest) ", line)]
    assert rows == [
        "| walk | transport | td3 | 1,400 | 60% (31% to 83%) | 400.0 (150.0 to 800.0) | 0.40 | 0.45 (0.00 to 1.00) "
        "| 45 |",
        "| run | transport | td3 | 500 | 20% (4% to 62%) | 25.0 (15.0 to 35.0) | 0.40 | 0.75 (0.60 to 0.90) | 7 |",
        "| run | nearest | td3 | 500 | 50% (9% to 91%) | 10.0 | 0.20 | 0.60 | 7 |",
        "| transport | td3 | 2 | 40% | 0.65 (0.40 to 0.85) |",
        "| nearest | td3 | 1 | 50% | 0.60 |",
    ]


def test_a_mean_says_of_how_many_tasks_it_is_where_these_are_not_all():
    silent = {"episodes": [{"success": None, "success_step": None}], "return_mean": 5.0, "ratio": 0.5}
    slide, stand = finished("slide", 9, silent | {"score": 0.5}), finished("stand", 9, silent | {"score": None})
    written = suite_table(Suite("some", "Some", ()), [WALK, slide, stand], [])
    assert re.search(r"\| transport \| td3 \| 3 \| 60%, of 1 task \| 0\.47 \(.*\), of 2 tasks \|", written)


def test_episodes_that_are_all_the_same_say_no_more_than_one():
    alike = played([7] * 20, 0, 10.0, 0.2, 0.6)
    apart = replace(RUN, evaluations=(alike, alike))
    once = replace(RUN, evaluations=(alike | {"distinct_successes": [1, 1]},) * 2)
    assert [f"{cell.success.interval[0]:.2f}" for cell in (apart, once)] == ["0.91", "0.34"]
    assert apart.success.value == once.success.value == 1.0


def test_where_cells_differ_the_table_says_so_and_where_none_is_finished(evaluated, tmp_path):
    cells = evaluated[1]
    alone = replace(cells[0], seeds="5", evaluations=({"episodes": cells[0].played[:1]} | ENDS,))
    written = suite_table(Suite("some", "Some", ()), [alone, cells[1]], [])
    assert "Some. Seeds 5 or 0-1, 1 or 2 episodes of each," in written
    nothing = SuiteCell.read(tmp_path, "walk", "transport", "td3")
    assert "Some. Nothing is finished yet," in suite_table(Suite("some", "Some", ()), [nothing], [])
    lines = LeftOut("b", "two\nlines")
    (tmp_path / "table.md").write_text(suite_table(Suite("some", "Some", ()), [nothing], [lines]))
    assert left_out_before(tmp_path / "table.md") == [LeftOut("b", "two lines")]
    assert left_out_before(tmp_path / "none.md") == []


def test_what_is_not_known_is_a_dash():
    episode = {"success": None, "success_step": None}
    evaluation = {"episodes": [episode]} | ENDS
    summary = {"protocol": "standard", "steps": 9}
    cell = SuiteCell("walk", "transport", "td3", Path(), summary, (evaluation,), "0")
    written = suite_table(Suite("some", "Some", ()), [cell], [LeftOut("b", "why")])
    assert "| walk | transport | td3 | 9 | – | 5.0 | – | – | – |" in written
    assert "Over all tasks" not in written
    assert "- b is left out: why" in written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = 1", "has no tasks"),
        ("tasks = 3", "has no tasks"),
        ("tasks = [3]", "task 1 is 3; expected a table"),
        ("tasks = [", "is not valid TOML"),
        ('[[tasks]]\nname = "a"\nenv = "b"', "task 1: demo is missing; required: name, env, demo"),
        ('[[tasks]]\nname = "a"\nenv = "b"\ndemo = 3', "task 1: demo is 3; expected a list"),
        ('[[tasks]]\nname = "a"\nenv = "b"\ndemo = ["c", 3]', "task 1: demo[1] is 3; expected str"),
        ('[[tasks]]\nname = "a"\nenv = 1\ndemo = "c"', "task 1: env is 1; expected str"),
        ('[[tasks]]\nname = "a"\nenv = "b"\ndemo = "c"\nscripted = 1', "scripted is 1; expected true or false"),
        ('[[tasks]]\nname = "a"\nenv = "b"\ndemos = "c"', "unknown key 'demos'; did you mean 'demo'"),
        (
            'protocol = "fixed"\n[[tasks]]\nname = "a"\nenv = "b"\ndemo = "c"',
            "protocol is 'fixed'; expected one of 'standard', 'fixed-horizon'",
        ),
        (2 * '[[tasks]]\nname = "a"\nenv = "b"\ndemo = "c"\n', "two tasks of one name among a, a"),
    ],
)
def test_a_file_that_is_no_suite_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as refusal:
        open_suite(str(path))
    assert str(path) in str(refusal.value)


def test_a_suite_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean 'metaworld-easy'"):
        open_suite("metaworld-eazy")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        open_suite(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": ("transport", "transport")}, "--rewards is transport transport: give each once"),
        ({"agents": ()}, "--agents is empty"),
        ({"tasks": ("run",)}, "--tasks names 'run', which ledges has not; expected some of walk, walk-on"),
        ({"seeds": ""}, "--seeds is empty"),
        ({"seeds": "0-x"}, "--seeds is '0-x'; expected numbers and ranges"),
        ({"episodes": 0}, "--episodes is 0"),
        ({"steps": 0}, "steps is 0: it must be at least 1"),
        ({"demo_dir": Path("nowhere")}, "--demo-dir nowhere is no folder"),
        ({"rewards": ("transpot",)}, "no reward is called 'transpot'"),
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(suite_file, demo, tmp_path, changed, message):
    options = SuiteOptions(**OPTIONS | {"out": tmp_path / "out", "demo_dir": demo.parent} | changed)
    with pytest.raises(InputError, match=message):
        evaluate_suite(open_suite(str(suite_file)), options)
    assert not (tmp_path / "out").exists()


def test_the_help_of_a_suite_says_what_is_in_it(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "metaworld-easy", "--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "button-press-topdown" in printed
    assert "--ray" in printed


def test_suites_are_in_the_wheel():
    declared = (Path(__file__).parents[2] / "setup.cfg").read_text()
    assert "ilfo.suites = *.toml" in declared


def test_the_check_of_the_wheel_looks_for_every_kind_of_data():
    root = Path(__file__).parents[2]
    _, _, declared = (root / "setup.cfg").read_text().partition("[options.package_data]")
    patterns = set(re.findall(r"\*\.\w+", declared))
    assert (
        {"*.hdf5", "*.safetensors", "*.toml"}
        <= patterns
        <= set(re.findall(r'"(\*\.\w+)"', (root / ".ci/run").read_text()))
    )


def test_episodes_of_which_nothing_was_said_failed_where_others_succeeded():
    found = played([10], 9, 100.0, 0.1, 0.0)
    for episode in found["episodes"][1:]:
        episode["success"] = None
    silent = played([], 10, 100.0, 0.1, 0.0)
    for episode in silent["episodes"]:
        episode["success"] = None
    assert finished("walk", 1400, found, silent).success.value == 1 / 20
    assert finished("walk", 1400, silent).success is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["compare", "--env", "E", "--demo", "d", "--td3.batch-size", "4"],
            "--td3.batch-size is a flag of 'ilfo train'.*--",
        ),
        (
            ["compare", "--env", "E", "--demo", "d", "--no-absorbing"],
            "--no-absorbing is .* compare ... -- --no-absorbing",
        ),
        (["evaluate", "metaworld-easy", "--eval-every=9"], "metaworld-easy ... -- --eval-every=9 ..."),
        (["evaluate", "generalisation", "--keypoints.k", "4"], "--keypoints.k is a flag of 'ilfo clone'"),
    ],
)
def test_flags_of_cells_are_told_to_come_last(argv, message, capsys):
    assert main(argv) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("flag", ["--seed", "--nothing"])
def test_other_unknown_flags_are_not_sent_on(flag, capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--env", "E", "--demo", "d", flag, "4"])
    assert "Unrecognized" in capsys.readouterr().err
