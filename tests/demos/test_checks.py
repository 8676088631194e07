"""Demonstrations against an environment: columns by name, shapes and bounds are errors, provenance is a warning."""

import dataclasses
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.demos.checks import check_fits, differences, fit_to
from ilfo.envs import describe

ENVIRONMENT = Provenance(
    env_id="Hopper-v5",
    observation_keys={"position": 2, "velocity": 1},
    time_step=0.008,
    action_repeat=4,
    versions={"mujoco": "3.2.0", "gymnasium": "1.1.0", "numpy": "2.0.0"},
)


def expert(width=3, **provenance):
    states = np.linspace(-1, 1, 5 * width, dtype=np.float32).reshape(5, width)
    named = {"observation_keys": ENVIRONMENT.observation_keys} if width == 3 else {}
    return Demonstrations((Trajectory(np.zeros_like(states)), Trajectory(states)), Provenance(**named | provenance))


def of_keys(keys):
    """Demonstrations whose columns count up from 0, and the columns of each key."""
    width = sum(keys.values())
    states = np.arange(width) + 100 * np.arange(4)[:, None]
    trajectory = Trajectory(states.astype(np.float32), actions=np.ones((3, 1), np.float32), seed=7)
    columns = np.split(np.arange(width), np.cumsum(list(keys.values()))[:-1])
    return Demonstrations((trajectory,), Provenance(observation_keys=keys)), dict(zip(keys, columns, strict=True))


def test_actions_that_last_are_not_those_that_do_not():
    lasting, plain = (describe(f"MountainCarContinuous-v0{mark}").provenance for mark in ("@repeat-4", ""))
    (said,) = differences(lasting, plain, "file")
    assert said == "file has actions that last 4 steps, the environment such of 1."
    assert differences(lasting, lasting, "file") == []
    (said,) = differences(plain, lasting, "file")
    assert said.endswith("one of every 4 states: ilfo train --demo-every 4, ilfo demos convert --every 4.")


@pytest.mark.parametrize(
    ("file", "environment", "every"),
    [
        ({"time_step": 0.02}, {"time_step": 0.04}, 2),
        ({"time_step": 0.02}, {"time_step": 0.05}, None),
        ({"time_step": 0.04}, {"time_step": 0.02}, None),
        ({"action_repeat": 5}, {"action_repeat": 15}, 3),
        ({"action_repeat": 5, "time_step": 0.02}, {"action_repeat": 15, "time_step": 0.06}, 3),
    ],
)
def test_a_recording_at_shorter_steps_is_told_how_it_fits(file, environment, every):
    said = " ".join(differences(Provenance(**file), Provenance(**environment), "file"))
    assert said.count("one of every") == (every is not None)
    assert every is None or f"--demo-every {every}," in said


def test_what_the_file_does_not_say_is_no_difference():
    found = expert(observation_keys={})
    fitted, (sentence,) = fit_to(found, ENVIRONMENT)
    assert sentence.startswith(
        "demonstrations does not name its columns: taken for those of Hopper-v5 in its order, position[2], velocity[1]."
    )
    assert fitted.trajectories is found.trajectories
    assert fit_to(found, replace(ENVIRONMENT, observation_keys={"observation": 3}))[1] == []
    assert fitted.provenance.observation_keys == ENVIRONMENT.observation_keys


def test_a_file_without_keys_fits_an_environment_that_has_several(tmp_path):
    with h5py.File(tmp_path / "flat.hdf5", "w") as file:
        file["observations"] = np.arange(15, dtype=np.float32).reshape(5, 3)
        file["timeouts"] = np.arange(5) == 4
    found = ilfo.demos.open(tmp_path / "flat.hdf5")
    assert len(check_fits(found, ENVIRONMENT)) == 1
    copy = ilfo.demos.open(ilfo.demos.write(tmp_path / "copy.hdf5", found))
    assert copy.provenance.observation_keys == {}
    assert len(check_fits(copy, ENVIRONMENT)) == 1


