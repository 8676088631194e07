"""Many seeds side by side: each is the run that it would be alone, saved and restored with the others."""

import os
import pickle
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from small_envs import LEDGE
from small_runs import KilledError, assert_same_run, configure, flags_of, timeless

from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.runs import Run, read_config, read_metrics, read_summary
from ilfo.statistics import interquartile_mean
from ilfo.train import train
from ilfo.training import Sources, Training
from ilfo.training.flags import parse_train
from ilfo.training.imitation import load
from ilfo.training.run_group import RunGroup, seed_runs

SEEDS = (0, 1, 2)
FINE = ["--log-every", "20"]


@pytest.fixture(scope="module")
def together(demo, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("together") / "runs"
    train(configure(demo, out, "--seeds", "0-2", *FINE))
    return out


@pytest.fixture(scope="module")
def alone(demo, tmp_path_factory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("alone")
    for seed in SEEDS:
        train(configure(demo, folder / str(seed), "--seed", str(seed), *FINE))
    return {seed: folder / str(seed) for seed in SEEDS}


def names(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"events\.out.*", "events", name) for name in found}


class TestEachSeedIsItsRunAlone:
    def test_in_what_it_measures(self, together, alone):
        """Exactly before learning, within rounding in the first updates; later rounding errors grow."""
        learned = 0
        for seed in SEEDS:
            expected, found = timeless(alone[seed]), timeless(together / f"seed_{seed}")
            assert [row["step"] for row in found] == [row["step"] for row in expected] == [*range(20, 401, 20)]
            assert [row.keys() for row in found] == [row.keys() for row in expected]
            assert found[:4] == expected[:4]
            for one, other in zip(found[4:7], expected[4:7], strict=True):
                assert one == pytest.approx(other, rel=1e-3, abs=1e-4)
                learned += "critic_loss" in one
        assert learned >= len(SEEDS)
        assert len({str(timeless(folder)) for folder in alone.values()}) == len(SEEDS)

    def test_in_what_its_folder_holds(self, together, alone):
        uncommitted = {"git.diff"}  # where these tests run in a changed clone
        assert {path.name for path in together.iterdir()} - uncommitted == {"config.json", "summary.json", ".lock"} | {
            f"seed_{seed}" for seed in SEEDS
        }
        for seed in SEEDS:
            own = together / f"seed_{seed}"
            assert names(own) == names(alone[seed])
            assert read_config(own) == read_config(alone[seed])
            expected, found = read_summary(alone[seed]), read_summary(own)
            assert found.keys() == expected.keys()
            for exact in ("seed", "steps", "random_return", "expert_return", "demo_sha256"):
                assert found[exact] == expected[exact]

    def test_in_what_can_be_done_with_it(self, together, alone, demo):
        for seed in SEEDS:
            loaded = load(together / f"seed_{seed}")
            returns = [episode.env_return for episode in loaded.evaluate_all(3)[0]]
            assert returns == pytest.approx(read_metrics(together / f"seed_{seed}")[-1]["eval_returns"], rel=1e-4)
            own, other = loaded.agent.state_dict(), load(alone[seed]).agent.state_dict()
            assert str(_shapes(own)) == str(_shapes(other))
        finished = read_summary(together / "seed_1")
        assert train(configure(demo, together / "seed_1", "--seed", "1", *FINE)) == finished, "nothing was left to do"

    @pytest.mark.parametrize("reward", ["environment", "own_plugins:Height", "transport"])
    def test_in_what_its_replay_holds_with_several_copies(self, demo, tmp_path, reward):
        flags = ["--reward", reward, "--num-envs", "2", "--protocol", "standard"]
        many = Training.begin(Sources(configure(demo, tmp_path, *flags, "--seeds", "5,3")))
        single = {
            seed: Training.begin(Sources(configure(demo, tmp_path, *flags, "--seed", str(seed)))) for seed in (5, 3)
        }
        for training in (many, *single.values()):
            for _ in range(49):
                training.advance()
            training.close()
        assert many.step == 98, "all of it random"
        for member, (seed, expected) in enumerate(single.items()):
            found, wanted = many.replay.contents(member), expected.replay.contents()
            assert len(found.rewards) > 30
            for name, column in vars(wanted).items():
                assert torch.equal(getattr(found, name), column), (seed, name)
        assert not torch.equal(many.replay.contents(0).actions[:30], many.replay.contents(1).actions[:30])

    def test_where_the_agent_cannot_be_stacked(self, demo, tmp_path):
        given = ["--env", LEDGE, "--demo", str(demo), "--steps", "300", "--random-steps", "100", "--log-every", "100"]
        given += ["--agent", "own_plugins:Still", "--still.level", "0.3", "--eval-episodes", "2"]

        def run(out: str, *flags: str) -> None:
            train(parse_train([*given, "--out", str(tmp_path / out), *flags])[0])

        with pytest.warns(UserWarning, match="Still cannot stack seeds: they are updated in turn"):
            run("both", "--seeds", "0-1")
        for seed in (0, 1):
            run(str(seed), "--seed", str(seed))
            rows = timeless(tmp_path / str(seed))
            assert rows[-1]["mean_reward"] > 0
            assert timeless(tmp_path / "both" / f"seed_{seed}") == rows


def _shapes(state):
    if isinstance(state, dict):
        return {name: _shapes(part) for name, part in state.items()}
    return (state.dtype, state.shape) if isinstance(state, torch.Tensor) else type(state)


def test_the_summary_of_all(together):
    summary = read_summary(together)
    each = [read_summary(together / f"seed_{seed}") for seed in SEEDS]
    assert (summary["seeds"], summary["each"]) == ([0, 1, 2], each)
    assert summary["policy_return"] == pytest.approx(np.mean([one["policy_return"] for one in each]))
    scores = [(one["policy_return"] - one["random_return"]) / (40 - one["random_return"]) for one in each]
    assert summary["score_iqm"] == pytest.approx(interquartile_mean(scores), rel=1e-5)
    low, high = summary["score_interval"]
    assert min(scores) - 1e-6 <= low <= summary["score_iqm"] <= high <= max(scores) + 1e-6
    assert summary["steps"] == 400


def test_ctrl_c_stops_all_seeds_and_other_workers_may_go_on(together, demo, tmp_path, monkeypatch, capsys):
    """The environments step in other processes then, with the same results to the last bit."""
    out = tmp_path / "run"
    append = Run.append

    def interrupt(self, row):
        append(self, row)
        if row["step"] == 140 and self.folder.name == "seed_1":
            os.kill(os.getpid(), signal.SIGINT)

    flags = ["train", *flags_of(demo, out, "--seeds", "0-2", *FINE)]
    monkeypatch.setattr(Run, "append", interrupt)
    assert main(flags) == 130
    monkeypatch.undo()
    for seed in SEEDS:
        assert [path.name for path in (out / f"seed_{seed}" / "checkpoints").iterdir()] == ["step_0000000140.pt"]
    assert "step 200/400" not in capsys.readouterr().out
    assert main([*flags, "--env-workers", "2"]) == 0
    said = capsys.readouterr().out
    assert "Going on from step 140" in said
    assert re.search(r"step 400/400 .*mean of 3 seeds: imitation [\d.]+ +evaluation [\d.]+ +ratio [\d.]+", said)
    for seed in SEEDS:
        assert_same_run(together / f"seed_{seed}", out / f"seed_{seed}")
    kept = read_summary(out)
    assert main(flags) == 0
    assert "is finished; nothing is left to train" in capsys.readouterr().out
    assert read_summary(out) == kept


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seeds", "0-3"], r"seeds was '0-2' and is now '0-3'.*another --out"),
        (["--seed", "1"], r"seed was 0 and is now 1; seeds was '0-2' and is now ''"),
        (["--seeds", "0-2", "--td3.discount", "0.9"], r"td3\.discount was 0\.99 and is now 0\.9"),
    ],
)
def test_another_group_on_the_same_folder_is_refused_with_the_difference(together, demo, flags, said):
    before = names(together)
    with pytest.raises(InputError, match=said):
        train(configure(demo, together, *FINE, *flags))
    assert names(together) == before


