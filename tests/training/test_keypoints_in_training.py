"""Runs whose reward sees keypoints of what the environment draws, and whose policy sees its states."""

import dataclasses
import io
import json
import re
import runpy
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from filmed_square import SEES, configure
from rich.console import Console
from small_clones import MIRRORED, PENDULUM, SQUARE, write
from small_runs import KilledError, assert_equal, assert_same_run, save_after_every_step, timeless
from small_videos import write_video

from ilfo import demos
from ilfo._progress import Progress
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.demos import Demonstrations, shuffled
from ilfo.envs import describe, random_policy
from ilfo.envs.drawing import filmed
from ilfo.envs.recorder import Recorder
from ilfo.evaluate import evaluate
from ilfo.report import write_report
from ilfo.rewards.keypoints import KeypointOptions
from ilfo.train import train
from ilfo.training import Sources, Training
from ilfo.training.configs import config_from_dict
from ilfo.training.imitation import load
from ilfo.training.plan import print_plan
from ilfo.training.run_group import RunGroup


@pytest.fixture(scope="module")
def run(film, tmp_path_factory):
    """A finished run on the transport reward."""
    folder = tmp_path_factory.mktemp("runs") / "keypoints"
    train(configure(film, folder))
    return folder


def test_a_video_is_enough(episode, tmp_path):
    clip = write_video(tmp_path / "square.avi", np.asarray(episode.frames), rate=10)
    file = demos.write(tmp_path / "square.hdf5", demos.from_videos([clip]))
    train(configure(file, tmp_path / "run", "--normalize-observations", "random"))
    still = replace(episode, frames=np.asarray(episode.frames)[[0] * len(episode.observations)])
    with closing(load(tmp_path / "run")) as trained:
        own, other = trained.rewards_of([episode, still]).scores.mean(dim=1)
    assert own == pytest.approx(2.0, abs=0.01), "it was filmed from where the environment is drawn"
    assert other < 1.9


def test_a_picture_shows_the_demonstration_and_the_policy(run, tmp_path):
    pixels = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "pixels.py"))
    pixels["main"](run, tmp_path / "pixels.png")
    assert (tmp_path / "pixels.png").read_bytes().startswith(b"\x89PNG")


def test_what_seeing_takes_is_a_line_before_anything_is_seen(film, tmp_path, monkeypatch):
    monkeypatch.setenv("ILFO_CACHE", str(tmp_path / "cache"))
    config = configure(film, tmp_path / "run")
    console = Console(file=io.StringIO(), width=200)
    with Progress(config, console) as progress:
        said = []

        def doing(what):
            progress.doing(what)
            said.append(console.file.getvalue())

        Training.begin(Sources(config), progress.fitting, doing).close()
    assert said[0].startswith("seeing 21 frames as 7 x 7 patches, 21 at a time in 0.01 GiB: about ")
    assert said[1] == said[0] + "4 concepts found\n"


