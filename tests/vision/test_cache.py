import numpy as np
import pytest

from ilfo._tools import pieces
from ilfo.vision.cache import cache_folder, cached, fingerprint

KEY = "0" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ILFO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"points": np.arange(6, dtype=np.float32).reshape(2, 3), "number": np.asarray(7)}


def test_what_was_made_once_is_read_afterwards(folder):
    make = Maker()
    first, second = (cached(KEY, ["points", "number"], make) for _ in range(2))
    assert make.calls == 1
    assert np.array_equal(first["points"], second["points"])
    assert second["points"].dtype == np.float32
    assert int(second["number"]) == 7
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.npz"]


@pytest.mark.parametrize("damage", ["cut", "empty", "nonsense", "flipped", "other"])
def test_a_damaged_entry_is_made_anew_with_one_warning(folder, damage):
    make = Maker()
    cached(KEY, ["points"], make)
    path = folder / f"{KEY}.npz"
    whole = path.read_bytes()
    middle = whole.find(np.arange(6, dtype=np.float32).tobytes())
    if damage == "other":
        np.savez(path, points_of_another=np.zeros(2))
    else:
        path.write_bytes(
            {
                "cut": whole[:100],
                "empty": b"",
                "nonsense": b"nonsense",
                "flipped": whole[:middle] + b"\xff" + whole[middle + 1 :],
            }[damage]
        )
    with pytest.warns(UserWarning, match=f"{KEY}.npz: this entry of the cache is damaged") as warned:
        anew = cached(KEY, ["points"], make)
    assert len(warned) == 1
    assert np.array_equal(anew["points"], make()["points"])
    cached(KEY, ["points"], make)
    assert make.calls == 3, "the entry is whole again"


def test_features_that_cannot_be_kept_are_used_all_the_same(folder):
    folder.write_text("a file where the folder would be")
    with pytest.warns(UserWarning, match="ILFO_CACHE"):
        assert int(cached(KEY, ["number"], Maker())["number"]) == 7


@pytest.mark.parametrize("piece_bytes", [1, 100, pieces.PIECE_BYTES])
def test_a_fingerprint_tells_apart_all_that_counts(monkeypatch, piece_bytes):
    frames = np.random.default_rng(0).integers(0, 256, (20, 2, 2, 3), np.uint8)
    whole = fingerprint([frames], {"stride": 4})
    monkeypatch.setattr(pieces, "PIECE_BYTES", piece_bytes)
    last = frames.copy()
    last[-1, 0, 0, 0] ^= 1
    found = [
        fingerprint([frames], {"stride": 4}),
        fingerprint([frames], {"stride": 8}),
        fingerprint([last], {"stride": 4}),
        fingerprint([frames.reshape(-1, 4, 1, 3)], {"stride": 4}),
        fingerprint([frames.view(np.int8)], {"stride": 4}),
        fingerprint([frames, frames], {"stride": 4}),
    ]
    assert found[0] == whole
    assert len(set(found)) == len(found)
    assert fingerprint([frames[:, :, ::-1][:, :, ::-1]], {"stride": 4}) == found[0]


def test_the_folder_is_the_users_own_unless_told(monkeypatch, tmp_path):
    monkeypatch.delenv("ILFO_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ilfo"
