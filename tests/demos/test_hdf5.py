"""The toolkit's own layout: what is written is read again, whole or by episode."""

import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory


def make(steps=5, width=3, number=0, **fields):
    generator = np.random.default_rng(number)
    return Trajectory(generator.normal(size=(steps + 1, width)).astype(np.float32), **fields)


def same(one, other):
    """Whether two trajectories agree in every array and every flag."""
    arrays = ("observations", "actions", "env_rewards", "frames", "goal")
    flags = ("terminated", "truncated", "success", "success_step", "seed")
    return all(getattr(one, name) == getattr(other, name) for name in flags) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        if getattr(one, name) is not None
        else getattr(other, name) is None
        for name in arrays
    )


@st.composite
def demonstrations(draw):
    width = draw(st.integers(1, 4))
    action_width = draw(st.none() | st.integers(1, 3))
    trajectories = []
    goal_width, size = draw(st.none() | st.integers(1, 3)), draw(st.none() | st.tuples(*[st.integers(1, 5)] * 2))
    for number in range(draw(st.integers(1, 12))):
        steps = draw(st.integers(1, 6))
        generator = np.random.default_rng(number)
        actions = None if action_width is None else generator.normal(size=(steps, action_width))
        rewards = generator.normal(size=steps).astype(np.float32) if draw(st.booleans()) else None
        trajectories.append(
            make(
                steps,
                width,
                number,
                actions=None if actions is None else actions.astype(np.float32),
                env_rewards=rewards,
                terminated=draw(st.booleans()),
                truncated=draw(st.booleans()),
                success=draw(st.none() | st.booleans()),
                success_step=draw(st.none() | st.integers(1, steps)),
                seed=draw(st.none() | st.integers(0, 2**31)),
                frames=None if size is None else generator.integers(0, 256, (steps + 1, *size, 3), np.uint8),
                goal=None if goal_width is None else generator.normal(size=goal_width).astype(np.float32),
            )
        )
    provenance = Provenance(
        env_id=draw(st.none() | st.just("Hopper-v5")),
        observation_keys=draw(st.just({}) | st.just({"zeta": 1, "alpha": width - 1} if width > 1 else {})),
        time_step=draw(st.none() | st.floats(1e-4, 1)),
        versions={"mujoco": "3.2.0"},
        expert_return=draw(st.floats(-1e6, 1e6)),
        source=draw(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)),
        action_repeat=draw(st.none() | st.integers(1, 9)),
        bar=draw(st.none() | st.just("success")),
    )
    return Demonstrations(tuple(trajectories), provenance)


@settings(max_examples=40, deadline=None)
@given(expert=demonstrations())
def test_round_trip_is_exact(tmp_path_factory, expert):
    path = tmp_path_factory.mktemp("round") / "expert.hdf5"
    ilfo.demos.write(path, expert)
    copy = ilfo.demos.open(path, frames=expert[0].frames is not None)
    assert all(same(one, other) for one, other in zip(expert, copy, strict=True))
    assert copy.provenance == expert.provenance
    assert list(copy.provenance.observation_keys) == list(expert.provenance.observation_keys)
    assert copy.sha256 == expert.sha256
    assert (copy.layout, copy.path) == ("ilfo", path)


def test_episodes_come_in_numeric_order_and_can_be_chosen(tmp_path):
    expert = Demonstrations(tuple(make(number + 1, number=number) for number in range(12)))
    path = ilfo.demos.write(tmp_path / "expert.hdf5", expert)
    assert [len(each) for each in ilfo.demos.open(path)] == list(range(1, 13))
    assert [len(each) for each in ilfo.demos.open(path, episodes=[10, 2])] == [11, 3]


def test_only_chosen_episodes_are_read(tmp_path):
    path = ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((make(), make(number=1))))
    with h5py.File(path, "r+") as file:
        file["episode_1/observations"][2, 1] = np.nan
    assert len(ilfo.demos.open(path, episodes=[0])) == 1
    with pytest.raises(InputError, match=r"'episode_1', dataset 'observations': step 2, dimension 1 is nan"):
        ilfo.demos.open(path, episodes=[1])


