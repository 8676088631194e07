"""Runs whose policy sees the keypoints of the newest frame, and whose reward sees the same ones."""

import json
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial

import filmed_square
import gymnasium
import numpy as np
import pytest
import torch
from filmed_square import SEES
from small_clones import MIRRORED, PENDULUM, SQUARE
from small_envs import Square
from small_runs import KilledError, assert_same_run, save_after_every_step, timeless

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.envs import Environments
from ilfo.envs.drawing import filmed
from ilfo.evaluate import evaluate
from ilfo.record import RecordOptions, record
from ilfo.report import write_report
from ilfo.rewards.keypoints import KeypointOptions
from ilfo.rewards.sight import Sight, View
from ilfo.runs import read_summary
from ilfo.train import train
from ilfo.training import Sources, Training
from ilfo.training.configs import config_from_dict
from ilfo.training.imitation import load
from ilfo.training.plan import print_plan
from ilfo.training.run_group import RunGroup

NEGATED = "Negated-v0"
TINY = KeypointOptions(pretrained=False, image_size=32, layer=1, stride=4, k=4)
configure = partial(filmed_square.configure, sees=[*SEES, "--policy-sees", "keypoints"])


class Negated(Square):
    """The same pictures, and states of the other sign."""

    def reset(self, *, seed=None, options=None):
        state, info = super().reset(seed=seed)
        return -state, info

    def step(self, action):
        state, *rest = super().step(action)
        return -state, *rest


gymnasium.register(NEGATED, Negated, max_episode_steps=20)


@pytest.fixture
def sight(episode):
    """What has seen the square move."""
    # Concepts that hardly move from frame to frame: where each was decides where it is.
    made = Sight(replace(TINY, motion=0.05), (32, 32))
    made.fit(Demonstrations((episode,)))
    return made


@pytest.fixture(scope="module")
def run(film, tmp_path_factory):
    """A finished run on the transport reward, long enough to learn."""
    folder = tmp_path_factory.mktemp("runs") / "keypoints"
    larger = ["--td3.hidden-dim", "32", "--td3.batch-size", "64", "--random-steps", "200", "--eval-every", "600"]
    train(configure(film, folder, *larger, steps=600))
    return folder


