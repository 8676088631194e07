"""LeRobot's folders: frames by their numbers wherever they lie, and every fault named."""

import json
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilfo._tools.errors import InputError
from ilfo.demos.lerobot import is_lerobot, read_lerobot

pytestmark = pytest.mark.filterwarnings("ignore:.*next.done is set at the end of every episode")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

V3_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
V2_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"


def feature(dtype="float32", shape=(1,)):
    return {"dtype": dtype, "shape": list(shape), "names": None}


FEATURES = {
    "observation.state": feature(shape=[3]),
    "observation.images.top": feature("video", [480, 640, 3]),
    "action": feature(shape=[2]),
    "observation.gripper": feature(),
    "next.reward": feature(),
    "next.done": feature("bool"),
    "next.success": feature("bool"),
    "timestamp": feature(),
    "frame_index": feature("int64"),
    "episode_index": feature("int64"),
}
KEYS = {"observation.state": 3, "observation.gripper": 1}
LEFT_OUT = r"left out observation\.images\.top \(video"


def rows_of(lengths, seed=0):
    """Every frame of a data set in order, a dict of columns; episode ``e`` has ``lengths[e]`` frames."""
    generator = np.random.default_rng(seed)
    count = sum(lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    episode = np.repeat(np.arange(len(lengths)), lengths)
    last = frame == np.repeat(lengths, lengths) - 1
    return {
        "observation.state": generator.normal(size=(count, 3)).astype(np.float32),
        "action": generator.normal(size=(count, 2)).astype(np.float32),
        "observation.gripper": generator.normal(size=count).astype(np.float32),
        "next.reward": np.arange(count, dtype=np.float32),
        "next.done": last & (episode % 2 == 0),
        "next.success": (frame == 1) & (episode == 1),
        "timestamp": (frame / 20).astype(np.float32),
        "frame_index": frame,
        "episode_index": episode,
        "index": np.arange(count),
    }


def arrow(values, fixed=True):
    """A column as the libraries write it: scalars, lists, or lists of a fixed size."""
    if values.ndim == 1:
        return pa.array(values)
    kind = pa.list_(pa.from_numpy_dtype(values.dtype), values.shape[1] if fixed else -1)
    return pa.array(values.tolist(), kind)


def save_parquet(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def save_v3(root, lengths, files=None, *, rows=None, info=(), fixed=True, order=None, named=None):
    """A version 3 folder.

    Args:
        root: Where to.
        lengths: Frames of each episode.
        files: ``(chunk, file)`` of each frame; by default one file.
        rows: The frames, by default :func:`rows_of`; a value may be an Arrow array where there is one file.
        info: What ``meta/info.json`` says instead.
        fixed: Whether vectors are lists of a fixed size.
        order: Frames as they lie in the files.
        named: ``(chunk, file)`` that the metadata give for each episode, by default that of its first frame.
    """
    rows = rows_of(lengths) if rows is None else rows
    starts = np.cumsum([0, *lengths])
    files = [(0, 0)] * sum(lengths) if files is None else files
    order = np.arange(sum(lengths)) if order is None else np.asarray(order)
    for chunk, number in dict.fromkeys(files):
        held = [row for row in order if files[row] == (chunk, number)]
        columns = {
            name: values if isinstance(values, (pa.Array, pa.ChunkedArray)) else arrow(values[held], fixed)
            for name, values in rows.items()
        }
        save_parquet(root / V3_DATA.format(chunk_index=chunk, file_index=number), columns)
    places = np.array([files[start] for start in starts[:-1]] if named is None else named).reshape(-1, 2)
    episodes = {
        "episode_index": np.arange(len(lengths)),
        "length": np.asarray(lengths),
        "dataset_from_index": starts[:-1],
        "dataset_to_index": starts[1:],
        "data/chunk_index": places[:, 0],
        "data/file_index": places[:, 1],
        "stats/action/mean": np.zeros((len(lengths), 2)),
    }
    half = (len(lengths) + 1) // 2
    for number, some in enumerate((slice(half, None), slice(half))):
        columns = {name: arrow(values[some]) for name, values in episodes.items()}
        save_parquet(root / f"meta/episodes/chunk-000/file-{number:03d}.parquet", columns)
    said = {
        "codebase_version": "v3.0",
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "fps": 20,
        "data_path": V3_DATA,
        "features": FEATURES,
    }
    (root / "meta" / "info.json").write_text(json.dumps(said | dict(info)))
    return root


def opened(root, episodes=None):
    with pytest.warns(UserWarning, match=LEFT_OUT):
        return read_lerobot(root, episodes)


def states_of(rows, episode):
    which = rows["episode_index"] == episode
    return np.concatenate([rows["observation.state"], rows["observation.gripper"][:, None]], axis=1)[which]


def test_a_data_set_is_read_whole(tmp_path):
    lengths = [4, 3, 6]
    rows, expert = rows_of(lengths), opened(save_v3(tmp_path, lengths))
    assert [len(each) for each in expert] == [3, 2, 5], "the state after the last action was not recorded"
    for number, trajectory in enumerate(expert):
        which = rows["episode_index"] == number
        np.testing.assert_array_equal(trajectory.observations, states_of(rows, number))
        np.testing.assert_array_equal(trajectory.actions, rows["action"][which][:-1])
        np.testing.assert_array_equal(trajectory.env_rewards, rows["next.reward"][which][:-1])
        assert trajectory.observations.dtype == np.float32
    assert [each.terminated for each in expert] == [True, False, True]
    assert [each.truncated for each in expert] == [False, True, False]
    assert [each.success for each in expert] == [False, True, False]
    assert expert.expert_return == sum(range(13)) / 3, "the last reward counts"
    assert (expert.layout, expert.path) == ("lerobot", tmp_path)
    said = expert.provenance
    assert said.observation_keys == KEYS
    assert list(said.observation_keys) == list(KEYS)
    assert (said.env_id, said.time_step, said.source) == (None, 0.05, "LeRobot data set v3.0, robot so100")
    assert said.versions == {}


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(2, 6), min_size=1, max_size=5), data=st.data())
def test_files_and_rows_in_any_order_give_the_same(tmp_path_factory, lengths, data):
    plain = opened(save_v3(tmp_path_factory.mktemp("plain"), lengths))
    count = sum(lengths)
    place = st.sampled_from([(0, 0), (0, 1), (1, 0)])
    shuffled = save_v3(
        tmp_path_factory.mktemp("shuffled"),
        lengths,
        data.draw(st.lists(place, min_size=count, max_size=count)),
        order=data.draw(st.permutations(range(count))),
        fixed=data.draw(st.booleans()),
    )
    assert opened(shuffled).sha256 == plain.sha256