def test_a_group_is_refused_on_the_folder_of_one_run(alone, demo):
    with pytest.raises(InputError, match="seeds was '' and is now '0-2'"):
        train(configure(demo, alone[0], "--seeds", "0-2", *FINE))
    assert not list(alone[0].glob("seed_*"))


CONFIG = {"seed": 0, "seeds": "3,8"}


def begin(folder: Path) -> RunGroup:
    return RunGroup(folder, CONFIG, (3, 8), None)


def test_a_kill_between_the_checkpoints_of_two_seeds_loses_nothing(tmp_path):
    group = begin(tmp_path / "x")
    group.append([{"step": 10, "seed": 3}, {"step": 10, "seed": 8}])
    group.save(10, [{"weights": 1.0}, {"weights": 2.0}])
    group.append([{"step": 20, "seed": 3}, {"step": 20, "seed": 8}])
    with pytest.raises((AttributeError, pickle.PicklingError)):
        group.save(20, [{"weights": 3.0}, {"what cannot be saved": lambda: None}])
    assert [run.saved_steps() for run in group.runs] == [{10, 20}, {10}]
    group.close()

    group = begin(tmp_path / "x")
    assert [state["weights"] for state in group.restore()] == [1.0, 2.0]
    assert [read_metrics(run.folder) for run in group.runs] == [[{"step": 10, "seed": 3}], [{"step": 10, "seed": 8}]]
    group.save(30, [{"weights": 5.0}, {"weights": 6.0}])
    assert [run.saved_steps() for run in group.runs] == [{30}, {30}]
    group.close()


