"""D4RL's flat files: episodes are cut where they end, and no step crosses an end."""

import itertools
import warnings

import h5py
import numpy as np
import pytest
from d4rl_readers import get_dataset, qlearning_dataset, sequence_dataset
from full_episodes import episode, experts
from hypothesis import given, settings
from hypothesis import strategies as st

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations


def walk(lengths, width=3, seed=0):
    """True episodes as ``(T+1, D)`` arrays: random walks, each with a start of its own."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(steps + 1, width)).cumsum(axis=0).astype(np.float32) for steps in lengths]


def flat(episodes, *, terminated=(), following=True, timeouts=True, actions=True, rewards=True):
    """The columns of a D4RL file: one row a step, the final observation only in ``next_observations``."""
    count = sum(len(each) - 1 for each in episodes)
    last = np.cumsum([len(each) - 1 for each in episodes]) - 1
    terminals = np.zeros(count, bool)
    terminals[last[list(terminated)]] = True
    columns = {"observations": np.concatenate([each[:-1] for each in episodes]), "terminals": terminals}
    if rewards:
        columns["rewards"] = np.arange(count, dtype=np.float32)
    if following:
        columns["next_observations"] = np.concatenate([each[1:] for each in episodes])
    if timeouts:
        columns["timeouts"] = np.isin(np.arange(count), last) & ~terminals
    if actions:
        columns["actions"] = np.arange(2.0 * count).reshape(count, 2)
    return columns


def save(path, columns, **attributes):
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
        file.attrs.update(attributes)
    return path


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(2, 7), min_size=1, max_size=6), data=st.data())
def test_next_observations_give_every_step(tmp_path_factory, lengths, data):
    ended = data.draw(st.sets(st.integers(0, len(lengths) - 1)))
    episodes = walk(lengths)
    path = save(tmp_path_factory.mktemp("d4rl") / "x.hdf5", flat(episodes, terminated=sorted(ended)))
    expert = ilfo.demos.open(path)
    for number, (trajectory, truth) in enumerate(zip(expert, episodes, strict=True)):
        np.testing.assert_array_equal(trajectory.observations, truth)
        assert trajectory.terminated == (number in ended)
        assert trajectory.truncated != trajectory.terminated
        assert len(trajectory.actions) == len(trajectory.env_rewards) == len(truth) - 1
    assert expert.expert_return == pytest.approx(sum(range(sum(lengths))) / len(lengths))


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(2, 7), min_size=1, max_size=6))
def test_without_next_observations_the_last_step_has_no_next_state(tmp_path_factory, lengths):
    episodes = walk(lengths)
    path = save(tmp_path_factory.mktemp("d4rl") / "x.hdf5", flat(episodes, following=False))
    with pytest.warns(UserWarning, match=f"{len(lengths)} of {len(lengths)} episodes have no state after their last"):
        expert = ilfo.demos.open(path)
    start = 0
    for trajectory, truth in zip(expert, episodes, strict=True):
        np.testing.assert_array_equal(trajectory.observations, truth[:-1])
        rows = np.arange(start, start + len(truth) - 2)
        np.testing.assert_array_equal(trajectory.env_rewards, rows)
        np.testing.assert_array_equal(trajectory.actions, np.stack([2 * rows, 2 * rows + 1], axis=1))
        last = start + len(truth) - 2
        assert (trajectory.last_reward, trajectory.env_return) == (last, sum(rows) + last)
        start += len(truth) - 1
    assert expert.expert_return == pytest.approx(sum(range(start)) / len(lengths))


def test_one_long_episode_like_those_of_locomotion(tmp_path):
    columns = flat(walk([1000], width=11), actions=False)
    path = save(tmp_path / "hopper.hdf5", columns, env_id="Hopper-v5", source="by hand")
    expert = ilfo.demos.open(path)
    assert (len(expert), len(expert[0]), expert.observation_dim, expert.layout) == (1, 1000, 11, "d4rl")
    assert expert[0].actions is None
    assert expert.expert_return == expert[0].env_return == pytest.approx(999 * 500)
    assert expert.provenance.env_id == "Hopper-v5"
    assert expert.provenance.source == "by hand"
    assert expert.provenance.observation_keys == {}, "the file names none"


def test_everything_else_in_the_file_is_left_alone(tmp_path):
    columns = flat(walk([4, 4])) | {
        "metadata/algorithm": b"SAC",
        "metadata/policy/fc0/weight": np.zeros((256, 3)),
        "infos/qpos": np.full((8, 2), np.nan),
        "seed": 3,
        "initial_state/qpos": np.zeros((2, 30)),
    }
    assert len(ilfo.demos.open(save(tmp_path / "x.hdf5", columns))) == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_any_number_and_columns_of_width_one(tmp_path, dtype):
    columns = flat([each.round() + 0 for each in walk([5, 4])])
    converted = {name: values.astype(dtype) for name, values in columns.items()}
    for name in ("rewards", "terminals", "timeouts"):
        converted[name] = converted[name][:, None]
    plain = ilfo.demos.open(save(tmp_path / "plain.hdf5", columns))
    expert = ilfo.demos.open(save(tmp_path / "x.hdf5", converted))
    assert expert.sha256 == plain.sha256
    assert expert[0].observations.dtype == expert[0].env_rewards.dtype == np.float32


def test_mixed_precision_is_not_a_jump(tmp_path):
    episodes = [1000 * each.astype(np.float64) / 3 for each in walk([20])]
    columns = flat(episodes, actions=False)
    columns["next_observations"] = columns["next_observations"].astype(np.float32)
    assert len(ilfo.demos.open(save(tmp_path / "x.hdf5", columns))) == 1


def test_a_discontinuity_is_an_end(tmp_path):
    columns = flat(walk([5, 3, 4]))
    del columns["timeouts"], columns["terminals"]
    assert [len(each) for each in ilfo.demos.open(save(tmp_path / "x.hdf5", columns))] == [5, 3, 4]


def test_a_discontinuity_where_the_flags_know_of_no_end_is_told(tmp_path):
    columns = flat(walk([5, 3, 4]))
    columns["timeouts"][4] = False
    with pytest.warns(UserWarning, match=r"of 1 row are not in the row below.* 3 episodes in place of 2"):
        assert [len(each) for each in ilfo.demos.open(save(tmp_path / "x.hdf5", columns))] == [5, 3, 4]


def test_where_no_flag_could_mark_a_time_limit_a_discontinuity_is_nothing_to_tell(tmp_path):
    columns = flat(walk([5, 3, 4]), terminated=[0, 2], timeouts=False)
    assert [len(each) for each in ilfo.demos.open(save(tmp_path / "x.hdf5", columns))] == [5, 3, 4]


def test_one_episode_without_any_flag_is_read(tmp_path):
    columns = flat(walk([6]))
    columns["timeouts"][:] = False
    assert [len(each) for each in ilfo.demos.open(save(tmp_path / "x.hdf5", columns))] == [6]


@pytest.mark.parametrize("following", [True, False])
def test_an_unfinished_last_episode_is_left_out_and_said_so(tmp_path, following):
    columns = flat(walk([5, 5, 4]), following=following)
    columns["timeouts"][-1] = False
    path = save(tmp_path / "x.hdf5", columns)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expert = ilfo.demos.open(path)
    assert "the last 4 rows belong to an episode that was not finished" in str(caught[0].message)
    assert len(caught) == 1 if following else "no state after their last step" in str(caught[1].message)
    assert len(expert) == 2
    assert expert.expert_return == sum(range(10)) / 2


def test_a_next_observation_after_the_reset_is_left_out(tmp_path):
    episodes = walk([6, 6, 6])
    for this, following in itertools.pairwise(episodes):
        this[-1] = following[0]
    path = save(tmp_path / "x.hdf5", flat(episodes))
    with pytest.warns(UserWarning, match="in 2 of 3 episodes the last one is the state after a reset"):
        expert = ilfo.demos.open(path)
    assert [len(each) for each in expert] == [5, 5, 6]
    np.testing.assert_array_equal(expert[0].observations, episodes[0][:-1])
    assert expert.expert_return == sum(range(18)) / 3


def test_a_reset_at_the_end_of_a_single_episode_is_left_out(tmp_path):
    times = np.linspace(0, 9, 101)
    episode = np.stack([np.sin(times), times], axis=1).astype(np.float32)
    episode[-1] = episode[0] + 0.01
    path = save(tmp_path / "x.hdf5", flat([episode]))
    with pytest.warns(UserWarning, match="in 1 of 1 episodes"):
        expert = ilfo.demos.open(path)
    assert len(expert[0]) == 99
    assert expert.expert_return == sum(range(100))


def test_coming_back_to_the_start_is_not_a_reset(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 101)
    circle = np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    assert len(ilfo.demos.open(save(tmp_path / "x.hdf5", flat([circle])))[0]) == 100


def test_standing_still_is_not_a_reset(tmp_path):
    still = np.zeros((50, 2), np.float32)
    assert len(ilfo.demos.open(save(tmp_path / "x.hdf5", flat([still])))[0]) == 49


def test_old_files_need_the_time_limit(tmp_path):
    columns = flat(walk([5, 2, 5, 5]), terminated=[1], following=False, timeouts=False)
    path = save(tmp_path / "hopper-v0.hdf5", columns)
    with pytest.raises(InputError, match=r"ilfo demos convert .* --to ilfo --max-episode-steps 1000"):
        ilfo.demos.open(path)
    with pytest.warns(UserWarning, match="4 of 4 episodes have no state after their last step"):
        expert = ilfo.demos.open(path, max_episode_steps=5)
    assert [len(each) for each in expert] == [4, 1, 4, 4]
    assert [each.terminated for each in expert] == [False, True, False, False]


def test_the_time_limit_leaves_an_unfinished_rest_out(tmp_path):
    columns = flat(walk([5, 5, 3]), following=False, timeouts=False, actions=False, rewards=False)
    with pytest.warns(UserWarning, match="last 3 rows"):
        assert len(ilfo.demos.open(save(tmp_path / "x.hdf5", columns), max_episode_steps=5)) == 2


@pytest.mark.parametrize(
    ("lengths", "terminated", "found"),
    [
        ([5, 5, 5], [], [4, 4, 4]),
        ([5, 2, 5, 3], [1], [4, 1, 4]),
        ([5, 3], [1], [4, 2]),
        ([3, 5, 5, 2], [0, 3], [2, 4, 4, 1]),
    ],
)
@pytest.mark.parametrize("unmarked", [False, True])
def test_a_limit_is_assumed_where_the_file_does_not_tell_its_episodes_apart(
    tmp_path, lengths, terminated, found, unmarked
):
    columns = flat(walk(lengths), terminated=terminated, following=False, timeouts=False)
    if unmarked:
        columns["timeouts"] = np.zeros(len(columns["terminals"]), bool)
    path = save(tmp_path / "x.hdf5", columns)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expert = ilfo.demos.open(path, assumed_episode_steps=5)
    assert "read as if the environment's time limit, 5 steps, had ended those that go on" in str(caught[0].message)
    assert [len(each) for each in expert] == found


@pytest.mark.parametrize(
    "columns",
    [
        {"observations": walk([5])[0]},
        flat(walk([5]), following=False, timeouts=False),
        flat(walk([3, 5]), terminated=[0, 1], following=False, timeouts=False),
        flat(walk([12, 7]), following=False),
        flat(walk([12, 7]), timeouts=False),
    ],
)
def test_a_limit_is_not_assumed_where_it_is_not_needed(tmp_path, columns):
    path = save(tmp_path / "x.hdf5", columns)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expected, found = ilfo.demos.open(path), ilfo.demos.open(path, assumed_episode_steps=5)
    assert expected.sha256 == found.sha256
    assert not any("had ended" in str(each.message) for each in caught)


def test_a_time_limit_below_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="max_episode_steps is 0"):
        ilfo.demos.open(save(tmp_path / "x.hdf5", flat(walk([5]))), max_episode_steps=0)


@pytest.mark.parametrize(("terminated", "count"), [([], 1), ([0, 1], 2)])
def test_a_file_without_means_to_split_it_is_believed_aloud(tmp_path, terminated, count):
    columns = flat(walk([5, 4]), terminated=terminated, following=False, timeouts=False, actions=False, rewards=False)
    with pytest.warns(UserWarning, match=f"read as {count} episode"):
        assert len(ilfo.demos.open(save(tmp_path / "x.hdf5", columns))) == count


def test_timeouts_that_are_never_set_mark_nothing(tmp_path):
    columns = flat(walk([5, 4]), following=False, actions=False, rewards=False)
    columns["timeouts"][:] = False
    path = save(tmp_path / "x.hdf5", columns)
    with pytest.warns(UserWarning, match="no timeout is marked.*read as 1 episode"):
        assert [len(each) for each in ilfo.demos.open(path)] == [8]
    columns["terminals"][2] = True
    path = save(tmp_path / "x.hdf5", columns)
    with pytest.raises(InputError, match=r"nothing says where a time limit ended the others.*marks in 'timeouts'"):
        ilfo.demos.open(path)


def test_observations_alone_are_enough(tmp_path):
    states = walk([9])[0]
    with pytest.warns(UserWarning, match="read as 1 episode"):
        expert = ilfo.demos.open(save(tmp_path / "x.hdf5", {"observations": states}))
    np.testing.assert_array_equal(expert[0].observations, states)
    assert expert.expert_return is None


def test_the_return_of_chosen_episodes_is_their_own(tmp_path):
    path = save(tmp_path / "x.hdf5", flat(walk([5, 3, 4])))
    whole, chosen = ilfo.demos.open(path), ilfo.demos.open(path, episodes=[2, 0])
    assert [len(each) for each in chosen] == [4, 5]
    assert chosen.expert_return == np.mean([whole[2].env_return, whole[0].env_return])
    assert chosen.expert_return != whole.expert_return


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros((11, 2))}, r"'actions': has shape \(11, 2\), expected 12 rows"),
        ({"timeouts": np.zeros(13)}, r"'timeouts': has shape \(13,\)"),
        ({"rewards": 1.0}, r"'rewards': has shape \(\)"),
        ({"rewards": np.zeros((12, 2))}, r"'rewards': has shape \(12, 2\), expected \(12,\)"),
        ({"next_observations": np.zeros((12, 4))}, r"'next_observations': has shape \(12, 4\), expected \(rows, 3\)"),
        ({"observations": np.zeros((12, 8, 8))}, r"'observations': has shape \(12, 8, 8\)"),
        ({"observations": np.zeros(12)}, r"'observations': has shape \(12,\)"),
        ({"observations": 1.0}, r"'observations': has shape \(\)"),
        ({"observations": [b"text"] * 12}, "'observations': holds"),
        ({"observations/flat": np.zeros((12, 3))}, "'observations' is a group of 'flat'"),
        ({"terminals": np.full(12, np.nan)}, "'terminals': step 0 is nan"),
    ],
)
def test_columns_that_do_not_agree_are_refused(tmp_path, change, message):
    columns = flat(walk([5, 7]))
    if "observations/flat" in change:
        del columns["observations"]
    with pytest.raises(InputError, match=message):
        ilfo.demos.open(save(tmp_path / "x.hdf5", columns | change))


@pytest.mark.parametrize("name", ["observations", "next_observations", "actions", "rewards"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(tmp_path, name, value):
    columns = flat(walk([5, 7]))
    place = (8,) if name == "rewards" else (8, 1)
    columns[name][place] = value
    expected = f"episode 1.*dataset '{name}': step 3" + ("" if name == "rewards" else ", dimension 1") + f" is {value}"
    # An infinite state is also a jump, so it may open an episode of its own before it is refused.
    if value == np.inf and name.endswith("observations"):
        expected = f"dataset '{name}': step .*dimension 1 is inf"
    with pytest.raises(InputError, match=expected):
        ilfo.demos.open(save(tmp_path / "x.hdf5", columns))


def test_a_reward_that_is_not_finite_can_be_left_out_with_its_episode(tmp_path):
    columns = flat(walk([5, 7]))
    columns["rewards"][8] = np.nan
    expert = ilfo.demos.open(save(tmp_path / "x.hdf5", columns), episodes=[0])
    assert expert.provenance.expert_return is None
    assert expert.expert_return == expert[0].env_return


def test_an_episode_of_one_observation_is_refused(tmp_path):
    path = save(tmp_path / "x.hdf5", flat(walk([5, 1, 4]), following=False, actions=False, rewards=False))
    with pytest.raises(InputError, match=r"episode 1 \(rows 5 to 5\): 1 observation with the final one"):
        ilfo.demos.open(path)
    assert len(ilfo.demos.open(path, episodes=[0, 2])) == 2


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no rows"):
        ilfo.demos.open(save(tmp_path / "x.hdf5", {"observations": np.zeros((0, 3))}))


def test_what_is_written_is_laid_out_as_d4rl_lays_it_out(tmp_path):
    path = ilfo.demos.write(tmp_path / "x.hdf5", Demonstrations((episode(5), episode(3, number=1))), "d4rl")
    with h5py.File(path) as file:
        assert {name: (column.shape, column.dtype.name) for name, column in file.items()} == {
            "observations": ((8, 3), "float32"),
            "next_observations": ((8, 3), "float32"),
            "actions": ((8, 2), "float32"),
            "rewards": ((8,), "float32"),
            "terminals": ((8,), "bool"),
            "timeouts": ((8,), "bool"),
        }
        assert set(file.attrs) == {"ilfo_provenance"}


def test_d4rl_reads_what_is_written(tmp_path):
    expert = experts()
    dataset = get_dataset(ilfo.demos.write(tmp_path / "x.hdf5", expert, "d4rl"), (3,), (2,))
    following = np.concatenate([each.observations[1:] for each in expert])
    np.testing.assert_array_equal(dataset["next_observations"], following)
    for found, truth in zip(sequence_dataset(dataset), expert, strict=True):
        np.testing.assert_array_equal(found["observations"], truth.observations[:-1])
        np.testing.assert_array_equal(found["next_observations"], truth.observations[1:])
        np.testing.assert_array_equal(found["actions"], truth.actions)
        np.testing.assert_array_equal(found["rewards"], truth.env_rewards)
        assert found["terminals"][-1] == truth.terminated
        assert found["timeouts"][-1] != truth.terminated
        assert not (found["terminals"] | found["timeouts"])[:-1].any()


def test_no_transition_that_d4rl_learns_from_crosses_the_end_of_a_timeout(tmp_path):
    expert = experts()
    dataset = get_dataset(ilfo.demos.write(tmp_path / "x.hdf5", expert, "d4rl"), (3,), (2,))
    transitions = qlearning_dataset(dataset)
    steps = {
        (*before.tolist(), *after.tolist())
        for each in expert
        for before, after in itertools.pairwise(each.observations)
    }
    learned = zip(transitions["observations"], transitions["next_observations"], transitions["terminals"], strict=True)
    # After a terminal nothing is bootstrapped, so there the next observation does not matter.
    assert all((*before.tolist(), *after.tolist()) in steps for before, after, terminal in learned if not terminal)
    # The end of the last episode of a file is never learned from: D4RL stops one row early.
    timed_out = sum(not each.terminated for each in expert)
    assert len(transitions["rewards"]) == len(dataset["rewards"]) - timed_out - 1


def test_an_end_without_a_reason_and_an_end_with_two_are_written_as_one(tmp_path):
    ends = Demonstrations((episode(truncated=False), episode(number=1, terminated=True, truncated=True)))
    copy = ilfo.demos.open(ilfo.demos.write(tmp_path / "x.hdf5", ends, "d4rl"))
    assert [(each.terminated, each.truncated) for each in copy] == [(False, True), (True, False)]


@pytest.mark.parametrize("name", ["dones", "episode_ends", "episode_ids", "traj_id", "is_last", "terminations"])
def test_ends_under_another_name_are_not_passed_over(tmp_path, name):
    columns = flat(walk([5, 4]), following=False, timeouts=False, actions=False, rewards=False)
    del columns["terminals"]
    marks = np.repeat([0, 1], len(columns["observations"]) // 2 + 1)[: len(columns["observations"])]
    path = save(tmp_path / "x.hdf5", columns | {name: marks})
    with pytest.raises(
        InputError, match=f"'{name}' may say where episodes end, .*'terminals'.*'timeouts'.*another name.*--max"
    ):
        ilfo.demos.open(path)
    assert len(ilfo.demos.open(path, max_episode_steps=3)) == 3, "a limit that is given is believed"


def test_lengths_of_several_episodes_are_not_passed_over(tmp_path):
    path = save(tmp_path / "x.hdf5", {"observations": np.zeros((5, 2)), "episode_lengths": np.array([3, 2])})
    with pytest.raises(InputError, match="'episode_lengths' may say where episodes end"):
        ilfo.demos.open(path)


def test_a_link_that_leads_nowhere_is_no_mark(tmp_path):
    path = save(tmp_path / "x.hdf5", {"observations": np.zeros((5, 2))})
    with h5py.File(path, "r+") as file:
        file["dones"] = h5py.SoftLink("/nowhere")
    with pytest.warns(UserWarning, match="read as 1 episode"):
        assert len(ilfo.demos.open(path)) == 1


@pytest.mark.parametrize("marks", [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [7, 7, 7, 7, 7], [5], 5])
def test_marks_of_one_episode_hide_nothing(tmp_path, marks):
    path = save(tmp_path / "x.hdf5", {"observations": np.zeros((5, 2)), "episode_ends": np.array(marks)})
    with pytest.warns(UserWarning, match="read as 1 episode"):
        assert len(ilfo.demos.open(path)) == 1


def test_states_on_their_side_are_told_to_be_transposed(tmp_path):
    path = save(tmp_path / "x.hdf5", {"observations": np.zeros((3, 9)), "actions": np.zeros((9, 1))})
    with pytest.raises(InputError, match=r"\(9, 1\), expected 3 rows as in 'observations', .*\(3, 9\)\. Transpose"):
        ilfo.demos.open(path)