def test_a_part_without_columns_is_rearranged_too():
    swapped, _ = of_keys({"velocity": 1, "nothing": 0, "position": 2})
    here = replace(ENVIRONMENT, observation_keys={"position": 2, "nothing": 0, "velocity": 1})
    assert fit_to(swapped, here)[0][0].observations[0].tolist() == [1, 2, 0]


def test_one_name_for_all_parts_is_told_theirs():
    whole, _ = of_keys({"position": 3})
    with pytest.raises(
        InputError, match=r"'position' has 3 dim.* parts in their order, observation_keys=\{'position': 2,"
    ):
        fit_to(whole, ENVIRONMENT)


def test_the_same_provenance_is_no_difference():
    same = expert(**vars(ENVIRONMENT) | {"expert_return": 3.0, "source": "me"})
    fitted, sentences = fit_to(same, ENVIRONMENT)
    assert fitted is same
    assert sentences == []


def test_an_environment_that_says_nothing_fits():
    found = expert(env_id="Hopper-v2", observation_keys={"a": 3})
    assert fit_to(found, Provenance()) == (found, [])


def test_each_difference_of_provenance_is_one_sentence():
    versions = {"mujoco": "2.1.0", "gym": "0.21", "gymnasium": "0.29.1", "numpy": "2.0.0"}
    other = expert(env_id="Hopper-v2", time_step=0.01, action_repeat=2, versions=versions)
    assert check_fits(other, ENVIRONMENT) == [
        "demonstrations was recorded in Hopper-v2, the environment is Hopper-v5.",
        "demonstrations has 0.01 s between observations, the environment 0.008 s.",
        "demonstrations repeats each action for 2 simulator steps, the environment for 4.",
        "demonstrations was recorded with mujoco 2.1.0 (here 3.2.0), gymnasium 0.29.1 (here 1.1.0).",
    ]


def test_a_time_limit_of_ones_own_is_no_other_environment():
    limited = replace(ENVIRONMENT, env_id="module:Hopper-v5@90-steps")
    assert check_fits(expert(env_id="Hopper-v5"), limited) == []
    assert check_fits(expert(env_id="Hopper-v5@90-steps"), ENVIRONMENT) == []
    assert check_fits(expert(env_id="Hopper-v5"), replace(ENVIRONMENT, env_id="Hopper-v5@seed-0")) == []
    (found,) = check_fits(expert(env_id="Hopper-v5@90-steps@no-shadows"), ENVIRONMENT)
    assert found == "demonstrations was recorded in Hopper-v5@90-steps@no-shadows, the environment is Hopper-v5."


def test_sentences_name_the_file(tmp_path):
    path = ilfo.demos.write(tmp_path / "x.hdf5", expert(env_id="Hopper-v2"))
    assert check_fits(ilfo.demos.open(path), ENVIRONMENT)[0].startswith(f"{path} was recorded in Hopper-v2")


@pytest.mark.parametrize("keys", [{}, {"observation": 4}, {"a": 2, "b": 2}])
def test_another_width_is_an_error(keys):
    with pytest.raises(InputError, match=r"states have 4 dimensions, but Hopper-v5 has 3 \(position\[2\]"):
        fit_to(expert(width=4, observation_keys=keys), ENVIRONMENT)


KEYS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 3), min_size=1)


@given(here=KEYS, more=KEYS, data=st.data())
def test_columns_are_taken_by_name(here, more, data):
    """Whatever the order in the file and whatever else it has."""
    there = dict(data.draw(st.permutations(list((more | here).items()))))
    found, columns = of_keys(there)
    fitted, sentences = fit_to(found, Provenance(observation_keys=here))
    expected = np.concatenate([columns[key] for key in here])
    np.testing.assert_array_equal(fitted[0].observations, found[0].observations[:, expected])
    np.testing.assert_array_equal(fitted[0].actions, found[0].actions)
    assert fitted[0].seed == 7
    assert list(fitted.provenance.observation_keys.items()) == list(here.items())
    assert len(sentences) == bool(there.keys() - here.keys())


