"""Minari's datasets: what Minari makes is read, what is written Minari reads, and damage is named."""

import json
import warnings

import gymnasium
import h5py
import numpy as np
import pytest
from full_episodes import PROVENANCE, differences, episode, experts
from gymnasium import spaces
from minari_datasets import NESTED, STATES, made_by_minari

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance
from ilfo.demos.minari_writer import _env_spec

minari = pytest.importorskip("minari")


def test_what_minari_makes_is_read(root):
    samples = made_by_minari("toy/random-v0", lengths=[3] * 11 + [2])
    expert = ilfo.demos.open(root / "toy" / "random-v0")
    assert expert.layout == "minari"
    for trajectory, truth in zip(expert, samples, strict=True):
        np.testing.assert_array_equal(trajectory.observations, truth)
    assert [each.seed for each in expert][:3] == [None, 1, None]
    assert [each.success for each in expert][:3] == [False, True, False]
    assert (expert[0].terminated, expert[0].truncated) == (False, True)
    assert expert[0].env_rewards.tolist() == [0, 1, 2]
    assert expert[0].actions.shape == (3, 2)
    assert expert.provenance == Provenance(
        observation_keys={"observation": 3},
        versions={"minari": minari.__version__, "mujoco": "3.2.0"},
        source="Minari dataset toy/random-v0, by A. Nonymous, algorithm by hand",
        own_actions=True,
    )


@pytest.mark.parametrize("inside", ["", "data", "data/main_data.hdf5"])
def test_the_dataset_its_data_or_its_file_may_be_named(root, inside):
    made_by_minari("random-v0")
    expert = ilfo.demos.open(root / "random-v0" / inside)
    assert expert.path == root / "random-v0" / "data" / "main_data.hdf5"
    assert expert.provenance.observation_keys == {"observation": 3}


def test_the_environment_is_the_one_that_was_recorded(root):
    with gymnasium.make("Pendulum-v1") as env:
        space, actions = env.observation_space, env.action_space
    made_by_minari("pendulum/random-v0", space, actions=actions, env="Pendulum-v1", ref_min_score=0, ref_max_score=1)
    expert = ilfo.demos.open(root / "pendulum" / "random-v0")
    assert expert.provenance.env_id == "Pendulum-v1"


@pytest.mark.parametrize(
    ("space", "keys"),
    [
        (NESTED, {"zeta": 2, "alpha": 7, "pair": 9, "pixels": 64}),
        (NESTED["pair"], {"_index_0": 2, "_index_1": 6, "_index_2": 1}),
        (spaces.Discrete(4), {"observation": 4}),
        (spaces.Box(0, 1, (2, 3)), {"observation": 6}),
        (spaces.Dict({"b": spaces.Box(0, 1, (1,)), "a": spaces.Box(0, 1, (2,))}), {"a": 2, "b": 1}),
    ],
    ids=["nested", "tuple", "discrete", "matrix", "dict"],
)
def test_observations_are_flattened_as_gymnasium_flattens_them(root, space, keys):
    samples = made_by_minari("nested-v0", space)
    expert = ilfo.demos.open(root / "nested-v0")
    for trajectory, truth in zip(expert, samples, strict=True):
        np.testing.assert_array_equal(trajectory.observations, [spaces.flatten(space, each) for each in truth])
    assert list(expert.provenance.observation_keys.items()) == list(keys.items())


@pytest.mark.parametrize("jpeg_encoding", [True, False])
@pytest.mark.parametrize("metadata", [True, False])
def test_images_and_text_are_left_out_aloud(root, jpeg_encoding, metadata):
    space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (32, 32, 3), np.uint8), "state": STATES, "task": spaces.Text(5, min_length=5)}
    )
    samples = made_by_minari("seen-v0", space, jpeg_encoding=jpeg_encoding)
    if not metadata:
        (root / "seen-v0" / "data" / "metadata.json").unlink()
    with pytest.warns(UserWarning, match=r"left out.*'observations/camera' \(images\), 'observations/task' \(text\)"):
        expert = ilfo.demos.open(root / "seen-v0")
    np.testing.assert_array_equal(expert[0].observations, [each["state"] for each in samples[0]])
    assert expert.provenance.observation_keys == {"state": 3}


