"""Copies with other rewards: whole or absent, everything else as it was, and read by those whose layout it is."""

import errno
import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from d4rl_readers import get_dataset, sequence_dataset
from full_episodes import PROVENANCE, differences, episode, experts
from robomimic_readers import SequenceDataset, get_dataset_info

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations
from ilfo.demos.logged import open_logged
from ilfo.demos.relabelled import check_target, relabelled

FACTS = {"reward": "by hand", "reward_keys": ("angle",)}
FILE = {"ilfo": "x.hdf5", "d4rl": "x.hdf5", "robomimic": "x.hdf5", "minari": "x-v0"}
OUT = {"ilfo": "new.hdf5", "d4rl": "new.hdf5", "robomimic": "new.hdf5", "minari": "new-v0"}


def inside(path):
    """The file with the episodes."""
    return path / "data" / "main_data.hdf5" if path.is_dir() else path


def rewards_of_each(path):
    """What a learner finds as the rewards of each episode."""
    with open_logged(inside(path)) as logged:
        return [logged.file[slot.group]["rewards"][slot.start : slot.stop].tolist() for slot in logged.slots]


def made(folder, layout, demonstrations=None):
    """A dataset with what its library would put there, and what nobody expects."""
    path = ilfo.demos.write(folder / FILE[layout], demonstrations or experts(), layout)
    with h5py.File(inside(path), "r+") as file:
        file["notes/text"] = "as it was"
        file["notes/link"] = h5py.SoftLink("/notes/text")
        file["notes/names"] = np.array([b"a", b"bc"], dtype=object)
        file["notes"].attrs["unit"] = "m/s"
        file.create_dataset("notes/packed", data=np.arange(5000.0), chunks=(512,), compression="lzf", fletcher32=True)
    return path


def new_rewards(slot):
    """Rewards that no two transitions share."""
    number = 0 if slot.group == "/" else 1000 * int(slot.group.rpartition("_")[2])
    return (number + np.arange(slot.start, slot.stop) + 0.5).astype(np.float32)


def relabel(source, out):
    """Replaces all rewards, the last episode's first."""
    with open_logged(inside(source)) as logged, relabelled(logged, out, FACTS) as rewards:
        for slot in reversed(logged.slots):
            rewards.write(slot, new_rewards(slot))
        return logged.slots


def content(path):
    """Everything in a file, packed as it is: name to attributes, form and bytes."""
    found = {}

    def note(name, node):
        facts = {key: (np.asarray(value).dtype, np.asarray(value).tolist()) for key, value in node.attrs.items()}
        if isinstance(node, h5py.Dataset):
            form = (node.shape, node.dtype, node.chunks, node.compression, node.compression_opts, node.shuffle)
            chunks = range(node.id.get_num_chunks()) if node.chunks else ()
            packed = [node.id.read_direct_chunk(node.id.get_chunk_info(each).chunk_offset)[1] for each in chunks]
            values = np.asarray(node[()])
            plain = values.tolist() if values.dtype == object else values.tobytes()
            found[name] = (facts, form, node.fletcher32, packed or plain)
        else:
            found[name] = facts

    with h5py.File(path) as file:
        note("/", file)
        file.visititems(note)
        found["notes/link"] = file.get("notes/link", getlink=True).path
    return found


@pytest.mark.parametrize("layout", FILE)
def test_everything_but_the_rewards_is_kept_bit_for_bit(tmp_path, layout):
    source, out = made(tmp_path, layout), tmp_path / OUT[layout]
    before = inside(source).read_bytes()
    relabel(source, out)
    assert inside(source).read_bytes() == before
    old, new = content(inside(source)), content(inside(out))
    root = new["/"]
    assert json.loads(root.pop("ilfo_label")[1]) == {"reward": "by hand", "reward_keys": ["angle"]}
    for name in [name for name in old if name.rpartition("/")[2] == "rewards"]:
        kept, replaced = name.removesuffix("rewards") + "env_rewards", new.pop(name)
        assert new.pop(kept) == old[name], "the environment's rewards stay beside them"
        assert replaced[1:3] == old.pop(name)[1:3], "packed in the same way"
    assert new == old


