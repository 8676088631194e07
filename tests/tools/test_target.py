"""What is read is never written over, whatever name it goes by; what is not read may be replaced."""

import shutil

import pytest

from ilfo._tools.errors import InputError
from ilfo._tools.target import check_room, file_to_write


def test_what_is_read_is_not_written_over(tmp_path):
    read, other = tmp_path / "a.hdf5", tmp_path / "b.hdf5"
    link, hard = tmp_path / "link.hdf5", tmp_path / "hard.hdf5"
    read.write_text("a"), other.write_text("b")
    link.symlink_to(read), hard.hardlink_to(read)
    for out in (read, link, hard, tmp_path / "." / "a.hdf5"):
        with pytest.raises(InputError, match="is what is read"):
            file_to_write(out, reads=[None, other.with_name("c.hdf5"), read])
    assert file_to_write(str(other), reads=[read]) == other
    assert file_to_write(tmp_path / "new.hdf5", reads=[read]) == tmp_path / "new.hdf5"


def test_what_the_disk_has_no_room_for_is_refused(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(InputError, match=r"new\.hdf5: takes up to .* MB, but its disk has .* MB left"):
        check_room(tmp_path / "new.hdf5", 2 * free)
    monkeypatch.chdir(tmp_path)
    check_room(tmp_path.relative_to(tmp_path) / "new.hdf5", 1)


def test_a_disk_that_does_not_say_how_large_it_is_is_no_full_one(tmp_path, monkeypatch):
    monkeypatch.setattr("ilfo._tools.target.shutil.disk_usage", lambda folder: (0, 0, 0))
    check_room(tmp_path / "new.hdf5", 10**9)