@pytest.mark.parametrize("metadata", [True, False])
def test_images_of_one_encoded_length_are_no_vectors(root, metadata):
    """Black frames are all encoded to as many bytes: a matrix of bytes, not of states."""
    made_by_minari("black-v0", spaces.Box(0, 255, (32, 32, 3), np.uint8))
    path = root / "black-v0" / "data" / "main_data.hdf5"
    with h5py.File(path, "r+") as file:
        first = file["episode_0/observations"][0]
        for group in file.values():
            rows = len(group["observations"])
            del group["observations"]
            group["observations"] = np.tile(first, (rows, 1))
    if not metadata:
        (path.parent / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"'observations' holds 'observations' \(images\), expected vectors"):
        ilfo.demos.open(path)


def test_without_metadata_keys_are_taken_in_alphabetical_order(root):
    samples = made_by_minari("nested-v0", NESTED)
    (root / "nested-v0" / "data" / "metadata.json").unlink()
    expert = ilfo.demos.open(root / "nested-v0")
    assert list(expert.provenance.observation_keys.items()) == [("alpha", 5), ("pair", 5), ("pixels", 64), ("zeta", 2)]
    np.testing.assert_array_equal(expert[0].observations[:, -2:], [each["zeta"] for each in samples[0]])


def test_a_bare_file_is_read(tmp_path):
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        for number in range(11):
            group = file.create_group(f"episode_{number}")
            group.attrs.update({"id": number, "seed": "None" if number else np.int64(3), "total_steps": 4})
            group["observations"] = np.full((5, 2), number, np.float64)
            group["actions"] = np.arange(4)
            group["rewards"] = np.ones((4, 1))
            group["terminations"] = np.zeros(4, bool)
            group["truncations"] = np.arange(4) == 3
            group["infos/x"] = np.zeros(5)
    expert = ilfo.demos.open(tmp_path)
    assert expert.layout == "minari"
    assert [each.observations[0, 0] for each in expert] == list(range(11))
    assert expert[0].observations.dtype == np.float32
    assert expert[0].actions.shape == (4, 1)
    assert (expert[0].seed, expert[1].seed, expert[0].success) == (3, None, None)
    assert (expert[0].terminated, expert[0].truncated) == (False, True)
    assert expert.expert_return == 4
    assert expert.provenance == Provenance(own_actions=True)


def test_actions_of_several_parts_stand_side_by_side(root):
    actions = spaces.Dict({"turn": spaces.Discrete(3), "move": spaces.Box(-1, 1, (2,))})
    made_by_minari("parts-v0", actions=actions)
    assert ilfo.demos.open(root / "parts-v0")[0].actions.shape == (4, 3)


@pytest.mark.parametrize(
    ("data_format", "message"),
    [
        (
            "zarr",
            "random-v0: a Minari dataset that keeps its episodes as 'zarr', expected 'hdf5', 'arrow' or 'parquet'",
        ),
        ("hdf5", r"data: has no file main_data\.hdf5, which metadata\.json promises\. Copy or download it again"),
    ],
)
def test_a_dataset_that_keeps_its_episodes_elsewhere_is_refused(root, data_format, message):
    made_by_minari("random-v0")
    data = root / "random-v0" / "data"
    (data / "main_data.hdf5").unlink()
    (data / "metadata.json").write_text(json.dumps({"data_format": data_format}))
    with pytest.raises(InputError, match=message):
        ilfo.demos.open(root / "random-v0")


