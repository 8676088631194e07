"""robomimic's files: read with all their turns, written as its own readers want them."""

import json
import warnings

import h5py
import numpy as np
import pytest
from full_episodes import PROVENANCE, differences, episode, experts
from robomimic_readers import SequenceDataset, get_dataset_info

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance
from ilfo.demos.checks import differences as told_apart

LIFT = {
    "env_name": "Lift",
    "env_version": "1.4.1",
    "type": 1,
    "env_kwargs": {"control_freq": 20, "reward_shaping": False},
}


def demo(steps=6, number=0):
    """What robosuite records: two keys, a success at the end, everything in float64."""
    generator = np.random.default_rng(number)
    states = {"object": generator.normal(size=(steps + 1, 3)), "eef_pos": generator.normal(size=(steps + 1, 2))}
    return {
        **{f"obs/{key}": values[:-1] for key, values in states.items()},
        **{f"next_obs/{key}": values[1:] for key, values in states.items()},
        "actions": generator.uniform(-1, 1, size=(steps, 4)),
        "rewards": np.eye(steps)[-1],
        "dones": np.eye(steps, dtype=np.int64)[-1],
        "states": generator.normal(size=(steps, 9)),
    }


def save(path, demos, env_args=LIFT, masks=None):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        for number, arrays in demos.items():
            group = data.create_group(f"demo_{number}")
            for name, values in arrays.items():
                group[name] = values
            group.attrs["num_samples"] = len(arrays["actions"]) if "actions" in arrays else 6
        data.attrs["total"] = 0
        if env_args is not None:
            data.attrs["env_args"] = env_args if isinstance(env_args, str) else json.dumps(env_args)
        for name, values in (masks or {}).items():
            file[f"mask/{name}"] = np.array(values, dtype="S")
    return path


def test_keys_become_one_observation_in_alphabetical_order(tmp_path):
    arrays = demo()
    expert = ilfo.demos.open(save(tmp_path / "lift.hdf5", {0: arrays}))
    assert expert.layout == "robomimic"
    assert list(expert.provenance.observation_keys.items()) == [("eef_pos", 2), ("object", 3)]
    states = np.concatenate([arrays["obs/eef_pos"], arrays["obs/object"]], axis=1)
    final = np.concatenate([arrays["next_obs/eef_pos"], arrays["next_obs/object"]], axis=1)[-1:]
    np.testing.assert_array_equal(expert[0].observations, np.concatenate([states, final]).astype(np.float32))
    assert expert[0].observations.dtype == expert[0].actions.dtype == np.float32
    np.testing.assert_array_equal(expert[0].actions, arrays["actions"].astype(np.float32))
    assert expert.provenance.env_id == "Lift"
    assert expert.provenance.time_step == 1 / 20
    assert expert.provenance.versions == {"robosuite": "1.4.1"}
    assert (expert[0].terminated, expert[0].truncated) == (False, True), "dones may mean anything"


def test_a_task_with_its_robot_is_the_environment_that_ilfo_knows_by_that_name(tmp_path):
    env_args = LIFT | {"env_kwargs": LIFT["env_kwargs"] | {"robots": ["Panda"]}}
    expert = ilfo.demos.open(save(tmp_path / "lift.hdf5", {0: demo()}, env_args))
    assert expert.provenance.env_id == "ilfo.robosuite:robosuite/Lift-Panda-v1"
    same = Provenance(env_id="ilfo.robosuite:robosuite/Lift-Panda-v1@200-steps")
    other = Provenance(env_id="ilfo.robosuite:robosuite/Lift-Sawyer-v1")
    assert told_apart(expert.provenance, same, "lift.hdf5") == []
    assert "Lift-Panda-v1, the environment is" in told_apart(expert.provenance, other, "lift.hdf5")[0]
    copy = ilfo.demos.write(tmp_path / "copy.hdf5", expert, "robomimic")
    kwargs = {"control_freq": 20, "robots": ["Panda"]}
    assert get_dataset_info(copy)["env_meta"] == {
        "env_name": "Lift",
        "env_version": "1.4.1",
        "type": 1,
        "env_kwargs": kwargs,
    }
    assert ilfo.demos.open(copy).provenance.env_id == expert.provenance.env_id


