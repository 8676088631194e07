"""What a run starts from is opened, looked at and restored; what cannot be made of it leaves nothing open."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from filmed_square import configure as filmed
from small_envs import LEDGE, expert
from small_runs import configure

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.envs import Environments, describe
from ilfo.rewards.sight import Sight
from ilfo.train import train
from ilfo.training import Sources, Training
from ilfo.training.replay import Replay
from ilfo.training.scorer import Scorer


@pytest.fixture
def closed(monkeypatch):
    """The environments that were closed."""
    found, close = [], Environments.close

    def told(self):
        found.append(self)
        close(self)

    monkeypatch.setattr(Environments, "close", told)
    return found


def test_without_a_demonstration_there_is_nothing_to_look_at(demo, tmp_path):
    config = configure(demo, tmp_path, "--reward", "environment")
    config = type(config)(**vars(config) | {"demo": None})
    sources = Sources(config)
    assert sources.find_keypoints() is None
    assert sources.demo_sha256 is None


def test_states_are_seen_as_they_are(demo, tmp_path):
    sources = Sources(configure(demo, tmp_path))
    assert sources.find_keypoints() is sources.demonstrations
    assert sources.demo_sha256 == demos.open(demo).sha256


def test_the_experts_return_is_the_environments_also_where_rewards_were_replaced(demo, tmp_path):
    out = tmp_path / "labelled.hdf5"
    assert main(["label", str(demo), str(out), "--demo", str(demo), "--reward", "nearest"]) == 0
    assert Sources(configure(out, tmp_path / "run")).expert_return == 40
    assert Sources(configure(demo, tmp_path / "run")).expert_return == 40


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ({}, []),
        ({"env_id": "small_envs:Cliff-v0"}, [r"was recorded in small_envs:Cliff-v0, the environment is small_envs:"]),
        ({"time_step": 0.25}, [r"has 0\.25 s between observations, the environment 0\.5 s"]),
        (
            {"versions": {"gymnasium": "0.1", "numpy": "1.0"}},
            [r"was recorded with gymnasium 0\.1.*, numpy 1\.0"],
        ),
        ({"time_step": 2.0, "versions": {"mujoco": "1.0"}}, [r"has 2 s between", r"was recorded with mujoco 1\.0"]),
    ],
)
def test_each_difference_from_the_runs_environment_is_said_once_before_training(tmp_path, recorded, said):
    provenance = replace(describe(LEDGE).provenance, **recorded)
    file = demos.write(tmp_path / "walk.hdf5", replace(expert(), provenance=provenance))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        Sources(configure(file, tmp_path / "run"))
    assert len(heard) == len(said)
    for warning, sentence in zip(heard, said, strict=True):
        assert re.search(sentence, str(warning.message))


def test_a_file_that_names_its_columns_more_finely_than_the_environment_fits(tmp_path):
    finer = replace(expert().provenance, observation_keys={"place": 1, "pace": 1})
    file = demos.write(tmp_path / "walk.hdf5", replace(expert(), provenance=finer))
    with pytest.warns(UserWarning, match="taken as the same columns"):
        found = Sources(configure(file, tmp_path)).demonstrations
    assert np.array_equal(found[0].observations, expert()[0].observations)
    with pytest.warns(UserWarning, match="taken as the same columns"):
        Sources(configure(file, tmp_path, "--reward-keys", "pace"))
    with pytest.raises(InputError, match=r"names 'plaec'.*did you mean 'place'"):
        Sources(configure(file, tmp_path, "--reward-keys", "plaec"))


def test_one_of_every_so_many_states_fits_actions_that_last(demo, tmp_path):
    flags = ["--demo-every", "3", "--env", f"{LEDGE}@repeat-3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sources = Sources(configure(demo, tmp_path, *flags))
    (whole,), (found,) = demos.open(demo), sources.demonstrations
    assert len(found) == round(len(whole) / 3)
    assert sources.demo_sha256 == demos.open(demo).sha256


def test_restored_ones_open_no_demonstration(demo, tmp_path):
    sources = Sources(configure(tmp_path / "gone.hdf5", tmp_path), fitted={})
    assert sources.demonstrations is None
    assert sources.find_keypoints() is None


@pytest.mark.parametrize(("policy", "encoded"), [("states", False), ("keypoints", True)])
def test_what_can_be_refused_is_refused_before_frames_are_encoded(film, tmp_path, monkeypatch, policy, encoded):
    looked, fit = [], Sight.fit
    monkeypatch.setattr(Sight, "fit", lambda self, *given: looked.append(self) or fit(self, *given))
    with pytest.raises(InputError, match="absorbing states need one below 1"):
        Training.begin(Sources(filmed(film, tmp_path, "--td3.discount", "1", "--policy-sees", policy)))
    assert bool(looked) == encoded, "the policy's inputs are as wide as there are keypoints"


@pytest.mark.parametrize("where", [Replay.__init__, Scorer.fit])
def test_what_cannot_begin_leaves_no_simulator_open(demo, tmp_path, closed, monkeypatch, where):
    owner, name = {Replay.__init__: (Replay, "__init__"), Scorer.fit: (Scorer, "fit")}[where]

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(MemoryError):
        Training.begin(Sources(configure(demo, tmp_path)))
    assert len(closed) == 1


def test_what_cannot_resume_leaves_no_simulator_open(demo, tmp_path, closed):
    config = configure(demo, tmp_path)
    training = Training.begin(Sources(config))
    states = training.state_dicts()
    training.close()
    del states[0]["averages"]
    with pytest.raises(KeyError, match="averages"):
        Training.resume(Sources(config), states)
    assert len(closed) == 2


def test_a_finished_run_is_shown_without_making_it_again(demo, tmp_path, monkeypatch):
    config = configure(demo, tmp_path / "run", steps=160)
    summary = train(config)
    monkeypatch.setattr(Training, "__init__", lambda *_: pytest.fail("nothing is left to train"))
    assert train(config) == summary