@pytest.mark.parametrize("episodes", [[2], [-1], []])
def test_episodes_that_do_not_exist_are_refused(tmp_path, episodes):
    path = ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((make(), make())))
    with pytest.raises(InputError, match="episodes 0 to 1"):
        ilfo.demos.open(path, episodes=episodes)


def test_the_file_is_laid_out_as_documented(tmp_path):
    trajectory = make(
        actions=np.ones((5, 2)),
        env_rewards=np.ones(5),
        terminated=True,
        truncated=False,
        seed=7,
        success=True,
        frames=np.zeros((6, 2, 4, 3), np.uint8),
        goal=np.ones(3),
    )
    provenance = Provenance("Hopper-v5", {"b": 2, "a": 1}, 0.008, {"mujoco": "3.2.0"}, None, "by hand", 4, "success")
    path = ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((trajectory,), provenance))
    with h5py.File(path) as file:
        assert dict(file.attrs) == {
            "ilfo_format_version": 1,
            "env_id": "Hopper-v5",
            "versions": '{"mujoco": "3.2.0"}',
            "observation_keys": '{"b": 2, "a": 1}',
            "time_step": 0.008,
            "action_repeat": 4,
            "expert_return": 5.0,
            "source": "by hand",
            "bar": "success",
            "sha256": ilfo.demos.open(path).sha256,
            "sha256_with_frames": ilfo.demos.open(path, frames=True).sha256,
        }
        group = file["episode_0"]
        assert dict(group.attrs) == {"id": 0, "seed": 7, "total_steps": 5, "success": True}
        assert {name: (array.shape, array.dtype.name) for name, array in group.items()} == {
            "observations": ((6, 3), "float32"),
            "actions": ((5, 2), "float32"),
            "rewards": ((5,), "float32"),
            "terminations": ((5,), "bool"),
            "truncations": ((5,), "bool"),
            "frames": ((6, 2, 4, 3), "uint8"),
            "goal": ((3,), "float32"),
        }
        assert group["frames"].chunks == (1, 2, 4, 3)
        assert all(array.compression == "gzip" and array.shuffle and array.chunks for array in group.values())
        assert group["terminations"][()].tolist() == [False] * 4 + [True]
        assert not group["truncations"][()].any()


def test_float64_is_stored_as_float32(tmp_path):
    trajectory = Trajectory(np.linspace(0, 1, 8).reshape(4, 2), success=np.True_)
    copy = ilfo.demos.open(ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((trajectory,))))
    assert copy[0].observations.dtype == np.float32
    assert copy[0].success is True


def test_an_error_in_the_middle_of_writing_leaves_the_old_file(tmp_path):
    path = ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((make(),)))
    before = path.read_bytes()
    unwritable = Provenance(env_id="a\0")
    with pytest.raises(ValueError, match="embedded NULLs"):
        ilfo.demos.write(path, Demonstrations((make(number=1), make(number=2)), unwritable))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def frames(count=6, shape=(2, 4, 3)):
    return np.zeros((count, *shape), np.uint8)


def test_states_are_read_without_the_frames(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    expert = Demonstrations((make(frames=pictures),))
    path = ilfo.demos.write(tmp_path / "expert.hdf5", expert)
    with h5py.File(path, "r+") as file:
        offset = file["episode_0/frames"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"no deflate")
    states = ilfo.demos.open(path)
    assert states[0].frames is None
    assert states.sha256 == Demonstrations((make(),)).sha256 != expert.sha256
    with pytest.raises(InputError, match="truncated or damaged"):
        ilfo.demos.open(path, frames=True)


def test_a_changed_frame_is_noticed_where_frames_are_read(tmp_path):
    path = ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((make(frames=frames()),)))
    with h5py.File(path, "r+") as file:
        file["episode_0/frames"][3, 0, 0, 0] += 1
    assert len(ilfo.demos.open(path)) == 1
    with pytest.raises(InputError, match="changed or damaged"):
        ilfo.demos.open(path, frames=True)