def test_demonstrations_come_in_numeric_order(tmp_path):
    path = save(tmp_path / "x.hdf5", {number: demo(number + 2, number) for number in (10, 2, 9, 0)})
    assert [len(each) for each in ilfo.demos.open(path)] == [2, 4, 11, 12]
    assert [len(each) for each in ilfo.demos.open(path, episodes=[3, 1])] == [12, 4]


def test_without_next_observations_the_last_step_is_left_out_aloud(tmp_path):
    arrays = {name: values for name, values in demo().items() if not name.startswith("next_obs")}
    with pytest.warns(UserWarning, match="1 of 1 demonstrations have no 'next_obs'.* that step is left out"):
        expert = ilfo.demos.open(save(tmp_path / "x.hdf5", {0: arrays}))
    assert len(expert[0]) == len(expert[0].actions) == len(expert[0].env_rewards) == 5
    assert expert.expert_return == 1, "the last reward counts all the same"
    assert expert[0].success is True


def test_a_last_next_observation_that_is_a_copy_is_left_out_aloud(tmp_path):
    """As robomimic's own conversion of D4RL writes it: one key ``flat``, and always done at the end."""
    flat = np.random.default_rng(0).normal(size=(6, 3))
    arrays = {"obs/flat": flat, "next_obs/flat": np.concatenate([flat[1:], flat[-1:]])}
    arrays |= {"actions": np.zeros((6, 2)), "rewards": np.ones(6), "dones": np.eye(6, dtype=np.int32)[-1]}
    hopper = {"env_name": "hopper-medium-v2", "type": 2, "env_kwargs": {}}
    path = save(tmp_path / "x.hdf5", {0: arrays, 1: arrays}, hopper)
    with pytest.warns(UserWarning, match="in 2 of 2 demonstrations the last of 'next_obs' is a copy"):
        expert = ilfo.demos.open(path)
    assert [len(each) for each in expert] == [5, 5]
    np.testing.assert_array_equal(expert[0].observations, flat.astype(np.float32))
    assert expert.provenance == Provenance("hopper-medium-v2", {"observation": 3}, expert_return=6, own_actions=True)
    assert expert[0].success is None


def test_numbers_become_columns_and_images_are_left_out_aloud(tmp_path):
    arrays = demo()
    for side in ("obs", "next_obs"):
        arrays[f"{side}/gripper"] = np.arange(6.0)
        arrays[f"{side}/agentview_image"] = np.zeros((6, 8, 8, 3), np.uint8)
        arrays[f"{side}/words"] = np.array([b"pick"] * 6)
    path = save(tmp_path / "x.hdf5", {0: arrays, 1: arrays})
    with pytest.warns(UserWarning, match=r"left out .*'agentview_image' \(8, 8, 3\), 'words' \(\)") as caught:
        expert = ilfo.demos.open(path)
    assert len(caught) == 1, "once a file, not once a demonstration"
    assert expert.provenance.observation_keys == {"eef_pos": 2, "gripper": 1, "object": 3}
    np.testing.assert_array_equal(expert[0].observations[:, 2], [0, 1, 2, 3, 4, 5, 5])


@pytest.mark.parametrize(
    ("env_args", "rewards", "success"),
    [
        (LIFT, [0, 0, 1, 1, 0, 0], True),
        (LIFT, [0, 0, 0, 0, 0, 0], False),
        ({"env_type" if key == "type" else key: value for key, value in LIFT.items()}, [0, 0, 0, 0, 0, 0], False),
        (LIFT, [0, 0, 0.5, 1, 0, 0], None),
        (LIFT | {"env_kwargs": {"reward_shaping": True}}, [0, 0, 0, 0, 0, 1], None),
        (LIFT | {"type": 2}, [0, 0, 0, 0, 0, 1], None),
        (None, [0, 0, 0, 0, 0, 1], None),
    ],
)
def test_success_is_known_only_where_rewards_say_it_without_doubt(tmp_path, env_args, rewards, success):
    arrays = demo() | {"rewards": np.array(rewards, float)}
    assert ilfo.demos.open(save(tmp_path / "x.hdf5", {0: arrays}, env_args))[0].success is success