def test_a_copy_that_lacks_episodes_is_read_aloud(root):
    made_by_minari("random-v0")
    with h5py.File(root / "random-v0" / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0"]
    with pytest.warns(UserWarning, match=r"holds 1 episodes, but metadata\.json counts 2"):
        assert [len(each) for each in ilfo.demos.open(root / "random-v0")] == [2]


def _replace(file, name, values):
    del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f["episode_1"].pop("observations"), "'episode_1': no dataset 'observations' .*found actions"),
        (lambda f: _replace(f, "episode_1", [1.0]), "'episode_1': is a dataset, expected a group"),
        (lambda f: _replace(f, "episode_1/observations", np.zeros((3, 2))), "'observations' is a dataset, expected a"),
        (lambda f: f["episode_1/observations"].pop("b"), "group 'observations': has no 'b' .found 'a', 'n'.*fresh"),
        (lambda f: _replace(f, "episode_1/observations/b", np.zeros((2, 1))), "its parts have 3 and 2 rows"),
        (lambda f: _replace(f, "episode_1/observations/b", np.zeros((0, 1))), "its parts have 3 and 0 rows"),
        (lambda f: _replace(f, "episode_1/observations/n", np.zeros(0, int)), "its parts have 3 and 0 rows"),
        (lambda f: _replace(f, "episode_1/observations/b", h5py.Empty("f4")), "dataset 'b': holds no values"),
        (lambda f: _replace(f, "episode_1/observations/b", 1.0), "'observations/b': is a single number"),
        (lambda f: _replace(f, "episode_1/observations/b", [b"x"] * 3), "'b': holds .*expected numbers"),
        (lambda f: f["episode_1/observations/b"].write_direct(np.full((3, 1), np.nan, "f4")), "step 0, dimension 2 is"),
        (lambda f: _replace(f, "episode_1/observations/b", np.zeros((3, 4))), "'episode_1': has observations of wid"),
        (lambda f: _replace(f, "episode_1/observations/n", [0, 1, 7]), "'observations/n': step 2 is number 7 of 2 val"),
        (
            lambda f: _replace(f, "episode_1/observations/n", np.eye(3)),
            r"shape \(3, 3\), expected \(rows, 1\) discrete",
        ),
        (lambda f: _replace(f, "episode_1/actions", np.zeros((5, 2))), "'actions': has 5 rows, expected 2"),
        (lambda f: _replace(f, "episode_1/rewards", np.zeros(3)), "'rewards': has 3 rows, expected 2"),
        (lambda f: _replace(f, "episode_1/terminations", [True, False]), "step 0 ends the episode, but 1 more steps"),
        (lambda f: _replace(f, "episode_1/truncations", [True]), r"'truncations': has shape \(1,\)"),
        (lambda f: _replace(f, "episode_1/infos/success", [b"yes"]), "group 'infos', dataset 'success': holds"),
        (lambda f: f["episode_1"].attrs.update(total_steps=9), "'episode_1': attribute total_steps says 9"),
    ],
)
def test_damaged_episodes_are_refused(root, damage, message):
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (1,)), "n": spaces.Discrete(2)})
    made_by_minari("random-v0", space)
    path = root / "random-v0" / "data" / "main_data.hdf5"
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InputError, match=message) as caught:
        ilfo.demos.open(path)
    assert str(path) in str(caught.value)


