"""The folder of a run: what a kill leaves, what a finished run no longer needs, what TensorBoard shows."""

import json
from pathlib import Path

import pytest
import torch
from small_envs import LEDGE
from small_runs import save_after_every_step
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ilfo._tools.errors import InputError
from ilfo.runs import Run, read_checkpoint, read_config, read_metrics
from ilfo.train import train
from ilfo.training.configs import TrainConfig
from ilfo.training.flags import parse_train

SHORT = ["--steps", "300", "--random-steps", "100", "--eval-every", "300", "--eval-episodes", "1", "--log-every", "50"]


def configure(out: Path, *flags: str) -> TrainConfig:
    given = ["--env", LEDGE, "--reward", "environment", "--out", str(out), *SHORT]
    return parse_train([*given, "--td3.hidden-dim", "16", "--td3.batch-size", "16", "--threads", "1", *flags])[0]


def killed_before_its_configuration_was_whole(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "git.diff").write_text("diff --git a/x b/x")
    (folder / ".git.diff.abc").write_text("diff --")
    (folder / ".config.json.abc").write_text('{"config": {"se')
    return folder


def test_what_a_kill_left_before_the_configuration_was_whole_is_cleaned(tmp_path):
    folder = killed_before_its_configuration_was_whole(tmp_path / "run")
    Run(folder, {"seed": 3}, None).close()
    assert read_config(folder)["config"] == {"seed": 3}
    left = {path.name for path in folder.iterdir()}
    assert left - {"git.diff"} == {"checkpoints", ".lock", "config.json"}


@pytest.mark.parametrize("name", ["thesis.txt", "summary.json", ".gitignore", "metrics.jsonl.bak"])
def test_files_that_no_kill_leaves_are_not_taken_for_a_run(tmp_path, name):
    folder = killed_before_its_configuration_was_whole(tmp_path / "run")
    (folder / name).write_text("years of work")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=rf"not the folder of a run.*holds {name}; choose an empty folder"):
        Run(folder, {"seed": 3}, None)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_the_checkpoint_before_stays(tmp_path, monkeypatch):
    def save_on_a_full_disk(state, _, save=torch.save):
        with open("/dev/full", "wb") as full:
            save(state, full)

    run = Run(tmp_path / "run", {"seed": 3}, None)
    run.save(100, {"weights": torch.zeros(9)})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_on_a_full_disk)
        with pytest.raises(
            InputError, match=r"the disk of .*run is full, and step_0+200\.pt could not be saved: make ro"
        ):
            run.save(200, {"weights": torch.zeros(9)})
    assert run.saved_steps() == {100}
    assert [path.name for path in run.checkpoints.iterdir()] == ["step_0000000100.pt"]
    run.close()


def test_a_run_goes_on_with_its_weights_elsewhere_and_keeps_the_place(tmp_path):
    def begin(**keypoints):
        Run(tmp_path / "run", {"seed": 3, "keypoints": keypoints}, None).close()

    for name, content in (("here", b"weights"), ("there", b"weights"), ("other", b"others")):
        (tmp_path / name).write_bytes(content)
    first = dict(k=4, backbone_weights=str(tmp_path / "here"), memory_gib=2.0, cache=True)
    moved = dict(k=4, backbone_weights=str(tmp_path / "there"), memory_gib=1.0, cache=False)
    begin(**first)
    begin(**moved)
    assert read_config(tmp_path / "run")["config"]["keypoints"] == moved
    with pytest.raises(InputError, match=r"configuration: keypoints\.k was 4 and is now 5\. Give"):
        begin(**first | {"k": 5})
    with pytest.raises(InputError, match=r"keypoints\.backbone_weights was 'SHA-256 .*' and is now 'SHA-256"):
        begin(**first | {"backbone_weights": str(tmp_path / "other")})
    with pytest.raises(InputError, match=r"keypoints\.backbone_weights was 'a file' and is now None"):
        begin(**first | {"backbone_weights": None})
    (tmp_path / "there").unlink()
    begin(**moved)  # Its summary can still be read.
    assert read_config(tmp_path / "run")["config"]["keypoints"] == moved