def test_fitting_leaves_the_original_alone():
    found, _ = of_keys({"a": 1, "b": 1, "c": 1})
    before = found.sha256
    fit_to(found, Provenance(observation_keys={"c": 1, "d": 1, "a": 1}), keys=["a", "c"])
    assert found.sha256 == before
    assert list(found.provenance.observation_keys) == ["a", "b", "c"]


def test_further_keys_are_dropped_aloud():
    found, _ = of_keys({"camera": 2, "velocity": 1, "position": 2, "goal": 1})
    fitted, sentences = fit_to(found, ENVIRONMENT)
    np.testing.assert_array_equal(fitted[0].observations[0], [3, 4, 2])
    assert sentences == ["demonstrations also has camera, goal, which Hopper-v5 has not: left out."]


def test_what_nobody_looks_at_may_be_missing():
    found, _ = of_keys({"velocity": 1, "other": 4})
    fitted, sentences = fit_to(found, ENVIRONMENT, keys=["velocity"])
    np.testing.assert_array_equal(fitted[0].observations, [[0, 0, 0], [0, 0, 100], [0, 0, 200], [0, 0, 300]])
    assert fitted.provenance.observation_keys == ENVIRONMENT.observation_keys
    assert sentences == [
        "demonstrations also has other, which Hopper-v5 has not: left out.",
        "demonstrations has no position[2] as Hopper-v5 has: zeros there, which nobody looks at.",
    ]


def test_what_nobody_looks_at_may_have_another_width():
    found, _ = of_keys({"velocity": 1, "position": 4})
    fitted, sentences = fit_to(found, ENVIRONMENT, keys=["velocity"])
    np.testing.assert_array_equal(fitted[0].observations[1], [0, 0, 100])
    assert sentences == ["demonstrations has no position[2] as Hopper-v5 has: zeros there, which nobody looks at."]


@pytest.mark.parametrize("keys", [[], ["position"], ["velocity", "position"]])
def test_what_is_looked_at_must_be_there(keys):
    found, _ = of_keys({"velocity": 1, "other": 4})
    message = (
        r"there is no key 'position', but Hopper-v5 has position\[2\], velocity\[1\].*file has velocity\[1\], other"
        r"\[4\].*with --reward-keys and --policy-keys: velocity\."
    )
    with pytest.raises(InputError, match=message):
        fit_to(found, ENVIRONMENT, keys=keys)


def test_a_key_of_another_width_is_an_error():
    found, _ = of_keys({"position": 3, "velocity": 1})
    with pytest.raises(
        InputError, match=r"'position' has 3 dimensions, but Hopper-v5 has position\[2\], velocity\[1\]"
    ):
        fit_to(found, ENVIRONMENT)
    found, _ = of_keys({"observation": 11})
    with pytest.raises(InputError, match=r"states have 11 dimensions, but Hopper-v5 has 17.*of Hopper-v5\.$"):
        fit_to(found, Provenance(env_id="Hopper-v5", observation_keys={"observation": 17}))


@pytest.mark.parametrize(
    ("there", "here", "names"),
    [
        ({"observation": 3}, {"position": 2, "velocity": 1}, {"position": 2, "velocity": 1}),
        ({"position": 2, "velocity": 1}, {"observation": 3}, {"position": 2, "velocity": 1}),
        ({"observation.state": 3}, {"observation": 3}, {"observation": 3}),
        ({"qpos": 2, "qvel": 1}, {"position": 2, "velocity": 1}, {"position": 2, "velocity": 1}),
    ],
)
def test_the_same_columns_under_other_names_are_taken_as_they_are(there, here, names):
    found, _ = of_keys(there)
    fitted, sentences = fit_to(found, Provenance(observation_keys=here), keys=list(names)[:1])
    assert fitted.trajectories is found.trajectories
    assert fitted.provenance.observation_keys == names, "the finer names tell more"
    assert len(sentences) == 1
    assert sentences[0].startswith("demonstrations calls its states ")
    assert sentences[0].endswith("taken as the same columns.")


