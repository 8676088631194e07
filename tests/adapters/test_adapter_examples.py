"""The examples with other people's learners run, and are short."""

import difflib
import re
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from small_envs import LEDGE, expert

from ilfo.rewards import Episodes, OptimalTransport

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"

RUNS = {
    "cleanrl_style.py": (
        "--steps 1200 --random-steps 1100",
        r"^step 999: imitation return \d+\.\d\n1000 transitions are there to learn from, at 0\.\d+ a step$",
    ),
    "gymnasium_wrapper.py": ("--steps 1000", r"imitation return \d+\.\d\npolicy's return -?\d+\.\d of"),
    "stable_baselines3_sac.py": (
        "--steps 1050",
        r"imitation_return +\| \d+(.|\n)*\n1000 transitions have imitation rewards\npolicy's return .* of",
    ),
    "torchrl_loop.py": (
        "--steps 1200 --random-steps 1100",
        r"^step 1000: imitation return \d+\.\d\n1000 transitions have imitation rewards, 100 updates$",
    ),
}
NEEDED = {"gymnasium_wrapper.py": "stable_baselines3", "stable_baselines3_sac.py": "stable_baselines3"}


@pytest.mark.parametrize("name", RUNS)
def test_it_runs(name, monkeypatch, capsys):
    pytest.importorskip(NEEDED.get(name, "torchrl" if "torchrl" in name else "torch"))
    arguments, printed = RUNS[name]
    run((EXAMPLES / name).read_text(), arguments, monkeypatch)
    assert re.search(printed, capsys.readouterr().out, re.MULTILINE)


def run(source, arguments, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    monkeypatch.setattr(sys, "argv", ["example.py", *arguments.split()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Other people's libraries have their own.
        exec(compile(source, "example.py", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("name", RUNS)
def test_it_is_read_at_one_glance_and_says_how_it_is_run(name):
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < 80
    header = text.split('"""')[1]
    assert re.search(rf"python {re.escape(name)} --steps \d+", header)


def without_ilfo(script):
    """The script on the environment's own rewards, by the rule that its header states."""
    (instead,) = [line for line in script.split('"""')[1].splitlines() if line.startswith("    ")]
    lines = [line for line in script.splitlines() if not line.endswith("# ilfo")]
    return "\n".join(instead if line.endswith("# ilfo instead") else line for line in lines) + "\n"


def lines_changed(before, after):
    """How many lines a person has written, and how many there are where each that was taken away counts too."""
    found = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    written, taken = (sum(line.startswith(mark) for line in found) for mark in ("+ ", "- "))
    return written, written + taken


def test_a_loop_of_ones_own_changes_in_fewer_than_ten_lines(monkeypatch, capsys):
    script = (EXAMPLES / "cleanrl_style.py").read_text()
    plain = without_ilfo(script)
    assert lines_changed(plain, script) == (8, 9), "README and this say how many"
    body = plain.split('"""')[2]
    assert not re.search(r"ilfo|\b(demos|reward|labelled|labeller|episode)\b", body)
    run(plain, "--steps 1200 --random-steps 1100", monkeypatch)
    printed = capsys.readouterr().out
    assert re.fullmatch(r"1200 transitions are there to learn from, at -0\.\d+ a step\n", printed), "of random actions"


def test_cleanrls_own_script_takes_it_too(demo, tmp_path, monkeypatch):
    """With Stable-Baselines3's replay and all else that the script has, as the benchmark repeats it."""
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.buffers import ReplayBuffer

    plain = (REPOSITORY / "benchmarks" / "cleanrl_td3.py").read_text()
    edits = {
        "from torch import Tensor, nn\n": (
            "from torch import Tensor, nn\n"
            "from ilfo import demos\n"
            "from ilfo.adapters.labeller import EpisodeLabeller\n"
            "from ilfo.rewards import OptimalTransport\n"
        ),
        "    writer = SummaryWriter(folder)\n": (
            f"    reward = OptimalTransport().fit(demos.open({str(demo)!r}))\n"
            '    labeller = EpisodeLabeller(reward, discount=DISCOUNT, autoreset=envs.metadata["autoreset_mode"])\n'
            "    writer = SummaryWriter(folder)\n"
        ),
        "replay.add(observations, final, actions, rewards, terminated, infos)  # type: ignore[arg-type]\n": (
            "for transition in labeller.label(observations, actions, after, terminated, truncated, infos):\n"
            "                replay.add(*transition, infos)\n"
        ),
    }
    script = plain
    for before, after in edits.items():
        assert script.count(before) == 1
        script = script.replace(before, after)
    assert lines_changed(plain, script) == (7, 8)

    (tmp_path / "cleanrl_on_imitation.py").write_text(script)
    monkeypatch.syspath_prepend(tmp_path)
    import cleanrl_on_imitation

    class Kept(ReplayBuffer):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            replays.append(self)

    def passed(step):
        if step == 130:
            raise InterruptedError

    replays = []
    monkeypatch.setattr(cleanrl_on_imitation, "ReplayBuffer", Kept)
    settings = cleanrl_on_imitation.Settings(random_steps=90, hidden=16, batch=32, noise=0.1, capacity=1000)
    with pytest.raises(InterruptedError):
        cleanrl_on_imitation.train(lambda: gymnasium.make(LEDGE), settings, str(tmp_path), passed)
    (replay,) = replays
    assert replay.pos > 80, "all but the episode under way"
    before, after = (column[: replay.pos, 0] for column in (replay.observations, replay.next_observations))
    length = 1 + int(np.flatnonzero((before[1:] != after[:-1]).any(axis=1))[0])
    assert not replay.dones[:length].any(), "the first meets its time limit"
    states = torch.from_numpy(np.concatenate([before[:length], after[length - 1 : length]]))
    episode = Episodes(states[None], torch.tensor([length]), torch.tensor([False]))
    wanted = OptimalTransport().fit(expert()).score(episode)[0]
    np.testing.assert_allclose(replay.rewards[:length, 0], wanted, rtol=1e-4)
