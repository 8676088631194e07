"""Writing for other libraries: what goes from one layout to another and back, and what is refused."""

import itertools
import os
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from full_episodes import PROVENANCE, differences, episode, experts

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory

LAYOUTS = {"ilfo": "expert.hdf5", "d4rl": "expert.hdf5", "robomimic": "expert.hdf5", "minari": "expert-v0"}
FOREIGN = ("d4rl", "robomimic", "minari")


def write(folder, demonstrations, layout):
    folder.mkdir(exist_ok=True)
    return ilfo.demos.write(folder / LAYOUTS[layout], demonstrations, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_recognised_and_read_again(tmp_path, layout):
    expert = experts()
    copy = ilfo.demos.open(write(tmp_path, expert, layout))
    assert copy.layout == layout
    lost = {"success", "seed"} if layout == "d4rl" else set()
    for one, other in zip(expert, copy, strict=True):
        assert set(differences(one, other)) <= lost
    assert copy.provenance == PROVENANCE
    assert list(copy.provenance.observation_keys) == list(PROVENANCE.observation_keys)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(LAYOUTS, LAYOUTS)))
def test_every_layout_becomes_every_other(tmp_path, first, second):
    expert = experts()
    there = write(tmp_path / "there", expert, first)
    (tmp_path / "back").mkdir()
    back = tmp_path / "back" / LAYOUTS[second]
    read = ilfo.demos.convert(there, back, second)
    assert read.layout == first
    copy = ilfo.demos.open(back)
    assert copy.layout == second
    lost = {"success", "seed"} if "d4rl" in (first, second) else set()
    for one, other in zip(expert, copy, strict=True):
        assert set(differences(one, other)) <= lost
    # Where nothing is said of units, it is the layout that tells.
    assert copy.provenance == replace(PROVENANCE, own_actions=first != "ilfo")
    assert [each.env_return for each in copy] == [each.env_return for each in expert]


@pytest.mark.parametrize("layout", FOREIGN)
def test_chosen_episodes_alone_are_converted(tmp_path, layout):
    expert = experts()
    source = write(tmp_path, expert, "ilfo")
    ilfo.demos.convert(source, tmp_path / "two-v1", layout, episodes=[10, 2])
    two = ilfo.demos.open(tmp_path / "two-v1")
    assert [len(each) for each in two] == [1, 4]
    np.testing.assert_array_equal(two[1].observations, expert[2].observations)
    assert two.expert_return == pytest.approx(np.mean([each.env_return for each in two])), "their own, not the file's"


def without_last_states(path, layout):
    """Two episodes of four rows that pay 1 and 10 in their last one, whose next state was not recorded."""
    rewards = [np.float32([0, 0, 0, worth]) for worth in (1, 10)]
    states, actions = np.arange(8, dtype=np.float32).reshape(2, 4, 1), np.zeros((2, 4, 1), np.float32)
    with h5py.File(path, "w") as file:
        if layout == "d4rl":
            file["observations"], file["actions"] = states.reshape(8, 1), actions.reshape(8, 1)
            file["rewards"], file["timeouts"] = np.concatenate(rewards), np.arange(8) % 4 == 3
            return path
        for index in range(2):
            group = file.create_group(f"data/demo_{index}")
            group["obs/state"], group["actions"], group["rewards"] = states[index], actions[index], rewards[index]
        file["mask/better"] = ["demo_1"]
    return path


@pytest.mark.filterwarnings("ignore:.*no state after their last step", "ignore:.*names no environment")
@pytest.mark.filterwarnings("ignore:.*rewards of steps that lead to no recorded state left out")
@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("source", ["d4rl", "robomimic"])
def test_the_reward_of_a_step_that_is_left_out_counts_in_the_return_of_chosen_episodes(tmp_path, source, target):
    path = without_last_states(tmp_path / "x.hdf5", source)
    choices = [({}, 5.5), ({"episodes": [0]}, 1.0), ({"episodes": [1]}, 10.0)]
    choices += [({"filter_key": "better"}, 10.0)] if source == "robomimic" else []
    for number, (chosen, expected) in enumerate(choices):
        copy = tmp_path / str(number) / LAYOUTS[target]
        copy.parent.mkdir()
        assert ilfo.demos.convert(path, copy, target, **chosen).expert_return == expected
        again = ilfo.demos.open(copy)
        assert again.expert_return == expected
        assert np.mean([each.env_return for each in again]) == (expected if target == "ilfo" else 0)


