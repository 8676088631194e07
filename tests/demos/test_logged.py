"""Logged datasets: every row of the rewards belongs to an episode, and episodes are those that the readers find."""

import h5py
import numpy as np
import pytest
from full_episodes import experts

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos.logged import open_logged

FILE = {"ilfo": "x.hdf5", "d4rl": "x.hdf5", "robomimic": "x.hdf5", "minari": "x-v0"}


def written(folder, layout):
    """Eleven episodes in a layout: the file that holds them."""
    path = ilfo.demos.write(folder / FILE[layout], experts(), layout)
    return path / "data" / "main_data.hdf5" if path.is_dir() else path


def save(path, columns):
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


def flat(lengths, terminated=(), following=False):
    """Columns of a D4RL file of one dimension: state ``100 * episode + step``, reward the number of the row."""
    states = [100.0 * number + np.arange(steps + 1)[:, None] for number, steps in enumerate(lengths)]
    rows, last = sum(lengths), np.cumsum(lengths) - 1
    terminals = np.isin(np.arange(rows), last[list(terminated)])
    columns = {
        "observations": np.concatenate([each[:-1] for each in states]),
        "rewards": np.arange(rows, dtype=np.float32),
        "terminals": terminals,
        "timeouts": np.isin(np.arange(rows), last) & ~terminals,
    }
    if following:
        columns["next_observations"] = np.concatenate([each[1:] for each in states])
    return columns


@pytest.mark.parametrize("layout", FILE)
def test_the_episodes_are_those_that_a_reader_finds(tmp_path, layout):
    path = written(tmp_path, layout)
    expert = ilfo.demos.open(path)
    with open_logged(path) as logged:
        assert logged.layout == layout
        assert len(logged) == sum(map(len, expert)) == sum(map(len, logged.slots))
        assert logged.observation_dim == 3
        assert logged.keys == expert.provenance.observation_keys == {"velocity": 1, "angle": 2}
        assert logged.provenance.env_id == "Hopper-v5"
        for slot, truth in zip(logged.slots, expert, strict=True):
            found = logged.read(slot)
            np.testing.assert_array_equal(found.observations, truth.observations)
            assert (found.terminated, len(slot)) == (truth.terminated, len(truth))
            np.testing.assert_array_equal(logged.env_rewards(slot), truth.env_rewards)


@pytest.mark.parametrize("layout", ["ilfo", "robomimic"])
def test_a_dataset_without_rewards_has_slots_all_the_same(tmp_path, layout):
    path = written(tmp_path, layout)
    with h5py.File(path, "r+") as file:
        for group in (file if layout == "ilfo" else file["data"]).values():
            del group["rewards"]
    with open_logged(path) as logged:
        assert [len(slot) for slot in logged.slots] == [len(each) for each in experts()]
        assert logged.env_rewards(logged.slots[3]) is None


def test_rows_that_a_reader_leaves_out_belong_to_an_episode_too(tmp_path):
    columns = flat([4, 3, 5], terminated=[1])
    columns["timeouts"][-1] = False
    with open_logged(save(tmp_path / "x.hdf5", columns)) as logged:
        assert [(slot.start, slot.stop) for slot in logged.slots] == [(0, 4), (4, 7), (7, 12)]
        read = [logged.read(slot) for slot in logged.slots]
    assert [len(each) for each in read] == [3, 2, 4], "what followed the last step of each is not known"
    assert [each.terminated for each in read] == [False, True, False]
    assert read[2].observations[:, 0].tolist() == [200, 201, 202, 203, 204]


def test_an_unfinished_episode_with_next_observations_has_all_its_steps(tmp_path):
    columns = flat([4, 5], following=True)
    columns["timeouts"][-1] = False
    with open_logged(save(tmp_path / "x.hdf5", columns)) as logged:
        assert [len(logged.read(slot)) for slot in logged.slots] == [4, 5]


def test_a_next_observation_after_a_reset_is_no_successor(tmp_path):
    columns = flat([4, 4], following=True)
    columns["next_observations"][3] = columns["observations"][4]
    with open_logged(save(tmp_path / "x.hdf5", columns)) as logged:
        assert [len(logged.read(slot)) for slot in logged.slots] == [3, 4]


def test_a_row_on_its_own_is_an_episode_without_a_step(tmp_path):
    with open_logged(save(tmp_path / "x.hdf5", flat([3, 1, 1, 3], terminated=[0, 1, 2]))) as logged:
        assert [len(logged.read(slot)) for slot in logged.slots] == [2, 0, 0, 2]
        assert [len(slot) for slot in logged.slots] == [3, 1, 1, 3]


def test_a_time_limit_cuts_old_files(tmp_path):
    columns = flat([5, 2, 5], terminated=[1])
    del columns["timeouts"]
    path = save(tmp_path / "x.hdf5", columns)
    with pytest.raises(InputError, match="max-episode-steps"), open_logged(path):
        pass
    with open_logged(path, max_episode_steps=5) as logged:
        assert [len(slot) for slot in logged.slots] == [5, 2, 5]


@pytest.mark.parametrize("layout", ["ilfo", "minari", "robomimic"])
def test_a_time_limit_is_for_flat_files(tmp_path, layout):
    with (
        pytest.raises(InputError, match=f"layout {layout} says where its episodes end"),
        open_logged(written(tmp_path, layout), max_episode_steps=5),
    ):
        pass


@pytest.mark.parametrize("next_obs", ["absent", "a copy"])
def test_a_robomimic_demonstration_may_lack_its_last_successor(tmp_path, next_obs):
    generator = np.random.default_rng(0)
    columns = {}
    for number in (0, 10, 9):
        states = generator.normal(size=(number + 2, 3))
        columns |= {f"data/demo_{number}/obs/object": states, f"data/demo_{number}/rewards": np.ones(number + 2)}
        if next_obs == "a copy":
            columns[f"data/demo_{number}/next_obs/object"] = np.concatenate([states[1:], states[-1:]])
    with open_logged(save(tmp_path / "x.hdf5", columns)) as logged:
        assert [slot.group for slot in logged.slots] == ["data/demo_0", "data/demo_9", "data/demo_10"]
        assert [(len(slot), len(logged.read(slot))) for slot in logged.slots] == [(2, 1), (11, 10), (12, 11)]


def test_an_episode_of_other_observations_is_refused_by_name(tmp_path):
    arrays = {f"data/demo_{number}/obs/{key}": np.ones((4, 2)) for number, key in enumerate(["a", "b"])}
    with (
        open_logged(save(tmp_path / "x.hdf5", arrays)) as logged,
        pytest.raises(
            InputError, match=r"'data/demo_1': its observations are \{'b': 2\}, but those of .*'data/demo_0'"
        ),
    ):
        logged.read(logged.slots[1])


@pytest.mark.parametrize("layout", FILE)
def test_a_damaged_episode_is_refused_by_name(tmp_path, layout):
    path = written(tmp_path, layout)
    with open_logged(path) as logged:
        slot = logged.slots[3]
    places = {"d4rl": "", "robomimic": "/obs/angle", "minari": "/observations/angle", "ilfo": "/observations"}
    with h5py.File(path, "r+") as file:
        file[f"{slot.group}{places[layout]}" if places[layout] else "observations"][slot.start + 1, 0] = np.nan
    with open_logged(path) as logged, pytest.raises(InputError, match="finite") as caught:
        logged.read(slot)
    assert str(path) in str(caught.value)
    assert slot.name in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = written(tmp_path, "d4rl")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="truncated or damaged"), open_logged(path):
        pass