def test_an_episode_may_lie_in_another_file_than_the_one_named(tmp_path):
    lengths = [3, 3, 3]
    files = [(0, 0)] * 3 + [(0, 1)] * 3 + [(1, 0)] * 3
    named = [(0, 0), (0, 0), (0, 1)]
    plain = opened(save_v3(tmp_path / "plain", lengths))
    astray = save_v3(tmp_path / "astray", lengths, files, named=named)
    assert opened(astray).sha256 == plain.sha256
    assert opened(astray, [1]).sha256 == plain[1:2].sha256


def test_chosen_episodes_need_only_their_files(tmp_path):
    lengths = [3, 4, 5]
    root = save_v3(tmp_path, lengths, [(0, 0)] * 3 + [(0, 1)] * 4 + [(1, 0)] * 5)
    whole = opened(root)
    (root / "data/chunk-000/file-000.parquet").unlink()
    chosen = opened(root, [2, 1, 2])
    assert [len(each) for each in chosen] == [4, 3, 4]
    np.testing.assert_array_equal(chosen[0].observations, whole[2].observations)
    message = r"chunk-000/file-000\.parquet: no such file, it should hold episode 0\. Download it"
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=message):
        read_lerobot(root)
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match="no episode 3"):
        read_lerobot(root, [3])


def test_faults_in_an_episode_that_is_not_wanted_do_no_harm(tmp_path):
    rows = rows_of([3, 3])
    rows["action"][4, 1] = np.nan
    assert len(opened(save_v3(tmp_path, [3, 3], rows=rows), [0])) == 1


@pytest.mark.parametrize("numbers", [np.float16, np.float64, np.int32])
def test_numbers_of_any_kind_become_float32(tmp_path, numbers):
    rows = rows_of([5])
    rows["observation.state"] = rows["observation.state"].round().astype(numbers)
    states = opened(save_v3(tmp_path, [5], rows=rows))[0].observations
    assert states.dtype == np.float32
    np.testing.assert_array_equal(states[:, :3], rows["observation.state"])


