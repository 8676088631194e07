"""The table of many runs, from folders as a training writes them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from ilfo.runs import Run

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "summarize.py"
SPEC = importlib.util.spec_from_file_location("summarize", SCRIPT)
summarize = importlib.util.module_from_spec(SPEC)
sys.modules["summarize"] = summarize
SPEC.loader.exec_module(summarize)

CONFIG = {
    **{"env": "Hopper-v5", "demo": "expert.hdf5", "reward": "transport", "agent": "td3", "protocol": "standard"},
    **{"steps": 200, "num_envs": 1, "td3": {"tau": 0.005}},
}
SHA256 = "0123456789abcdef"


def write(folder: Path, seed: int, returns: dict[int, float], finished: bool = True, sha256=SHA256, **changes) -> Path:
    run = Run(folder, CONFIG | changes | {"seed": seed}, sha256)
    for step, value in returns.items():
        run.append({"step": step - 1, "critic_loss": 1.0})
        run.append({"step": step, "eval_return": value})
    if finished:
        run.finish({"random_return": 10.0, "expert_return": 110.0 if sha256 else None})
    run.close()
    return folder


def cells(folders: list[Path], steps: tuple[int, ...] = ()) -> list[dict[str, str]]:
    table = summarize.table(summarize.grouped(summarize.read(folders)), steps)
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert set(rule) == {"---"}
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_seeds_of_one_configuration_become_one_row_a_step(tmp_path):
    folders = [write(tmp_path / f"s{seed}", seed, {100: 60.0, 200: 85.0 + 10 * seed}) for seed in (2, 0, 1)]
    early, late = cells(folders, (100, 200))
    assert early["return of each seed"] == "60.0, 60.0, 60.0"
    assert early["score: IQM (95 % interval)"] == "0.50 (0.50 to 0.50)"
    assert early["ratio to the expert"] == "0.55"
    assert late | {"score: IQM (95 % interval)": ""} == {
        "env": "Hopper-v5",
        "reward": "transport",
        "agent": "td3",
        "protocol": "standard",
        "demonstration": "01234567",
        "apart by": "–",
        "seeds": "0, 1, 2",
        "step": "200",
        "return of each seed": "85.0, 95.0, 105.0",
        "score: IQM (95 % interval)": "",
        "ratio to the expert": "0.86",
    }
    assert late["score: IQM (95 % interval)"] == "0.85 (0.75 to 0.95)"


def test_the_folder_of_several_seeds_stands_for_their_runs(tmp_path):
    write(tmp_path / "many", 0, {}, seeds="1-2")
    for seed in (1, 2):
        write(tmp_path / "many" / f"seed_{seed}", seed, {200: 10.0 + 50 * seed}, seeds="")
    alone = write(tmp_path / "alone", 0, {200: 10.0})
    (row,) = cells([tmp_path / "many", alone])
    assert (row["seeds"], row["return of each seed"]) == ("0, 1, 2", "10.0, 60.0, 110.0")
    assert row["score: IQM (95 % interval)"].startswith("0.50 (")


def test_what_is_not_measured_yet_is_empty(tmp_path):
    folders = [
        write(tmp_path / "whole", 0, {100: 60.0, 200: 85.0}),
        write(tmp_path / "under way", 1, {100: 70.0}, finished=False),
    ]
    early, late, never = cells(folders, (100, 200, 300))
    assert early["return of each seed"] == "60.0, 70.0"
    assert early["score: IQM (95 % interval)"] == "0.50, 1 of 2 seeds"
    assert late["return of each seed"] == "85.0, –"
    assert late["ratio to the expert"] == "0.77, 1 of 2 seeds"
    assert never["return of each seed"] == "–, –"
    assert (never["score: IQM (95 % interval)"], never["ratio to the expert"]) == ("–", "–")


def test_groups_differ_in_anything_but_seed_folder_and_path_of_the_demonstration(tmp_path):
    folders = [
        write(tmp_path / "a", 0, {200: 1.0}),
        write(tmp_path / "b", 1, {200: 2.0}, demo="moved/expert.hdf5", out="elsewhere"),
        write(tmp_path / "c", 0, {200: 3.0}, td3={"tau": 0.01}),
        write(tmp_path / "d", 0, {200: 4.0}, sha256="fedcba9876543210"),
    ]
    rows = cells(folders)
    assert [row["seeds"] for row in rows] == ["0, 1", "0", "0"]
    assert [row["apart by"] for row in rows] == ["td3.tau=0.005", "td3.tau=0.01", "–"]
    assert [row["demonstration"] for row in rows] == ["01234567", "01234567", "fedcba98"]
    assert [row["step"] for row in rows] == ["200"] * 3


def test_without_a_demonstration_there_is_a_return_and_no_score(tmp_path):
    (row,) = cells([write(tmp_path / "a", 0, {200: 1.0}, sha256=None, reward="environment", demo=None)])
    assert (row["demonstration"], row["return of each seed"]) == ("–", "1.0")
    assert (row["score: IQM (95 % interval)"], row["ratio to the expert"]) == ("–", "–")


def test_several_environments_may_step_over_the_mark(tmp_path):
    (row,) = cells([write(tmp_path / "a", 0, {102: 1.0, 201: 2.0}, num_envs=3)], (100,))
    assert row["return of each seed"] == "1.0"
    (row,) = cells([write(tmp_path / "b", 0, {102: 1.0}, num_envs=2)], (100,))
    assert row["return of each seed"] == "–"


@pytest.mark.parametrize(("words", "said"), [([], "no runs were given"), (["nowhere"], "nowhere is not the folder")])
def test_what_is_no_run_is_refused_in_one_line(words, said, tmp_path):
    result = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"summarize: {said}")
    assert result.stderr.count("\n") == 1
