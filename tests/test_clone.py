"""``ilfo clone`` as a user types it, and ``ilfo evaluate`` of what it made."""

import json
import shutil
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_clones import MIRRORED, OPTIONS, PENDULUM, SETTINGS, SQUARE, changed, configure, expert, record, write
from small_envs import Square

from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.clone import clone
from ilfo.cloning import evaluate_clone, evaluate_looks, load_clone
from ilfo.envs import RenderError, random_policy
from ilfo.evaluate import evaluate
from ilfo.report import write_report
from ilfo.runs import read_config, read_metrics, read_summary
from ilfo.train import train
from ilfo.training.configs import TrainConfig
from ilfo.vision import build_tiny


class Unseen(Square):
    """A square that nobody can draw."""

    def __init__(self):
        super().__init__()


gymnasium.register("Unseen-v0", Unseen, max_episode_steps=20)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("film"), "square.hdf5", record(SQUARE, expert, 6))


@pytest.fixture(scope="module")
def runs(film, tmp_path_factory):
    """A finished run for everything that can be seen."""
    folder = tmp_path_factory.mktemp("runs")
    for sees in ("states", "keypoints", "pixels"):
        clone(configure(sees, film, folder / sees, epochs=15))
    return folder


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """States of a MuJoCo environment, which has variants."""
    folder = tmp_path_factory.mktemp("pendulum")
    demo = write(folder, "pendulum.hdf5", record(PENDULUM, random_policy(1, seed=0), 3, None))
    clone(configure("states", demo, folder / "run", env=PENDULUM, epochs=2))
    return folder / "run"


@pytest.mark.parametrize("sees", ["states", "keypoints", "pixels"])
def test_what_was_measured_at_the_end_is_what_evaluate_finds(runs, sees):
    summary = read_summary(runs / sees)
    found = evaluate(runs / sees, SETTINGS["eval_episodes"])
    assert found.returns == summary["policy_returns"]
    assert found.return_mean == summary["policy_return"] > summary["random_return"]
    assert (found.expert_return, found.random_return) == (summary["expert_return"], summary["random_return"])


def test_a_run_says_what_was_done(runs, film):
    config, summary = read_config(runs / "pixels"), read_summary(runs / "pixels")
    assert config["config"]["verb"] == "clone"
    assert config["config"]["pixels"] == {"shift": 1, "points": 8}
    assert config["demo_sha256"] == summary["demo_sha256"]
    rows = read_metrics(runs / "pixels")
    assert [row["epoch"] for row in rows] == list(range(1, 16))
    assert rows[-1]["loss"] < rows[0]["loss"]
    best = min(rows, key=lambda row: row["held_out_loss"])
    assert (summary["epoch"], summary["held_out_loss"]) == (best["epoch"], best["held_out_loss"])
    assert (summary["episodes"], len(summary["held_out_episodes"]), summary["samples"]) == (5, 1, 100)