def test_a_dry_run_says_it_too(film, tmp_path, capsys):
    given = ["--env", SQUARE, "--demo", str(film), "--out", str(tmp_path / "run"), "--steps", "120"]
    assert main(["train", *given, "--random-steps", "60", *SEES, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("seeing 21 frames as 7 x 7 patches")


class TestFlags:
    def test_what_is_looked_at_and_its_columns_have_flags_side_by_side(self):
        config = configure("d.hdf5", "run", "--features.dims", "1", "3", "--keypoints.k", "7")
        assert (config.sees, config.features.dims, config.keypoints.k) == ("keypoints", (1, 3), 7)
        assert configure("d.hdf5", "run", sees=["--features=keypoints"]).keypoints == KeypointOptions()

    def test_without_keypoints_there_are_no_flags_for_them(self, capsys):
        config = configure("d.hdf5", "run", sees=[])
        assert config.sees == "states"
        assert not hasattr(config, "keypoints")
        with pytest.raises(InputError, match="is an option of --features keypoints, and --features is states"):
            configure("d.hdf5", "run", "--keypoints.k", "7", sees=["--features", "states"])
        with pytest.raises(SystemExit):
            configure("d.hdf5", "run", sees=["--features", "pixels"])
        assert "pixels" in capsys.readouterr().err

    def test_a_file_may_ask_for_them(self, tmp_path):
        file = tmp_path / "run.toml"
        file.write_text('sees = "keypoints"\n[keypoints]\nstride = 4\n')
        config = configure("d.hdf5", "run", "--config", str(file), "--keypoints.votes", "0.1", sees=[])
        assert (config.keypoints.stride, config.keypoints.votes) == (4, 0.1)

    def test_a_stored_configuration_comes_back_whole(self):
        config = configure("d.hdf5", "run")
        restored = config_from_dict(json.loads(json.dumps(dataclasses.asdict(config))), "config.json")
        assert dataclasses.asdict(restored) == dataclasses.asdict(config)
        assert isinstance(restored.keypoints, KeypointOptions)


class TestRewards:
    def test_pictures_alone_decide(self, begin, film, episode):
        training = begin(film)
        mirrored = filmed([replace(episode, frames=None)], MIRRORED, "standard", (32, 32))[0]
        np.testing.assert_array_equal(mirrored.observations, episode.observations)
        blind = replace(episode, observations=np.zeros_like(episode.observations))
        seen, other, without = (training.rewards_of([each]).scores for each in (episode, mirrored, blind))
        assert torch.equal(seen, without)
        assert float(seen.sum()) > float(other.sum())

    def test_an_episode_without_frames_is_lived_again(self, begin, film, episode):
        training = begin(film)
        scores = [training.rewards_of([each]).scores for each in (episode, replace(episode, frames=None))]
        assert torch.equal(*scores)
        with pytest.raises(InputError, match="cannot be lived again"):
            training.rewards_of([replace(episode, frames=None, actions=None)])

    @pytest.mark.parametrize("flags", [["nearest"], ["flow", "--flow.updates", "20"]])
    def test_a_reward_for_transitions_is_given_once_an_episode(self, begin, film, flags):
        training = begin(film, "--reward", *flags)
        assert training.reward.needs == "transition"
        for _ in range(19):
            training.advance()
        assert not len(training.replay)
        training.advance()
        stored = training.replay.contents()
        (episode,) = training.random_episodes(1)[0]
        assert stored.observations.shape == (20, 2), "the policy's are the states"
        assert len(np.unique(stored.rewards)) > 5
        assert training.rewards_of([episode]).scores.shape == (1, 20)

    def test_concepts_are_chosen_by_name(self, begin, film):
        assert begin(film, "--reward-keys", "concept 1").reward.features.width == 3
        with pytest.raises(InputError, match="concept 0"):
            begin(film, "--reward-keys", "position")

    def test_the_copies_draw_and_keep_nothing_else(self, begin, film):
        training = begin(film, "--num-envs", "2")
        steps = [training.environments.step(np.zeros((2, 1), np.float32)) for _ in range(20)]
        assert [each.frames.shape for _, each in steps[-1].finished] == [(21, 32, 32, 3)] * 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--reward", "discriminator"], "frames are kept for one episode alone. Use a reward that stays"),
            (["--reward", "nearest", "--scaling.method", "running"], "with --scaling.method running changes"),
            (["--reward", "environment"], "--reward environment looks at no demonstration"),
        ],
    )
    def test_rewards_that_cannot_see(self, begin, film, flags, message):
        with pytest.raises(InputError, match=message):
            begin(film, *flags)

    def test_a_demonstration_without_frames(self, begin, film, tmp_path):
        path = demos.write(tmp_path / "states.hdf5", demos.open(film))
        with pytest.raises(InputError, match=r"states\.hdf5.*no dataset 'frames'"):
            begin(path)

    def test_frames_alone_where_states_are_seen(self, begin, video):
        with pytest.raises(InputError, match=r"no dataset 'observations'.*--features keypoints"):
            begin(video, sees=[])


class TestPolicyInputs:
    def test_are_standardised_by_the_experts_states_where_there_are_some(self, begin, film):
        assert begin(film).inputs.normalization == "expert"

    def test_are_standardised_by_random_steps_where_there_are_frames_alone(self, begin, video):
        with pytest.warns(UserWarning, match=r"holds frames and no states\. .* standardised by random steps"):
            training = begin(video)
        assert training.inputs.normalization == "random"
        while training.step < 61 or training.owes:
            training.advance()
        (state,) = training.inputs.state_dicts()
        visited = training.replay.contents().observations.double()
        assert state["fitted"]
        torch.testing.assert_close(state["mean"], visited[:60].mean(dim=0))

    @pytest.mark.parametrize("normalization", ["none", "random"])
    def test_need_no_states_where_they_are_raw_or_by_random_steps(self, begin, video, normalization):
        assert begin(video, "--normalize-observations", normalization).inputs.normalization == normalization