@pytest.mark.filterwarnings("ignore:.*no state after their last step", "ignore:.*names no environment")
@pytest.mark.parametrize("target", FOREIGN)
def test_a_layout_without_a_place_for_such_a_reward_is_told(tmp_path, target):
    path = without_last_states(tmp_path / "x.hdf5", "d4rl")
    with pytest.warns(UserWarning, match="rewards of steps that lead to no recorded state left out, only the ilfo"):
        ilfo.demos.convert(path, tmp_path / LAYOUTS[target], target)


def test_a_last_reward_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"episode 0, last reward: step 0 is nan"):
        write(tmp_path, Demonstrations((replace(episode(), last_reward=float("nan")),)), "ilfo")


@pytest.mark.parametrize("layout", FOREIGN)
def test_episodes_that_follow_on_one_another_stay_whole(tmp_path, layout):
    """Parts of one walk: the last state of each is the first of the next, which looks like a reset."""
    walk = np.arange(22, dtype=np.float32).reshape(11, 2)
    parts = tuple(
        Trajectory(walk[start : start + 6], np.zeros((5, 1), np.float32), np.ones(5, np.float32)) for start in (0, 5)
    )
    copy = ilfo.demos.open(write(tmp_path, Demonstrations(parts, Provenance("Walk-v0")), layout))
    assert [differences(one, other) for one, other in zip(parts, copy, strict=True)] == [[], []]


@pytest.mark.parametrize("layout", FOREIGN)
def test_standing_still_to_the_end_stays_whole(tmp_path, layout):
    still = Trajectory(np.ones((6, 2), np.float32), np.zeros((5, 1), np.float32), np.ones(5, np.float32))
    copy = ilfo.demos.open(write(tmp_path, Demonstrations((still, still), Provenance("Walk-v0")), layout))
    assert [len(each) for each in copy] == [5, 5]


@pytest.mark.parametrize("layout", FOREIGN)
@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"actions": None}, "has no actions, but"),
        ({"env_rewards": None}, "has no rewards, but"),
        ({"actions": None, "env_rewards": None}, "has no actions and no rewards, but"),
    ],
)
def test_what_the_layout_demands_and_the_states_lack_is_named(tmp_path, layout, fields, missing):
    two = Demonstrations((episode(), episode(number=1, **fields)))
    with pytest.raises(InputError, match=f"episode 1 {missing} the {layout} layout demands.*write the ilfo layout"):
        write(tmp_path, two, layout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", FOREIGN)
@pytest.mark.parametrize(
    ("demonstrations", "message"),
    [
        (Demonstrations(()), "no trajectory to write"),
        (Demonstrations((episode(), episode(observations=np.zeros((6, 4))))), "episode 1: has observations of width 4"),
        (Demonstrations((episode(observations=np.full((6, 3), np.nan)),)), "episode 0.*step 0, dimension 0 is nan"),
        (Demonstrations((episode(),), Provenance(observation_keys={"a": 2})), "2 dimensions together.*have 3"),
        (Demonstrations((episode(),), Provenance(observation_keys={"a/b": 3})), "'a/b' cannot name a dataset"),
        (Demonstrations((episode(),), Provenance(observation_keys={"": 3})), "'' cannot name a dataset"),
    ],
)
def test_what_cannot_be_read_again_is_not_written(tmp_path, layout, demonstrations, message):
    with pytest.raises(InputError, match=message):
        write(tmp_path, demonstrations, layout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_writing_into_no_folder_is_refused(tmp_path, layout):
    with pytest.raises(InputError, match=r"folder .*no does not exist"):
        ilfo.demos.write(tmp_path / "no" / "expert-v0", experts(), layout)


@pytest.mark.parametrize("layout", ["ilfo", "d4rl", "robomimic"])
def test_a_folder_is_not_taken_for_the_file_to_write(tmp_path, layout):
    with pytest.raises(InputError, match="is a folder, expected the file to write"):
        ilfo.demos.write(tmp_path, experts(), layout)
    assert not list(tmp_path.iterdir())


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="no layout 'robomimik'; did you mean 'robomimic'"):
        ilfo.demos.write(tmp_path / "x.hdf5", experts(), "robomimik")


@pytest.mark.parametrize("layout", FOREIGN)
@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"frames": np.zeros((6, 4, 4, 3), np.uint8)}, "frames"),
        ({"goal": np.zeros(3)}, "goal"),
        ({"goal": np.zeros(3), "frames": np.zeros((6, 4, 4, 3), np.uint8)}, "frames and goal"),
    ],
)
def test_what_the_layout_has_no_place_for_is_left_out_aloud(tmp_path, layout, fields, what):
    with pytest.warns(UserWarning, match=f": {what} left out"):
        path = write(tmp_path, Demonstrations((episode(**fields),), PROVENANCE), layout)
    assert differences(ilfo.demos.open(path)[0], episode()) == []