def test_large_lists_and_lists_of_one_are_read(tmp_path):
    rows = rows_of([5])
    states, gripper = rows["observation.state"], rows["observation.gripper"]
    rows["observation.state"] = pa.array(states.tolist(), pa.large_list(pa.float32()))
    rows["observation.gripper"] = pa.array(gripper[:, None].tolist(), pa.list_(pa.float32()))
    read = opened(save_v3(tmp_path, [5], rows=rows))[0].observations
    np.testing.assert_array_equal(read, np.concatenate([states, gripper[:, None]], axis=1))


def test_a_name_that_begins_like_another_is_its_own_column(tmp_path):
    rows = rows_of([4])
    rows["observation.state.hand"] = -rows["action"]
    features = {"observation.state.hand": feature(shape=[2]), "observation.state": feature(shape=[3])}
    expert = read_lerobot(save_v3(tmp_path, [4], rows=rows, info={"features": features}))
    expected = np.concatenate([-rows["action"], rows["observation.state"]], axis=1)
    np.testing.assert_array_equal(expert[0].observations, expected)


def test_states_alone_are_enough(tmp_path):
    features = {"observation.state": feature(shape=[3])}
    expert = read_lerobot(save_v3(tmp_path, [4], info={"features": features, "fps": None, "robot_type": None}))
    assert expert[0].actions is None
    assert expert[0].env_rewards is None
    assert expert[0].success is None
    assert expert[0].truncated
    assert not expert[0].terminated
    assert expert.expert_return is None
    assert expert.provenance.time_step is None
    assert expert.provenance.source == "LeRobot data set v3.0"


@pytest.mark.parametrize(
    ("flags", "terminated"),
    [
        ({"next.done": 1, "next.truncated": 1}, False),
        ({"next.done": 1, "next.truncated": 0}, True),
        ({"next.terminated": 1, "next.truncated": 0}, True),
        ({"next.done": 1, "next.terminated": 0}, False),
        ({"next.done": 0}, False),
        ({}, False),
    ],
)
def test_how_an_episode_ended(tmp_path, flags, terminated):
    features = {"observation.state": feature(shape=[3])} | {name: feature("bool") for name in flags}
    last = np.arange(4) == 3
    rows = rows_of([4]) | {name: last & bool(flag) for name, flag in flags.items()}
    ended = read_lerobot(save_v3(tmp_path, [4], rows=rows, info={"features": features}))[0]
    assert (ended.terminated, ended.truncated) == (terminated, not terminated)


def test_done_at_the_end_of_every_episode_says_nothing_of_terminations(tmp_path):
    """Many recorders set it whatever ended an episode; where some end without it, it means something."""
    features = {"observation.state": feature(shape=[3]), "next.done": feature("bool")}
    for number, (dones, terminated) in enumerate([((1, 1), [False, False]), ((1, 0), [True, False])]):
        rows = rows_of([4, 4]) | {"next.done": np.array([0, 0, 0, dones[0], 0, 0, 0, dones[1]], bool)}
        folder = save_v3(tmp_path / str(number), [4, 4], rows=rows, info={"features": features})
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = read_lerobot(folder)
        assert [each.terminated for each in found] == terminated
        assert any("next.done is set at the end of every episode" in str(each.message) for each in told) == all(dones)


def test_one_warning_names_everything_that_is_left_out(tmp_path):
    features = FEATURES | {
        "action": feature("string"),
        "observation.tokens": feature("int64", [48]),
        "observation.map": feature(shape=[4, 4]),
        "observation.nothing": feature(shape=[0]),
    }
    with pytest.warns(UserWarning, match=LEFT_OUT) as caught:
        expert = read_lerobot(save_v3(tmp_path, [4, 4], info={"features": features}))
    assert len(caught) == 1
    assert "observation.images.top (video, shape [480, 640, 3]), action (string, shape [1])" in str(caught[0].message)
    assert "observation.tokens (int64, shape [48]), observation.map (float32, shape [4, 4])" in str(caught[0].message)
    assert expert[0].actions is None
    assert expert.provenance.observation_keys == KEYS


def test_how_chosen_episodes_ended_is_judged_by_all_that_are_there(tmp_path):
    features = {"observation.state": feature(shape=[3]), "next.done": feature("bool")}
    rows = rows_of([4, 4, 4]) | {"next.done": np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0], bool)}
    files = [(0, 0)] * 8 + [(0, 1)] * 4
    folder = save_v3(tmp_path, [4, 4, 4], files, rows=rows, info={"features": features})
    assert [each.terminated for each in read_lerobot(folder)] == [True, True, False]
    assert read_lerobot(folder, [1])[0].terminated
    assert not read_lerobot(folder, [2])[0].terminated
    (folder / "data/chunk-000/file-001.parquet").unlink()
    with pytest.warns(UserWarning, match="next.done is set at the end of every episode"):
        assert not read_lerobot(folder, [1])[0].terminated


