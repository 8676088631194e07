"""Minari's datasets in Arrow and parquet: read as the same dataset in HDF5 is, and damage is named."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from full_episodes import differences
from gymnasium import spaces
from minari_datasets import ACTIONS, NESTED, STATES, made_by_minari

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos.commands import main
from ilfo.demos.files import has_frames

minari = pytest.importorskip("minari")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NUMBERED = spaces.Dict({"0": spaces.Box(-1, 1, (2,)), "1": spaces.Box(-1, 1, (1,))})


@pytest.fixture(params=["arrow", "parquet"])
def form(request):
    """How Minari stores the episodes."""
    return request.param


def made(root, form, *args, **how):
    """The folder of a dataset of random samples."""
    made_by_minari("random-v0", *args, data_format=form, **how)
    return root / "random-v0"


def rewritten(file, change):
    """Replaces the table in a file by another."""
    table = change(pa.dataset.dataset(str(file), format=file.suffix[1:]).to_table())
    save(file, table)


def save(file, table):
    if file.suffix == ".parquet":
        pq.write_table(table, file)
        return
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def restate(file, **facts):
    """Changes what a file of JSON says; None takes it out."""
    said = json.loads(file.read_text()) | facts
    file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))


def with_column(name, values):
    """A change of one column."""

    def change(table):
        return table.set_column(table.column_names.index(name), name, values)

    return change


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (STATES, ACTIONS),
        (spaces.Box(0, 1, (2, 3), np.float64), spaces.Box(-3, 3, (2, 2))),
        (NESTED, spaces.Dict({"turn": spaces.Discrete(3), "move": spaces.Box(-1, 1, (2,))})),
        (NESTED["pair"], spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,))))),
        (NUMBERED, spaces.MultiDiscrete([2, 3])),
        (spaces.Dict({"_index_a": STATES}), spaces.Tuple([spaces.Box(-1, 1, (2,))] * 11)),
        (spaces.Discrete(4), spaces.Discrete(2)),
        (spaces.MultiBinary(3), spaces.MultiBinary(2)),
        (spaces.Box(0, 255, (6,), np.uint8), spaces.Box(-1, 1, (1,), np.float16)),
    ],
    ids=["vector", "matrix", "nested", "tuple", "numbered", "indexed", "discrete", "binary", "bytes"],
)
def test_it_is_the_same_as_in_hdf5(root, form, space, actions):
    for name, data_format in (("one/random-v0", form), ("two/random-v0", "hdf5")):
        made_by_minari(name, space, actions=actions, data_format=data_format)
    found, known = (ilfo.demos.open(root / name / "random-v0") for name in ("one", "two"))
    assert [differences(*pair) for pair in zip(found, known, strict=True)] == [[], []]
    assert found.provenance == replace(known.provenance, source=known.provenance.source.replace("two/", "one/"))
    assert list(found.provenance.observation_keys) == list(known.provenance.observation_keys)
    assert (found.layout, found.sha256) == ("minari", known.sha256)


def test_episodes_are_read_in_the_order_of_their_numbers(root, form):
    samples = made_by_minari("random-v0", lengths=range(1, 13), data_format=form)
    expert = ilfo.demos.open(root / "random-v0")
    assert [len(each) for each in expert] == list(range(1, 13))
    assert [each.seed for each in expert] == [number if number % 2 else None for number in range(12)]
    assert [each.success for each in expert] == [number == 1 for number in range(12)]
    for trajectory, truth in zip(expert, samples, strict=True):
        np.testing.assert_array_equal(trajectory.observations, truth)


def test_chosen_episodes_alone_are_read(root, form):
    folder = made(root, form, lengths=range(1, 13))
    (folder / "data" / "0" / f"part-0.{form}").write_bytes(b"")
    chosen = ilfo.demos.open(folder, episodes=[10, 2])
    assert [len(each) for each in chosen] == [11, 3]
    with pytest.raises(InputError, match="no episode 12, the file has episodes 0 to 11"):
        ilfo.demos.open(folder, episodes=[12])


@pytest.mark.parametrize("inside", ["", "data"])
def test_the_dataset_or_its_data_may_be_named(root, form, inside):
    assert ilfo.demos.open(made(root, form) / inside).path == root / "random-v0" / "data"


def test_how_an_episode_ended_and_its_seed_are_read(root, form):
    data = made(root, form) / "data"
    rewritten(data / "1" / f"part-0.{form}", with_column("terminations", pa.array([False, True, False])))
    restate(data / "1" / "metadata.json", seed=2**63 + 7)
    first, second = ilfo.demos.open(root / "random-v0")
    assert (first.terminated, first.truncated, first.seed) == (False, True, None)
    assert (second.terminated, second.truncated, second.seed) == (True, True, 2**63 + 7)
    assert second.env_rewards.tolist() == [0, 1]


def test_arrays_are_the_trajectorys_own(root, form):
    one = ilfo.demos.open(made(root, form))[0]
    assert all(each.flags.writeable for each in (one.observations, one.actions, one.env_rewards))


@pytest.mark.parametrize(("stated", "jpeg_encoding"), [(True, True), (True, False), (False, True)])
def test_images_and_text_are_left_out_aloud(root, form, jpeg_encoding, stated):
    space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (32, 32, 3), np.uint8), "state": STATES, "task": spaces.Text(5, min_length=5)}
    )
    samples = made_by_minari("random-v0", space, jpeg_encoding=jpeg_encoding, data_format=form)
    if not stated:
        restate(root / "random-v0" / "data" / "metadata.json", observation_space=None)
    with pytest.warns(UserWarning, match=r"left out.*'observations/camera' \(images\), 'observations/task' \(text\)"):
        expert = ilfo.demos.open(root / "random-v0")
    np.testing.assert_array_equal(expert[0].observations, [each["state"] for each in samples[0]])
    assert expert.provenance.observation_keys == {"state": 3}


def test_images_alone_are_no_states(root, form):
    folder = made(root, form, spaces.Box(0, 255, (32, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"folder '0': 'observations' holds 'observations' \(images\), expected vec"):
        ilfo.demos.open(folder)


def test_without_a_space_keys_are_taken_in_alphabetical_order(root, form):
    samples = made_by_minari("random-v0", NESTED, data_format=form)
    restate(root / "random-v0" / "data" / "metadata.json", observation_space=None)
    expert = ilfo.demos.open(root / "random-v0")
    assert list(expert.provenance.observation_keys.items()) == [("alpha", 5), ("pair", 5), ("pixels", 64), ("zeta", 2)]
    np.testing.assert_array_equal(expert[0].observations[:, -2:], [each["zeta"] for each in samples[0]])


def test_without_a_space_a_tuple_is_known_by_its_numbers(root, form):
    samples = made_by_minari("random-v0", spaces.Tuple([spaces.Box(-1, 1, (1,))] * 11), data_format=form)
    restate(root / "random-v0" / "data" / "metadata.json", observation_space=None)
    expert = ilfo.demos.open(root / "random-v0")
    assert expert.provenance.observation_keys == {f"_index_{number}": 1 for number in range(11)}
    np.testing.assert_array_equal(expert[0].observations, np.squeeze(samples[0], 2))


def test_parts_of_an_episode_follow_each_other(root, form):
    samples = made_by_minari("random-v0", lengths=[11], data_format=form)
    whole = root / "random-v0" / "data" / "0" / f"part-0.{form}"
    table = pa.dataset.dataset(str(whole), format=form).to_table()
    for row in range(12):
        save(whole.with_stem(f"part-{row}"), table.slice(row, 1))
    np.testing.assert_array_equal(ilfo.demos.open(root / "random-v0")[0].observations, samples[0])


def test_an_episode_without_metadata_or_infos_is_read(root, form):
    folder = made(root, form)
    (folder / "data" / "1" / "metadata.json").unlink()
    rewritten(folder / "data" / "1" / f"part-0.{form}", lambda table: table.drop_columns("infos"))
    expert = ilfo.demos.open(folder)
    assert (len(expert[1]), expert[1].seed, expert[1].success) == (2, None, None)


def test_a_copy_that_lacks_episodes_is_read_aloud(root, form):
    folder = made(root, form)
    (folder / "data" / "0").rename(folder / "elsewhere")
    with pytest.warns(UserWarning, match=r"holds 1 episodes, but metadata\.json counts 2"):
        assert [len(each) for each in ilfo.demos.open(folder)] == [2]
    (folder / "data" / "1").rename(folder / "there")
    with pytest.raises(InputError, match=r"data: holds no episode, expected folders '0', '1', .*download"):
        ilfo.demos.open(folder)


def test_a_folder_without_its_files_is_refused(root, form):
    folder = made(root, form)
    (folder / "data" / "1" / f"part-0.{form}").unlink()
    with pytest.raises(InputError, match=rf"folder '1': found metadata\.json, expected part-0\.{form}\. Copy or d"):
        ilfo.demos.open(folder)


@pytest.mark.parametrize("keep", [0, 3, 500, -3])
def test_a_damaged_file_is_named(root, form, keep):
    file = made(root, form) / "data" / "1" / f"part-0.{form}"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"1/part-0\.{form}: cannot be read as {form}, it is missing, trunc"):
        ilfo.demos.open(root / "random-v0")


def test_parts_that_do_not_fit_together_are_refused(root, form):
    file = made(root, form) / "data" / "1" / f"part-0.{form}"
    table = pa.dataset.dataset(str(file), format=form).to_table()
    save(file.with_stem("part-1"), with_column("rewards", pa.array([["a"]] * 3))(table))
    with pytest.raises(InputError, match=rf"data/1: cannot be read as {form}"):
        ilfo.demos.open(root / "random-v0")


def fixed(values):
    """Lists of the fixed size that the rows have."""
    values = np.asarray(values, np.float32)
    return pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("rewards"), "has no column 'rewards', expected it beside 'observations', 'a"),
        (
            with_column("observations", pa.array([[1.0, 2], [3.0], [4.0, 5]])),
            "column 'observations', row 1: has width 1, expected 2. Leave that episode out.$",
        ),
        (
            with_column("observations", pa.array([[1.0, 2], [3.0, None], [4.0, 5]])),
            "column 'observations', row 1: there is no value, expected a number",
        ),
        (
            with_column("observations", pa.array([[1.0, 2], None, [4.0, 5]])),
            "column 'observations', row 1: there is no value, expected a number",
        ),
        (with_column("observations", pa.array(["a", "b", "c"])), "dataset 'observations': holds object values"),
        (with_column("observations", fixed([[1, 2]] * 3)), "has observations of width 2, but folder '0' has .* 3"),
        (
            with_column("observations", fixed([[1, 2, 3], [4, np.nan, 6], [7, 8, 9]])),
            "dataset 'observations': step 1, dimension 1 is nan, expected finite",
        ),
        (with_column("actions", fixed([[1, np.inf]] * 3)), "dataset 'actions': step 0, dimension 1 is inf"),
        (with_column("actions", pa.array([[[1.0]]] * 3)), "column 'actions', row 0: holds list.*expected numbers"),
        (with_column("rewards", pa.array([1.0, None, 0])), "column 'rewards', row 1: there is no value"),
        (with_column("terminations", pa.array([True, False, False])), "'terminations': step 0 ends the episode, but 1"),
        (
            with_column("infos", pa.StructArray.from_arrays([pa.array(["a"] * 3)], names=["success"])),
            "group 'infos', dataset 'success': holds object values",
        ),
        (lambda table: table.slice(0, 2), "attribute total_steps says 2, but its observations make 1 steps"),
        (lambda table: table.slice(0, 1), "1 observation with the final one, expected at least 2"),
        (lambda table: table.slice(0, 0), "0 observations with the final one, expected at least 2"),
    ],
)
def test_damaged_episodes_are_refused(root, form, change, message):
    file = made(root, form) / "data" / "1" / f"part-0.{form}"
    rewritten(file, change)
    with pytest.raises(InputError, match=message) as caught:
        ilfo.demos.open(root / "random-v0")
    assert str(root / "random-v0" / "data") in str(caught.value)
    assert "1" in str(caught.value)


def test_a_part_that_the_space_has_must_be_there(root, form):
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (1,))})
    file = made(root, form, space) / "data" / "1" / f"part-0.{form}"
    rewritten(file, with_column("observations", pa.StructArray.from_arrays([fixed([[1, 2]] * 3)], names=["a"])))
    with pytest.raises(InputError, match=r"folder '1', group 'observations': has no 'b' \(found 'a'\)"):
        ilfo.demos.open(root / "random-v0")


def test_episode_metadata_that_are_no_json_are_refused(root, form):
    file = made(root, form) / "data" / "1" / "metadata.json"
    file.write_text("{")
    with pytest.raises(InputError, match=r"1/metadata\.json: found b'{', expected a JSON object"):
        ilfo.demos.open(root / "random-v0")


def test_what_it_cannot_answer_is_refused(root, form):
    folder = made(root, form)
    assert not has_frames(folder)
    for how, message in (
        ({"frames": True}, "frames are read from files of layout ilfo alone, this is minari"),
        ({"filter_key": "good"}, "layout minari has no filter keys"),
        ({"max_episode_steps": 5}, "layout minari says where its episodes end"),
    ):
        with pytest.raises(InputError, match=message):
            ilfo.demos.open(folder, **how)


def test_the_commands_take_it(root, form, tmp_path, capsys):
    folder, out = made(root, form, lengths=[3] * 11 + [2]), tmp_path / "copy-v0"
    assert main(["validate", str(folder)]) == 0
    assert capsys.readouterr().out == "OK 12 episodes, 35 steps, 3 dimensions\n"
    assert main(["info", str(folder)]) == 0
    assert f"{folder / 'data'}\nlayout         minari\n" in capsys.readouterr().out
    assert main(["convert", str(folder), str(out), "--to", "minari", "--episodes", "11", "1"]) == 0
    copy = ilfo.demos.open(out)
    read = ilfo.demos.open(folder, episodes=[11, 1])
    assert [differences(*pair) for pair in zip(copy, read, strict=True)] == [[], []]


def test_a_missing_pyarrow_says_what_to_install(root, form, monkeypatch):
    folder = made(root, form)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = (
        r"data: parquet and Arrow files are read with pyarrow.*pip install 'ilfo\[lerobot-format\]', which brings it"
    )
    with pytest.raises(InputError, match=message):
        ilfo.demos.open(folder)
