import re
from dataclasses import replace

import numpy as np
import pytest

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.evaluate import evaluate
from ilfo.record import RecordOptions, record
from ilfo.training.imitation import load

ENV = "InvertedPendulum-v5"
SIGNPOSTED = "small_envs:Signposted-v0"


def test_writes_states_with_their_provenance(imitation_run, tmp_path):
    counts = []
    out = tmp_path / "expert.hdf5"
    options = RecordOptions(run=str(imitation_run), episodes=2)
    written = record(out, options, progress=lambda *done: counts.append(done))
    found = demos.open(out)
    assert found.sha256 == written.sha256
    assert len(found) == 2
    assert all(trajectory.actions is None for trajectory in found)
    provenance = found.provenance
    assert provenance.env_id == ENV
    assert provenance.observation_keys == {"observation": 4}
    assert provenance.time_step == pytest.approx(0.04)
    assert {"gymnasium", "mujoco", "numpy"} <= set(provenance.versions)
    assert provenance.expert_return == pytest.approx(np.mean([trajectory.env_return for trajectory in found]))
    for part in (
        f"ilfo record --run {imitation_run} --episodes 2 {out}",
        "td3 after 300 steps on the transport reward, seed 0 of training",
        "protocol standard",
        "kept 2 of 2 episodes",
    ):
        assert part in provenance.source
    assert provenance.action_repeat == 2
    assert provenance.bar is None
    assert counts == [(1, 1), (2, 2)]


def test_the_episodes_can_be_lived_again(imitation_run, tmp_path):
    written = record(tmp_path / "a.hdf5", RecordOptions(run=str(imitation_run), actions=True, seed=3))
    again = record(tmp_path / "b.hdf5", RecordOptions(run=str(imitation_run), actions=True, seed=3))
    assert written.sha256 == again.sha256
    trajectory = demos.open(tmp_path / "a.hdf5")[0]
    chosen = load(imitation_run).act(trajectory.observations[:1], np.zeros(1))
    np.testing.assert_allclose(chosen[0], trajectory.actions[0], atol=1e-6)


def test_what_is_recorded_is_neither_evaluated_nor_different_from_what_is_bundled(imitation_run, tmp_path):
    run = str(imitation_run)
    default = record(tmp_path / "default.hdf5", RecordOptions(run=run))
    stated = record(tmp_path / "stated.hdf5", RecordOptions(run=run, seed=0))
    evaluated = evaluate(imitation_run, 1)
    assert default[0].seed == stated[0].seed != evaluated.trajectories[0].seed
    assert default[0].seed == demos.open("halfcheetah")[0].seed, "its card's command still plays the same episode"
    assert record(tmp_path / "other.hdf5", RecordOptions(run=run, seed=1))[0].seed != stated[0].seed


def test_the_same_episode_several_times_is_told(tmp_path):
    options = RecordOptions(policy="own_policies:walk", env=f"{SIGNPOSTED}@seed-3", episodes=3)
    with pytest.warns(UserWarning, match=f"of 3 episodes 1 differ. {SIGNPOSTED}@seed-3 begins alike"):
        assert len(record(tmp_path / "x.hdf5", options)) == 3


def test_keeps_only_what_passes_the_bar(environment_run, tmp_path):
    run = str(environment_run)
    returns = [each.env_return for each in record(tmp_path / "all.hdf5", RecordOptions(run=run, episodes=8))]
    bar = float(np.median(returns))
    assert min(returns) < bar
    chosen = record(tmp_path / "best.hdf5", RecordOptions(run=run, episodes=3, min_return=bar, max_tries=100))
    assert all(each.env_return >= bar for each in chosen)
    assert chosen.provenance.expert_return >= bar
    assert f"(bar: a return of at least {bar:g})" in chosen.provenance.source
    assert demos.open(tmp_path / "best.hdf5").provenance.bar == f"a return of at least {bar:g}"


def test_records_a_policy_of_the_users_own(tmp_path, capsys):
    out = tmp_path / "walk.hdf5"
    flags = ["--policy", "own_policies:walk", "--env", SIGNPOSTED, "--stop-after-success", "3", "--success-only"]
    assert main(["record", str(out), *flags]) == 0
    printed = capsys.readouterr().out
    (trajectory,) = found = demos.open(out)
    assert len(trajectory) < 40
    assert trajectory.success
    assert trajectory.actions is None
    assert trajectory.goal.tolist() == [1.0]
    provenance = found.provenance
    assert (provenance.bar, provenance.action_repeat) == ("success", 4)
    for part in (
        f"ilfo record --env {SIGNPOSTED} --policy own_policies:walk --episodes 1 --success-only",
        f"--stop-after-success 3 {out} (ilfo",
        "policy own_policies:walk, protocol standard",
        "kept 1 of 1 episodes played (bar: success); each ends 3 steps after its first success; --seed 0",
    ):
        assert part in provenance.source
    assert provenance.source in printed
    assert provenance.expert_return == pytest.approx(trajectory.env_return)


def test_keeps_only_successes(tmp_path):
    options = RecordOptions(env=SIGNPOSTED, policy="own_policies:stumble", episodes=3, success_only=True)
    written = record(tmp_path / "expert.hdf5", options)
    assert len(written) == 3
    assert all(each.success for each in written)
    found = re.search(r"kept 3 of (\d+) episodes played \(bar: success\)", written.provenance.source)
    assert int(found[1]) > 3, "half of them fail"


def test_successes_that_are_spoken_of_only_when_they_come_are_kept(tmp_path):
    options = RecordOptions(env="small_envs:Boastful-v0", policy="own_policies:stumble", episodes=3, success_only=True)
    written = record(tmp_path / "expert.hdf5", options)
    assert [each.success for each in written] == [True] * 3
    found = re.search(r"kept 3 of (\d+) episodes", written.provenance.source)
    assert int(found[1]) > 3, "half of them fail"