def test_frames_go_from_file_to_file_where_both_have_a_place_for_them(tmp_path):
    frames = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3)
    source = write(tmp_path, Demonstrations((episode(frames=frames),), PROVENANCE), "ilfo")
    ilfo.demos.convert(source, tmp_path / "copy.hdf5", "ilfo")
    np.testing.assert_array_equal(ilfo.demos.open(tmp_path / "copy.hdf5", frames=True)[0].frames, frames)
    with pytest.warns(UserWarning, match=r"flat\.hdf5: frames left out"):
        ilfo.demos.convert(source, tmp_path / "flat.hdf5", "d4rl")
    with pytest.raises(InputError, match="frames are read from files of layout ilfo alone, this is d4rl"):
        ilfo.demos.open(tmp_path / "flat.hdf5", frames=True)


def test_of_a_labelled_file_the_environments_rewards_are_converted_aloud(tmp_path):
    source = write(tmp_path, experts(), "d4rl")
    with h5py.File(source, "r+") as file:
        file.move("rewards", "env_rewards")
        file["rewards"], file.attrs["ilfo_label"] = np.zeros(len(file["env_rewards"])), "{}"
    with pytest.warns(UserWarning, match="the rewards that 'ilfo label' wrote are left out"):
        ilfo.demos.convert(source, tmp_path / "copy.hdf5", "robomimic")
    for one, other in zip(experts(), ilfo.demos.open(tmp_path / "copy.hdf5"), strict=True):
        np.testing.assert_array_equal(other.env_rewards, one.env_rewards)


def test_a_file_is_not_converted_onto_itself(tmp_path):
    source = write(tmp_path, experts(), "ilfo")
    before = source.read_bytes()
    with pytest.raises(InputError, match="is what is read"):
        ilfo.demos.convert(source, os.path.relpath(source), "d4rl")
    assert source.read_bytes() == before


def test_the_file_in_a_dataset_is_not_converted_onto_itself(tmp_path):
    source = write(tmp_path, experts(), "minari")
    inside = source / "data" / "main_data.hdf5"
    before = inside.read_bytes()
    with pytest.raises(InputError, match="is what is read"):
        ilfo.demos.convert(source, inside, "ilfo")
    assert inside.read_bytes() == before


def test_frames_of_some_episodes_alone_are_not_left_out_in_silence(tmp_path):
    frames = np.zeros((6, 4, 4, 3), np.uint8)
    source = write(tmp_path, Demonstrations((episode(frames=frames), episode(frames=frames)), PROVENANCE), "ilfo")
    with h5py.File(source, "r+") as file:
        del file["episode_0/frames"]
    with pytest.raises(InputError, match="group 'episode_0': no dataset 'frames'"):
        ilfo.demos.convert(source, tmp_path / "copy.hdf5", "ilfo")


