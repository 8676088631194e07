"""The examples do what their headers say."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from ilfo import demos
from ilfo.agents import Batch
from ilfo.agents.td3 import TD3, TD3Options
from ilfo.cli import main
from ilfo.rewards import Episodes
from ilfo.runs import read_summary
from ilfo.training import Sources, Training
from ilfo.training.flags import parse_train
from ilfo.training.imitation import load

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def example_folder(monkeypatch):
    """The examples can be imported as from their own folder; what ``main`` changes in the process is undone."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


@pytest.mark.parametrize(
    ("name", "lines"),
    [("own_reward.py", 50), ("own_episode_reward.py", 50), ("python_api.py", 50), ("own_agent.py", 100)],
)
def test_an_example_is_read_at_one_glance(name, lines):
    assert len((EXAMPLES / name).read_text().splitlines()) < lines


def test_python_api(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "python_api.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    returns = {line[:18].strip(): float(line.split()[-1]) for line in lines[:3]}
    assert returns["expert"] > returns["expert, shuffled"] > returns["random policy"] > 0
    assert lines[3].startswith("policy's return ")
    assert lines[4].startswith("fresh episodes ")
    assert read_summary("runs/python-api")["steps"] == 1500


@pytest.mark.parametrize(
    ("name", "group", "run"),
    [("own_reward", "nearest-reward", "runs/nearest"), ("own_episode_reward", "aligned-reward", "runs/aligned")],
)
def test_own_reward_is_trained_with_by_the_command_of_its_header(tmp_path, monkeypatch, capsys, name, group, run):
    header = (EXAMPLES / f"{name}.py").read_text().splitlines()[2].split()
    monkeypatch.chdir(tmp_path)
    short = ["--steps", "1200", "--random-steps", "1000", "--eval-every", "1200", "--eval-episodes", "2", "--no-report"]
    assert main([*header[1:], *short, "--threads", "1", f"--{group}.width", "0.5"]) == 0
    assert "policy's return" in capsys.readouterr().out
    training = load(run)
    assert training.reward.options.width == 0.5
    scores = training.rewards_of(list(demos.open("halfcheetah"))).scores
    torch.testing.assert_close(scores, torch.ones_like(scores), atol=0.02, rtol=0)


@pytest.mark.parametrize("reward", ["own_reward:NearestReward", "own_episode_reward:AlignedReward"])
def test_own_reward_prefers_the_expert(tmp_path, reward):
    flags = ["--preset", "quickstart", "--reward", reward]
    training = Training.begin(Sources(parse_train([*flags, "--out", str(tmp_path)])[0]))
    expert = training.demonstrations[0]
    of_expert, of_shuffled, of_random = (
        float(training.reward.score(Episodes.from_trajectories(episodes)).mean())
        for episodes in ([expert], [demos.shuffled(expert)], training.random_episodes(3)[0])
    )
    assert of_expert > 1.5 * of_shuffled
    assert of_expert > 1.5 * of_random


def test_own_agent_is_trained_with_by_the_command_of_its_header(tmp_path, monkeypatch, capsys):
    header = (EXAMPLES / "own_agent.py").read_text().splitlines()[2].split()
    monkeypatch.chdir(tmp_path)
    short = ["--steps", "1100", "--random-steps", "1000", "--eval-every", "1100", "--eval-episodes", "2", "--no-report"]
    assert main([*header[1:], *short, "--threads", "1", "--plain-td3.hidden-dim", "32"]) == 0
    assert "policy's return" in capsys.readouterr().out
    agent = load("runs/plain").agent
    assert agent.nets["actor"][0][0].out_features == 32
    assert isinstance(agent.nets["q1"][1], torch.nn.LayerNorm)
    assert agent.updates == 100


def transitions(seed: int, size: int = 64) -> Batch:
    """Of an environment with 11 numbers to see and 3 to set, as Hopper's."""
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        observations=torch.randn(size, 11, generator=generator),
        actions=torch.rand(size, 3, generator=generator) * 2 - 1,
        rewards=torch.randn(size, generator=generator),
        next_observations=torch.randn(size, 11, generator=generator),
        terminated=(torch.rand(size, generator=generator) < 0.3).float(),
    )


OPTIONS = (
    {},
    {"layer_norm": True},
    {"policy_delay": 3, "tau": 0.5, "discount": 0.9, "hidden_dim": 64},
    {"target_noise": 1.0, "target_noise_clip": 0.8, "exploration_noise": 2.0},
    {"actor_learning_rate": 1e-2, "critic_learning_rate": 1e-3},
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options) or "defaults")
def test_own_agent_and_the_built_in_td3_compute_the_same(options):
    """Textbook PyTorch is the yardstick of the fast learner: same draws, and the same numbers within rounding."""
    from own_agent import PlainTD3, PlainTD3Options

    plain = PlainTD3(11, 3, PlainTD3Options(**options), seed=3)
    fast = TD3(11, 3, TD3Options(**options), seed=3)
    seen = transitions(seed=99).observations
    close = {"rtol": 1e-5, "atol": 1e-5}
    for number in range(20):
        batch = transitions(seed=number)
        torch.testing.assert_close(fast.act(seen, explore=True), plain.act(seen, explore=True), **close)
        assert_same_metrics(fast.update(batch), plain.update(batch), close)
        torch.testing.assert_close(fast.act(seen, explore=False), plain.act(seen, explore=False), **close)


def assert_same_metrics(found, expected, close):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], **close, msg=lambda text, name=name: f"{name}: {text}")


def test_own_agent_goes_on_bit_for_bit_from_what_it_saved(tmp_path):
    from own_agent import PlainTD3

    agent, restored = PlainTD3(11, 3, seed=0), PlainTD3(11, 3, seed=1)
    for number in range(3):
        agent.update(transitions(number))
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    restored.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    for number in range(3, 6):
        exact = {"rtol": 0, "atol": 0}
        assert_same_metrics(restored.update(transitions(number)), agent.update(transitions(number)), exact)
    seen = transitions(seed=99).observations
    assert torch.equal(restored.act(seen, explore=True), agent.act(seen, explore=True))
