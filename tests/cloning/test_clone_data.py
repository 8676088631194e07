import tracemalloc
import warnings
from dataclasses import replace

import h5py
import numpy as np
import pytest
from small_clones import PENDULUM, SQUARE, changed, configure, expert, record, write

from ilfo import demos
from ilfo._tools import pieces
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.cloning import PixelEye, Samples, held_out, open_demonstrations
from ilfo.demos import Demonstrations, Trajectory
from ilfo.demos.trajectory import sha256_of
from ilfo.envs import describe, random_policy
from ilfo.variants import Variant


@pytest.fixture
def file(squares, tmp_path):
    """Writes the recording, with some fields of its trajectories replaced."""
    return lambda name="square.hdf5", **changes: write(tmp_path, name, changed(squares, **changes))


def opened(sees, demo, **changes):
    return open_demonstrations(configure(sees, demo, "run", **changes))[:2]


def test_whole_episodes_are_held_out():
    for episodes, held in ((1, 0), (2, 0), (3, 1), (10, 1), (15, 2), (40, 4)):
        chosen, left_out = held_out(episodes, 0.1, seed=0)
        assert len(left_out) == held
        assert sorted(chosen + left_out) == list(range(episodes))
    assert held_out(40, 0.1, seed=0) != held_out(40, 0.1, seed=1)
    assert held_out(3, 0.9, seed=0)[0], "something is left to learn from"
    assert held_out(9, 0.0, seed=0) == (list(range(9)), [])


def test_an_action_belongs_to_the_observation_before_it(squares):
    seen = [each.observations * 2 for each in squares]
    found = Samples.of(list(squares), seen, [1])
    assert len(found) == 8 * 20
    np.testing.assert_array_equal(found.actions.numpy(), expert(found.seen.numpy() / 2))
    np.testing.assert_array_equal(found.own.numpy(), found.seen.numpy()[:, 1:] / 2)
    assert Samples.of(list(squares), seen, []).own.shape == (160, 0)


def test_an_old_file_is_cut_by_the_time_limit_of_the_environment(squares, tmp_path):
    path, limit = tmp_path / "old.hdf5", describe(SQUARE).horizon
    with h5py.File(path, "w") as file:
        file["observations"] = np.concatenate([each.observations[:-1] for each in squares])
        file["actions"] = np.concatenate([each.actions for each in squares])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = opened("states", str(path))[0]
    assert f"time limit, {limit} steps, had ended" in str(caught[0].message)
    assert [len(each) for each in found] == [limit - 1] * len(squares)


def test_frames_of_a_file_become_samples_without_another_copy(tmp_path, monkeypatch):
    film = Trajectory(
        np.zeros((300, 1), np.float32),
        actions=np.zeros((299, 1), np.float32),
        frames=np.random.default_rng(0).integers(0, 4, (300, 96, 144, 3), dtype=np.uint8),
    )
    path = demos.write(tmp_path / "film.hdf5", Demonstrations((film, film)))
    filmed = demos.open(path, frames=True)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2**20)
    tracemalloc.start()
    try:
        samples = Samples.of(list(filmed), PixelEye().study(filmed), [])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(samples.seen.numpy(), np.concatenate([film.frames[:-1]] * 2))
    assert peak < samples.seen.numel() + 3 * 2**20


def test_frames_are_read_where_they_are_seen_alone(file):
    path = file()
    assert opened("states", path)[0][0].frames is None
    assert opened("pixels", path)[0][0].frames.shape == (21, 32, 32, 3)
    assert opened("states", path)[1] == demos.open(path).sha256


def test_files_of_several_looks_are_learned_from_together(squares, file, tmp_path):
    looks = [
        replace(squares, provenance=replace(squares.provenance, env_id=f"{SQUARE}@colours-seen-{index}"))
        for index in range(2)
    ]
    paths = tuple(write(tmp_path, f"{index}.hdf5", look[index : 3 + 2 * index]) for index, look in enumerate(looks))
    together, digest = opened("pixels", paths)
    assert len(together) == 3 + 4
    assert together.expert_return == pytest.approx(
        np.mean([each.env_return for each in (*squares[:3], *squares[1:5])]), rel=1e-6
    )
    assert digest not in (opened("pixels", paths[:1])[1], opened("pixels", paths[::-1])[1])
    for files, shown in ((paths, [0, 1]), (paths[1:], [1]), ((*paths, file()), [0, 1]), ((file(),), [])):
        found = open_demonstrations(configure("states", files, "run"))[2]
        assert found == [Variant("colours", index) for index in shown]


def test_the_hash_of_several_files_is_of_what_stands_in_them(squares, tmp_path):
    wide = changed(squares, frames=None)
    wide = replace(
        wide,
        trajectories=tuple(replace(each, observations=each.observations[:, [0, 0, 1]]) for each in wide),
        provenance=replace(squares.provenance, observation_keys={"unknown": 1, "observation": 2}),
    )
    paths = write(tmp_path, "a.hdf5", wide[:2]), write(tmp_path, "b.hdf5", wide[2:4])
    with pytest.warns(UserWarning, match="unknown"):
        together, digest = opened("states", paths)
    assert together.observation_dim == 2
    assert digest == sha256_of(wide[:4])