def test_other_names_and_other_parts_are_an_error():
    found, _ = of_keys({"a": 1, "b": 2})
    with pytest.raises(InputError, match="no name in common, and other widths"):
        fit_to(found, ENVIRONMENT)


def test_keys_that_do_not_exist_are_named():
    found, _ = of_keys({"position": 2, "velocity": 1})
    with pytest.raises(InputError, match=r"names 'velocty', which Hopper-v5 does not have: did you mean 'velocity'\?"):
        fit_to(found, ENVIRONMENT, keys=["position", "velocty"])


def test_keys_that_contradict_the_states_are_an_error():
    with pytest.raises(InputError, match=r"keys a\[2\] are 2 dimensions together, but its states have 3"):
        fit_to(expert(observation_keys={"a": 2}), ENVIRONMENT)


def test_values_outside_the_bounds_are_named():
    low, high = np.full(3, -np.inf), np.array([np.inf, 0.5, 1.0])
    message = r"episode 1.*step 4, dimension 1 \(position\[1\]\) is 0\.857143, above .* bound 0\.5"
    with pytest.raises(InputError, match=message):
        check_fits(expert(), ENVIRONMENT, low, high)
    with pytest.raises(InputError, match=r"step 0, dimension 0 is -1, below .* bound -0\.5"):
        check_fits(expert(observation_keys={}), Provenance(observation_keys={"observation": 3}), np.full(3, -0.5), high)


def test_bounds_are_of_the_environments_columns():
    found, _ = of_keys({"velocity": 1, "position": 2})
    high = np.array([301, 302, 300])
    assert check_fits(found, ENVIRONMENT, None, high) == []
    with pytest.raises(InputError, match=r"step 3, dimension 2 \(velocity\[0\]\) is 300, above .* bound 299"):
        check_fits(found, ENVIRONMENT, None, high - [0, 0, 1])


def test_columns_that_the_file_lacks_have_no_bounds():
    found, _ = of_keys({"velocity": 1, "more": 1})
    bounds = np.array([5, 5, 0]), np.array([6, 6, 300])
    assert len(fit_to(found, ENVIRONMENT, *bounds, keys=["velocity"])[1]) == 2


def test_values_on_the_bounds_fit():
    high = np.full(3, np.nextafter(np.float32(1), np.float32(0)))
    assert check_fits(expert(), ENVIRONMENT, -high, high) == []


def test_bounds_of_another_width_are_an_error():
    with pytest.raises(InputError, match=r"bounds \(4,\) values, the states have 3"):
        check_fits(expert(), Provenance(), np.zeros(4))


def test_everything_else_of_a_trajectory_survives():
    found, _ = of_keys({"velocity": 1, "position": 2})
    fitted = fit_to(found, ENVIRONMENT)[0]
    for each in dataclasses.fields(Trajectory):
        if each.name != "observations":
            assert getattr(fitted[0], each.name) is getattr(found[0], each.name)


@pytest.mark.parametrize(
    ("states", "remedy"),
    [
        (np.zeros((3, 9)), r"There are 3 of them: if they are stored as \(dimensions, steps\), transpose"),
        (np.zeros((9, 4)), "If the file has columns that .* has not, .*leave them out"),
        (np.zeros((9, 7)), r"3 \(.*\)\. Use the environment that was recorded"),
        (np.zeros((9, 2)), r"3 \(.*\)\. Use the environment that was recorded"),
    ],
)
def test_states_of_another_width_are_told_what_may_be_wrong(states, remedy):
    with pytest.raises(InputError, match=remedy):
        fit_to(Demonstrations((Trajectory(states),)), ENVIRONMENT)