def test_rewards_and_actions_may_be_missing_or_have_one_column(tmp_path):
    bare = {name: values for name, values in demo().items() if "obs/" in name}
    expert = ilfo.demos.open(save(tmp_path / "bare.hdf5", {0: bare}))
    assert (expert[0].actions, expert[0].env_rewards, expert[0].success, expert.expert_return) == (None,) * 4
    arrays = demo() | {"rewards": np.eye(6)[-1][:, None], "actions": np.zeros(6)}
    expert = ilfo.demos.open(save(tmp_path / "column.hdf5", {0: arrays}))
    assert expert[0].env_rewards.shape == (6,)
    assert expert[0].actions.shape == (6, 1)
    assert expert[0].success is True


def test_a_filter_key_chooses_demonstrations(tmp_path):
    demos = {number: demo(number + 2, number) for number in range(12)}
    demos[11]["rewards"] = np.zeros(13)
    path = save(tmp_path / "x.hdf5", demos, masks={"better": ["demo_11", "demo_3", "demo_10"], "none": []})
    better = ilfo.demos.open(path, filter_key="better")
    assert [len(each) for each in better] == [5, 12, 13]
    assert better.expert_return == pytest.approx(2 / 3)
    one = ilfo.demos.open(path, filter_key="better", episodes=[1])
    assert [len(each) for each in one] == [12]
    assert one.expert_return == better[1].env_return == 1
    assert ilfo.demos.open(path).expert_return == pytest.approx(11 / 12)
    with pytest.raises(InputError, match="no filter key 'beter'; did you mean 'better'"):
        ilfo.demos.open(path, filter_key="beter")
    with pytest.raises(InputError, match="'mask/none': names no demonstration"):
        ilfo.demos.open(path, filter_key="none")


def test_a_reward_that_is_not_finite_can_be_left_out_with_its_demonstration(tmp_path):
    path = save(tmp_path / "x.hdf5", {0: demo(), 1: demo() | {"rewards": np.full(6, np.inf)}})
    assert ilfo.demos.open(path, episodes=[0]).provenance.expert_return is None
    with pytest.raises(InputError, match="group 'data/demo_1', dataset 'rewards': step 0 is inf"):
        ilfo.demos.open(path)


def test_a_filter_key_that_names_what_is_not_there_is_refused(tmp_path):
    path = save(tmp_path / "x.hdf5", {0: demo()}, masks={"train": ["demo_0", "demo_1"]})
    with pytest.raises(InputError, match="'mask/train': names 'demo_1', which the file does not have"):
        ilfo.demos.open(path, filter_key="train")


@pytest.mark.parametrize("masks", [None, {"train": ["demo_0"]}])
def test_a_filter_key_where_there_are_none_is_refused(tmp_path, masks):
    path = save(tmp_path / "x.hdf5", {0: demo()}, masks=masks)
    with pytest.raises(
        InputError, match="no filter key 'valid'; " + ("known: train" if masks else "the file has none")
    ):
        ilfo.demos.open(path, filter_key="valid")
    other = ilfo.demos.write(tmp_path / "other.hdf5", experts())
    with pytest.raises(InputError, match="layout ilfo has no filter keys"):
        ilfo.demos.open(other, filter_key="valid")


