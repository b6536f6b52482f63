from __future__ import annotations

from pathlib import Path

import pytest
from similarity_toys import build


@pytest.fixture(scope="session")
def library_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("similarity")
    build(folder)
    return folder / "library"
