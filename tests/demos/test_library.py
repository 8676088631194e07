"""The bundled demonstrations: every one of them opens and has a card."""

import pytest

import ilfo.demos
from ilfo._errors import InputError


def test_every_bundled_demonstration_opens_by_name_and_has_a_card():
    for each in ilfo.demos.bundled():
        expert = ilfo.demos.open(each.name)
        assert expert.layout == "ilfo"
        assert expert.path == each.path == ilfo.demos.bundled_path(each.name)
        assert expert.expert_return is not None
        assert expert.provenance.env_id
        assert each.title


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
