"""Files and folders that are whole or absent, and as open to others as any that a process makes."""

import os
from stat import S_IMODE

import pytest

from ilfo._tools.atomic import atomic_folder, atomic_path


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return oct(S_IMODE(path.stat().st_mode))


def test_a_file_is_as_open_to_others_as_the_umask_says(tmp_path, umask):
    with atomic_path(tmp_path / "file.json") as partial:
        partial.write_text("{}")
    (tmp_path / "plain.json").write_text("{}")
    assert mode(tmp_path / "file.json") == mode(tmp_path / "plain.json") == oct(0o666 & ~umask)


def test_a_folder_is_as_open_to_others_as_the_umask_says(tmp_path, umask):
    with atomic_folder(tmp_path / "folder") as partial:
        (partial / "file").touch()
    (tmp_path / "plain").mkdir()
    assert mode(tmp_path / "folder") == mode(tmp_path / "plain") == oct(0o777 & ~umask)


def interrupted(partial):
    assert partial.exists()
    raise KeyboardInterrupt


@pytest.mark.parametrize("make", [atomic_path, atomic_folder])
def test_an_error_leaves_nothing_behind(tmp_path, make):
    with pytest.raises(KeyboardInterrupt), make(tmp_path / "thing.txt") as partial:
        interrupted(partial)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError), make(tmp_path / "nowhere" / "thing.txt"):
        pass
