"""Demonstrations against an environment: shapes and bounds are errors, provenance is a warning."""

import h5py
import numpy as np
import pytest

import ilfo.demos
from ilfo._errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory, check_fits

ENVIRONMENT = Provenance(
    env_id="Hopper-v5",
    observation_keys={"position": 2, "velocity": 1},
    time_step=0.008,
    versions={"mujoco": "3.2.0", "gymnasium": "1.1.0"},
)


def expert(width=3, **provenance):
    states = np.linspace(-1, 1, 5 * width, dtype=np.float32).reshape(5, width)
    return Demonstrations((Trajectory(np.zeros_like(states)), Trajectory(states)), Provenance(**provenance))


def test_what_the_file_does_not_say_is_no_difference():
    assert check_fits(expert(), ENVIRONMENT) == []


@pytest.mark.parametrize("states", ["observations", "episode_0/observations"], ids=["d4rl", "minari"])
def test_a_file_without_keys_fits_an_environment_that_has_several(tmp_path, states):
    with h5py.File(tmp_path / "flat.hdf5", "w") as file:
        file[states] = np.arange(15, dtype=np.float32).reshape(5, 3)
        if states == "observations":
            file["timeouts"] = np.arange(5) == 4
    found = ilfo.demos.open(tmp_path / "flat.hdf5")
    assert check_fits(found, ENVIRONMENT) == []
    copy = ilfo.demos.open(ilfo.demos.write(tmp_path / "copy.hdf5", found))
    assert copy.provenance.observation_keys == {}
    assert check_fits(copy, ENVIRONMENT) == []


def test_the_same_provenance_is_no_difference():
    said = vars(ENVIRONMENT) | {"expert_return": 3.0, "source": "me"}
    assert check_fits(expert(**said), ENVIRONMENT) == []


def test_an_environment_that_says_nothing_fits():
    assert check_fits(expert(env_id="Hopper-v2", observation_keys={"a": 3}), Provenance()) == []


def test_each_difference_of_provenance_is_one_sentence():
    other = expert(env_id="Hopper-v2", time_step=0.01, versions={"mujoco": "2.1.0", "gym": "0.21"})
    warnings = check_fits(other, ENVIRONMENT)
    assert len(warnings) == 3
    assert "recorded in Hopper-v2, the environment is Hopper-v5." in warnings[0]
    assert "0.01 s between observations, the environment 0.008 s." in warnings[1]
    assert "recorded with mujoco 2.1.0, installed is 3.2.0." in warnings[2]


def test_another_width_is_an_error():
    with pytest.raises(InputError, match=r"states have 4 dimensions, but Hopper-v5 has 3 \(position\[2\]"):
        check_fits(expert(width=4), ENVIRONMENT)


@pytest.mark.parametrize("keys", [{"velocity": 1, "position": 2}, {"observation": 3}, {"position": 1, "velocity": 2}])
def test_other_keys_widths_or_order_are_an_error(keys):
    with pytest.raises(InputError, match="in this order"):
        check_fits(expert(observation_keys=keys), ENVIRONMENT)


def test_values_outside_the_bounds_are_named():
    low, high = np.full(3, -np.inf), np.array([np.inf, 0.5, 1.0])
    with pytest.raises(InputError, match=r"episode 1.*step 4, dimension 1 is 0\.857143, above .* bound 0\.5"):
        check_fits(expert(), ENVIRONMENT, low, high)
    with pytest.raises(InputError, match=r"episode 1.*step 0, dimension 0 is -1, below .* bound -0\.5"):
        check_fits(expert(), ENVIRONMENT, np.full(3, -0.5), high)


def test_values_on_the_bounds_fit():
    high = np.full(3, np.nextafter(np.float32(1), np.float32(0)))
    assert check_fits(expert(), ENVIRONMENT, -high, high) == []


def test_bounds_of_another_width_are_an_error():
    with pytest.raises(InputError, match=r"bounds \(4,\) values, the states have 3"):
        check_fits(expert(), Provenance(), np.zeros(4))