def test_the_same_seed_gives_the_same_policy(runs, film, tmp_path):
    clone(configure("pixels", film, tmp_path / "again", epochs=15))
    clone(configure("pixels", film, tmp_path / "other", epochs=15, seed=1))
    mine, again, other = (
        torch.load(folder / "checkpoints" / "final.pt", weights_only=True)["network"]
        for folder in (runs / "pixels", tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(mine[name], again[name]) for name in mine)
    assert not torch.equal(mine["head.0.weight"], other["head.0.weight"])


def test_random_numbers_of_others_stay_as_they_were(film, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    clone(configure("states", film, tmp_path / "run", epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_run_is_not_made_again_and_a_stopped_one_begins_anew(film, tmp_path):
    config, stopped = configure("states", film, tmp_path / "run", epochs=4), []

    def stop(epoch):
        stopped.append(epoch)
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clone(config, on_epoch=stop)
    assert len(read_metrics(tmp_path / "run")) == 2
    with pytest.raises(InputError, match="no checkpoint yet"):
        evaluate(tmp_path / "run")
    summary = clone(config)
    assert [row["epoch"] for row in read_metrics(tmp_path / "run")] == [1, 2, 3, 4]
    assert clone(config, on_epoch=stopped.append) == json.loads(json.dumps(summary))
    assert len(stopped) == 2
    with pytest.raises(InputError, match="epochs was 4 and is now 5"):
        clone(replace(config, epochs=5))


def test_what_was_learned_is_kept_where_playing_it_fails(film, tmp_path, monkeypatch):
    config = configure("keypoints", film, tmp_path / "run", epochs=4)
    whole = clone(replace(config, out=str(tmp_path / "whole")))

    def fail(*_):
        raise InputError("the simulation is unstable")

    with monkeypatch.context() as failing:
        failing.setattr("ilfo.clone.evaluation_of", fail)
        with pytest.raises(InputError, match="is unstable"):
            clone(config)
    assert evaluate(tmp_path / "run", SETTINGS["eval_episodes"]).returns == whole["policy_returns"]
    with pytest.raises(InputError, match="is not finished: give the same 'ilfo clone' command again"):
        write_report(tmp_path / "run")
    learned = []
    summary = clone(config, on_epoch=learned.append)
    assert learned == [], "it is not learned again"
    assert {**summary, "seconds": 0} == {**whole, "seconds": 0}
    assert len(read_metrics(tmp_path / "run")) == 4
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["final.pt"]


def test_the_folder_of_a_run_that_stopped_while_it_learned_takes_other_settings(film, tmp_path):
    config = configure("states", film, tmp_path / "run", epochs=3, learning_rate=1e30)
    with pytest.raises(InputError, match=r"diverged .* lower it"):
        clone(config)
    clone(replace(config, learning_rate=1e-3))
    assert read_config(tmp_path / "run")["config"]["learning_rate"] == 1e-3
    assert [row["epoch"] for row in read_metrics(tmp_path / "run")] == [1, 2, 3]


def test_a_finished_run_is_told_where_its_weights_lie_now(film, tmp_path):
    save_file(build_tiny().state_dict(), tmp_path / "old.safetensors")
    options = replace(OPTIONS["keypoints"], backbone_weights=str(tmp_path / "old.safetensors"))
    config = configure("keypoints", film, tmp_path / "run", epochs=1, keypoints=options)
    summary = clone(config)
    (tmp_path / "old.safetensors").rename(tmp_path / "new.safetensors")
    with pytest.raises(InputError, match=r"the command that made it: give --keypoints\.backbone-weights FILE"):
        evaluate(tmp_path / "run")
    clone(replace(config, keypoints=replace(options, backbone_weights=str(tmp_path / "new.safetensors"))))
    assert evaluate(tmp_path / "run", SETTINGS["eval_episodes"]).returns == summary["policy_returns"]


def test_a_folder_of_a_trained_run_is_no_place_for_a_clone_nor_the_other_way_round(imitation_run, film, runs):
    with pytest.raises(InputError, match="holds a run of 'ilfo train', and this is 'ilfo clone': give another --out"):
        clone(configure("states", film, imitation_run))
    trained = TrainConfig(env=SQUARE, demo=film, out=str(runs / "states"), steps=10, random_steps=5)
    with pytest.raises(InputError, match="holds a run of 'ilfo clone', and this is 'ilfo train'"):
        train(trained)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_generator_takes_is_refused(film, tmp_path, seed):
    with pytest.raises(InputError, match=f"--seed is {seed}; expected 0 or more"):
        configure("states", film, tmp_path / "run", seed=seed)


def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_looked_at(film, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = []
    for out, message in (
        (tmp_path / "thesis.txt", "is a file"),
        (tmp_path / "thesis.txt" / "run", "Not a directory"),
        (tmp_path, r"holds thesis\.txt"),
    ):
        with pytest.raises(InputError, match=message):
            clone(configure("pixels", film, out, epochs=1), doing=done.append)
    assert done == []
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_cannot_be_cloned_leaves_no_folder(film, tmp_path):
    silent = write(tmp_path, "silent.hdf5", changed(record(SQUARE, expert, 1), actions=None))
    for demo, changes, message in (
        (silent, {}, "no actions"),
        (film, {"state_dims": "5"}, "columns 0 to 1"),
        (film, {"device": "cuda"}, "sees no GPU"),
    ):
        if "device" in changes and torch.cuda.is_available():
            continue
        with pytest.raises(InputError, match=message):
            clone(configure("pixels", demo, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_drawn_is_said_before_anything_is_learned(film, tmp_path):
    with (
        pytest.warns(UserWarning, match="was recorded in"),
        pytest.raises(RenderError, match="Unseen-v0 cannot be drawn"),
    ):
        clone(configure("pixels", film, tmp_path / "run", env="Unseen-v0"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (np.full((32, 32, 3), 0.5, np.float32), r"\(32, 32, 3\) of float32"),
        (np.zeros((32, 32, 4), np.uint8), r"\(32, 32, 4\) of uint8"),
        (np.zeros((32, 32), np.uint8), r"\(32, 32\) of uint8"),
    ],
)
def test_pictures_that_are_not_rgb_are_refused_before_anything_is_learned(film, tmp_path, monkeypatch, picture, found):
    monkeypatch.setattr(Square, "render", lambda self: picture)
    with pytest.raises(RenderError, match=f"draws pictures {found}; expected RGB"):
        clone(configure("pixels", film, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_environment_without_pictures_is_not_told_to_install_a_driver(film, tmp_path, monkeypatch):
    monkeypatch.delattr(Square, "render")
    with pytest.raises(RenderError, match=r"draws no pictures: its class has no render\(\)"):
        clone(configure("pixels", film, tmp_path / "run"))


def test_another_look_leaves_what_sees_states_as_it_is(runs):
    there, mirrored = (evaluate_clone(runs / "states", 2, 0, env_id=env_id) for env_id in (SQUARE, MIRRORED))
    for one, other in zip(there.trajectories, mirrored.trajectories, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
    seen = evaluate_clone(runs / "pixels", 2, 0, env_id=MIRRORED)
    assert seen.returns != evaluate_clone(runs / "pixels", 2, 0).returns


def test_states_are_the_same_in_every_look(pendulum):
    looks = evaluate_looks(pendulum, ("colours", "camera"), episodes=3)
    assert list(looks.each) == [(kind, split) for kind in ("colours", "camera") for split in ("seen", "unseen")]
    for found in looks.each.values():
        assert found.returns == looks.plain.returns
        assert [each.seed for each in found.trajectories] == [each.seed for each in looks.plain.trajectories]


def test_who_sees_pixels_plays_in_every_look(camera, tmp_path):
    demo = write(tmp_path, "pendulum.hdf5", record(PENDULUM, random_policy(1, seed=0), 2, (32, 24)))
    clone(configure("pixels", demo, tmp_path / "run", env=PENDULUM, epochs=1, eval_episodes=1))
    assert load_clone(tmp_path / "run").frame_size == (32, 24)
    looks = evaluate_looks(tmp_path / "run", ("colours",), episodes=2)
    actions = [found.trajectories[0].actions[0].tolist() for found in (looks.plain, *looks.each.values())]
    assert len(np.unique(actions)) == 3, "the first frames differ, so the first actions do"
    alone = evaluate_looks(tmp_path / "run", ("colours",), ("unseen",), episodes=1).each["colours", "unseen"]
    # The network sees one frame in place of two, which changes the last bits.
    assert alone.trajectories[0].actions[0].tolist() == pytest.approx(actions[2], abs=1e-5)


class TestCommands:
    def test_clone_and_evaluate(self, film, tmp_path, capsys):
        out = tmp_path / "run"
        flags = ["--env", SQUARE, "--demo", film, "--sees", "pixels", "--out", str(out), "--state-dims", "1"]
        small = ["--epochs", "2", "--eval-episodes", "2", "--hidden-dim", "8", "--pixels.shift", "0"]
        assert main(["clone", *flags, *small]) == 0
        said = capsys.readouterr().out
        assert "epoch 2/2" in said
        assert "cloned from 100 steps of 5 episodes" in said
        assert main(["evaluate", str(out), "--episodes", "2"]) == 0
        assert f"{SQUARE}, cloned" in capsys.readouterr().out
        kept = json.loads((out / "evaluation.json").read_text())
        assert len(kept["episodes"]) == 2
        assert kept["return_mean"] == read_summary(out)["policy_return"]

    def test_what_seeing_takes_is_a_line_at_the_start(self, film, tmp_path, capsys):
        flags = [
            "--env",
            SQUARE,
            "--demo",
            film,
            "--sees",
            "keypoints",
            "--out",
            str(tmp_path / "run"),
            "--epochs",
            "1",
        ]
        small = ["--keypoints.no-pretrained", "--keypoints.image-size", "32", "--keypoints.k", "4"]
        assert main(["clone", *flags, *small]) == 0
        said = capsys.readouterr().out
        assert 0 < said.find("seeing 126 frames as 4 x 4 patches, 32 at a time in ") < said.find("epoch 1/1")

    def test_other_looks_of_a_run_that_is_not_finished_are_refused(self, pendulum, tmp_path):
        copied = shutil.copytree(pendulum, tmp_path / "run")
        (copied / "summary.json").unlink()
        with pytest.raises(InputError, match="is not finished: give the same 'ilfo clone' command again"):
            evaluate_looks(copied, ["colours"])

    def test_evaluate_in_other_looks(self, pendulum, capsys):
        given = ["evaluate", str(pendulum), "--episodes", "2", "--variants", "colours", "lights", "--split", "unseen"]
        assert main([*given, "--stop-after-success", "7"]) == 0
        said = capsys.readouterr().out
        assert "7 steps after a first success" in said
        assert "ranges to train on" not in said
        assert [line.split()[1:4:2] for line in said.splitlines() if "unseen" in line] == [
            ["colours", "unseen"],
            ["lights", "unseen"],
        ]
        assert "│ first │" in said.replace("┃", "│")
        kept = json.loads((pendulum / "variants.json").read_text())
        assert [(each["kind"], each["split"], len(each["episodes"])) for each in kept["each"]] == [
            ("colours", "unseen", 2),
            ("lights", "unseen", 2),
        ]

    def test_a_kind_that_cannot_be_is_refused_before_others_are_played(self, pendulum, monkeypatch):
        monkeypatch.setattr("ilfo.cloning.looks.play_each", None)
        with pytest.raises(InputError, match="no textures"):
            evaluate_looks(pendulum, ["colours", "textures"], episodes=1)

    def test_what_is_seen_is_said(self, pendulum, capsys):
        assert main(["evaluate", str(pendulum), "--episodes", "1", "--variants", "colours", "lights"]) == 0
        said = capsys.readouterr().out
        assert (
            "seen      variants of colours, lights that the demonstrations do not show, of the ranges to train on"
            in said
        )

    def test_refusals(self, pendulum, film, imitation_run, tmp_path, capsys):
        video = str(tmp_path / "best.webm")
        for given, message in (
            (["evaluate", str(imitation_run), "--variants", "colours"], "is for policies of 'ilfo clone'"),
            (["evaluate", str(pendulum), "--variants", "colours", "--video", video], "--video with --variants"),
            (["evaluate", str(pendulum), "--variants", "colours", "colours"], "give each once"),
            (["evaluate", str(pendulum), "--stop-after-success", "3"], "is for --variants"),
            (["evaluate", str(pendulum), "--split", "unseen"], "--split is for --variants"),
            (["evaluate", str(pendulum), "--variants", "colours", "--stop-after-success", "-1"], "expected 0 or more"),
            (["clone", "--env", SQUARE, "--demo", str(tmp_path / "none.hdf5")], "no such file"),
        ):
            assert main(given) == 2
            assert message in capsys.readouterr().err
