from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from image_toys import MeanColour, write_folder


@pytest.fixture
def encoder() -> MeanColour:
    return MeanColour()


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The feature cache; whatever a test does, no partial file may remain in it."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("METAD2A_CACHE", str(folder))
    yield folder
    assert not list(folder.rglob(".partial-*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "flowers", {"rose": 5, "tulip": 4, "lily": 3})