@pytest.fixture(scope="module")
def whole(demo, tmp_path_factory) -> Path:
    """Seeds that train between episodes of 40 steps, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.warns(UserWarning, match="cannot stack"):
        train(configure(demo, out, *BETWEEN, steps=240))
    return out


BETWEEN = ["--seeds", "0-1", "--protocol", "fixed-horizon", "--td3.train-between", "episodes", "--log-every", "40"]


@pytest.mark.filterwarnings("ignore:TD3 cannot stack")
@pytest.mark.parametrize(("first", "second"), [(160, 161), (180, 200)], ids=["first update", "row of metrics"])
def test_a_kill_between_the_checkpoints_of_one_step_loses_nothing(whole, demo, tmp_path, monkeypatch, first, second):
    """After the first 160 steps come 40 updates, all of them at step 160, whose row is written when they are done."""
    out = tmp_path / "runs"
    config = configure(demo, out, *BETWEEN, steps=240)
    advance, save, calls = Training.advance, Run.save, []

    def interrupted_twice(self):
        advance(self)
        calls.append(self.step)
        if len(calls) in (first, second):
            os.kill(os.getpid(), signal.SIGINT)

    def killed_before_the_second_seed(self, step, state):
        if len(calls) == second and self.folder.name == "seed_1":
            raise KilledError
        save(self, step, state)

    monkeypatch.setattr(Training, "advance", interrupted_twice)
    monkeypatch.setattr(Run, "save", killed_before_the_second_seed)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    with pytest.raises(KilledError):
        train(config)
    assert calls[-1] == 160, "both checkpoints are of this step"
    monkeypatch.undo()
    train(config)
    for seed in (0, 1):
        assert_same_run(whole / f"seed_{seed}", out / f"seed_{seed}")


def test_without_a_step_that_all_seeds_have_they_begin_anew(tmp_path):
    group = begin(tmp_path / "x")
    group.append([{"step": 10}, {"step": 10}])
    group.runs[0].save(10, {"first_save": True})
    assert group.restore() is None
    assert [read_metrics(run.folder) for run in group.runs] == [[], []]
    group.close()


def test_where_one_seeds_checkpoints_are_gone_the_others_keep_theirs(tmp_path):
    group = begin(tmp_path / "x")
    for step in (10, 20):
        group.append([{"step": step}, {"step": step}])
        group.save(step, [{"x": 1}, {"x": 2}])
    group.close()
    shutil.rmtree(tmp_path / "x" / "seed_8")
    group = begin(tmp_path / "x")
    with pytest.raises(InputError, match="seed_8 has no checkpoint, and the runs beside it have"):
        group.restore()
    assert group.runs[0].saved_steps() == {20}
    assert [row["step"] for row in read_metrics(group.runs[0].folder)] == [10, 20]
    group.close()


def test_a_kill_between_the_summaries_of_two_seeds_leaves_all_that_is_needed_to_finish(tmp_path):
    group = begin(tmp_path / "x")
    group.save(10, [{"weights": 1.0}, {"weights": 2.0}])
    group.runs[0].finish({"ratio": 0.5}, {"agent": {}})
    group.close()
    group = begin(tmp_path / "x")
    assert group.finished() is None
    assert [state["weights"] for state in group.restore()] == [1.0, 2.0]
    group.finish([{"ratio": 0.5}, {"ratio": 1.0}], [{"agent": {}}, {"agent": {}}], {"ratio": 0.75})
    assert group.finished() == {"ratio": 0.75}
    assert [read_summary(run.folder) for run in group.runs] == [{"ratio": 0.5}, {"ratio": 1.0}]
    assert [run.saved_steps() for run in group.runs] == [set(), set()]
    group.close()


def test_a_seed_that_was_finished_on_its_own_does_not_send_the_others_back_to_the_start(tmp_path):
    group = RunGroup(tmp_path, {"seeds": "0,1"}, (0, 1), None)
    group.save(10, [{"x": 1}, {"x": 2}])
    group.runs[1].finish({"policy_return": 1.0}, {"agent": {}})
    group.runs[1].keep_only(None)
    with pytest.raises(InputError, match="seed_1 is finished and the folder around it is not"):
        group.restore()
    assert group.runs[0].saved_steps() == {10}
    group.close()


def test_a_seed_that_went_on_alone_does_not_send_the_others_back_to_the_start(tmp_path):
    group = RunGroup(tmp_path, {"seeds": "0,1"}, (0, 1), None)
    group.save(10, [{"x": 1}, {"x": 2}])
    group.runs[1].save(20, {"x": 3})
    group.runs[1].keep_only(20)
    with pytest.raises(InputError, match=r"different steps \(10, 20\)"):
        group.restore()
    assert [run.saved_steps() for run in group.runs] == [{10}, {20}]
    group.close()


@pytest.mark.filterwarnings("ignore:no episode ended")
def test_seeds_that_wait_for_each_other_are_warned_about(demo, tmp_path):
    together = configure(demo, tmp_path / "together", "--seeds", "0-5", "--random-steps", "5", steps=60)
    with pytest.warns(UserWarning, match="raise --random-steps"):
        train(together)


def test_one_process_holds_the_folders_of_all_seeds(tmp_path):
    group = begin(tmp_path / "x")
    for folder in (tmp_path / "x", tmp_path / "x" / "seed_8"):
        with pytest.raises(InputError, match="another process is training"):
            Run(folder, CONFIG, None)
    group.close()
    begin(tmp_path / "x").close()


def test_a_seeds_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "x" / "seed_8").mkdir(parents=True)
    (tmp_path / "x" / "config.json").write_text('{"config": {"seed": 0, "seeds": "3,8"}, "demo_sha256": null}')
    (tmp_path / "x" / "seed_8" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"seed_8 is not the folder of a run.*thesis\.txt"):
        begin(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x" / "seed_8").iterdir()] == ["thesis.txt"]
    (tmp_path / "x" / "seed_8" / "thesis.txt").unlink()
    begin(tmp_path / "x").close()


def test_the_runs_in_a_folder(together, alone, tmp_path):
    assert seed_runs(together) == {seed: together / f"seed_{seed}" for seed in SEEDS}
    assert seed_runs(alone[0]) == {}
    with pytest.raises(InputError, match="not the folder of a run"):
        seed_runs(tmp_path)
    shutil.copy(together / "config.json", tmp_path)
    with pytest.raises(InputError, match=r"each of the seeds 0-2, and seed_0 is missing or not begun"):
        seed_runs(tmp_path)


def test_a_folder_of_several_seeds_is_not_loaded_as_one(together):
    with pytest.raises(InputError, match="give the folder of one, seed_0, seed_1, seed_2"):
        load(together)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_updates_train_several_seeds(demo, tmp_path):
    flags = ["--seeds", "0-1", "--compile", "--td3.hidden-dim", "8", "--steps", "120"]
    summary = train(configure(demo, tmp_path / "run", *flags))
    assert len(summary["each"]) == 2
    assert all("actor_loss" in read_metrics(tmp_path / "run" / f"seed_{seed}")[-1] for seed in (0, 1))
