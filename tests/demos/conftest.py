"""What several tests of demonstrations use."""

import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Where Minari looks for its datasets."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    return folder
