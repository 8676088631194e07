"""Every command of the README works, in a short form where it is long."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ilfo import demos
from ilfo.cli import main
from ilfo.envs import make_env, random_policy, rollout
from ilfo.envs.video import write_pictures
from ilfo.training.flags import parse_train

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHORT = {
    "--env HalfCheetah-v5": "--env HalfCheetah-v5@50-steps",
    "--steps 100000": "--steps 300 --random-steps 100 --eval-every 300 --eval-episodes 2 --threads 1",
    "--rewards transport flow nearest": "--rewards transport nearest",
    "--seeds 0-2 --steps 50000 --out runs/compare": "--seeds 0-1 --steps 300 --out runs/compare -- --random-steps 100 "
    "--eval-every 300 --eval-episodes 2",
    "--episodes 10": "--episodes 2",
    "--min-return 3000": "--min-return -1000",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.split()[:1] == [program]]


@pytest.fixture
def somewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_readme_work_one_after_the_other(somewhere):
    states = rollout(random_policy(6, 0), "HalfCheetah-v5@50-steps", 1)[0].observations
    np.save("my_states.npy", states)
    write_pictures("film.mp4", (np.full((64, 64, 3), 5 * step, np.uint8) for step in range(20)), speed=20)
    of_runs = [block for block in blocks("python") if "runs/" in block]
    for block in [block for block in blocks("python") if block not in of_runs]:
        exec(compile(block, "README.md", "exec"), {})
    assert demos.open("my_states.hdf5").observation_dim == 17
    run = 0
    for line in commands("ilfo"):
        for long, short in SHORT.items():
            line = line.replace(long, short)
        assert main(shlex.split(line)[1:]) == 0, line
        run += 1
    assert run >= 6
    assert of_runs
    for block in of_runs:
        exec(compile(block, "README.md", "exec"), {})
    assert (somewhere / "runs" / "cheetah" / "report" / "index.html").exists()


def test_the_makefile_has_the_commands_of_the_readme():
    for line in commands("make"):
        shown = subprocess.run(
            [*shlex.split(line), "--dry-run", "-o", ".venv/.installed"], cwd=ROOT, capture_output=True, text=True
        )
        assert shown.returncode == 0, shown.stderr
    assert "make train" in commands("make")
    assert "make test" in commands("make")


def test_the_quick_start_is_what_the_makefile_trains():
    shown = subprocess.run(["make", "--dry-run", "train"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in shown.splitlines() if "ilfo train" in line]
    config, _ = parse_train(shlex.split(line)[2:])
    demonstrations = demos.open(config.demo)
    assert len(demonstrations) == 1, "a single demonstration"
    assert demonstrations[0].actions is None, "without actions"
    make_env(config.env).close()


def test_files_that_the_readme_links_to_exist():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if not target.startswith("http")]
    assert targets
    assert [target for target in targets if not (ROOT / target.split("#")[0]).exists()] == []


def test_flags_that_the_readme_names_exist(capsys):
    known = set()
    verbs = (
        "train",
        "train --features keypoints",
        "train --reward flow",
        "train --agent td7",
        "clone",
        "compare",
        "label",
        "evaluate",
        "evaluate locomotion",
        "report",
    )
    for verb in (*verbs, "record", "demos convert", "demos from-videos", "demos info"):
        with pytest.raises(SystemExit):
            main([*verb.split(), "--help"])
        known |= set(re.findall(r"--[a-z][a-z0-9.-]*", capsys.readouterr().out))
    named = set(re.findall(r"`(--[a-z][a-z0-9.-]*)", README)) | {
        flag for line in commands("ilfo") for flag in re.findall(r"--[a-z][a-z0-9.-]*", line)
    }
    assert named - known == set()