@pytest.mark.parametrize("layout", FOREIGN)
def test_an_error_in_the_middle_of_writing_leaves_nothing(tmp_path, layout):
    unwritable = replace(PROVENANCE, env_id="a\0", observation_keys={"\0": 1, "angle": 2})
    with pytest.raises(ValueError, match=r"embedded NULLs|empty string"):
        write(tmp_path, experts(unwritable), layout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_provenance_of_numpys_numbers_is_written(tmp_path, layout):
    numbers = {"time_step": np.float32(0.5), "action_repeat": np.int64(4), "own_actions": np.bool_(True)}
    keys = {"velocity": np.int64(1), "angle": np.uint8(2)}
    path = write(tmp_path, experts(replace(PROVENANCE, observation_keys=keys, **numbers)), layout)
    plain = {"time_step": 0.5, "action_repeat": 4, "own_actions": True}
    assert ilfo.demos.open(path).provenance == replace(PROVENANCE, **plain)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"provenance: time_step is 'fast'\. Correct it"):
        write(tmp_path / "other", experts(replace(PROVENANCE, time_step="fast")), layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(InputError, match=r"takes up to .* MB, but its disk has 0\.0 MB left"):
        write(tmp_path, experts(), layout)
    assert not list(tmp_path.iterdir())


def test_frames_are_written_as_long_as_there_is_room(tmp_path, monkeypatch):
    """They may pack well, so what they take is not known before."""
    left = itertools.chain([50e6] * 8, itertools.repeat(4.2e6))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, next(left)))
    film = episode(frames=np.zeros((6, 400, 400, 3), np.uint8))
    with pytest.raises(InputError, match=r"takes up to 7\.1 MB, but its disk has 4\.2 MB left"):
        write(tmp_path, Demonstrations((film, film), PROVENANCE), "ilfo")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["d4rl", "robomimic"])
def test_an_older_file_is_replaced(tmp_path, layout):
    write(tmp_path, Demonstrations((episode(),), PROVENANCE), layout)
    path = write(tmp_path, experts(), layout)
    assert len(ilfo.demos.open(path)) == 11
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("layout", ["d4rl", "robomimic"])
@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("{", "found '{', expected a JSON object"),
        ("[1]", r"found '\[1\]', expected a JSON object"),
        pytest.param("[" * 5000, r"found '\[+\.\.\., expected a JSON object", id="deep"),
        pytest.param("9" * 100, r"found '9{59}\.\.\., expected a JSON object", id="long"),
        (3.0, "expected a JSON object"),
        ('{"observation_keys": {"a": 4}}', "4 dimensions together, but the observations have 3"),
        ('{"observation_keys": [1]}', r"observation_keys is \[1\]"),
        ('{"time_step": "fast"}', "time_step is 'fast'"),
    ],
)
def test_a_provenance_that_was_changed_is_refused(tmp_path, layout, stated, message):
    path = write(tmp_path, experts(), layout)
    with h5py.File(path, "r+") as file:
        (file if layout == "d4rl" else file["data"]).attrs["ilfo_provenance"] = stated
    with pytest.raises(InputError, match=message) as caught:
        ilfo.demos.open(path)
    assert f"{path}" in str(caught.value)
    assert "attribute 'ilfo_provenance'" in str(caught.value)


def test_a_provenance_of_a_later_ilfo_is_read_as_far_as_it_is_known(tmp_path):
    path = write(tmp_path, experts(), "d4rl")
    with h5py.File(path, "r+") as file:
        file.attrs["ilfo_provenance"] = '{"env_id": "Hopper-v5", "weather": "fine", "bar": null}'
    assert ilfo.demos.open(path).provenance == Provenance("Hopper-v5")
