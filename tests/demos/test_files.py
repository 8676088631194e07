"""Opening: the layout is recognised, and what cannot be opened is refused in one sentence."""

import fcntl

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expert\.hdf5: no such file, and no bundled demonstration"):
        ilfo.demos.open(tmp_path / "expert.hdf5")


def test_a_folder_is_refused_and_its_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"is a folder.*holds no \.hdf5 file"):
        ilfo.demos.open(tmp_path)
    (tmp_path / "one.hdf5").touch()
    with pytest.raises(InputError, match=r"is a folder.*one\.hdf5"):
        ilfo.demos.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"PK\x03\x04 a zip", b"text\n" * 1000])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "expert.hdf5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"is not HDF5 \({len(content)} bytes"):
        ilfo.demos.open(path)


@pytest.mark.parametrize("names", [[], ["obs", "acts"], [f"key{number}" for number in range(20)]])
def test_an_unknown_layout_says_what_was_found(tmp_path, names):
    path = tmp_path / "expert.hdf5"
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = np.zeros(3)
    found = "nothing" if not names else repr(sorted(names)[0])
    with pytest.raises(InputError, match=f"found {found}.*expected groups 'episode_0'.*dataset 'observations' .D4RL"):
        ilfo.demos.open(path)


def test_a_folder_of_something_else_is_not_taken_for_a_dataset(tmp_path):
    (tmp_path / "metadata.json").write_text('{"title": "holidays"}')
    with pytest.raises(InputError, match="of neither a Minari nor a LeRobot dataset"):
        ilfo.demos.open(tmp_path)


def test_data_without_demonstrations_is_no_robomimic_file(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["data/demo_one/obs/object"] = np.zeros((5, 10))
    with pytest.raises(
        InputError, match=r"found 'data'; expected .*'data/demo_0', 'data/demo_1', \.\.\. \(robomimic\)"
    ):
        ilfo.demos.open(tmp_path / "x.hdf5")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "expert.hdf5"
    states = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    ilfo.demos.write(path, Demonstrations((Trajectory(states), Trajectory(states[:200]))))
    return path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path, whole, data):
    path = tmp_path / "cut.hdf5"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match=r"cut\.hdf5: (is not HDF5|cannot be read as HDF5)"):
        ilfo.demos.open(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wiped_bytes_are_refused_or_harmless(tmp_path, whole, data):
    start = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path / "wiped.hdf5"
    path.write_bytes(whole[:start] + bytes(64) + whole[start + 64 :])
    try:
        expert = ilfo.demos.open(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert [len(each) for each in expert] == [399, 199]


def test_a_file_that_is_being_written_to_is_not_called_damaged(tmp_path, whole):
    path = tmp_path / "expert.hdf5"
    path.write_bytes(whole)
    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"expert\.hdf5: another program has it open and may be writing to it"):
            ilfo.demos.open(path)


def test_a_string_opens_as_well_as_a_path(tmp_path, whole):
    path = tmp_path / "expert.hdf5"
    path.write_bytes(whole)
    assert ilfo.demos.open(str(path)).sha256 == ilfo.demos.open(path).sha256


def test_slicing_the_whole_is_opening_the_slice(tmp_path, whole):
    path = tmp_path / "expert.hdf5"
    path.write_bytes(whole)
    assert ilfo.demos.open(path)[1:].sha256 == ilfo.demos.open(path, episodes=[1]).sha256


def test_a_part_of_a_file_states_its_own_return(tmp_path):
    states = np.zeros((6, 2), np.float32)
    paid = tuple(Trajectory(states, env_rewards=np.full(5, worth, np.float32)) for worth in (1, 2, 6))
    path = ilfo.demos.write(tmp_path / "three.hdf5", Demonstrations(paid))
    opened = ilfo.demos.open(path)
    assert opened[:].provenance.expert_return == opened.expert_return == 15
    assert ilfo.demos.open(path, episodes=[0, 1]).expert_return == opened[:2].expert_return == 7.5
    part = ilfo.demos.write(tmp_path / "one.hdf5", opened[:1])
    assert ilfo.demos.open(part).provenance.expert_return == 5


def test_a_part_without_rewards_keeps_what_is_known_of_the_expert(tmp_path):
    silent = (Trajectory(np.zeros((6, 2), np.float32)),) * 2
    path = ilfo.demos.write(tmp_path / "two.hdf5", Demonstrations(silent, Provenance(expert_return=8.0)))
    assert ilfo.demos.open(path)[:1].expert_return == 8
    assert ilfo.demos.open(path, episodes=[1]).expert_return == 8


@pytest.mark.parametrize("layout", ["ilfo", "robomimic", "minari"])
def test_a_time_limit_is_refused_where_nothing_needs_it(tmp_path, layout):
    states = np.linspace(-0.5, 0.5, 30, dtype=np.float32).reshape(10, 3)
    expert = Demonstrations((Trajectory(states, np.zeros((9, 1)), np.ones(9)),), Provenance("Walk-v0"))
    path = ilfo.demos.write(tmp_path / "walk-v0", expert, layout)
    with pytest.raises(InputError, match=f"layout {layout} says where its episodes end. Leave the time limit out"):
        ilfo.demos.open(path, max_episode_steps=5)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (["traj_0/observations", "traj_1/observations"], r"If 'traj_0' is an episode, .*'episode_1' and so on\.$"),
        (["traj_0/obs"], "such groups 'episode_0', .* and 'obs' in each of them 'observations'"),
        (["states", "time"], "If the states are there, call 'states' 'observations'"),
        (["qpos", "qvel"], "join 'qpos' and 'qvel' to 'observations'"),
        (["camera_1/frames", "states"], "call 'states' 'observations'"),
        (["camera_1/frames", "poses"], "Rename the states to 'observations'"),
        (["actions"], "actions alone do not say these"),
        (["poses"], "Rename the states to 'observations'"),
    ],
)
def test_an_unknown_layout_is_told_the_way_to_a_known_one(tmp_path, names, remedy):
    path = tmp_path / "expert.hdf5"
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = np.zeros((4, 3))
    with pytest.raises(InputError, match=remedy):
        ilfo.demos.open(path)


def test_episodes_in_one_array_are_told_to_have_groups(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["observations"] = np.zeros((2, 6, 3))
    with pytest.raises(InputError, match=r"shape \(2, 6, 3\), expected .*If the first axis counts episodes, give each"):
        ilfo.demos.open(tmp_path / "x.hdf5")