def _replace(file, name, values):
    del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f["data"].attrs.update(env_args="{"), "group 'data', attribute 'env_args': found '{', expected a J"),
        (lambda f: f["data"].attrs.update(env_args="[]"), r"'env_args': found '\[\]', expected a JSON object"),
        (lambda f: f["data"].attrs.update(env_args=3), "'env_args': found .*3.*, expected a JSON object"),
        (lambda f: _replace(f, "data/demo_1", [1.0]), "'data/demo_1': is a dataset, expected a group"),
        (lambda f: f["data/demo_1"].pop("obs"), "'data/demo_1': no group 'obs' .*found actions.*states_to_obs"),
        (lambda f: _replace(f, "data/demo_1/obs", [1.0]), "'obs' is a dataset, .*Put.*'data/demo_1/obs/obs"),
        (lambda f: _replace(f, "data/demo_1/next_obs", [1.0]), "'data/demo_1', group 'next_obs': is a dataset"),
        (lambda f: f["data/demo_1/next_obs"].pop("object"), "group 'next_obs': has no 'object'"),
        (lambda f: _replace(f, "data/demo_1/next_obs/object", np.zeros((5, 3))), r"'object' has shape \(5, 3\)"),
        (lambda f: _replace(f, "data/demo_1/obs/object", np.zeros((5, 3))), "'object' has 5 rows, but 'eef_pos' has 6"),
        (lambda f: _replace(f, "data/demo_1/obs/object", np.zeros((0, 3))), "'object' has 0 rows, but 'eef_pos' has 6"),
        (lambda f: _replace(f, "data/demo_1/actions", h5py.Empty("f4")), "dataset 'actions': holds no values"),
        (lambda f: _replace(f, "data/demo_1/actions", np.zeros((7, 4))), r"'actions': has shape \(7, 4\), expected 6"),
        (lambda f: _replace(f, "data/demo_1/rewards", 1.0), r"'rewards': has shape \(\), expected 6 rows"),
        (lambda f: f["data/demo_1"].attrs.update(num_samples=9), "num_samples says 9, but .* 6 rows"),
        (lambda f: f["data/demo_1/obs"].move("object", "cube"), "next_obs': has no 'cube'"),
        (lambda f: [f[f"data/demo_1/{s}obs"].move("object", "cube") for s in ("", "next_")], "demo_1': its observati"),
        (lambda f: _replace(f, "data/demo_1/obs/object", np.full((6, 3), np.nan)), "step 0, dimension 2 is nan"),
        (lambda f: f["data/demo_1/obs"].create_group("nested"), "group 'obs': 'nested' is a group of nothing"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage, message):
    path = save(tmp_path / "lift.hdf5", {0: demo(), 1: demo(number=1)})
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InputError, match=message) as caught:
        ilfo.demos.open(path)
    assert str(path) in str(caught.value)


def test_images_alone_are_refused(tmp_path):
    arrays = {"obs/image": np.zeros((6, 8, 8, 3), np.uint8), "actions": np.zeros((6, 2))}
    with pytest.raises(InputError, match=r"holds 'image' \(8, 8, 3\), expected vectors of states"):
        ilfo.demos.open(save(tmp_path / "x.hdf5", {0: arrays}))


def test_only_chosen_demonstrations_are_read(tmp_path):
    path = save(tmp_path / "x.hdf5", {0: demo(), 1: demo()})
    with h5py.File(path, "r+") as file:
        file["data/demo_0/obs/object"][2, 1] = np.nan
    assert len(ilfo.demos.open(path, episodes=[1])) == 1
    with pytest.raises(InputError, match="'data/demo_0', dataset 'observations': step 2, dimension 3 is nan"):
        ilfo.demos.open(path, episodes=[0])


def test_robomimic_reads_what_is_written(tmp_path):
    expert = experts()
    path = ilfo.demos.write(tmp_path / "x.hdf5", expert, "robomimic")
    info = get_dataset_info(path)
    lengths = [len(each) for each in expert]
    assert info["names"] == [f"demo_{number}" for number in range(11)]
    assert info["lengths"] == info["num_samples"] == lengths
    assert info["total"] == sum(lengths)
    assert info["env_meta"] == {"env_name": "Hopper-v5", "type": 2, "env_kwargs": {}}
    assert info["obs"] == info["next_obs"] == {"angle": (2,), "velocity": (1,)}
    assert info["action_width"] == 2

    dataset = SequenceDataset(path, ["velocity", "angle"], length=3)
    assert len(dataset) == sum(lengths)
    number = sum(lengths[:4]) + lengths[4] - 2
    window, truth = dataset[number], expert[4]
    np.testing.assert_array_equal(window["obs"]["velocity"], truth.observations[[-3, -2, -2], :1])
    np.testing.assert_array_equal(window["next_obs"]["angle"], truth.observations[[-2, -1, -1], 1:])
    np.testing.assert_array_equal(window["actions"], truth.actions[[-2, -1, -1]])
    np.testing.assert_array_equal(window["rewards"], truth.env_rewards[[-2, -1, -1]])
    ends = np.cumsum(lengths) - 1
    assert [dataset[int(end)]["dones"][0] for end in ends] == [each.terminated for each in expert]
    assert sum(dataset[step]["dones"][0] for step in range(len(dataset))) == sum(each.terminated for each in expert)