def test_frames_that_are_not_there_cannot_be_read(tmp_path):
    path = ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((make(),)))
    with pytest.raises(InputError, match=r"'episode_0': no dataset 'frames'\. Record it with --frames"):
        ilfo.demos.open(path, frames=True)


@pytest.mark.parametrize("field", ["frames", "goal"])
def test_the_sha256_knows_of_frames_and_goals(field):
    given = {"frames": (frames(), frames() + 1), "goal": (np.zeros(2, np.float32), np.ones(2, np.float32))}[field]
    digests = {Demonstrations((make(**{field: value}),)).sha256 for value in (None, *given)}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("trajectories", "message"),
    [
        ((), "no trajectory to write"),
        ((Trajectory(np.zeros((1, 3))),), r"episode 0: 1 observation with the final one, expected at least 2"),
        ((Trajectory(np.zeros((0, 3))),), "0 observations"),
        (
            (make(), Trajectory(np.full((4, 3), np.inf))),
            "episode 1, dataset 'observations': step 0, dimension 0 is inf",
        ),
        ((Trajectory(np.full((4, 3), 1e300)),), "1e.300, expected finite float32"),
        ((Trajectory(np.zeros((4, 3, 2))),), r"has shape \(4, 3, 2\), expected \(steps \+ 1, dimensions\)"),
        ((Trajectory(np.zeros(4)),), r"has shape \(4,\)"),
        ((Trajectory(np.zeros((4, 0))),), r"has shape \(4, 0\)"),
        ((Trajectory(np.array([["a"], ["b"]])),), "holds <U1 values, expected numbers"),
        ((make(actions=np.zeros((6, 1))),), "dataset 'actions': has 6 rows, expected 5"),
        ((make(actions=np.zeros((5, 1, 1))),), "dataset 'actions': has shape"),
        ((make(env_rewards=np.zeros(4)),), "dataset 'rewards': has 4 rows, expected 5"),
        ((make(env_rewards=np.zeros((5, 2))),), "dataset 'rewards': has shape"),
        (
            (make(), make(width=4)),
            "episode 1.*observations of width 4, but episode 0 has observations of width 3",
        ),
        ((make(), make(actions=np.zeros((5, 2)))), "actions of width 2, but episode 0 has no actions"),
        ((make(frames=np.zeros((6, 4, 4, 3))),), "dataset 'frames': has shape .* and type float64, expected .* uint8"),
        ((make(frames=frames(shape=(4, 4))),), r"dataset 'frames': has shape \(6, 4, 4\)"),
        ((make(frames=frames(shape=(3, 4, 4))),), r"dataset 'frames': has shape \(6, 3, 4, 4\).*colour last"),
        ((make(frames=frames(shape=(0, 4, 3))),), r"dataset 'frames': has shape \(6, 0, 4, 3\)"),
        ((make(frames=frames(5)),), "dataset 'frames': has 5 frames, expected 6: one an observation"),
        (
            (make(frames=frames()), make()),
            "episode 1: has no frames, but episode 0 has frames of width 4 x 2",
        ),
        ((make(frames=frames()), make(frames=frames(shape=(4, 2, 3)))), "episode 1: has frames of width 2 x 4"),
        ((make(goal=np.zeros((1, 3))),), r"dataset 'goal': has shape \(1, 3\), expected \(dimensions,\)"),
        ((make(goal=np.zeros(0)),), r"dataset 'goal': has shape \(0,\)"),
        ((make(goal=np.array([0, np.nan])),), "dataset 'goal': .*dimension 1 is nan"),
        ((make(goal=np.zeros(2)), make(goal=np.zeros(3))), "episode 1: has goal of width 3"),
    ],
)
def test_what_reading_would_refuse_is_not_written(tmp_path, trajectories, message):
    with pytest.raises(InputError, match=message):
        ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations(trajectories))
    assert not list(tmp_path.iterdir())


def test_writing_into_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"folder .* does not exist"):
        ilfo.demos.write(tmp_path / "no" / "expert.hdf5", Demonstrations((make(),)))


