"""What a run has learned plays and scores, right after training and when it is loaded."""

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from small_envs import LEDGE, expert
from small_runs import SMALL_OOPS, SMALL_TD7, configure, short

from ilfo._tools.errors import InputError
from ilfo.envs import make_env
from ilfo.runs import Run, read_metrics
from ilfo.train import train
from ilfo.training import Sources, Training
from ilfo.training.imitation import load


def test_a_trained_run_is_loaded_without_its_demonstration(demo, tmp_path):
    own = Path(shutil.copy(demo, tmp_path / "own.hdf5"))
    train(configure(own, tmp_path / "run"))
    own.unlink()
    with closing(load(tmp_path / "run")) as imitation:
        assert imitation.demonstrations is None
        returns = [episode.env_return for episode in imitation.evaluate_all(3)[0]]
        scores = imitation.rewards_of(list(expert())).scores
    assert returns == read_metrics(tmp_path / "run")[-1]["eval_returns"]
    np.testing.assert_allclose(scores.numpy(), 2.0, atol=1e-5)


def test_loading_what_was_never_saved_says_so(tmp_path):
    with pytest.raises(InputError, match="not the folder of a run"):
        load(tmp_path)
    Run(tmp_path / "run", read_config_of_a_fresh_run(), None).close()
    with pytest.raises(InputError, match="no checkpoint yet"):
        load(tmp_path / "run")


def read_config_of_a_fresh_run() -> dict:
    return {"env": LEDGE, "reward": "environment", "agent": "td3"}


@pytest.mark.parametrize("flags", [[*SMALL_TD7, "--time-aware"], SMALL_OOPS], ids=["td7", "oops"])
def test_a_loaded_run_plays_what_its_last_evaluation_played(demo, tmp_path, flags):
    train(short(demo, tmp_path / "run", *flags, "--normalize-observations", "expert-and-random"))
    imitation = load(tmp_path / "run")
    returns = [episode.env_return for episode in imitation.evaluate_all(3)[0]]
    assert returns == read_metrics(tmp_path / "run")[-1]["eval_returns"]
    imitation.close()


def test_a_run_that_is_loaded_is_not_advised_any_more(demo, tmp_path):
    with pytest.warns(UserWarning, match="give --td7.no-checkpoints"):
        train(short(demo, tmp_path, *SMALL_TD7, "--reward", "discriminator"))
    load(tmp_path).close()


def test_a_loaded_run_acts_on_what_an_environment_gives(imitation_run):
    with closing(load(imitation_run)) as imitation:
        env = make_env(imitation.config.env)
        observation, _ = env.reset(seed=0)
        action = imitation.act(observation.astype(np.float64)[None])[0]
        np.testing.assert_array_equal(action, imitation.act(observation.astype(np.float32)[None])[0])
        assert env.action_space.contains(action)
        for wrong in (observation, np.zeros((2, 5)), np.zeros((1, 1, 4))):
            with pytest.raises(InputError, match=r"expected \(rows, 4\)"):
                imitation.act(wrong)


def test_who_acts_by_the_time_has_to_be_told_it(demo, tmp_path):
    observations, ages = np.zeros((3, 2), np.float32), np.array([0, 20, 39])
    with closing(Training.begin(Sources(configure(demo, tmp_path, "--time-aware")))) as timed:
        assert len(np.unique(timed.act(observations, ages))) == 3
        with pytest.raises(InputError, match="shown the time"):
            timed.act(observations)
    with closing(Training.begin(Sources(configure(demo, tmp_path)))) as timeless:
        assert np.array_equal(timeless.act(observations), timeless.act(observations, ages))


def test_episodes_of_several_policies_are_played_for_all_or_none(demo, tmp_path):
    imitation = Training.begin(Sources(configure(demo, tmp_path, "--seeds", "3,5")))
    with pytest.raises(InputError, match="2 seeds train here: load the run of one"):
        imitation.evaluate(1, seed=0)
    assert [len(episodes) for episodes in imitation.evaluate_all(2)] == [2, 2]
    imitation.close()


def test_random_episodes_begin_where_evaluations_do(demo, tmp_path):
    imitation = Training.begin(Sources(configure(demo, tmp_path)))
    (random,), (played,) = imitation.random_episodes(3), imitation.evaluate_all(3)
    firsts = [np.array([episode.observations[0] for episode in episodes]) for episodes in (random, played)]
    assert np.array_equal(*firsts)
    assert not np.array_equal(random[0].actions, random[1].actions)
    imitation.close()
