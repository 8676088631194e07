"""The examples do what their headers say."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from ilfo import demos
from ilfo.cli import main
from ilfo.configs import parse_train
from ilfo.plan import shuffled
from ilfo.rewards import Episodes
from ilfo.runs import read_summary
from ilfo.training import Training, load

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def example_folder(monkeypatch):
    """The examples can be imported as from their own folder; what ``main`` changes in the process is undone."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


@pytest.mark.parametrize("name", ["own_reward.py", "python_api.py"])
def test_an_example_is_read_at_one_glance(name):
    assert len((EXAMPLES / name).read_text().splitlines()) < 50


def test_python_api(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "python_api.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    returns = {line[:18].strip(): float(line.split()[-1]) for line in lines[:3]}
    assert returns["expert"] > returns["expert, shuffled"] > returns["random policy"] > 0
    assert lines[3].startswith("policy's return ")
    assert lines[4].startswith("fresh episodes ")
    assert read_summary("runs/python-api")["steps"] == 1500


def test_own_reward_is_trained_with_by_the_command_of_its_header(tmp_path, monkeypatch, capsys):
    header = (EXAMPLES / "own_reward.py").read_text().splitlines()[2].split()
    monkeypatch.chdir(tmp_path)
    short = ["--steps", "1200", "--random-steps", "1000", "--eval-every", "1200", "--eval-episodes", "2", "--no-report"]
    assert main([*header[1:], *short, "--threads", "1", "--nearest-reward.width", "0.5"]) == 0
    assert "policy's return" in capsys.readouterr().out
    training = load("runs/nearest")
    assert training.reward.options.width == 0.5
    scores, _ = training.rewards_of(list(demos.open("halfcheetah")))
    torch.testing.assert_close(scores, torch.ones_like(scores), atol=0.02, rtol=0)


def test_own_reward_prefers_the_expert(tmp_path):
    flags = ["--preset", "quickstart", "--reward", "own_reward:NearestReward"]
    training = Training(parse_train([*flags, "--out", str(tmp_path)])[0])
    expert = training.demonstrations[0]
    of_expert, of_shuffled, of_random = (
        float(training.reward.score(Episodes.from_trajectories(episodes)).mean())
        for episodes in ([expert], [shuffled(expert)], training.random_episodes(3))
    )
    assert of_expert > 1.5 * of_shuffled
    assert of_expert > 1.5 * of_random