@pytest.mark.parametrize("layout", FILE)
def test_the_rewards_are_the_new_ones_and_demonstrations_have_the_environments(tmp_path, layout):
    source, out = made(tmp_path, layout), tmp_path / OUT[layout]
    slots = relabel(source, out)
    assert rewards_of_each(out) == [new_rewards(slot).tolist() for slot in slots]
    before, after = ilfo.demos.open(source), ilfo.demos.open(out)
    assert [differences(old, new) for old, new in zip(before, after, strict=True)] == [[]] * len(slots)
    assert after.provenance == before.provenance
    assert after.sha256 == before.sha256
    with open_logged(inside(out)) as logged:
        kept = [logged.env_rewards(slot) for slot in logged.slots]
    assert all(np.array_equal(one, other.env_rewards) for one, other in zip(kept, before, strict=True))


def test_d4rl_reads_its_layout(tmp_path):
    path = ilfo.demos.write(tmp_path / "x.hdf5", experts(), "d4rl")
    relabel(path, tmp_path / "new.hdf5")
    found = get_dataset(tmp_path / "new.hdf5", (3,), (2,))
    np.testing.assert_array_equal(found["rewards"], np.arange(len(found["rewards"])) + 0.5)
    assert [len(each["rewards"]) for each in sequence_dataset(found)] == [len(each) for each in experts()]


def test_robomimic_reads_its_layout(tmp_path):
    path = ilfo.demos.write(tmp_path / "x.hdf5", experts(), "robomimic")
    relabel(path, tmp_path / "new.hdf5")
    assert get_dataset_info(tmp_path / "new.hdf5") == get_dataset_info(path)
    dataset = SequenceDataset(tmp_path / "new.hdf5", ["angle"])
    assert [float(dataset[number]["rewards"][0]) for number in range(3)] == [0.5, 1.5, 1000.5]


def test_minari_reads_its_layout(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    path = ilfo.demos.write(tmp_path / "hopper-v0", experts(), "minari")
    (path / "data" / "notes.txt").write_text("kept")
    (path / "figures").mkdir()
    relabel(path, tmp_path / "hopper-new-v1")
    old, new = minari.load_dataset("hopper-v0"), minari.load_dataset("hopper-new-v1")
    assert new.spec.dataset_id == "hopper-new-v1"
    assert (new.total_episodes, new.total_steps) == (old.total_episodes, old.total_steps)
    for number, (one, other) in enumerate(zip(old.iterate_episodes(), new.iterate_episodes(), strict=True)):
        np.testing.assert_array_equal(other.rewards, 1000 * number + np.arange(len(one.rewards)) + 0.5)
        np.testing.assert_array_equal(other.observations["angle"], one.observations["angle"])
    assert (tmp_path / "hopper-new-v1" / "data" / "notes.txt").read_text() == "kept"
    assert (tmp_path / "hopper-new-v1" / "figures").is_dir()


def test_the_returns_of_a_file_that_states_none_are_the_environments(tmp_path):
    for layout, place in (("d4rl", "/"), ("robomimic", "data")):
        path = ilfo.demos.write(tmp_path / f"{layout}.hdf5", experts(), layout)
        with h5py.File(path, "r+") as file:
            del file[place].attrs["ilfo_provenance"]
        relabel(path, tmp_path / f"{layout}-new.hdf5")
        before, after = ilfo.demos.open(path), ilfo.demos.open(tmp_path / f"{layout}-new.hdf5")
        assert after.expert_return == before.expert_return


def test_robosuites_success_is_read_from_its_own_rewards(tmp_path):
    paid = Demonstrations((episode(env_rewards=np.eye(5, dtype=np.float32)[4]),), PROVENANCE)
    path = ilfo.demos.write(tmp_path / "x.hdf5", paid, "robomimic")
    with h5py.File(path, "r+") as file:
        del file["data"].attrs["ilfo_provenance"]
        file["data"].attrs["env_args"] = '{"env_name": "Lift", "type": 1, "env_kwargs": {}}'
    relabel(path, tmp_path / "new.hdf5")
    assert [each.success for each in ilfo.demos.open(tmp_path / "new.hdf5")] == [True]


def test_the_sha256_of_a_file_with_frames_stays_true(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    path = ilfo.demos.write(tmp_path / "x.hdf5", Demonstrations((episode(frames=frames),) * 2))
    relabel(path, tmp_path / "new.hdf5")
    assert ilfo.demos.open(tmp_path / "new.hdf5").sha256 == ilfo.demos.open(path).sha256
    with_frames = ilfo.demos.open(tmp_path / "new.hdf5", frames=True)
    np.testing.assert_array_equal(with_frames[1].frames, frames)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("f8", "f8"), ("f4", "f4"), ("f2", "f4"), ("i8", "f4"), ("bool", "f4")]
)
@pytest.mark.parametrize("width", [(), (1,)])
def test_rewards_keep_their_shape_and_are_real_numbers(tmp_path, dtype, expected, width):
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["observations"] = np.arange(8.0).reshape(4, 2)
        file["timeouts"] = [False, False, False, True]
        file["rewards"] = np.ones((4, *width), dtype)
    relabel(tmp_path / "x.hdf5", tmp_path / "new.hdf5")
    with h5py.File(tmp_path / "new.hdf5") as file:
        assert file["rewards"].dtype == expected
        assert file["env_rewards"].dtype == dtype
        assert file["rewards"].shape == (4, *width)
        assert file["rewards"][()].ravel().tolist() == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize("layout", ["d4rl", "robomimic", "ilfo"])
