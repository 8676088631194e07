"""The examples with other people's learners run, and are short."""

import re
import sys
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

RUNS = {
    "cleanrl_style.py": ("--steps 1200 --random-steps 1100", r"1000 transitions have imitation rewards, 0\.\d+"),
    "gymnasium_wrapper.py": ("--steps 1000", r"imitation return \d+\.\d\npolicy's return -?\d+\.\d of"),
    "stable_baselines3_sac.py": ("--steps 1050", r"1000 transitions have imitation rewards\npolicy's return .* of"),
    "torchrl_loop.py": ("--steps 1200 --random-steps 1100", r"1000 transitions have imitation rewards, 100 updates"),
}
NEEDED = {"gymnasium_wrapper.py": "stable_baselines3", "stable_baselines3_sac.py": "stable_baselines3"}


@pytest.mark.parametrize("name", RUNS)
def test_it_runs(name, monkeypatch, capsys):
    pytest.importorskip(NEEDED.get(name, "torchrl" if "torchrl" in name else "torch"))
    arguments, printed = RUNS[name]
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    monkeypatch.setattr(sys, "argv", [name, *arguments.split()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Other people's libraries have their own.
        exec(compile((EXAMPLES / name).read_text(), name, "exec"), {"__name__": "__main__"})
    assert re.search(printed, capsys.readouterr().out)


@pytest.mark.parametrize("name", RUNS)
def test_it_is_read_at_one_glance_and_says_how_it_is_run(name):
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < 80
    header = text.split('"""')[1]
    assert re.search(rf"python {re.escape(name)} --steps \d+", header)


def test_a_loop_of_ones_own_changes_in_fewer_than_ten_lines():
    """What is marked is what ilfo takes: without those lines the script knows nothing of it."""
    lines = (EXAMPLES / "cleanrl_style.py").read_text().splitlines()
    marked = [line for line in lines if line.endswith("# ilfo")]
    assert 0 < len(marked) < 10
    rest = "\n".join(line for line in lines if not line.endswith("# ilfo")).split('"""')[2]
    assert not re.search(r"\b(ilfo|demos|reward|mode|labeller)\b", rest)
