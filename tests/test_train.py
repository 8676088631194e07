"""Training end to end on an environment that is learned in seconds: results, resume, refusals."""

import json
import os
import shutil
import signal
from contextlib import ExitStack, closing
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from small_envs import GENEROUS, LEDGE, expert, walk
from small_runs import (
    KilledError,
    assert_equal,
    assert_same_run,
    configure,
    flags_of,
    has_rows_to_lose,
    ilfo_process,
    newest_checkpoint,
    save_after_every_step,
    timeless,
    wait_for_a_checkpoint,
)

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.demos import Demonstrations, Provenance
from ilfo.evaluate import evaluate
from ilfo.record import RecordOptions, record
from ilfo.report import write_report
from ilfo.runs import HeldFolder, Run, read_config, read_metrics, read_summary
from ilfo.train import seconds_until_saved_again, train
from ilfo.training import Sources, Training, load
from ilfo.training.flags import parse_train
from ilfo.training.scorer import Scorer


@pytest.fixture(scope="module")
def finished(demo, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    train(configure(demo, out))
    return out


def test_a_policy_learns_from_one_state_trajectory(demo, tmp_path):
    summary = train(configure(demo, tmp_path / "run", steps=2500))
    assert summary["expert_return"] == pytest.approx(40)
    assert summary["random_return"] < 20
    assert summary["ratio"] > 0.8
    assert summary["success"] == 1.0


def test_the_folder_holds_what_the_run_was_told_and_measured(finished, demo):
    stored = read_config(finished)
    assert stored["config"]["env"] == LEDGE
    assert stored["config"]["transport"]["cost"] == "euclidean"
    assert stored["demo_sha256"] == demos.open(demo).sha256
    assert stored["versions"]["torch"]
    rows = read_metrics(finished)
    assert [row["step"] for row in rows] == [100, 200, 300, 400]
    assert [row["step"] for row in rows if "eval_return" in row] == [200, 400]
    assert {"critic_loss", "actor_loss", "q", "imitation_return"} <= rows[-1].keys()
    summary = read_summary(finished)
    wanted = "expert_return random_return policy_return ratio success steps seconds seed protocol demo_sha256"
    assert set(wanted.split()) <= summary.keys()
    assert summary["ratio"] == pytest.approx(summary["policy_return"] / summary["expert_return"])
    assert list((finished / "tensorboard").glob("events*"))


def test_a_seed_decides_the_run(finished, demo, tmp_path):
    train(configure(demo, tmp_path / "again"))
    assert_same_run(finished, tmp_path / "again")
    train(configure(demo, tmp_path / "other", "--seed", "1"))
    assert timeless(tmp_path / "other") != timeless(finished)


def test_threads_are_the_runs_while_it_trains_plays_or_records_and_the_callers_afterwards(demo, tmp_path, monkeypatch):
    """A reward from a run is given to other people's learners, who chose how many threads they want."""
    during, reset = [], gymnasium.wrappers.TimeLimit.reset

    def counted(self, **options):
        during.append(torch.get_num_threads())
        return reset(self, **options)

    monkeypatch.setattr(gymnasium.wrappers.TimeLimit, "reset", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        train(configure(demo, tmp_path / "run", "--threads", "2"))
        evaluate(tmp_path / "run", 1)
        record(tmp_path / "demo.hdf5", RecordOptions(run=str(tmp_path / "run")))
        write_report(tmp_path / "run", episodes=1, video=False)
        main(["train", *flags_of(demo, tmp_path / "other", "--threads", "2", "--dry-run")])
        assert set(during) == {2}
        load(tmp_path / "run").close()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_saving_does_not_change_the_run(finished, demo, tmp_path, monkeypatch):
    save_after_every_step(monkeypatch)
    train(configure(demo, tmp_path / "run", "--checkpoint-seconds", "0"))
    assert_same_run(finished, tmp_path / "run")


@pytest.mark.parametrize(
    "flags",
    [
        ["--num-envs", "3"],
        ["--reward", "environment", "--protocol", "fixed-horizon"],
        ["--seeds", "4,2", "--num-envs", "2"],
        ["--seeds", "0-1", "--env-workers", "1"],
        ["--td3.train-between", "episodes", "--time-aware", "--td3.resample-time", "--td3.critic-loss", "lap"],
        ["--seeds", "0-1", "--num-envs", "2", "--normalize-observations", "expert-and-random", "--time-aware"],
    ],
)
def test_a_restored_training_goes_on_bit_for_bit(demo, tmp_path, flags):
    config = configure(demo, tmp_path, *flags)
    training = Training.begin(Sources(config))
    for _ in range(150):
        training.advance()
    torch.save(training.state_dicts(), tmp_path / "state.pt")
    restored = Training.resume(Sources(config), torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (training, restored):
        for _ in range(70):
            one.advance()
    assert_equal(training.state_dicts(), restored.state_dicts())
    assert training.averages.read() == restored.averages.read()
    for one in (training, restored):
        one.close()


def test_a_run_that_dies_between_two_rows_goes_on_exactly(finished, demo, tmp_path, monkeypatch):
    out = tmp_path / "run"
    append, rows = Run.append, []

    def die_after_three(self, row):
        append(self, row)
        rows.append(row)
        if len(rows) == 3:
            raise KilledError

    save_after_every_step(monkeypatch)
    monkeypatch.setattr(Run, "append", die_after_three)
    with pytest.raises(KilledError):
        train(configure(demo, out, "--checkpoint-seconds", "0"))
    monkeypatch.undo()
    train(configure(demo, out, "--checkpoint-seconds", "0"))
    assert_same_run(finished, out)


@pytest.mark.parametrize("least", [0.0, 30.0, 600.0])
@pytest.mark.parametrize("took", [0.0, 0.01, 1.5, 2.0, 60.0])
def test_saving_takes_a_twentieth_of_the_time_at_most(least, took):
    rest = seconds_until_saved_again(least, took)
    assert rest >= least
    assert took <= 0.05 * (took + rest)
    assert rest == least or took > 0.047 * (took + rest), "no rarer than it takes"


@pytest.mark.parametrize("seeds", ["", "0-2"], ids=["one", "three at once"])
def test_a_killed_process_started_again_ends_like_one_never_interrupted(demo, tmp_path, seeds):
    flags = ["--eval-every", "500", "--log-every", "20", "--checkpoint-seconds", "0.2", "--seeds", seeds]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    runs = [f"seed_{seed}" for seed in range(3)] if seeds else ["."]
    command = ["train", *flags_of(demo, killed, *flags, steps=1500)]
    saved = [0]
    for _ in range(2):
        with ilfo_process(*command) as process:
            try:
                wait_for_a_checkpoint(killed / runs[-1], process, saved[-1] + 20, until=has_rows_to_lose)
            finally:
                process.kill()
        assert process.returncode == -signal.SIGKILL, "it was under way"
        assert not (killed / "summary.json").exists()
        saved.append(min(newest_checkpoint(killed / run) for run in runs))
    assert 0 < saved[1] < saved[2] < 1500
    kept = {run: [row for row in read_metrics(killed / run) if row["step"] <= saved[-1]] for run in runs}
    assert main(command) == 0
    train(configure(demo, whole, *flags, steps=1500))
    for run in runs:
        rows = read_metrics(killed / run)[: len(kept[run])]
        assert rows == kept[run] != [], "the seconds too: these steps were not taken again"
        assert_same_run(whole / run, killed / run)
        assert not list((killed / run / "checkpoints").glob("step_*"))


def test_ctrl_c_saves_and_says_how_to_go_on(demo, tmp_path, monkeypatch, capsys, finished):
    out = tmp_path / "run"
    append = Run.append

    def interrupt(self, row):
        append(self, row)
        if row["step"] == 200:
            os.kill(os.getpid(), signal.SIGINT)

    flags = ["train", *flags_of(demo, out)]
    monkeypatch.setattr(Run, "append", interrupt)
    assert main(flags) == 130
    assert "same command goes on" in capsys.readouterr().out
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step_0000000200.pt"]
    monkeypatch.undo()
    assert main(flags) == 0
    assert_same_run(finished, out)
    capsys.readouterr()
    assert main(flags) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.fixture
def pythons_own_ctrl_c():
    """Tests that a shell started in the background ignore Ctrl-C otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pythons_own_ctrl_c")
def test_ctrl_c_after_the_last_step_says_saved_and_has_saved(demo, tmp_path, monkeypatch, capsys, finished):
    """While random episodes are played for the summary, signals are nobody's but Python's."""
    out = tmp_path / "run"
    monkeypatch.setattr(Training, "random_episodes", lambda *_: signal.raise_signal(signal.SIGINT))
    flags = ["train", *flags_of(demo, out)]
    assert main(flags) == 130
    assert f"Stopped and saved in {out}. The same command goes on" in capsys.readouterr().out
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step_0000000400.pt"]
    monkeypatch.undo()
    monkeypatch.setattr(Training, "advance", lambda *_: pytest.fail("no step is left"))
    assert main(flags) == 0
    assert_same_run(finished, out)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["final.pt"]


def test_ctrl_c_while_the_plan_is_printed_does_not_claim_to_have_saved(demo, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ilfo._progress.print_plan", interrupt)
    assert main(["train", *flags_of(demo, tmp_path / "run")]) == 130
    assert "nothing was saved" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("seconds", ["0", "1000"], ids=["saved before", "never saved"])
def test_a_second_ctrl_c_stops_at_once_and_says_from_where_the_command_goes_on(
    demo, tmp_path, monkeypatch, capfd, finished, seconds
):
    out = tmp_path / "run"
    append = Run.append

    def interrupt_twice(self, row):
        append(self, row)
        if row["step"] == 200:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on")

    flags = ["train", *flags_of(demo, out, "--checkpoint-seconds", seconds)]
    monkeypatch.setattr(Run, "append", interrupt_twice)
    assert main(flags) == 130
    said = capfd.readouterr()
    assert "Ctrl-C again stops at once, without saving" in said.err
    saved = newest_checkpoint(out)
    assert saved < 200
    assert (saved > 0) == (seconds == "0")
    begun_anew = "Stopped at once: nothing was saved. The same command begins anew."
    going_on = f"Stopped at once. The same command goes on from step {saved}, the last that was saved in {out}."
    assert (going_on if saved else begun_anew) in said.out
    monkeypatch.undo()
    assert main(flags) == 0
    assert_same_run(finished, out)


def test_ctrl_c_while_the_reward_is_fitted_does_not_claim_to_have_saved(demo, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Scorer, "fit", interrupt)
    assert main(["train", *flags_of(demo, tmp_path / "run")]) == 130
    assert "nothing was saved" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("refused", ["a file", "in a file", "another's", "held", "of another configuration"])
def test_a_folder_that_cannot_be_used_is_refused_before_the_reward_is_fitted(demo, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(Scorer, "fit", lambda *_: pytest.fail("fitted in vain"))
    out, held = tmp_path / "out", ExitStack()
    if refused in ("a file", "in a file"):
        out.touch()
        out = out / "run" if refused == "in a file" else out
    elif refused == "another's":
        out.mkdir()
        (out / "thesis.txt").touch()
    elif refused == "held":
        held.enter_context(closing(HeldFolder(out)))
    else:
        Run(out, {"seed": 5}, None).close()
    with held, pytest.raises(InputError, match=str(out)):
        train(configure(demo, out))
    assert (tmp_path / "out").exists() == (refused != "held")


def test_a_folder_is_held_while_the_reward_is_fitted(demo, tmp_path, monkeypatch):
    """Who comes second is refused at once, and does not disturb the first."""
    out, refused = tmp_path / "run", []

    def fit(self, *_):
        with pytest.raises(InputError, match="another process is training in") as error:
            train(configure(demo, out))
        refused.append(error)
        raise KilledError

    monkeypatch.setattr(Scorer, "fit", fit)
    with pytest.raises(KilledError):
        train(configure(demo, out))
    assert len(refused) == 1


@pytest.mark.parametrize("there", ["nothing", "folder", "log"])
def test_a_fit_that_fails_leaves_the_folder_as_it_was(demo, tmp_path, monkeypatch, there):
    def fail(self, *_):
        assert (out / ".lock").exists()
        raise InputError("nothing to learn")

    out = tmp_path / "runs" / "of today" / "run"
    if there != "nothing":
        out.mkdir(parents=True)
    if there == "log":
        (out / "log.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(Scorer, "fit", fail)
    with pytest.raises(InputError, match="nothing to learn"):
        train(configure(demo, out, "--seeds", "0-1"))
    assert sorted(tmp_path.rglob("*")) == before


def test_another_configuration_on_the_same_folder_is_refused_with_the_difference(finished, demo, tmp_path):
    with pytest.raises(InputError, match=r"td3.discount was 0.99 and is now 0.9.*another --out"):
        train(configure(demo, finished, "--td3.discount", "0.9"))
    with pytest.raises(InputError, match="reward was 'transport' and is now 'nearest'") as told:
        train(configure(demo, finished, "--reward", "nearest"))
    assert "squash" not in str(told.value)
    assert "earlier code" not in str(told.value)
    other = tmp_path / "other.hdf5"
    demos.write(other, Demonstrations((walk(0.12),), Provenance(env_id=LEDGE)))
    with pytest.raises(InputError, match="demo"):
        train(configure(other, finished))


def test_what_touches_no_result_may_change_between_two_parts(demo, tmp_path, monkeypatch):
    out, moved = tmp_path / "run", tmp_path / "moved.hdf5"
    monkeypatch.setattr(Run, "append", die_at_step(200))
    with pytest.raises(KilledError):
        train(configure(demo, out, "--checkpoint-seconds", "0"))
    monkeypatch.undo()
    shutil.copy(demo, moved)
    summary = train(configure(moved, out, "--checkpoint-seconds", "50", "--env-workers", "1", "--report"))
    assert summary["steps"] == 400
    assert read_config(out)["config"]["demo"] == str(moved)


def die_at_step(step):
    append = Run.append

    def append_or_die(self, row):
        if row["step"] == step:
            raise KilledError
        append(self, row)

    return append_or_die


def test_a_folder_that_is_not_a_run_is_left_alone(demo, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        train(configure(demo, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    first = Run(tmp_path / "run", {"seed": 0}, None)
    with pytest.raises(InputError, match="another process"):
        Run(tmp_path / "run", {"seed": 0}, None)
    first.close()
    Run(tmp_path / "run", {"seed": 0}, None).close()


def test_absorbing_states_keep_the_agent_alive_where_dying_would_pay(demo, tmp_path):
    """Every step costs: without absorbing states the ledge is the way out, and the agent finds it."""
    flags = ["--reward", "own_plugins:Toll", "--td3.discount", "0.95", "--td3.tau", "0.05", "--random-steps", "300"]
    flags += [
        "--td3.critic-learning-rate",
        "3e-3",
        "--td3.actor-learning-rate",
        "1e-3",
        "--td3.exploration-noise",
        "0.3",
    ]
    lengths = {}
    for absorbing in ("--absorbing", "--no-absorbing"):
        out = tmp_path / absorbing.strip("-")
        train(configure(demo, out, absorbing, *flags, steps=1200))
        lengths[absorbing] = read_metrics(out)[-1]["eval_length"]
    assert lengths["--absorbing"] == 40
    assert lengths["--no-absorbing"] < 10


def test_the_fixed_horizon_knows_no_termination(demo, tmp_path):
    training = Training.begin(Sources(configure(demo, tmp_path, "--protocol", "fixed-horizon")))
    assert not training.absorbing
    for _ in range(200):
        training.advance()
    assert training.replay.contents().terminated.sum() == 0
    (episodes,) = training.random_episodes(5)
    assert {len(episode) for episode in episodes} == {40}


def test_terminations_are_learned_as_ends_and_time_limits_are_not(demo, tmp_path):
    training = Training.begin(Sources(configure(demo, tmp_path, "--random-steps", "390")))
    episodes, write = [], training.writer.write_episode
    training.writer.write_episode = lambda episode, *where: (episodes.append(episode), write(episode, *where))[1]
    for _ in range(390):
        training.advance()
    assert {trajectory.terminated for trajectory in episodes} == {True, False}
    expected = np.concatenate([np.eye(1, len(t), len(t) - 1)[0] * t.terminated for t in episodes])
    np.testing.assert_array_equal(training.replay.contents().terminated, expected)


def test_rewards_come_at_once_where_a_transition_is_enough(demo, tmp_path):
    per_step = Training.begin(Sources(configure(demo, tmp_path, "--reward", "environment")))
    per_episode = Training.begin(Sources(configure(demo, tmp_path)))
    for training in (per_step, per_episode):
        training.advance()
    assert len(per_step.replay) == 1
    assert len(per_episode.replay) == 0


@pytest.mark.parametrize("reward", ["transport", "own_plugins:Height", "environment"])
def test_the_agent_never_sees_the_environments_reward(tmp_path, reward):
    """The same run where the environment pays 1000 times as much: nothing learned differs, unless it is asked for."""
    anonymous = tmp_path / "anonymous.hdf5"
    demos.write(anonymous, Demonstrations(expert().trajectories))
    paid, seen = [], []
    for env in (LEDGE, GENEROUS):
        training = Training.begin(Sources(configure(anonymous, tmp_path, "--env", env, "--reward", reward)))
        for _ in range(300):
            training.advance()
        agent = training.agent.state_dict()
        seen.append([*vars(training.replay.contents()).values(), *agent["actor"].values(), *agent["critics"].values()])
        paid.append(training.averages.read()[0]["train_return"])
    same = all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert same == (reward != "environment")
    assert 0 < paid[0] < paid[1]
    assert not same or paid[1] == pytest.approx(1000 * paid[0])


def test_a_users_own_reward_and_agent_need_no_registration(demo, tmp_path):
    flags = ["--reward", "own_plugins:Height", "--height.column", "1"]
    flags += ["--agent", "own_plugins:Still", "--still.level", "1"]
    given = ["--env", LEDGE, "--demo", str(demo), "--out", str(tmp_path / "run"), "--steps", "300", "--threads", "1"]
    config, _ = parse_train([*given, "--random-steps", "50", "--log-every", "100", *flags])
    summary = train(config)
    assert summary["policy_return"] == pytest.approx(0, abs=1e-6), "twice the right speed earns nothing"
    assert read_metrics(tmp_path / "run")[-1]["mean_reward"] > 0


def test_dry_run_prints_the_plan_and_makes_nothing(demo, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", *flags_of(demo, out, "--dry-run", steps=9000)]) == 0
    printed = capsys.readouterr().out
    for expected in ("; absorbing states", "bytes preallocated", "stops halfway", "random policy", "(2,)"):
        assert expected in printed
    assert not out.exists()


def test_metrics_hold_no_token_that_json_does_not_know(finished):
    def refuse(token):
        pytest.fail(f"{token} in metrics.jsonl")

    for line in (finished / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=refuse)