class TestRun:
    def test_logs_what_the_reward_said_in_training_alone(self, run):
        last = timeless(run)[-1]
        assert last["eval_imitation_return"] is None
        assert np.isfinite(last["imitation_return"])

    def test_goes_on_exactly_after_a_kill(self, run, film, tmp_path, monkeypatch):
        saved = RunGroup.save
        killed = []

        def dying_save(group, step, states):
            saved(group, step, states)
            if step == 87 and not killed:  # amid an episode, whose frames are drawn again
                killed.append(step)
                raise KilledError

        save_after_every_step(monkeypatch)
        monkeypatch.setattr(RunGroup, "save", dying_save)
        config = configure(film, tmp_path / "killed", "--checkpoint-seconds", "0")
        with pytest.raises(KilledError):
            train(config)
        train(config)
        assert_same_run(run, tmp_path / "killed")

    def test_of_several_seeds_is_what_each_would_be_alone(self, run, film, tmp_path):
        train(configure(film, tmp_path / "group", "--seeds", "0,3"))
        first, other = timeless(tmp_path / "group" / "seed_0"), timeless(tmp_path / "group" / "seed_3")
        # Stacked networks round differently from the first update on.
        for mine, alone in zip(first, timeless(run), strict=True):
            assert mine["imitation_return"] == pytest.approx(alone["imitation_return"], rel=1e-3)
        assert first[0]["imitation_return"] != other[0]["imitation_return"]

    def test_is_loaded_without_the_file(self, run, film, episode):
        with closing(load(run)) as loaded, closing(Training.begin(Sources(configure(film, run)))) as fitted:
            assert loaded.sight.frame_size == (32, 32)
            assert_equal(loaded.sight.state_dict(), fitted.sight.state_dict())
            assert torch.equal(loaded.rewards_of([episode]).scores, fitted.rewards_of([episode]).scores)

    def test_is_evaluated_without_a_camera(self, run):
        found = evaluate(run, 2)
        assert len(found.returns) == 2
        assert all(each.frames is None for each in found.trajectories)

    def test_workers_draw_too(self, run, film, tmp_path):
        train(configure(film, tmp_path / "workers", "--env-workers", "1"))
        assert timeless(tmp_path / "workers") == timeless(run)

    def test_says_what_seeing_takes(self, begin, film, capsys):
        print_plan(begin(film), measure=True)
        said = " ".join(capsys.readouterr().out.split())
        assert "32 x 32, seen by ilfo_vit_tiny, votes 0; of the demonstration 21 frames as 7 x 7 patches" in said
        assert "of the run 120 frames: about" in said

    def test_frames_are_shuffled_with_their_states(self, episode):
        order = shuffled(episode)
        was = [episode.observations.tolist().index(each) for each in order.observations.tolist()]
        assert was != sorted(was)
        np.testing.assert_array_equal(order.frames, episode.frames[was])

    def test_draws_mujoco_as_it_is_recorded(self, camera, tmp_path):
        policy = random_policy(1, seed=0)
        with closing(Recorder(PENDULUM, "standard", policy, "random", frame_size=(48, 32))) as recorder:
            recorded = recorder.play(0)
        file = demos.write(tmp_path / "pendulum.hdf5", Demonstrations((recorded,), describe(PENDULUM).provenance))
        with closing(Training.begin(Sources(configure(file, tmp_path / "run", "--env", PENDULUM)))) as training:
            (lived,) = training.filmed([replace(recorded, frames=None)])
            np.testing.assert_array_equal(lived.frames, recorded.frames)
            while not len(training.replay):
                training.advance()

    def test_is_reported_with_what_the_reward_saw(self, run):
        page = write_report(run, episodes=1).read_text()
        assert "What the reward saw" in page
        assert page.count("<video") == 2
        assert (run / "report" / "keypoints.webm").stat().st_size > 1000


