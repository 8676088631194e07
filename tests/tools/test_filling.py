"""Dataclasses are filled from what TOML and JSON can say."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ilfo._tools.errors import InputError
from ilfo._tools.filling import fill


@dataclass(frozen=True)
class Inner:
    width: int = 3


@dataclass(frozen=True)
class Options:
    needed: float
    weights: Path | None = None
    inner: Inner = Inner()
    pair: tuple[int, float] = (1, 2.0)


def test_values_become_what_the_fields_are():
    filled = fill(Options, {"needed": 2, "weights": "net.pt", "inner": {"width": 5}, "pair": [3, 4]}, "here")
    assert filled == Options(2.0, Path("net.pt"), Inner(5), (3, 4.0))
    assert type(filled.needed) is float


def test_a_value_that_is_what_its_field_is_stays():
    inner = Inner(7)
    assert fill(Options, {"needed": 2.0, "inner": inner}, "here").inner is inner


def test_what_is_required_may_be_left_open():
    assert fill(Options, {}, "here", absent="later").needed == "later"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "here: needed is missing"),
        ({"needed": 1, "neded": 1}, "here: unknown key 'neded'; did you mean 'needed'"),
        ({"needed": True}, "here: needed is True; expected float"),
        ({"needed": 1, "weights": 3}, "here: weights is 3; expected a path"),
        ({"needed": 1, "inner": {"width": 2.5}}, r"here: inner.width is 2.5; expected int"),
        ({"needed": 1, "inner": 3}, "here: inner is 3; expected a table of options"),
        ({"needed": 1, "pair": [1, 2, 3]}, "here: pair has 3 values; expected 2"),
    ],
)
def test_what_does_not_fit_is_named(values, message):
    with pytest.raises(InputError, match=message):
        fill(Options, values, "here")
