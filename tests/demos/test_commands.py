"""``ilfo demos`` as a user types it."""

import json
import sys

import h5py
import numpy as np
import pytest

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.demos.commands import main


@pytest.fixture
def file(tmp_path):
    states = np.linspace(-0.5, 0.5, 30, dtype=np.float32).reshape(10, 3)
    trajectories = (
        Trajectory(states, np.zeros((9, 1)), np.ones(9), terminated=True, truncated=False, success=True),
        Trajectory(states[:6], np.zeros((5, 1)), np.ones(5), success=False),
    )
    provenance = Provenance("Pendulum-v1", {"observation": 3}, 0.05, {"gymnasium": "0.1"}, None, "[by] hand", 2)
    return ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations(trajectories, provenance))


def facts(text):
    return {line[:15].strip(): line[15:].strip() for line in text.splitlines()}


def test_info_says_what_the_file_holds(file, capsys):
    assert main(["info", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(file)
    assert facts("\n".join(lines[1:])) == {
        "layout": "ilfo",
        "episodes": "2 (1 terminated, 1 truncated)",
        "steps": "14 (5 to 9, mean 7.0 an episode)",
        "observations": "3 dimensions: observation[3]",
        "actions": "yes, 1 dimension",
        "rewards": "the environment's",
        "expert return": "7.0",
        "returns": "5.0 to 9.0, mean 7.0",
        "success": "1 of 2",
        "environment": "Pendulum-v1",
        "time step": "0.05 s",
        "action repeat": "2",
        "versions": "gymnasium 0.1",
        "source": "[by] hand",
        "sha256": ilfo.demos.open(file).sha256,
    }


def test_info_of_a_bare_file_says_what_is_not_recorded(tmp_path, capsys):
    with h5py.File(tmp_path / "bare.hdf5", "w") as bare:
        bare["observations"] = np.zeros((5, 2))
    main(["info", str(tmp_path / "bare.hdf5")])
    warning, _, *lines = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: ")
    said = facts("\n".join(lines))
    assert said["actions"] == "no"
    unknown = ("expert return", "success", "environment", "source", "action repeat")
    assert {said[name] for name in unknown} == {"not recorded"}
    assert said["layout"] == "d4rl"
    assert not said.keys() & {"frames", "goal", "kept for", "rewards"}, "said only where there is some"


def test_info_says_that_a_file_is_labelled(file, capsys):
    with h5py.File(file, "r+") as labelled:
        labelled.attrs["ilfo_label"] = json.dumps({"reward": "transport", "demo": "expert.hdf5"})
        for name in ("episode_0", "episode_1"):
            labelled[name].move("rewards", "env_rewards")
            labelled[name]["rewards"] = np.zeros(len(labelled[name]["env_rewards"]))
    main(["info", str(file)])
    said = facts("\n".join(capsys.readouterr().out.splitlines()[1:]))
    assert said["rewards"].startswith("of 'transport' by expert.hdf5, written by ilfo label; the environment's stay")
    assert said["expert return"] == "7.0"


def test_info_says_what_few_files_have(tmp_path, capsys):
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    one = Trajectory(np.zeros((3, 2), np.float32), frames=frames, goal=np.zeros(3, np.float32))
    ilfo.demos.write(tmp_path / "rare.hdf5", Demonstrations((one,), Provenance(bar="success")))
    main(["info", str(tmp_path / "rare.hdf5")])
    said = facts(capsys.readouterr().out)
    assert (said["frames"], said["goal"], said["kept for"]) == ("yes", "yes, 3 dimensions", "success")


def test_a_video_alone_can_be_used(tmp_path, capsys):
    film = Trajectory(np.zeros((5, 0), np.float32), frames=np.zeros((5, 4, 4, 3), np.uint8))
    path = str(ilfo.demos.write(tmp_path / "video.hdf5", Demonstrations((film,))))
    main(["info", path])
    said = facts(capsys.readouterr().out)
    assert (said["frames"], said["observations"].partition(":")[0], said["steps"]) == ("yes", "none", "4")
    main(["validate", path])
    assert capsys.readouterr().out == "OK 1 episode, 4 steps, frames alone\n"
    with pytest.raises(InputError, match="no states that could fit Hopper-v5: leave --env out"):
        main(["validate", path, "--env", "Hopper-v5"])


def test_validate_looks_at_the_frames_too(tmp_path):
    film = Trajectory(np.zeros((5, 2), np.float32), frames=np.ones((5, 4, 4, 3), np.uint8))
    path = ilfo.demos.write(tmp_path / "film.hdf5", Demonstrations((film,)))
    with h5py.File(path, "r+") as opened:
        opened["episode_0/frames"][3] = 2
    with pytest.raises(InputError, match="changed or damaged after it was written"):
        main(["validate", str(path)])


def test_info_looks_at_a_filter_key_alone(tmp_path, file, capsys):
    path = tmp_path / "robomimic.hdf5"
    main(["convert", str(file), str(path), "--to", "robomimic"])
    with h5py.File(path, "r+") as opened:
        opened["mask/short"] = np.array(["demo_1"], dtype="S")
    capsys.readouterr()
    main(["info", str(path), "--filter-key", "short"])
    said = facts(capsys.readouterr().out)
    assert (said["layout"], said["episodes"], said["steps"]) == ("robomimic", "1 (1 truncated)", "5")
    assert main(["validate", str(path), "--filter-key", "short"]) == 0
    assert capsys.readouterr().out == "OK 1 episode, 5 steps, 3 dimensions\n"
    with pytest.raises(InputError, match="no filter key 'long'"):
        main(["plot", str(path), "--filter-key", "long"])


def test_validate_says_ok(file, capsys):
    assert main(["validate", str(file)]) == 0
    assert capsys.readouterr().out == "OK 2 episodes, 14 steps, 3 dimensions\n"


def test_validate_raises_what_opening_raises(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        main(["validate", str(tmp_path / "no.hdf5")])


def test_validate_compares_with_an_environment(file, capsys):
    assert main(["validate", str(file), "--env", "Pendulum-v1"]) == 0
    out = capsys.readouterr().out
    assert "warning: " in out
    assert "recorded with gymnasium 0.1" in out
    assert out.endswith("fits Pendulum-v1\n")
    with pytest.raises(InputError, match="states have 3 dimensions, but InvertedPendulum-v5 has 4"):
        main(["validate", str(file), "--env", "InvertedPendulum-v5"])


@pytest.mark.parametrize("layout", ["ilfo", "d4rl", "robomimic", "minari"])
def test_convert_writes_what_open_reads(file, tmp_path, capsys, layout):
    out = tmp_path / "other-v0"
    assert main(["convert", str(file), str(out), "--to", layout, "--episodes", "1"]) == 0
    *warned, line = capsys.readouterr().out.splitlines()
    assert line == f"{out}: layout {layout}, 1 episode, 5 steps, 3 dimensions"
    assert len(warned) == (layout != "ilfo"), "other libraries take actions for the pendulum's own"
    copy = ilfo.demos.open(out)
    assert copy.layout == layout
    np.testing.assert_array_equal(copy[0].observations, ilfo.demos.open(file)[1].observations)


def test_convert_names_what_is_missing(tmp_path):
    states = ilfo.demos.write(tmp_path / "states.hdf5", Demonstrations((Trajectory(np.zeros((4, 2))),)))
    with pytest.raises(InputError, match="episode 0 has no actions and no rewards, but the d4rl layout demands"):
        main(["convert", str(states), str(tmp_path / "out.hdf5"), "--to", "d4rl"])
    assert list(tmp_path.iterdir()) == [states]


def test_convert_gives_an_old_file_its_time_limit_for_good(tmp_path, capsys):
    with h5py.File(tmp_path / "old.hdf5", "w") as old:
        old["observations"] = np.arange(16.0).reshape(8, 2)
        old["terminals"] = np.arange(8) == 1
    argv = ["convert", str(tmp_path / "old.hdf5"), str(tmp_path / "new.hdf5"), "--to", "ilfo"]
    with pytest.raises(InputError, match="--to ilfo --max-episode-steps 1000"):
        main(argv)
    assert main([*argv, "--max-episode-steps", "3"]) == 0
    assert capsys.readouterr().out.endswith("layout ilfo, 3 episodes, 5 steps, 2 dimensions\n")
    assert [len(each) for each in ilfo.demos.open(tmp_path / "new.hdf5")] == [1, 2, 2]


def test_convert_clips_actions_where_it_is_told_to(tmp_path):
    wide = Trajectory(np.zeros((4, 2)), np.array([[0.5], [1.25], [-3]]), np.zeros(3))
    source = ilfo.demos.write(tmp_path / "wide.hdf5", Demonstrations((wide,), Provenance("Door-v0")))
    argv = ["convert", str(source), str(tmp_path / "out.hdf5"), "--to", "robomimic"]
    with pytest.raises(InputError, match=r"step 1, dimension 0 is 1\.25.*convert with --clip-actions"):
        main(argv)
    assert main([*argv, "--clip-actions"]) == 0
    assert ilfo.demos.open(tmp_path / "out.hdf5")[0].actions.ravel().tolist() == [0.5, 1, -1]
    assert ilfo.demos.open(source)[0].actions.ravel().tolist() == [0.5, 1.25, -3]


def test_convert_prints_what_was_left_out(tmp_path, capsys):
    one = Trajectory(np.zeros((3, 2)), np.zeros((2, 1)), np.zeros(2), goal=np.zeros(3))
    ilfo.demos.write(tmp_path / "goal.hdf5", Demonstrations((one,)))
    main(["convert", str(tmp_path / "goal.hdf5"), str(tmp_path / "flat.hdf5"), "--to", "d4rl"])
    warning, done = capsys.readouterr().out.splitlines()
    assert warning.startswith("warning: ")
    assert "goal left out" in warning
    assert done.startswith(str(tmp_path / "flat.hdf5"))


@pytest.mark.filterwarnings("ignore:.*is out of date")
def test_convert_works_for_an_environment_that_cannot_be_made_here(tmp_path, capsys):
    states = np.linspace(-0.5, 0.5, 30, dtype=np.float32).reshape(10, 3)
    known = Provenance("Hopper-v2", own_actions=False)
    one = Demonstrations((Trajectory(states, np.zeros((9, 1)), np.ones(9)),), known)
    source = ilfo.demos.write(tmp_path / "x.hdf5", one)
    assert main(["convert", str(source), str(tmp_path / "flat.hdf5"), "--to", "d4rl"]) == 0
    assert "layout d4rl, 1 episode, 9 steps" in capsys.readouterr().out


def test_help_names_the_layouts(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in ("ilfo,d4rl,robomimic,minari", "Minari", "robomimic", "D4RL", "LeRobot"))


def test_convert_replaces_a_file_only_where_that_is_asked_for(tmp_path, capsys):
    out = tmp_path / "precious.hdf5"
    out.write_bytes(b"precious")
    argv = ["convert", "halfcheetah", str(out), "--to", "ilfo"]
    with pytest.raises(InputError, match=r"precious.hdf5 exists: name another file, or give --overwrite"):
        main(argv)
    assert out.read_bytes() == b"precious"
    main([*argv, "--overwrite"])
    assert len(ilfo.demos.open(out)[0]) == 1000


def test_list_names_every_bundled_demonstration(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    names = [each.name for each in ilfo.demos.bundled()]
    assert all(name in out for name in names)
    assert names or out == "No demonstrations are bundled.\n"


def test_plot_writes_beside_the_user(file, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["plot", str(file)]) == 0
    assert capsys.readouterr().out == "expert.png\n"
    assert main(["plot", str(file), "--out", "states.png"]) == 0
    assert sorted(each.name for each in folder.iterdir()) == ["expert.png", "states.png"]
    assert all(each.read_bytes().startswith(b"\x89PNG") for each in folder.iterdir())


@pytest.mark.parametrize("argv", [[], ["info"], ["show", "x"], ["info", "x", "--no-such-flag"], ["convert", "x", "y"]])
def test_a_wrong_command_line_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "ilfo demos" in "".join(capsys.readouterr())


def test_importing_the_room_is_light():
    import subprocess

    heavy = "{'torch', 'matplotlib', 'rich', 'tyro', 'gymnasium'}"
    code = f"import sys, ilfo.demos, ilfo.demos.commands; sys.exit(', '.join({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""