def save_v2(root, lengths, **info):
    rows, chunk_size = rows_of(lengths), 2
    for number in range(len(lengths)):
        which = rows["episode_index"] == number
        file = root / V2_DATA.format(episode_chunk=number // chunk_size, episode_index=number)
        save_parquet(file, {name: arrow(values[which], fixed=False) for name, values in rows.items()})
    said = {"codebase_version": "v2.1", "fps": 10, "features": FEATURES, "data_path": V2_DATA}
    (root / "meta").mkdir()
    (root / "meta" / "info.json").write_text(json.dumps(said | {"chunks_size": chunk_size} | info))
    listed = [{"episode_index": number, "tasks": ["x"], "length": length} for number, length in enumerate(lengths)]
    (root / "meta" / "episodes.jsonl").write_text("\n".join(map(json.dumps, reversed(listed))) + "\n\n")
    return root


def test_version_2_is_read_alike(tmp_path):
    lengths = [3, 5, 4]
    found = opened(save_v2(tmp_path / "v2", lengths))
    assert found.sha256 == opened(save_v3(tmp_path / "v3", lengths)).sha256
    assert found.provenance.time_step == 0.1
    assert "v2.1" in found.provenance.source
    (tmp_path / "v2/data/chunk-000/episode_000000.parquet").unlink()
    assert [len(each) for each in opened(tmp_path / "v2", [2])] == [3]


def test_version_2_that_does_not_list_its_episodes_is_refused(tmp_path):
    root = save_v2(tmp_path, [3, 3])
    file = root / "meta" / "episodes.jsonl"
    for text, message in [
        ('{"episode_index": 0}', "expected 'episode_index' and 'length'"),
        ('{"episode_index": 0, "length": true}', "expected 'episode_index' and 'length'"),
        ("[1, 2]", "holds no JSON object"),
        ("", "holds no JSON object"),
        ("{", "cannot be read as JSON"),
        ("[" * 5000, "cannot be read as JSON"),
    ]:
        file.write_text(text)
        with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=message):
            read_lerobot(root)
    file.unlink()
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=r"episodes\.jsonl: cannot be read"):
        read_lerobot(root)


def test_a_folder_is_recognised(tmp_path):
    assert not is_lerobot(tmp_path)
    assert not is_lerobot(tmp_path / "absent")
    save_v3(tmp_path / "data set", [3])
    assert is_lerobot(tmp_path / "data set")
    assert not is_lerobot(tmp_path / "data set" / "meta" / "info.json")


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"codebase_version": "v1.6"}, r"info\.json: codebase_version is 'v1\.6', expected 2\.0 to 3\.x\. Convert"),
        ({"codebase_version": "v4.0"}, r"codebase_version is 'v4\.0'.*update ilfo"),
        ({"codebase_version": None}, "codebase_version is None"),
        ({"features": ["observation.state"]}, "'features' does not name the columns"),
        ({"features": {"observation.state": [3]}}, "'features' does not name the columns"),
        ({"features": {"action": feature(shape=[2])}}, r"names no float vector under 'observation\.' \(found action\)"),
        ({"features": {}}, r"\(found nothing\), expected 'observation\.state'"),
    ],
)
def test_metadata_that_cannot_be_used_are_refused(tmp_path, info, message):
    with pytest.raises(InputError, match=message):
        read_lerobot(save_v3(tmp_path, [3], info=info))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"fps": 0}, "fps is 0, expected a number above 0"),
        ({"fps": "20"}, "fps is '20'"),
        ({"data_path": "data/{nobody}.parquet"}, r"data_path is 'data/\{nobody\}\.parquet', expected 'data/chunk-"),
        ({"data_path": None}, "data_path is None"),
        ({"total_episodes": 3}, r"info\.json states 3 episodes, but 2 are listed"),
    ],
)
def test_metadata_that_contradict_the_files_are_refused(tmp_path, info, message):
    root = save_v3(tmp_path, [3, 3], info=info)
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=message):
        read_lerobot(root)


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_info_that_is_no_json_object_is_refused(tmp_path, text):
    root = save_v3(tmp_path, [3])
    (root / "meta" / "info.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"info\.json: (cannot be read as JSON|holds no JSON object)"):
        read_lerobot(root)


def ragged(row):
    states = rows_of([4, 3])["observation.state"].tolist()
    states[row] = states[row][:2]
    return pa.array(states, pa.list_(pa.float32()))


def holed(row, dimension=None):
    states = rows_of([4, 3])["observation.state"].tolist()
    if dimension is None:
        states[row] = None
    else:
        states[row][dimension] = None
    return pa.array(states, pa.list_(pa.float32(), 3))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("observation.state", ragged(5), r"episode 1, frame 1, column 'observation\.state': has width 2, expected 3\."),
        ("observation.state", holed(5), r"episode 1, frame 1, column 'observation\.state': there is no value"),
        ("observation.state", holed(6, 1), r"episode 1, frame 2, column 'observation\.state': there is no value"),
        ("observation.state", pa.array(range(7)), r"frame 0, column 'observation\.state': has width 1, expected 3"),
        ("observation.state", pa.array(["a"] * 7), r"holds string values, expected 3 numbers"),
        ("next.reward", pa.array([[1.0, 2.0]] * 7), r"'next\.reward': has width 2, expected 1"),
        ("frame_index", pa.array([0.5] * 7), r"column 'frame_index': holds double values, expected one whole number"),
        ("episode_index", pa.array([0, 0, 0, 0, 1, 1, None]), r"column 'episode_index': holds 1 empty rows"),
        ("frame_index", pa.array([0, 1, 2, 4, 0, 1, 2]), r"file-000\.parquet, episode 0: there is no frame 3"),
        ("frame_index", pa.array([1, 2, 3, 4, 0, 1, 2]), r"episode 0: there is no frame 0"),
        ("frame_index", pa.array([0, 1, 2, 3, 0, 1, 1]), r"episode 1: frame 1 is there twice"),
        ("episode_index", pa.array([0, 0, 0, 0, 1, 1, 2]), r"episode 1: has 2 frames, but meta lists 3"),
        ("episode_index", pa.array([0, 0, 0, 0, 2, 2, 2]), r"episode 1: has 0 frames, but meta lists 3"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, column, values, message):
    rows = rows_of([4, 3])
    rows[column] = values
    root = save_v3(tmp_path, [4, 3], rows=rows)
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=message):
        read_lerobot(root)


