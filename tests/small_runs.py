"""Runs that are trained in seconds, and what tells two of them apart."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_envs import LEDGE

from ilfo.runs import read_metrics
from ilfo.training.flags import parse_train

NARROW_TD7 = [
    *("--agent", "td7", "--td7.hidden-dim", "16", "--td7.embedding-dim", "16", "--td7.batch-size", "16"),
    *("--td7.target-update-every", "20"),
]
SMALL_TD7 = [*NARROW_TD7, "--td7.assess-more-after", "60", "--td7.assessment-episodes", "2"]
SMALL_OOPS = ["--preset", "oops", "--td3.hidden-dim", "16", "--td3.critic-hidden-dim", "16"]
SMALL = ["--td3.hidden-dim", "32", "--td3.batch-size", "64", "--threads", "1", "--eval-episodes", "3"]


class KilledError(Exception):
    """What a test raises where a process would die."""


def save_after_every_step(monkeypatch) -> None:
    """With ``--checkpoint-seconds 0``, however long that takes; else saving would take a twentieth of the time."""
    monkeypatch.setattr("ilfo.train.seconds_until_saved_again", lambda least, took: least)


def flags_of(demo: Path, out: Path, *flags: str, steps: int = 400) -> list[str]:
    given = ["--env", LEDGE, "--demo", str(demo), "--out", str(out), "--steps", str(steps), "--random-steps", "100"]
    return [*given, "--eval-every", "200", "--log-every", "100", *SMALL, *flags]


def configure(demo: Path, out: Path, *flags: str, steps: int = 400):
    return parse_train(flags_of(demo, out, *flags, steps=steps))[0]


def short(demo, out, *flags: str):
    """A run of 300 steps, of which 100 are random."""
    given = ["--env", LEDGE, "--demo", str(demo), "--out", str(out), "--steps", "300", "--random-steps", "100"]
    return parse_train([*given, "--eval-every", "100", "--eval-episodes", "3", "--threads", "1", *flags])[0]


def timeless(folder: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_metrics(folder)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "checkpoints" / "final.pt", weights_only=True)["agent"]
    return {f"{part}.{name}": value for part in ("actor", "critics") for name, value in state[part].items()}


def assert_same_run(first: Path, second: Path) -> None:
    assert timeless(first) == timeless(second)
    expected, found = weights(first), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def results(folder: Path) -> dict[Path, str]:
    """What all files of results in a folder say, but how long it took."""
    names = ("metrics.jsonl", "summary.json", "evaluation.json", "variants.json", "table.md")
    files = [path for name in names for path in folder.rglob(name)]
    return {path.relative_to(folder): re.sub(r'"seconds": [\d.]+', "", path.read_text()) for path in files}


def assert_equal(expected, found) -> None:
    """Nested states whose tensors agree bit for bit."""
    if isinstance(expected, dict):
        assert expected.keys() == found.keys()
        expected, found = list(expected.values()), list(found.values())
    if isinstance(expected, (list, tuple)):
        for one, other in zip(expected, found, strict=True):
            assert_equal(one, other)
    elif isinstance(expected, (torch.Tensor, np.ndarray)):
        np.testing.assert_array_equal(expected, found)
    else:
        assert expected == found


def newest_checkpoint(folder: Path) -> int:
    """The step of the newest checkpoint, 0 where none was written yet."""
    return max((int(path.stem.removeprefix("step_")) for path in (folder / "checkpoints").glob("step_*.pt")), default=0)


def has_rows_to_lose(folder: Path) -> bool:
    """Whether rows of metrics were written after the newest checkpoint."""
    return read_metrics(folder)[-1]["step"] > newest_checkpoint(folder)


def wait_for_a_checkpoint(folder: Path, process: subprocess.Popen, after: int, until=lambda folder: True) -> None:
    """Until the process has written a checkpoint of a step later than ``after``, and what else is wanted is so."""
    limit = time.monotonic() + 60
    while newest_checkpoint(folder) <= after or not until(folder):
        if process.poll() is not None:
            pytest.fail(f"the process ended with {process.returncode}, and no checkpoint after step {after} is left")
        if time.monotonic() > limit:
            pytest.fail(f"no checkpoint after step {after} within a minute")
        time.sleep(0.02)


def ilfo_process(*words: str) -> subprocess.Popen:
    """The command line in a process of its own, which finds the modules of the tests."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from ilfo.cli import main; sys.exit(main())", *words],
        cwd=Path(__file__).parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