def test_rewards_are_added_where_there_were_none(tmp_path, layout):
    path = ilfo.demos.write(tmp_path / "x.hdf5", experts(), layout)
    with h5py.File(path, "r+") as file:
        file.attrs.pop("sha256", None)
        file.attrs.pop("ilfo_provenance", None), file.attrs.pop("expert_return", None)
        for group in {"d4rl": [file], "robomimic": file.get("data", {}).values(), "ilfo": file.values()}[layout]:
            del group["rewards"]
    slots = relabel(path, tmp_path / "new.hdf5")
    assert rewards_of_each(tmp_path / "new.hdf5") == [new_rewards(slot).tolist() for slot in slots]
    assert all(each.env_rewards is None for each in ilfo.demos.open(tmp_path / "new.hdf5"))
    with open_logged(tmp_path / "new.hdf5") as logged:
        assert logged.env_rewards(slots[0]) is None, "what was never recorded is not made up"


def test_a_file_that_earlier_code_labelled_is_refused_with_the_way_out_and_may_be_labelled_again(tmp_path):
    """Its SHA-256 was that of the rewards that were written."""
    path = ilfo.demos.write(tmp_path / "x.hdf5", experts())
    relabel(path, tmp_path / "once.hdf5")
    with h5py.File(tmp_path / "once.hdf5", "r+") as file:
        file.attrs["sha256"] = "0" * 64
    with pytest.raises(InputError, match="If an earlier ilfo labelled it, label it again"):
        ilfo.demos.open(tmp_path / "once.hdf5")
    relabel(tmp_path / "once.hdf5", tmp_path / "twice.hdf5")
    found, original = (ilfo.demos.open(tmp_path / name) for name in ("twice.hdf5", "x.hdf5"))
    assert found.sha256 == original.sha256


def test_labelled_twice_the_environments_rewards_are_still_there(tmp_path):
    path = ilfo.demos.write(tmp_path / "x.hdf5", experts(), "robomimic")
    relabel(path, tmp_path / "once.hdf5")
    with open_logged(tmp_path / "once.hdf5") as logged, relabelled(logged, tmp_path / "twice.hdf5", {}) as rewards:
        for slot in logged.slots:
            rewards.write(slot, np.zeros(len(slot), np.float32))
    with open_logged(tmp_path / "twice.hdf5") as logged:
        for slot, expert in zip(logged.slots, experts(), strict=True):
            assert logged.env_rewards(slot).tolist() == expert.env_rewards.tolist()
            assert logged.read(slot).env_rewards.tolist() == expert.env_rewards.tolist()
    assert not np.concatenate(rewards_of_each(tmp_path / "twice.hdf5")).any()


def test_the_reward_of_a_step_that_is_none_stays_beside_the_environments(tmp_path):
    expert = Demonstrations((replace(experts()[4], last_reward=100.0),))
    relabel(ilfo.demos.write(tmp_path / "x.hdf5", expert), tmp_path / "new.hdf5")
    (new,) = ilfo.demos.open(tmp_path / "new.hdf5")
    assert new.last_reward == 100
    with h5py.File(tmp_path / "new.hdf5") as file:
        assert file["episode_0"].attrs["env_last_reward"] == 100
        assert "last_reward" not in file["episode_0"].attrs


