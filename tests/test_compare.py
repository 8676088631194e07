"""Rewards by agents: what is trained, what is found again, what is written."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_envs import LEDGE, expert

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.compare import Cell, CompareOptions, compare, table
from ilfo.demos import Demonstrations, Trajectory
from ilfo.fleet.cell_flags import flags_of_cell
from ilfo.runs import read_config, read_summary
from ilfo.training.run_group import seed_runs

FLAGS = ("--random-steps", "100", "--eval-every", "100", "--eval-episodes", "1", "--td3.hidden-dim", "8")


def options(demo, out, **changed) -> CompareOptions:
    given = {"rewards": ("transport", "own_plugins:Height"), "seeds": "0-1", "steps": 200} | changed
    return CompareOptions(env=LEDGE, demo=str(demo), out=out, **given)


@pytest.fixture(scope="module")
def compared(demo, tmp_path_factory):
    asked = options(demo, tmp_path_factory.mktemp("compared"))
    return asked, compare(asked, FLAGS)


def test_every_reward_trains_with_every_agent(compared):
    _, cells = compared
    assert [cell.name for cell in cells] == ["transport/td3", "own_plugins:Height/td3"]
    for cell in cells:
        config = read_config(cell.folder)["config"]
        assert (config["reward"], config["agent"], config["td3"]["hidden_dim"]) == (cell.reward, cell.agent, 8)
        assert cell.summary["seeds"] == [0, 1]
        assert [list(curve) for curve in cell.curves()] == [[100, 200], [100, 200]]


def test_the_table_and_the_picture_are_written(compared):
    asked, cells = compared
    written = (asked.out / "table.md").read_text()
    assert written == table(asked, cells)
    low, high = cells[0].summary["score_interval"]
    assert f"| transport | {cells[0].summary['score_iqm']:.2f} ({low:.2f} to {high:.2f}) |" in written
    returns = ", ".join(f"{read_summary(run)['policy_return']:.3g}" for run in seed_runs(cells[0].folder).values())
    assert f"| transport | {returns} |" in written
    assert f"{LEDGE}, 200 steps, seeds 0-1, protocol standard" in written
    assert (asked.out / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_single_seed_has_no_interval():
    assert Cell("transport", "td3", Path(), {"score_iqm": 0.5, "score_interval": None}).text == "0.50"
    assert (
        Cell("transport", "td3", Path(), {"score_iqm": 0.5, "score_interval": [0.2, 0.75]}).text
        == "0.50 (0.20 to 0.75)"
    )


def test_returns_are_told_apart_whatever_their_size():
    summary = {"each": [{"policy_return": value} for value in (12345.6, -431.5, 99.44, 0.652, 0.0)]}
    assert Cell("transport", "td3", Path(), summary).returns == "12346, -432, 99.4, 0.652, 0"
    assert Cell("transport", "td3", Path(), None).returns == "–"


def test_what_is_trained_is_not_trained_again_and_the_rest_stays_visibly_empty(compared, demo):
    asked, cells = compared
    before = {cell.name: (cell.folder / "summary.json").stat().st_mtime_ns for cell in cells}
    more = options(demo, asked.out, rewards=(*asked.rewards, "2*transport"), agents=("td3", "td7"), show=True)
    shown = compare(more, FLAGS[:-2])
    assert [cell.name for cell in shown if cell.summary] == list(before)
    assert {
        name: (cell.folder / "summary.json").stat().st_mtime_ns for name, cell in zip(before, cells, strict=True)
    } == before
    assert r"| 2\*transport | – | – |" in (asked.out / "table.md").read_text()


def test_other_flags_than_a_finished_cell_had_are_refused_unless_it_is_only_shown(compared):
    asked, _ = compared
    other = (*FLAGS[:-1], "16")
    with pytest.raises(InputError, match=r"td3\.hidden_dim was 8 and is now 16"):
        compare(asked, other)
    assert all(cell.summary for cell in compare(replace(asked, show=True), other))


def test_a_reward_whose_folder_has_the_same_name_is_not_shown_as_another(demo, tmp_path):
    one, other = (options(demo, tmp_path, rewards=(f"transport + {sign}0.5*nearest",), seeds="0") for sign in ("", "-"))
    compare(one, FLAGS)
    with pytest.raises(InputError, match=r"reward was 'transport \+ 0.5\*nearest' and is now 'transport \+ -0.5"):
        compare(replace(other, show=True), FLAGS)


def test_a_finished_cell_is_known_by_the_content_of_its_demonstration(compared, demo, tmp_path):
    asked, cells = compared
    moved, other = tmp_path / "moved.hdf5", tmp_path / "other.hdf5"
    shutil.copy(demo, moved)
    demos.write(other, Demonstrations(expert().trajectories * 2))
    flags = (*FLAGS, "--checkpoint-seconds", "5")
    for given in (moved, demo):
        assert compare(options(given, asked.out), flags) == cells
    for given in (other, tmp_path / "nowhere.hdf5"):
        with pytest.raises(InputError, match=r"demo was '.*walk\.hdf5.*' and is now '.*(other|nowhere)\.hdf5"):
            compare(options(given, asked.out), flags)


def test_a_demonstration_that_was_replaced_is_noticed(demo, tmp_path):
    file = tmp_path / "walk.hdf5"
    shutil.copy(demo, file)
    out = tmp_path / "out"
    compare(options(file, out, rewards=("transport",)), FLAGS)
    os.utime(file)
    compare(options(file, out, rewards=("transport",)), FLAGS)
    file.unlink()
    demos.write(file, Demonstrations(expert().trajectories * 2))
    shutil.copytree(out, tmp_path / "copied later", copy_function=shutil.copyfile)
    for folder in (out, tmp_path / "copied later"):
        with pytest.raises(InputError, match=r"demo was '.*with SHA-256 \w+' and is now '.*with SHA-256 \w+'"):
            compare(options(file, folder, rewards=("transport",)), FLAGS)


@pytest.mark.parametrize("flag", ["--steps=90", "--seeds", "--reward", "--out", "--dry-run", "--seed"])
def test_what_the_table_decides_is_no_flag_for_its_cells(demo, tmp_path, flag):
    with pytest.raises(InputError, match=f"{flag} after '--', or among a suite's flags: the table decides that"):
        compare(options(demo, tmp_path / "out"), [*FLAGS, flag, "7"])
    assert not (tmp_path / "out").exists()


def test_a_file_of_settings_that_would_not_be_heard_is_refused(demo, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("steps = 90\neval-every = 50\n[td3]\nhidden-dim = 4\n")
    with pytest.raises(InputError, match="the file of --config sets steps, which flags of the table set too"):
        compare(options(demo, tmp_path / "out"), ["--config", str(file)])
    file.write_text("random-steps = 100\neval-every = 50\n[td3]\nhidden-dim = 4\n")
    cells = compare(options(demo, tmp_path / "out", rewards=("transport",)), ["--config", str(file)])
    config = read_config(cells[0].folder)["config"]
    assert (config["steps"], config["eval_every"], config["td3"]["hidden_dim"]) == (200, 50, 4)


def test_a_preset_that_would_not_be_heard_is_refused(demo, tmp_path):
    asked = options(demo, tmp_path, rewards=("transport",), show=True, steps=60_000)
    with pytest.raises(InputError, match="--preset has the reward 'environment', and the table decides 'transport'"):
        compare(asked, ["--preset", "td7"])
    with pytest.raises(InputError, match="--preset has the agent 'td7', and the table decides 'td3'"):
        compare(replace(asked, rewards=("environment",)), ["--preset", "td7"])
    compare(replace(asked, rewards=("environment",), agents=("td7",)), ["--preset", "td7"])
    compare(asked, ["--preset=oops"])  # Its protocol is heard, and its steps are the table's.


def test_one_cell_alone(demo, tmp_path):
    asked = options(demo, tmp_path, only=("transport/td3",), seeds="3")
    found = compare(asked, FLAGS)
    assert [bool(cell.summary) for cell in found] == [True, False]
    assert not (tmp_path / "own-plugins-Height--td3").exists()


def test_the_command_line_shows_the_table(compared, demo, capsys):
    asked, cells = compared
    arguments = ["compare", "--env", LEDGE, "--demo", str(demo), "--rewards", "transport", "--seeds", "0-1"]
    assert main([*arguments, "--steps", "200", "--out", str(asked.out), "--", *FLAGS]) == 0
    printed = capsys.readouterr().out
    assert f"{cells[0].summary['score_iqm']:.2f}" in printed
    assert "table.md, picture.png" in printed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": ("transport", "transport")}, "--rewards is transport transport: give each once"),
        ({"agents": ()}, "--agents is empty"),
        ({"seeds": ""}, "--seeds is empty"),
        ({"seeds": "0-x"}, "--seeds is '0-x'; expected numbers and ranges"),
        ({"only": ("transport/td9",)}, "'transport/td9', which is no cell; expected some of transport/td3"),
        (
            {"rewards": ("transport + 0.5*flow", "transport + -0.5*flow")},
            r"transport \+ 0.5\*flow/td3 and transport \+ -0.5\*flow/td3 would share the folder",
        ),
        ({"rewards": ("transport", "transpot")}, "no reward is called 'transpot'"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_before_anything_is_trained(demo, tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        compare(options(demo, tmp_path / "out", **changed), FLAGS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 300}, "another kind: steps was 200 and is now 300"),
        ({"seeds": "0-2"}, r"seeds was \(0, 1\) and is now \(0, 1, 2\)"),
    ],
)
@pytest.mark.parametrize("show", [True, False])
def test_a_finished_cell_of_another_comparison_is_not_passed_off_for_this_one(compared, demo, changed, message, show):
    asked, _ = compared
    before = (asked.out / "table.md").read_text()
    with pytest.raises(InputError, match=message):
        compare(options(demo, asked.out, show=show, **changed), FLAGS)
    assert (asked.out / "table.md").read_text() == before


def test_seeds_may_be_spelled_otherwise(compared, demo):
    asked, cells = compared
    assert compare(options(demo, asked.out, seeds="0,1"), FLAGS) == cells


def test_without_a_return_of_the_expert_there_is_no_score(tmp_path):
    shown = [Trajectory(each.observations) for each in expert()]
    provenance = replace(expert().provenance, expert_return=None)
    file = demos.write(tmp_path / "states.hdf5", Demonstrations(tuple(shown), provenance))
    asked = options(file, tmp_path / "out", rewards=("own_plugins:Height",), seeds="0")
    (cell,) = compare(asked, FLAGS)
    assert cell.summary["score_iqm"] is None
    assert cell.curves() == []
    assert "| own_plugins:Height | – |" in (tmp_path / "out" / "table.md").read_text()


def test_flags_of_one_agent_or_reward_reach_its_cells_alone(demo, tmp_path):
    rewards, agents = ("transport", "nearest + 2*pwil"), ("td3", "td7")
    given = [
        "--td3.hidden_dim",
        "8",
        "--num-envs",
        "2",
        "--td7.hidden-dim=16",
        "--pwil.alpha",
        "3",
        "--nearest.scale",
        "4",
    ]
    assert flags_of_cell(given, "transport", "td7", rewards, agents) == ["--num-envs", "2", "--td7.hidden-dim=16"]
    assert flags_of_cell(given, rewards[1], "td3", rewards, agents) == [*given[:4], *given[5:]]
    asked = options(demo, tmp_path, rewards=rewards, agents=agents, steps=6000, show=True)
    assert len(compare(asked, given[:5])) == 4
    with pytest.raises(InputError, match=r"--sac.hidden-dim is an option of --agent sac"):
        compare(asked, ("--sac.hidden-dim", "8"))