def test_an_episode_without_success_is_kept_whole_and_told(tmp_path):
    options = RecordOptions(env="small_envs:Boastful-v0", policy="own_policies:creep", episodes=1, stop_after_success=3)
    with pytest.warns(UserWarning, match="did not say of any episode whether it succeeded, .* none was cut"):
        written = record(tmp_path / "expert.hdf5", options)
    assert len(written[0]) == 40
    assert "after its first success" not in written.provenance.source


def test_what_is_there_is_replaced_only_where_that_is_asked_for(tmp_path):
    out = tmp_path / "precious.hdf5"
    options = RecordOptions(env=ENV, policy="own_policies:walk")
    first = record(out, options)
    with pytest.raises(InputError, match=r"precious.hdf5 exists: name another file, or give --overwrite"):
        record(out, replace(options, seed=7))
    assert demos.open(out).sha256 == first.sha256
    again = record(out, replace(options, seed=7, overwrite=True))
    assert demos.open(out).sha256 == again.sha256 != first.sha256


def test_writes_frames_where_they_are_wanted(tmp_path, capsys):
    out = tmp_path / "walk.hdf5"
    flags = ["--policy", "own_policies:walk", "--env", SIGNPOSTED, "--frames", "--frame-size", "16x12"]
    assert main(["record", str(out), *flags]) == 0
    assert "without actions and with frames" in capsys.readouterr().out
    (trajectory,) = demos.open(out, frames=True)
    assert trajectory.frames.shape == (41, 12, 16, 3)
    assert (trajectory.frames[-1] == 128).all(), "walked past the right edge"
    assert demos.open(out)[0].frames is None


def test_gives_up_and_leaves_nothing(imitation_run, tmp_path):
    options = RecordOptions(run=str(imitation_run), min_return=1e9, max_tries=3)
    with pytest.raises(InputError, match=r"gave up after 3 episodes, of which 0 passed.*returns were [\d.]+ to"):
        record(tmp_path / "expert.hdf5", options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "0 policies to record; expected one: give --run FOLDER, --policy MODULE:CALLABLE or --scripted"),
        (["--run", "RUN", "--scripted"], "2 policies to record"),
        (["--run", "RUN", "--policy", "own_policies:walk"], "2 policies to record"),
        (["--scripted", "--policy", "own_policies:walk", "--env", ENV], "2 policies to record"),
        (["--policy", "own_policies:walk"], "--policy needs --env"),
        (["--policy", "own_policies:factory", "--env", ENV], "cannot be called with observations alone"),
        (["--policy", "own_policies:in_newtons", "--env", ENV], "expected finite numbers in [-1, 1]"),
        (
            ["--policy", "own_policies:walk", "--env", ENV, "--stop-after-success", "2", "--episodes", "30"],
            "did not say of any episode",
        ),
        (["--run", "RUN", "--stop-after-success", "-1"], "expected 0 or more steps"),
        (["--run", "RUN", "--frame-size", "84"], "--frame-size without --frames"),
        (["--run", "RUN", "--frames", "--frame-size", "84x"], "--frame-size is 84x; expected pixels"),
        (["--run", "RUN", "--frames", "--frame-size", "0"], "--frame-size is 0; expected pixels"),
        (["--run", "RUN", "--frames", "--frame-size", "8x8x3"], "--frame-size is 8x8x3; expected pixels"),
        (["--scripted"], "--scripted needs --env"),
        (["--scripted", "--env", ENV], "MetaWorld/reach-v3"),
        (["--run", "RUN", "--env", "Hopper-v5"], f"was trained in {ENV}"),
        (["--run", "RUN", "--episodes", "0"], "at least 1"),
        (["--run", "RUN", "--seed", "-1"], "--seed is -1; expected 0 or more"),
        (["--run", "RUN", "--episodes", "5", "--max-tries", "4"], "at least the 5 episodes"),
        (["--run", "RUN", "--success-only", "--max-tries", "12"], "use --min-return"),
        (["--run", "nowhere"], "not the folder of a run"),
    ],
)
def test_bad_input_is_refused(imitation_run, tmp_path, flags, message, capsys):
    given = [str(imitation_run) if flag == "RUN" else flag for flag in flags]
    assert main(["record", str(tmp_path / "expert.hdf5"), *given]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_of_several_seeds_has_to_be_named(group_run, tmp_path, capsys):
    assert main(["record", str(tmp_path / "expert.hdf5"), "--run", str(group_run)]) == 2
    assert "give the folder of one, seed_0, seed_1, seed_2" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    written = record(tmp_path / "expert.hdf5", RecordOptions(run=str(group_run / "seed_1")))
    assert "seed 1 of training" in written.provenance.source


def test_refuses_a_missing_folder(imitation_run, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        record(tmp_path / "nowhere" / "expert.hdf5", RecordOptions(run=str(imitation_run)))


def test_refuses_a_folder_before_it_plays(tmp_path):
    played = []
    options = RecordOptions(env=SIGNPOSTED, policy="own_policies:walk")
    with pytest.raises(InputError, match="is a folder, expected the file to write"):
        record(tmp_path, options, progress=lambda *done: played.append(done))
    assert not played
    assert not list(tmp_path.iterdir())


def test_what_the_command_records_fits_the_environment(imitation_run, tmp_path, capsys):
    out = tmp_path / "expert.hdf5"
    assert main(["record", "--env", ENV, "--run", str(imitation_run), "--episodes", "2", "--actions", str(out)]) == 0
    assert "2 episodes" in capsys.readouterr().out
    assert main(["demos", "validate", str(out), "--env", ENV]) == 0
    assert demos.open(out)[0].actions.shape[1] == 1
