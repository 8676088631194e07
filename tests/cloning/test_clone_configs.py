import pytest
from small_clones import configure

from ilfo._tools.errors import InputError
from ilfo.cloning import PixelOptions, parse_clone
from ilfo.cloning.configs import state_columns

GIVEN = ["--env", "Reacher-v5", "--demo", "a.hdf5", "b.hdf5"]


def test_what_is_seen_has_flags_of_its_own(capsys):
    config = parse_clone([*GIVEN, "--sees", "keypoints", "--keypoints.k", "7", "--state-dims", "0-3"])
    assert (config.demo, config.sees, config.keypoints.k) == (("a.hdf5", "b.hdf5"), "keypoints", 7)
    assert parse_clone([*GIVEN, "--sees=pixels", "--pixels.shift", "0"]).pixels.shift == 0
    assert parse_clone(GIVEN).sees == "states"
    for other, chosen in (([], "states"), (["--sees", "pixels"], "pixels")):
        with pytest.raises(
            InputError, match=f"option of --sees keypoints, and --sees is {chosen}: .* --sees keypoints"
        ):
            parse_clone([*GIVEN, *other, "--keypoints.k", "7"])
    with pytest.raises(SystemExit):
        parse_clone([*GIVEN, "--sees", "sounds"])
    assert "sounds" in capsys.readouterr().err


def test_columns_of_the_state_are_spelled_as_ranges():
    assert state_columns("", 4) == []
    assert state_columns("3, 0-1", 4) == [3, 0, 1]
    for spelled, message in (
        ("0-", "expected numbers and ranges"),
        ("1,0-2", "may stand there once"),
        ("2-4", "have columns 0 to 3"),
        ("3-1", "ranges go upwards"),
    ):
        with pytest.raises(InputError, match=message):
            state_columns(spelled, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"demo": ()}, "--demo is empty"),
        ({"demo": ("d.hdf5", "./d.hdf5")}, r"--demo is .*d\.hdf5 .*d\.hdf5: give each once"),
        ({"state_dims": "0"}, "--state-dims 0 with --sees states"),
    ],
)
def test_values_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        configure("states", **{"demo": "d.hdf5", "out": "run"} | changes)


def test_options_that_make_no_sense_are_refused(capsys):
    with pytest.raises(InputError, match="shift is -1"):
        PixelOptions(shift=-1)
    with pytest.raises(SystemExit):
        parse_clone([*GIVEN, "--sees", "pixels", "--pixels.points", "0"])
    assert "points is 0" in capsys.readouterr().err