class TestFrames:
    @pytest.mark.parametrize("suffix", ["png", "webm"])
    def test_are_drawn_with_their_keypoints(self, film, tmp_path, suffix):
        out = tmp_path / f"square.{suffix}"
        flags = ["--keypoints", str(out), "--keypoints.no-pretrained", "--keypoints.image-size", "32"]
        assert main(["demos", "plot", str(film), *flags]) == 0
        assert out.stat().st_size > 1000
        assert [path.name for path in tmp_path.iterdir()] == [out.name]

    def test_are_drawn_by_the_number_of_concepts_that_is_asked_for(self, film, tmp_path):
        pictures = []
        for number in ("1", "4"):
            out = tmp_path / f"{number}.png"
            flags = [*SEES[2:-1], number, "--keypoints.votes", "0"]
            assert main(["demos", "plot", str(film), "--keypoints", str(out), *flags]) == 0
            pictures.append(out.read_bytes())
        assert pictures[0] != pictures[1]

    def test_are_drawn_by_every_setting_that_a_run_has(self, capsys):
        with pytest.raises(SystemExit) as error:
            main(["demos", "plot", "--help"])
        assert error.value.code == 0
        said = capsys.readouterr().out
        for field in dataclasses.fields(KeypointOptions):
            assert re.search(rf"--keypoints\.{field.name.replace('_', '-')}\b", said), field.name

    def test_are_drawn_once_it_was_said_what_seeing_takes(self, film, tmp_path, capsys):
        out = tmp_path / "square.png"
        flags = ["--keypoints.facet", "token", "--keypoints.temperature", "0.2"]
        assert main(["demos", "plot", str(film), "--keypoints", str(out), *SEES[2:], *flags]) == 0
        plan, written = capsys.readouterr().out.splitlines()
        assert plan.startswith("seeing 21 frames as 7 x 7 patches")
        assert written == str(out)

    def test_what_seeing_takes_is_the_episode_that_is_drawn_and_nothing_the_second_time(
        self, episode, tmp_path, capsys
    ):
        films = write(tmp_path, "films.hdf5", Demonstrations((episode,) * 3, describe(SQUARE).provenance))
        flags = [*SEES[2:], "--keypoints.fit-frames", "10", "--keypoints.temperature", "0.31"]
        said = []
        for _ in range(2):
            assert main(["demos", "plot", films, "--keypoints", str(tmp_path / "square.png"), *flags]) == 0
            said.append(capsys.readouterr().out.splitlines()[0])
        assert "all in the cache" not in said[0]
        assert "all in the cache" in said[1]

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (
                ["--keypoints.k", "5"],
                "--keypoints.k is 5, and states are drawn: leave it out, or give --keypoints FILE",
            ),
            (["--keypoints", "a.png", "--out", "b.png"], "--out is b.png, and --keypoints a.png is what is written"),
        ],
    )
    def test_flags_that_would_do_nothing_are_refused(self, film, tmp_path, monkeypatch, capsys, flags, message):
        monkeypatch.chdir(tmp_path)
        assert main(["demos", "plot", str(film), *flags]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not list(tmp_path.iterdir())

    def test_are_drawn_to_known_kinds_of_files(self, film, tmp_path, capsys):
        assert main(["demos", "plot", str(film), "--keypoints", str(tmp_path / "square.gif")]) == 2
        assert "keypoints are drawn as .webm, .mp4 or .png" in capsys.readouterr().err

    def test_alone_are_a_demonstration(self, video, episode):
        (found,) = demos.open(video, frames=True)
        assert found.observations.shape == (21, 0)
        np.testing.assert_array_equal(found.frames, episode.frames)
        with h5py.File(video) as file:
            assert "observations" not in file["episode_0"]


def test_an_expert_that_is_done_is_held_as_it_is_seen(begin, episode, tmp_path):
    cut = replace(
        episode, observations=episode.observations[:9], frames=episode.frames[:9], env_rewards=None, actions=None
    )
    path = demos.write(tmp_path / "cut.hdf5", Demonstrations((cut,), describe(SQUARE).provenance))
    training = begin(path, "--hold-end")
    seen = training.sight.see_demonstrations(training.demonstrations)
    held, horizon = training.as_compared(seen)[0], training.environments.horizon
    assert len(seen[0]) == 8 < len(held) == horizon
    np.testing.assert_array_equal(held.observations[8:], np.repeat(seen[0].observations[-1:], horizon - 7, axis=0))
    filmed_to_the_end = list(training.as_compared(training.demonstrations))
    assert float(training.rewards_of(filmed_to_the_end).scores.mean()) == pytest.approx(2.0, abs=1e-3)
