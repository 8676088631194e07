"""The picture of success against steps: what it reads of a run, and what it calls it."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "success.py"


@pytest.fixture(scope="module")
def success():
    spec = importlib.util.spec_from_file_location("success", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("env_id", "task"),
    [
        ("ilfo.metaworld:MetaWorld/reach-v3@150-steps", "reach"),
        ("ilfo.robosuite:robosuite/Lift-Panda-v1", "Lift-Panda"),
        ("FetchReach-v4", "FetchReach"),
        ("ilfo.robotics:AdroitHandDoorHuman-v1", "AdroitHandDoorHuman"),
    ],
)
def test_a_run_is_called_by_its_task(success, env_id, task):
    assert success.task_of(env_id) == task


def test_evaluations_alone_are_drawn(success, tmp_path):
    rows = [{"step": 10}, {"step": 20, "eval_success": 0.5}, {"step": 30, "eval_success": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "config.json").write_text(json.dumps({"config": {"env": "A-v1", "seed": 3, "eval_episodes": 10}}))
    assert success.curve_of(tmp_path) == ([20], [0.5])
    success.main([tmp_path], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