@pytest.mark.parametrize("rewarded", [True, False])
def test_another_dataset_called_env_rewards_is_not_overwritten(tmp_path, rewarded):
    path = ilfo.demos.write(tmp_path / "x.hdf5", experts(), "d4rl")
    with h5py.File(path, "r+") as file:
        file["env_rewards"] = np.zeros(3)
        if not rewarded:
            del file["rewards"]
    with pytest.raises(InputError, match="has a dataset 'env_rewards' already") as caught:
        relabel(path, tmp_path / "new.hdf5")
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("layout", FILE)
@pytest.mark.parametrize("older", [True, False])
def test_what_stops_the_work_leaves_nothing_behind(tmp_path, layout, error, older):
    source, out = made(tmp_path, layout), tmp_path / OUT[layout]
    if older:
        relabel(source, out)
    before = inside(out).read_bytes() if older else None
    there = sorted(tmp_path.iterdir())

    def stop_in_the_middle(logged):
        with relabelled(logged, out, {}) as rewards:
            rewards.write(logged.slots[0], np.zeros(len(logged.slots[0]), np.float32))
            raise error

    with open_logged(inside(source)) as logged, pytest.raises(error):
        stop_in_the_middle(logged)
    assert sorted(tmp_path.iterdir()) == there
    assert not older or inside(out).read_bytes() == before


@pytest.mark.parametrize("layout", FILE)
def test_an_older_dataset_is_replaced(tmp_path, layout):
    source, out = made(tmp_path, layout), tmp_path / OUT[layout]
    if layout == "minari":
        ilfo.demos.write(out, Demonstrations((episode(),)), layout)
    else:
        out.write_text("older")
    there = sorted(tmp_path.iterdir())
    check_target(inside(source), out, overwrite=True)
    relabel(source, out)
    assert sorted(tmp_path.iterdir()) == there
    assert len(ilfo.demos.open(out)) == 11


@pytest.mark.parametrize("layout", FILE)
def test_the_dataset_is_never_its_own_output(tmp_path, layout):
    source = made(tmp_path, layout)
    link = tmp_path / f"link{source.suffix}"
    link.symlink_to(source)
    for out in (source, link, source.parent / "." / source.name, tmp_path / "sub" / ".." / source.name):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="is what is read"):
            check_target(inside(source), out, overwrite=True)
    hard = tmp_path / "hard.hdf5"
    if source.is_file():
        hard.hardlink_to(source)
        with pytest.raises(InputError, match="is what is read"):
            check_target(source, hard, overwrite=True)


@pytest.mark.parametrize("layout", FILE)
def test_a_full_disk_is_blamed_on_the_output(tmp_path, monkeypatch, layout):
    source, out = made(tmp_path, layout), tmp_path / OUT[layout]

    def full(read, written):
        raise OSError(errno.ENOSPC, "No space left on device", str(read))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(InputError, match=rf"{out.name}: cannot be written: No space left"):
            relabel(source, out)
    free = inside(source).stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, free))
    with pytest.raises(InputError, match=rf"{out.name}: takes up to .* MB, but its disk has"):
        relabel(source, out)
    assert list(tmp_path.iterdir()) == [source]


def test_a_minari_dataset_in_any_storage_may_be_overwritten(tmp_path):
    source, out = made(tmp_path, "minari"), tmp_path / "older-v0"
    (out / "data").mkdir(parents=True)
    (out / "data" / "metadata.json").write_text('{"data_format": "arrow"}')
    check_target(inside(source), out, overwrite=True)
    relabel(source, out)
    assert sorted(each.name for each in (out / "data").iterdir()) == ["main_data.hdf5", "metadata.json"]


def test_what_cannot_be_written_is_refused_at_once(tmp_path):
    flat, minari = made(tmp_path, "d4rl"), made(tmp_path, "minari")
    (tmp_path / "folder-v0").mkdir()
    shutil.copy(flat, tmp_path / "older.hdf5")
    for source, out, overwrite, message in (
        (flat, "older.hdf5", False, "is there already. Choose another name, or give --overwrite"),
        (flat, "folder-v0", True, "is a folder, expected the file to write"),
        (flat, "no/new.hdf5", False, "the folder .* does not exist"),
        (minari, "no/new-v0", False, "the folder .* does not exist"),
        (minari, "new", False, "not a name that Minari allows"),
        (minari, "x-v0/new-v0", False, "lies in the dataset that is read"),
        (minari, "folder-v0", True, "is not a Minari dataset"),
        (minari, ".", True, "holds what is read"),
    ):
        with pytest.raises(InputError, match=message):
            check_target(inside(source), tmp_path / out, overwrite=overwrite)