@pytest.fixture(scope="module")
def short(film, tmp_path_factory):
    """A finished run of few steps."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    train(configure(film, folder))
    return folder


class TestFollowing:
    def test_frame_by_frame_is_the_whole_episode(self, sight, episode):
        features, other = sight.features, episode.frames[::-1]
        whole = [features(episode.frames), features(other)]
        last = np.full((2, 4), -1)
        for step, pair in enumerate(zip(episode.frames, other, strict=True)):
            points, last = features.follow(np.array(pair), last)
            np.testing.assert_allclose(points, [each[step] for each in whole], atol=1e-5)

    def test_an_episode_may_begin_beside_one_under_way(self, sight, episode):
        features = sight.features
        _, last = features.follow(episode.frames[:1], np.full((1, 4), -1))
        points, _ = features.follow(episode.frames[[1, 9]], np.concatenate([last, np.full((1, 4), -1)]))
        np.testing.assert_allclose(points[0], features(episode.frames[:2])[1], atol=1e-5)
        np.testing.assert_allclose(points[1], features(episode.frames[9:10])[0], atol=1e-5)

    def test_where_a_concept_was_matters(self, sight, episode):
        features = sight.features
        _, last = features.follow(episode.frames[:1], np.full((1, 4), -1))
        followed, _ = features.follow(episode.frames[-1:], last)
        assert np.abs(followed[0] - features(episode.frames[-1:])[0]).max() > 0.1


class TestEnvironments:
    @pytest.mark.parametrize(("columns", "workers"), [((), 0), ((1,), 0), ((1,), 2)])
    def test_show_what_is_seen_of_whole_episodes(self, sight, columns, workers):
        view = View(sight, columns)
        with (
            closing(Environments(SQUARE, 2, seed=[0, 5], workers=workers, view=view)) as seen,
            closing(Environments(SQUARE, 2, seed=[0, 5], frame_size=(32, 32))) as plain,
        ):
            assert seen.observation_dim == 12 + len(columns)
            shown, after, films = [seen.observations], [], []
            for step in range(40):
                actions = np.linspace(-1, 1, 4, dtype=np.float32)[:, None] * np.float32(np.cos(step))
                steps, plainly = seen.step(actions), plain.step(actions)
                np.testing.assert_array_equal(steps.observations, shown[-1])
                shown.append(seen.observations)
                after.append(steps.next_observations)
                for (row, one), whole, (other_row, filmed_one) in zip(
                    steps.finished, steps.shown, plainly.finished, strict=True
                ):
                    np.testing.assert_array_equal(one.observations, filmed_one.observations)
                    assert (row, one.frames) == (other_row, None)
                    mine = [*(each[row] for each in shown[step - 19 : step + 1]), after[step][row]]
                    np.testing.assert_array_equal(whole, mine)
                    keypoints = sight.features(filmed_one.frames)
                    beside = filmed_one.observations[:, list(columns)]
                    np.testing.assert_allclose(whole, np.concatenate([keypoints, beside], axis=1), atol=1e-5)
                    films.append(row)
            assert films == [0, 1, 2, 3] * 2
            assert not np.allclose(shown[20], after[19]), "a new episode begins where the square began"

    def test_without_a_view_what_is_shown_is_the_state(self):
        with closing(Environments(SQUARE, 2)) as plain:
            (*_, last) = (plain.step(np.zeros((2, 1))) for _ in range(20))
            assert all(whole is one.observations for (_, one), whole in zip(last.finished, last.shown, strict=True))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_go_on_exactly(self, sight, workers):
        def walk(environments, steps):
            return [environments.step(np.full((2, 1), 0.5)).next_observations for _ in steps]

        with closing(Environments(SQUARE, 2, workers=workers, view=View(sight, [0]))) as first:
            walk(first, range(27))
            (saved,) = first.state_dicts()
            expected = walk(first, range(15))
        with closing(Environments(SQUARE, 2, workers=workers, view=View(sight, [0]))) as second:
            second.load_state_dicts([saved])
            np.testing.assert_array_equal(walk(second, range(15)), expected)

    def test_draw_mujoco_as_it_is_filmed(self, camera):
        with closing(Environments(PENDULUM, frame_size=(32, 32), seed=4)) as plain:
            films = [one for _ in range(60) for _, one in plain.step(np.full((1, 1), 0.2)).finished]
        sight = Sight(TINY, (32, 32))
        sight.fit(Demonstrations(tuple(films)))
        with closing(Environments(PENDULUM, view=View(sight), seed=4)) as seen:
            shown = [whole for _ in range(60) for whole in seen.step(np.full((1, 1), 0.2)).shown]
        assert len(films) > 1
        for film, whole in zip(films, shown, strict=True):
            np.testing.assert_allclose(whole, sight.features(film.frames), atol=1e-5)

    def test_restart_as_they_began(self, sight):
        with closing(Environments(SQUARE, 3, view=View(sight))) as environments:
            first = environments.observations
            environments.rest_after([1, 2, 3])
            for _ in range(30):
                environments.step(np.ones((3, 1)))
            environments.restart()
            np.testing.assert_array_equal(environments.observations, first)


class TestFlags:
    def test_a_policy_sees_states_unless_told_otherwise(self):
        assert configure("d.hdf5", "run", sees=SEES[:2]).policy_sees == "states"
        assert configure("d.hdf5", "run").policy_sees == "keypoints"

    def test_keypoints_for_the_policy_alone_are_refused(self):
        with pytest.raises(
            InputError, match=r"--policy-sees keypoints with --features states.*give --features keypoint"
        ):
            configure("d.hdf5", "run", sees=["--policy-sees", "keypoints"])

    def test_a_stored_configuration_comes_back_whole(self):
        config = configure("d.hdf5", "run", "--policy-features.dims", "1")
        restored = config_from_dict(json.loads(json.dumps(asdict(config))), "config.json")
        assert asdict(restored) == asdict(config)

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--policy-keys", "joints"], "--policy-keys names 'joints'; the environment's observations have"),
            (["--policy-features.dims", "2"], "dims names column 2"),
        ],
    )
    def test_parts_of_the_state_that_are_not_there_are_refused(self, begin, video, flags, message):
        with pytest.raises(InputError, match=message):
            begin(video, *flags, "--normalize-observations", "none")


class TestInputs:
    def test_are_keypoints_alone_by_default(self, begin, film, episode):
        training = begin(film)
        assert training.inputs.width == training.environments.observation_dim == 12
        (state,) = training.inputs.state_dicts()
        keypoints = training.sight.features(episode.frames)
        torch.testing.assert_close(state["mean"], torch.from_numpy(keypoints).double().mean(dim=0))
        assert float(state["scale"].min()) == 0.1, "what does not move does not shake either"

    @pytest.mark.parametrize("flags", [["--policy-features.dims", "1"], ["--policy-keys", "observation"]])
    def test_may_hold_columns_of_the_state_beside_them(self, begin, film, episode, flags):
        training = begin(film, *flags)
        columns = [1] if "1" in flags else [0, 1]
        (state,) = training.inputs.state_dicts()
        (now,) = training.environments.state_dicts()
        states = np.array(now["observations"], np.float32)
        np.testing.assert_array_equal(training.environments.observations[:, 12:], states[:, columns])
        expected = episode.observations[:, columns].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(state["mean"][12:], expected, atol=1e-6)

    def test_a_video_is_enough(self, begin, video):
        assert begin(video).inputs.normalization == "expert"

    def test_a_video_does_not_tell_how_states_are_standardised(self, begin, video):
        with pytest.warns(UserWarning, match="policy inputs are standardised by random steps"):
            assert begin(video, "--policy-features.dims", "1").inputs.normalization == "random"

    def test_are_standardised_by_expert_and_random_steps(self, begin, film, episode):
        training = begin(film, "--normalize-observations", "expert-and-random")
        while training.step < 61 or training.owes:
            training.advance()
        (state,) = training.inputs.state_dicts()
        visited = training.replay.contents().observations[:60].double()
        keypoints = torch.from_numpy(training.sight.features(episode.frames)).double()
        spread = (visited.var(dim=0) + keypoints.var(dim=0)) / 2 + (
            (visited.mean(dim=0) - keypoints.mean(dim=0)) / 2
        ) ** 2
        torch.testing.assert_close(state["mean"], visited.mean(dim=0))
        torch.testing.assert_close(state["scale"], spread.sqrt().clamp(min=0.1))


class TestTraining:
    def test_holds_keypoints_and_their_rewards(self, begin, film):
        training = begin(film)
        for _ in range(20):
            training.advance()
        stored = training.replay.contents()
        assert stored.observations.shape == (20, 12)
        (played,) = training.random_episodes(1)[0]
        assert played.observations.shape == (21, 2), "an episode holds its states"
        actions = stored.actions.numpy()
        with closing(Environments(SQUARE, frame_size=(32, 32), seed=training.environments.seeds)) as again:
            (*_, last) = (again.step(action[None]) for action in actions)
        ((_, lived),) = last.finished
        np.testing.assert_allclose(stored.observations, training.sight.features(lived.frames)[:-1], atol=1e-5)
        scores = training.rewards_of([lived]).scores[0]
        torch.testing.assert_close(stored.rewards, scores, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("reward", ["nearest", "discriminator"])
    def test_gives_rewards_of_transitions_at_once(self, begin, film, reward):
        training = begin(film, "--reward", reward, "--policy-features.dims", "0")
        training.advance()
        assert len(training.replay) == 1
        assert training.replay.contents().observations.shape == (1, 13)
        while training.step < 70:
            training.advance()
        assert np.isfinite(training.averages.read()[0]["imitation_return"])

    def test_a_reward_that_learns_is_asked_again(self, begin, film):
        training = begin(film, "--reward", "discriminator", "--policy-features.dims", "0")
        while training.step < 60:
            training.advance()
        batch = training.replay.sample(8)
        again = training.scorer.of_batch(batch)
        assert not torch.equal(again.rewards, batch.rewards)
        elsewhere = replace(batch, observations=batch.observations + torch.eye(13)[12])
        assert torch.equal(training.scorer.of_batch(elsewhere).rewards, again.rewards), "it sees keypoints alone"

    def test_learns(self, run):
        summary = read_summary(run)
        assert summary["random_return"] < -8
        assert summary["policy_return"] > 0, "the square is on the right most of the time"

    def test_pictures_alone_decide(self, run):
        with closing(load(run)) as training:

            def actions(env_id):
                with closing(Environments(env_id, 3, seed=1, view=training.view)) as environments:
                    return training.act(environments.observations, environments.ages)

            np.testing.assert_array_equal(actions(NEGATED), actions(SQUARE))
            assert np.abs(actions(MIRRORED) - actions(SQUARE)).min() > 1e-3

    def test_goes_on_exactly_after_a_kill(self, short, film, tmp_path, monkeypatch):
        saved = RunGroup.save
        killed = []

        def dying_save(group, step, states):
            saved(group, step, states)
            if step == 87 and not killed:  # amid an episode
                killed.append(step)
                raise KilledError

        save_after_every_step(monkeypatch)
        monkeypatch.setattr(RunGroup, "save", dying_save)
        config = configure(film, tmp_path / "killed", "--checkpoint-seconds", "0")
        with pytest.raises(KilledError):
            train(config)
        train(config)
        assert_same_run(short, tmp_path / "killed")

    def test_workers_draw_and_the_learner_sees(self, short, film, tmp_path):
        train(configure(film, tmp_path / "workers", "--env-workers", "1"))
        assert_same_run(short, tmp_path / "workers")

    def test_of_several_seeds_is_what_each_would_be_alone(self, short, film, tmp_path):
        train(configure(film, tmp_path / "group", "--seeds", "0,3"))
        first, other = timeless(tmp_path / "group" / "seed_0"), timeless(tmp_path / "group" / "seed_3")
        # Stacked networks round differently from the first update on, and frames in a larger batch before it.
        for mine, alone in zip(first, timeless(short), strict=True):
            assert mine["imitation_return"] == pytest.approx(alone["imitation_return"], rel=1e-3)
        assert first[0]["imitation_return"] != other[0]["imitation_return"]


class TestVerbs:
    def test_a_plan_says_what_the_policy_sees_and_what_it_takes(self, begin, film, capsys):
        print_plan(begin(film, "--num-envs", "2", "--policy-features.dims", "1"), measure=True)
        said = " ".join(capsys.readouterr().out.split())
        assert (
            "13 numbers (4 keypoints of the newest frame and 1 column of the state), standardised by the expert's"
            in said
        )
        assert "of the run 120 frames and of its evaluations up to 80: about" in said
        assert "ms a step, drawing them aside" in said

    def test_evaluates_what_was_trained(self, run, film):
        found = evaluate(run, 2)
        assert found.return_mean > 0
        assert [each.observations.shape for each in found.trajectories] == [(21, 2)] * 2
        with closing(load(run)) as loaded, closing(Training.begin(Sources(configure(film, run)))) as fitted:
            assert loaded.inputs.width == fitted.inputs.width == 12
            assert loaded.view.frame_size == (32, 32)

    def test_records_states_and_what_the_policy_saw(self, run, tmp_path):
        written = record(tmp_path / "played.hdf5", RecordOptions(run=str(run), frames=True))
        assert written[0].frames.shape == (21, 32, 32, 3)
        assert written[0].observations.shape == (21, 2)
        assert written.expert_return > 0
        blind = record(tmp_path / "blind.hdf5", RecordOptions(run=str(run), actions=True))
        assert blind[0].frames is None
        np.testing.assert_array_equal(blind[0].observations, written[0].observations)
        (lived,) = filmed(blind, SQUARE, "standard", (32, 32))
        np.testing.assert_array_equal(lived.frames, written[0].frames)
        with pytest.raises(InputError, match=r"--frame-size is 84x84, .* sees frames of 32x32"):
            record(tmp_path / "large.hdf5", RecordOptions(run=str(run), frames=True, frame_size="84"))

    def test_reports_what_both_saw(self, short):
        page = write_report(short, episodes=1).read_text()
        assert "What the policy and the reward saw" in page
        assert page.count("<video") == 2