def test_an_environment_of_one_vector_is_written_as_robomimic_names_it(tmp_path):
    one = Demonstrations((episode(),), Provenance("Hopper-v5", {"observation": 3}))
    path = ilfo.demos.write(tmp_path / "x.hdf5", one, "robomimic")
    assert get_dataset_info(path)["obs"] == {"flat": (3,)}
    copy = ilfo.demos.open(path)
    assert copy.provenance.observation_keys == {"observation": 3}
    assert differences(copy[0], one[0]) == []


def test_the_expert_return_of_our_own_file_is_that_of_the_filter_key(tmp_path):
    paid = [episode(number=number, env_rewards=np.full(4, number + 1, np.float32), steps=4) for number in range(3)]
    path = ilfo.demos.write(
        tmp_path / "x.hdf5", Demonstrations(tuple(paid), Provenance("Hopper-v5", expert_return=8.0)), "robomimic"
    )
    with h5py.File(path, "r+") as file:
        file["mask/best"] = np.array(["demo_1", "demo_2"], dtype="S")
    assert ilfo.demos.open(path).expert_return == 8.0
    assert ilfo.demos.open(path, filter_key="best").expert_return == 10.0


def test_what_robosuite_recorded_is_written_as_robosuites(tmp_path):
    expert = ilfo.demos.open(save(tmp_path / "lift.hdf5", {0: demo(), 1: demo(number=1)}))
    path = tmp_path / "one.hdf5"
    ilfo.demos.convert(tmp_path / "lift.hdf5", path, "robomimic", episodes=[1])
    info = get_dataset_info(path)
    assert info["env_meta"] == LIFT | {"env_kwargs": {"control_freq": 20}}
    copy = ilfo.demos.open(path)
    assert differences(copy[0], expert[1]) == []
    assert copy.provenance == expert.provenance


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        ("Pendulum-v1@50-steps@seed-3", "Pendulum-v1"),
        ("ilfo.metaworld:MetaWorld/reach-v3@lights-seen-0", "ilfo.metaworld:MetaWorld/reach-v3"),
        ("ilfo.robosuite:robosuite/Lift-Panda-v1@50-steps@colours-unseen-1", "Lift"),
    ],
)
def test_marks_of_the_environment_are_not_part_of_its_name(tmp_path, env_id, name):
    path = ilfo.demos.write(tmp_path / "x.hdf5", Demonstrations((episode(),), Provenance(env_id)), "robomimic")
    assert get_dataset_info(path)["env_meta"]["env_name"] == name
    assert ilfo.demos.open(path).provenance.env_id == env_id


def test_an_environment_that_is_not_known_is_not_named_aloud(tmp_path):
    with pytest.warns(UserWarning, match="names no environment"):
        path = ilfo.demos.write(tmp_path / "x.hdf5", Demonstrations((episode(),)), "robomimic")
    assert ilfo.demos.open(path).provenance.env_id is None


def test_actions_beyond_their_bounds_are_refused(tmp_path):
    wide = episode(number=1)
    wide.actions[3, 1] = -1.5
    with pytest.raises(InputError, match=r"episode 1.*step 3, dimension 1 is -1\.5.*demands actions in \[-1, 1\]"):
        ilfo.demos.write(tmp_path / "x.hdf5", Demonstrations((episode(), wide), PROVENANCE), "robomimic")
    assert not list(tmp_path.iterdir())


def test_nothing_is_said_of_a_file_without_turns(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ilfo.demos.open(ilfo.demos.write(tmp_path / "x.hdf5", experts(), "robomimic"))
    assert not caught