def test_a_run_goes_on_with_its_demonstration_elsewhere_and_keeps_the_place(tmp_path):
    def begin(demo, sha256):
        Run(tmp_path / "run", {"seed": 3, "demo": demo}, sha256).close()

    begin("a.hdf5", "0a")
    begin("./a.hdf5", "0a")
    assert read_config(tmp_path / "run")["config"] == {"seed": 3, "demo": "./a.hdf5"}
    for demo in ("a.hdf5", "./a.hdf5"):
        with pytest.raises(InputError, match="demo_sha256 was '0a' and is now '0b'"):
            begin(demo, "0b")
    with pytest.raises(InputError, match=r"demo was './a\.hdf5' and is now None"):
        begin(None, None)


def test_a_run_of_earlier_code_goes_on_whatever_it_kept_of_how_often_it_saved(tmp_path):
    Run(tmp_path / "run", {"seed": 3}, None).close()
    stored = read_config(tmp_path / "run")
    stored["config"] |= {"checkpoint_seconds": 30.0}
    (tmp_path / "run" / "config.json").write_text(json.dumps(stored))
    Run(tmp_path / "run", {"seed": 3}, None).close()
    assert read_config(tmp_path / "run") == stored, "as it was"


def test_a_run_of_earlier_code_that_lacks_a_setting_is_told_so(tmp_path):
    Run(tmp_path / "run", {"seed": 3}, None).close()
    with pytest.raises(InputError, match="updates_per_step is 1, and earlier code, which began it, did not know that"):
        Run(tmp_path / "run", {"seed": 3, "updates_per_step": 1}, None)


def test_a_finished_run_drops_the_checkpoint_that_a_kill_left(tmp_path):
    config = configure(tmp_path / "run")
    summary = train(config)
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "step_0000000250.pt").write_bytes((checkpoints / "final.pt").read_bytes())
    assert train(config) == summary
    assert [path.name for path in checkpoints.iterdir()] == ["final.pt"]


def test_a_checkpoint_is_read_as_far_as_it_is_used_and_outlives_its_file(tmp_path):
    run = Run(tmp_path / "run", {"seed": 3}, None)
    replay = torch.arange(300_000.0)
    run.save(10, {"agent": {"weight": torch.ones(3), "count": 4}, "replay": replay, "empty": torch.zeros(0)})
    state = read_checkpoint(run.folder)
    file = run.checkpoints / "step_0000000010.pt"
    assert str(file) in Path("/proc/self/maps").read_text(), "it is mapped, not loaded"
    run.save(20, {"agent": {"weight": torch.zeros(3), "count": 5}, "replay": -replay})
    run.keep_only(20)
    assert not file.exists()
    assert torch.equal(state["replay"], replay)
    state["agent"]["weight"] += 1
    assert state["agent"]["weight"].tolist() == [2, 2, 2]
    assert (state["agent"]["count"], len(state["empty"])) == (4, 0)
    assert read_checkpoint(run.folder)["agent"]["count"] == 5
    run.close()


class _KilledError(Exception):
    pass


def test_tensorboard_shows_every_logged_step_once_after_a_resume(tmp_path, monkeypatch):
    config = configure(tmp_path / "run", "--checkpoint-seconds", "0")
    append, save, keep_only = Run.append, Run.save, Run.keep_only

    def die_at_the_last_row(self, row):
        if row["step"] == 300:
            raise _KilledError
        append(self, row)

    save_after_every_step(monkeypatch)
    monkeypatch.setattr(Run, "append", die_at_the_last_row)
    monkeypatch.setattr(Run, "save", lambda self, step, state: save(self, step, state) if step <= 120 else None)
    monkeypatch.setattr(Run, "keep_only", lambda self, step: keep_only(self, step) if step <= 120 else None)
    with pytest.raises(_KilledError):
        train(config)
    monkeypatch.undo()
    board = tmp_path / "run" / "tensorboard"
    assert logged(board, "seconds") == [50, 100, 150, 200, 250]
    # Event files are read in the order of the second that is in their names, and this one is to be the earlier.
    for path in board.iterdir():
        path.rename(path.with_name(path.name.replace("tfevents.", "tfevents.0", 1)))
    train(config)
    assert len(list(board.iterdir())) == 2
    assert logged(board, "seconds") == [row["step"] for row in read_metrics(config.out)] == [*range(50, 301, 50)]
    assert logged(board, "eval_return") == [300]


def logged(board: Path, tag: str) -> list[int]:
    events = EventAccumulator(str(board))
    events.Reload()
    return [event.step for event in events.Scalars(tag)]
