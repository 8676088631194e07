"""The bundled demonstrations: every one of them opens and has a card."""

import h5py
import numpy as np
import pytest

import ilfo.demos
from ilfo._tools.errors import InputError

each_of_them = pytest.mark.parametrize("each", ilfo.demos.bundled(), ids=lambda each: each.name)


@each_of_them
def test_opens_by_name_and_holds_states_alone(each):
    expert = ilfo.demos.open(each.name)
    assert expert.layout == "ilfo"
    assert expert.path == each.path == ilfo.demos.bundled_path(each.name)
    assert expert.provenance.env_id
    assert expert.provenance.source.startswith("ilfo record ")
    assert expert.provenance.action_repeat, "or another one could not be told"
    assert all(trajectory.actions is None for trajectory in expert)
    with h5py.File(each.path) as file:
        assert file.attrs["sha256"] == expert.sha256
        assert not any(name == "frames" for group in file.values() for name in group)


@each_of_them
def test_has_a_card_that_says_what_it_is_and_how_it_was_made(each):
    card = each.path.with_suffix(".md").read_text()
    expert = ilfo.demos.open(each.name)
    assert each.title
    assert f"`{expert.provenance.env_id}`" in card
    assert f"{expert.expert_return:.1f}" in card
    assert f"{expert.horizon} steps" in card
    assert "```sh\n" in card
    assert "ilfo record " in card
    assert "licence | MIT" in card


def test_all_of_it_is_small():
    files = [each.path for each in ilfo.demos.bundled()]
    assert sum(path.stat().st_size for path in files) < 3 * 2**20


@pytest.mark.parametrize("task", ["reach", "window-open", "button-press-topdown", "door-open", "assembly"])
def test_the_robot_succeeds_and_does_not_stand_still_afterwards(task):
    expert = ilfo.demos.open(f"metaworld-{task}")
    (trajectory,) = expert
    assert trajectory.success
    assert expert.provenance.bar == "success"
    assert (expert.provenance.action_repeat, expert.provenance.time_step) == (5, 0.0125)
    assert list(expert.provenance.observation_keys) == ["hand", "gripper", "objects", "previous", "goal"]
    np.testing.assert_allclose(trajectory.goal, trajectory.observations[-1, -3:], atol=1e-6)
    np.testing.assert_array_equal(trajectory.observations[1:, 18:36], trajectory.observations[:-1, :18])
    moved = np.linalg.norm(np.diff(trajectory.observations[:, :3], axis=0), axis=1)
    assert moved[-10:].sum() > 0.005, "metres on the way that is left"
    assert len(trajectory) < 150


def test_locomotion_from_easy_to_hard_is_there():
    found = {each.name: ilfo.demos.open(each.name) for each in ilfo.demos.bundled()}
    for name, env_id in (("halfcheetah", "HalfCheetah-v5"), ("hopper", "Hopper-v5"), ("walker2d", "Walker2d-v5")):
        assert found[name].provenance.env_id == env_id
        assert len(found[name][0]) == 1000


def test_names_are_sorted_and_unique():
    names = [each.name for each in ilfo.demos.bundled()]
    assert names == sorted(set(names))


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="no bundled demonstration 'no-such-task'"):
        ilfo.demos.bundled_path("no-such-task")


def test_a_file_goes_before_a_bundled_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for each in ilfo.demos.bundled():
        (tmp_path / each.name).write_bytes(b"mine")
        with pytest.raises(InputError, match="is not HDF5"):
            ilfo.demos.open(each.name)