@pytest.mark.parametrize("column", ["observation.state", "action", "next.reward"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(tmp_path, column, value):
    rows = rows_of([4, 3])
    rows[column][(6, 1) if rows[column].ndim == 2 else 6] = value
    root = save_v3(tmp_path, [4, 3], rows=rows)
    message = rf"file-000\.parquet, episode 1, column '{column}': step 2, dimension \d is {value}"
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=message):
        read_lerobot(root)


def test_an_episode_of_one_frame_is_refused(tmp_path):
    root = save_v3(tmp_path, [4, 1])
    message = "episode 1: 1 observation with the final one, expected at least 2"
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=message):
        read_lerobot(root)


def test_an_episode_that_is_listed_twice_is_refused(tmp_path):
    root = save_v3(tmp_path, [4, 4], info={"total_episodes": 3})
    folder = root / "meta" / "episodes" / "chunk-000"
    (folder / "file-007.parquet").write_bytes((folder / "file-000.parquet").read_bytes())
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match="lists episode 1 twice"):
        read_lerobot(root)


def test_a_folder_without_a_list_of_episodes_is_refused(tmp_path):
    root = save_v3(tmp_path, [4])
    for file in (root / "meta" / "episodes").rglob("*.parquet"):
        file.unlink()
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match="lists no episode"):
        read_lerobot(root)


@pytest.mark.parametrize("file", ["data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-001.parquet"])
@pytest.mark.parametrize("keep", [0, 3, 500, -3])
def test_a_damaged_file_is_named(tmp_path, file, keep):
    root = save_v3(tmp_path, [4])
    content = (root / file).read_bytes()
    (root / file).write_bytes(content[:keep])
    with pytest.warns(UserWarning, match=LEFT_OUT), pytest.raises(InputError, match=f"{file}: cannot be read as parq"):
        read_lerobot(root)


def test_a_column_that_the_metadata_promise_must_be_there(tmp_path):
    rows = rows_of([4])
    del rows["action"]
    root = save_v3(tmp_path, [4], rows=rows)
    with (
        pytest.warns(UserWarning, match=LEFT_OUT),
        pytest.raises(InputError, match=r"0\.parquet: has no column 'act"),
    ):
        read_lerobot(root)


def test_a_missing_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    root = save_v3(tmp_path, [4])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'ilfo\[lerobot-format\]'"):
        read_lerobot(root)
