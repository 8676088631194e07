"""``ilfo demos`` as a user types it."""

import sys

import h5py
import numpy as np
import pytest

import ilfo.demos
from ilfo._errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.demos.commands import main


@pytest.fixture
def file(tmp_path):
    states = np.linspace(-0.5, 0.5, 30, dtype=np.float32).reshape(10, 3)
    trajectories = (
        Trajectory(states, np.zeros((9, 1)), np.ones(9), terminated=True, truncated=False, success=True),
        Trajectory(states[:6], np.zeros((5, 1)), np.ones(5), success=False),
    )
    provenance = Provenance("Pendulum-v1", {"observation": 3}, 0.05, {"gymnasium": "0.1"}, None, "[by] hand")
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
        "expert return": "7.0",
        "returns": "5.0 to 9.0, mean 7.0",
        "success": "1 of 2",
        "environment": "Pendulum-v1",
        "time step": "0.05 s",
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
    assert {said[name] for name in ("expert return", "success", "environment", "source")} == {"not recorded"}


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


@pytest.mark.parametrize("argv", [[], ["info"], ["show", "x"], ["info", "x", "--no-such-flag"]])
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