BOX = {"type": "Box", "dtype": "float32", "shape": [1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", r"metadata\.json: found b'{', expected a JSON object"),
        ("[]", r"metadata\.json: found b'\[\]', expected a JSON object"),
        ({"observation_space": "{"}, "metadata.json, observation_space: found '{', expected a JSON object"),
        ({"observation_space": '{"a": 1}'}, "its space says no 'type': .*Correct metadata.json"),
        ({"observation_space": '{"type": "Dict"}'}, "its space says no 'subspaces'"),
        ({"observation_space": '{"type": "Dict", "subspaces": [1]}'}, r"its space has subspaces \[1\], no Dict"),
        ({"observation_space": '{"type": "Discrete"}'}, "its space says no 'n'"),
        ({"observation_space": json.dumps({"type": "Dict", "subspaces": {"a": BOX}})}, "is a dataset, expected a gro"),
        ({"observation_space": '{"type": "Graph"}'}, r"holds 'observations' \(graph\), expected vectors"),
        (
            {"observation_space": '{"type": "Discrete", "n": "three"}'},
            "says n 'three', expected whole numbers",
        ),
        ({"observation_space": '{"type": "Discrete", "n": null}'}, "its space says n 'None', expected whole numbers"),
        ({"observation_space": '{"type": "Discrete", "n": 2.5}'}, "its space says n '2.5', expected whole numbers"),
        ({"observation_space": '{"type": "Discrete", "n": 10000000000000}'}, "at least 1 of each, 100,000 in all"),
        ({"observation_space": f'{{"type": "Discrete", "n": {10**30}}}'}, "its space says n .*expected whole numbers"),
        ({"observation_space": '{"type": "Discrete", "n": 3, "start": "a"}'}, "its space says start 'a'"),
        ({"observation_space": '{"type": "MultiDiscrete", "nvec": [2, [3]]}'}, "says nvec .*expected whole numbers"),
        (
            {"observation_space": '{"type": "MultiDiscrete", "nvec": [2, 0]}'},
            r"\[2, 0\] discrete values from \[0\]",
        ),
        ({"observation_space": '{"type": "Box", "dtype": "uint8", "shape": null}'}, "its space says shape 'None'"),
        ({"total_episodes": "3"}, "total_episodes is '3', expected a number"),
        ({"requirements": 3}, "requirements is 3, expected a list"),
        ({"env_spec": "{"}, "env_spec: found '{', expected a JSON object"),
        ({"ilfo_provenance": '{"observation_keys": {"a": 1}}'}, "1 dimensions together, but the observations have 3"),
    ],
)
def test_damaged_metadata_is_refused(root, change, message):
    made_by_minari("random-v0")
    path = root / "random-v0" / "data" / "metadata.json"
    whole = json.loads(path.read_text())
    path.write_text(change if isinstance(change, str) else json.dumps(whole | change))
    with pytest.raises(InputError, match=message) as caught:
        ilfo.demos.open(root / "random-v0")
    assert str(path.parent) in str(caught.value)


def test_metadata_of_something_else_is_not_read(tmp_path):
    (tmp_path / "metadata.json").write_text("not JSON")
    with h5py.File(tmp_path / "mine.hdf5", "w") as file:
        file["episode_0/observations"] = np.zeros((5, 2))
    assert len(ilfo.demos.open(tmp_path / "mine.hdf5")[0]) == 4


def test_minari_reads_what_is_written(root):
    expert = experts()
    (root / "hopper").mkdir()
    assert ilfo.demos.write(root / "hopper" / "expert-v3", expert, "minari") == root / "hopper" / "expert-v3"
    dataset = minari.load_dataset("hopper/expert-v3")
    assert dataset.id == "hopper/expert-v3"
    assert (dataset.total_episodes, dataset.total_steps) == (11, sum(len(each) for each in expert))
    assert dataset.env_spec.id == "Hopper-v5"
    assert dataset.action_space == spaces.Box(-1, 1, (2,), np.float32)
    widths = {key: part.shape for key, part in dataset.observation_space.spaces.items()}
    assert widths == {"velocity": (1,), "angle": (2,)}
    for number, (found, truth) in enumerate(zip(dataset.iterate_episodes(), expert, strict=True)):
        assert found.id == number
        np.testing.assert_array_equal(found.observations["velocity"], truth.observations[:, :1])
        np.testing.assert_array_equal(found.observations["angle"], truth.observations[:, 1:])
        np.testing.assert_array_equal(found.actions, truth.actions)
        np.testing.assert_array_equal(found.rewards, truth.env_rewards)
        assert found.rewards.dtype == np.float64
        assert dataset.observation_space.contains({key: part[0] for key, part in found.observations.items()})
        assert (found.terminations[-1], found.truncations[-1]) == (truth.terminated, truth.truncated)
        assert not (found.terminations | found.truncations)[:-1].any()
        if truth.success is None:
            assert found.infos == {}
        else:
            assert found.infos["success"].tolist() == [False] * len(truth) + [truth.success]
    seeds = [each.get("seed") for each in dataset.storage.get_episode_metadata(range(11))]
    assert seeds == [each.seed for each in expert]
    assert "hopper/expert-v3" in minari.list_local_datasets()


def test_minari_reads_one_vector_and_makes_its_environment(root):
    one = Demonstrations((episode(observations=np.zeros((6, 3))),), Provenance("Pendulum-v1"))
    ilfo.demos.write(root / "pendulum-v0", one, "minari")
    dataset = minari.load_dataset("pendulum-v0")
    assert dataset.observation_space == spaces.Box(-np.inf, np.inf, (3,), np.float32)
    assert dataset[0].observations.shape == (6, 3)
    with dataset.recover_environment() as env:
        assert env.spec.id == "Pendulum-v1"
        assert env.spec.max_episode_steps == 200