def test_keys_that_do_not_add_up_are_not_written(tmp_path):
    with pytest.raises(InputError, match="4 dimensions together, but the observations have 3"):
        ilfo.demos.write(tmp_path / "x.hdf5", Demonstrations((make(),), Provenance(observation_keys={"a": 4})))


def _replace(file, name, values):
    if name in file:
        del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.attrs.update(ilfo_format_version=2), "format version 2, this ilfo reads up to 1. Update ilfo"),
        (lambda f: f.attrs.update(ilfo_format_version="new"), "attribute 'ilfo_format_version': found 'new'"),
        (lambda f: f.attrs.update(sha256="0" * 64), "but the file states 000.*take a fresh copy"),
        (lambda f: f.attrs.update(versions="{"), "attribute 'versions': found '{', expected a JSON object"),
        (lambda f: f.attrs.update(versions="[1]"), "attribute 'versions'"),
        (lambda f: f.attrs.update(observation_keys=json.dumps({"a": 1})), "1 dimensions together"),
        (lambda f: f.attrs.update(observation_keys=json.dumps({"a": "x"})), "attribute 'observation_keys'"),
        (lambda f: f.attrs.update(time_step="fast"), "attribute 'time_step': found 'fast', expected a number"),
        (
            lambda f: f.attrs.update(action_repeat="often"),
            "attribute 'action_repeat': found 'often', expected a number",
        ),
        (lambda f: _replace(f, "episode_1/frames", np.zeros((5, 2, 2, 3), np.uint8)), "'frames': has 5 frames"),
        (lambda f: _replace(f, "episode_1/frames", [b"jpeg"] * 6), "'frames': holds .* values, expected numbers"),
        (lambda f: f["episode_1"].create_group("goal"), "'goal' is a group of nothing"),
        (lambda f: f["episode_1"].attrs.update(total_steps=9), "'episode_1': attribute total_steps says 9"),
        (lambda f: f["episode_1"].pop("observations"), "'episode_1': no dataset 'observations'.*found rewards"),
        (lambda f: _replace(f, "episode_1", [1.0]), "'episode_1': is a dataset, expected a group"),
        (lambda f: _replace(f, "episode_1/rewards", np.zeros(4)), "'rewards': has 4 rows, expected 5"),
        (lambda f: _replace(f, "episode_1/terminations", np.zeros(4)), r"'terminations': has shape \(4,\)"),
        (lambda f: _replace(f, "episode_1/truncations", np.eye(5)[1]), "step 1 ends the episode, but 3 more steps"),
        (lambda f: _replace(f, "episode_1/observations", [b"jpeg"] * 6), "holds .* values, expected numbers"),
        (lambda f: _replace(f, "episode_1/observations", 1.0), "has shape"),
        (lambda f: _replace(f, "episode_1/observations", np.zeros((1, 3))), "1 observation with the final one"),
        (lambda f: _replace(f, "episode_1/observations", np.zeros((6, 2))), "width 2, but group 'episode_0'"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage, message):
    two = Demonstrations((make(env_rewards=np.ones(5)), make(env_rewards=np.ones(5))))
    path = ilfo.demos.write(tmp_path / "expert.hdf5", two)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InputError, match=message) as caught:
        ilfo.demos.open(path)
    assert str(path) in str(caught.value)


def test_a_changed_value_is_noticed(tmp_path):
    path = ilfo.demos.write(tmp_path / "expert.hdf5", Demonstrations((make(), make())))
    with h5py.File(path, "r+") as file:
        file["episode_1/observations"][0, 0] += 1
    with pytest.raises(InputError, match="changed or damaged"):
        ilfo.demos.open(path)


def test_states_on_their_side_are_told_to_be_transposed(tmp_path):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["episode_0/observations"], file["episode_0/actions"] = np.zeros((3, 9)), np.zeros((8, 1))
    with pytest.raises(InputError, match=r"8 rows, expected 2.*If 'observations' are \(dimensions, steps\), transpose"):
        ilfo.demos.open(tmp_path / "x.hdf5")
