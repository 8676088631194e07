"""A stored configuration comes back as it was, and seeds are numbers and ranges."""

import dataclasses
import json
import re

import pytest

from ilfo._tools.errors import InputError
from ilfo.training.configs import config_from_dict, several_seeds
from ilfo.training.flags import parse_train


def parse(*flags: str):
    return parse_train(["--env", "Hopper-v5", *flags])[0]


def test_a_stored_configuration_comes_back_whole():
    config = parse("--demo", "d.hdf5", "--features.dims", "1", "3", "--transport.cost", "cosine")
    restored = config_from_dict(json.loads(json.dumps(dataclasses.asdict(config))), "config.json")
    assert dataclasses.asdict(restored) == dataclasses.asdict(config)
    assert restored.features.dims == (1, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "config.json: env is missing"),
        ({"env": "Hopper-v5", "agent": ["td3"]}, "config.json: agent is ['td3']; expected str"),
        ({"env": "Hopper-v5", "hidden_size": 768}, "config.json: unknown key 'hidden_size'"),
    ],
)
def test_a_stored_configuration_that_is_none_is_refused(values, message):
    with pytest.raises(InputError, match=re.escape(message)):
        config_from_dict(values, "config.json")


@pytest.mark.parametrize(
    ("spelled_out", "seeds"),
    [("", ()), ("3", (3,)), ("0-2", (0, 1, 2)), ("0-2,7", (0, 1, 2, 7)), (" 5 , 1 - 2 ", (5, 1, 2)), ("4-4", (4,))],
)
def test_seeds_are_numbers_and_ranges(spelled_out, seeds):
    assert several_seeds(spelled_out) == seeds
    assert several_seeds(parse("--demo", "d.hdf5", "--seeds", spelled_out).seeds) == seeds


@pytest.mark.parametrize(
    ("spelled_out", "message"),
    [
        ("x", "expected numbers and ranges, like 0-9 or 0,3,7"),
        ("1,", "expected numbers and ranges"),
        ("0-", "expected numbers and ranges"),
        ("-1", "expected numbers and ranges"),
        ("1.5", "expected numbers and ranges"),
        ("0..9", "expected numbers and ranges"),
        ("3-1", "ranges go upwards"),
        ("1,1", "each number may stand there once"),
        ("0-4,2", "each number may stand there once"),
    ],
)
def test_other_seeds_are_refused(spelled_out, message):
    with pytest.raises(InputError, match=re.escape(f"--seeds is {spelled_out!r}") + ".*" + message):
        parse("--demo", "d.hdf5", f"--seeds={spelled_out}")