def test_marks_of_the_environment_are_not_part_of_its_name(root):
    marked = Provenance("Pendulum-v1@50-steps@seed-3@lights-seen-0")
    ilfo.demos.write(root / "pendulum-v0", Demonstrations((episode(),), marked), "minari")
    with minari.load_dataset("pendulum-v0").recover_environment() as env:
        assert env.spec.id == "Pendulum-v1"
        assert env.spec.max_episode_steps == 50
    assert gymnasium.spec("Pendulum-v1").max_episode_steps == 200
    assert ilfo.demos.open(root / "pendulum-v0").provenance.env_id == marked.env_id


@pytest.mark.parametrize(
    ("env_id", "found"),
    [
        ("Nowhere-v7", "Nowhere-v7"),
        ("my.module:House/Door-v1", "House/Door-v1"),
        ("not an id", None),
        (None, None),
        ("Functional-v0", "Functional-v0"),
    ],
)
def test_the_environment_need_not_be_installed(root, env_id, found, monkeypatch):
    made_here = gymnasium.envs.registration.EnvSpec("Functional-v0", entry_point=lambda: None)
    monkeypatch.setitem(gymnasium.registry, "Functional-v0", made_here)
    ilfo.demos.write(root / "expert-v0", Demonstrations((episode(),), Provenance(env_id)), "minari")
    spec = minari.load_dataset("expert-v0").env_spec
    assert (spec and spec.id) == found
    assert ilfo.demos.open(root / "expert-v0").provenance.env_id == env_id


def test_actions_beyond_one_have_no_bounds(root):
    wide = episode(actions=np.full((5, 2), 3.0))
    ilfo.demos.write(root / "wide-v0", Demonstrations((episode(), wide)), "minari")
    dataset = minari.load_dataset("wide-v0")
    assert not dataset.action_space.is_bounded()
    assert dataset.action_space.contains(dataset[1].actions[0])


def test_what_minari_adds_to_a_written_dataset_is_read(root):
    ilfo.demos.write(root / "expert-v0", Demonstrations((episode(),)), "minari")
    more = minari.data_collector.EpisodeBuffer(
        observations=np.ones((3, 3), np.float32),
        actions=np.zeros((2, 2), np.float32),
        rewards=[1, 1],
        terminations=[False, True],
        truncations=[False, False],
        infos={},
    )
    minari.load_dataset("expert-v0").update_dataset_from_buffer([more])
    copy = ilfo.demos.open(root / "expert-v0")
    assert differences(copy[0], episode()) == []
    assert (len(copy[1]), copy[1].terminated) == (2, True)


@pytest.mark.parametrize("name", ["expert", "expert.hdf5", "expert v0", "expert-v", "expert-v1.0"])
def test_a_name_that_minari_does_not_allow_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"not a name that Minari allows.*e\.g\. hopper-expert-v0"):
        ilfo.demos.write(tmp_path / name, experts(), "minari")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_refused(tmp_path):
    (tmp_path / "expert-v0").mkdir()
    with pytest.raises(InputError, match="is there already"):
        ilfo.demos.write(tmp_path / "expert-v0", experts(), "minari")


def test_a_dataset_outside_of_minaris_folder_is_called_by_its_own_name(tmp_path, root):
    ilfo.demos.write(tmp_path / "expert-v0", experts(PROVENANCE), "minari")
    assert minari.MinariDataset(tmp_path / "expert-v0" / "data").id == "expert-v0"


def test_nothing_is_said_of_a_dataset_without_turns(root):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ilfo.demos.open(ilfo.demos.write(root / "expert-v0", experts(), "minari"))
    assert not caught


def test_the_time_limit_of_actions_that_last_is_in_actions():
    for env_id in ("Hopper-v5@repeat-3", "Hopper-v5@1000-steps@repeat-3"):
        assert json.loads(_env_spec(env_id))["max_episode_steps"] == 334