def test_another_environment_is_said(squares, tmp_path):
    other = replace(squares, provenance=replace(squares.provenance, env_id="small_envs:Mirrored-v0"))
    with pytest.warns(UserWarning, match="was recorded in small_envs:Mirrored-v0"):
        opened("states", write(tmp_path, "other.hdf5", other))


def test_another_look_than_a_variant_is_said_where_it_is_seen(squares, tmp_path):
    bare = replace(squares, provenance=replace(squares.provenance, env_id=f"{SQUARE}@no-shadows@colours-seen-0"))
    path = write(tmp_path, "bare.hdf5", bare)
    with pytest.warns(UserWarning, match=f"was recorded in {SQUARE}@no-shadows, the environment is {SQUARE}"):
        opened("pixels", path)
    opened("states", path)


def test_frames_alone_are_enough_for_pixels(squares, tmp_path):
    blank = [replace(each, observations=each.observations[:, :0]) for each in squares]
    alone = replace(squares, trajectories=tuple(blank), provenance=replace(squares.provenance, observation_keys={}))
    path = write(tmp_path, "video.hdf5", alone)
    assert len(opened("pixels", path)[0]) == 8
    with pytest.raises(InputError, match="there are no states, which --state-dims takes"):
        opened("pixels", path, state_dims="0")


@pytest.mark.parametrize(
    ("sees", "changes", "message"),
    [
        (
            "states",
            {"actions": None},
            r"no actions, which are what is imitated\. .*--policy MODULE:CALLABLE --actions --ep",
        ),
        ("keypoints", {"frames": None}, r"no frames, which --sees keypoints takes\. .*--actions --frames"),
        ("pixels", {"frames": None, "actions": None}, r"square\.hdf5: there are no actions.* and no frames"),
    ],
)
def test_a_file_that_lacks_something_is_refused_with_the_command_that_makes_it(file, sees, changes, message):
    with pytest.raises(InputError, match=message) as refused:
        opened(sees, file(**changes))
    assert f"ilfo record --env {SQUARE} " in str(refused.value)


def test_a_bundled_demonstration_has_states_alone():
    with pytest.raises(InputError, match=r"metaworld-reach: there are no actions.*reach-v3 --scripted"):
        opened("states", "metaworld-reach")


def test_actions_beyond_one_are_refused(squares, file):
    actions = np.array(squares[0].actions)
    actions[3] = 1.5
    with pytest.raises(InputError, match=r"episode 0, step 3: dimension 0 of the action is 1\.5; expected -1 to 1"):
        opened("states", file(actions=actions))


def test_actions_of_another_width_are_refused(file):
    with pytest.raises(InputError, match=r"episode 0: actions of 2 numbers; those of .*Square-v0 have 1"):
        opened("states", file(actions=np.zeros((20, 2), np.float32)))


def test_actions_in_units_of_their_own_are_refused(tmp_path):
    path = tmp_path / "d4rl.hdf5"
    made = record(PENDULUM, random_policy(1, seed=0), 1, None)
    demos.write(path, replace(made, provenance=describe(PENDULUM).provenance), layout="d4rl")
    for file in (path, tmp_path / "converted.hdf5"):
        with pytest.raises(InputError, match=f"{file.name}: its actions are in the units of InvertedPendulum-v5"):
            opened("states", str(file), env=PENDULUM)
        if file is path:
            demos.convert(path, tmp_path / "converted.hdf5", "ilfo")


def test_actions_as_they_are_recorded_stay_so_in_another_layout(tmp_path, capsys):
    made = record(PENDULUM, random_policy(1, seed=0), 1, None)
    known = replace(describe(PENDULUM).provenance, own_actions=False)
    own, other = (str(tmp_path / name) for name in ("own.hdf5", "other.hdf5"))
    demos.write(own, replace(made, provenance=known))
    assert main(["demos", "convert", own, other, "--to", "d4rl"]) == 0
    said = "".join(capsys.readouterr())
    assert "stand for the bounds of InvertedPendulum-v5: other libraries will take" in " ".join(said.split())
    opened("states", other, env=PENDULUM)


def test_frames_of_several_sizes_are_refused(squares, tmp_path):
    other = changed(squares[:1], frames=np.zeros((21, 16, 24, 3), np.uint8))
    paths = write(tmp_path, "a.hdf5", squares), write(tmp_path, "b.hdf5", other)
    with pytest.raises(InputError, match=r"b\.hdf5, episode 0: frames of 24 x 16 pixels, and .*a\.hdf5.* have 32 x 32"):
        opened("pixels", paths)


def test_pictures_in_another_layout_are_not_said_to_be_missing(squares, tmp_path):
    path = str(demos.write(tmp_path / "robot.hdf5", changed(squares, frames=None), layout="robomimic"))
    with pytest.raises(InputError, match="frames are read from files of layout ilfo alone, this is robomimic"):
        opened("pixels", path)


def test_a_filter_key_chooses_demonstrations_of_robomimic_files(squares, tmp_path):
    path = tmp_path / "robomimic.hdf5"
    demos.write(path, changed(squares, frames=None), layout="robomimic")
    with h5py.File(path, "a") as file:
        file["mask/valid"] = np.array(["demo_1", "demo_4"], dtype="S")
    chosen, _ = opened("states", str(path), filter_key="valid")
    assert len(chosen) == 2
    np.testing.assert_array_equal(chosen[1].actions, squares[4].actions)
