from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder of the test's own: NNI keeps a list of all experiments there, and reads it some times for each."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    if find_spec("nni") is not None:
        # NNI looks at HOME once, when it is imported.
        listed = "nni.tools.nnictl.config_utils.Experiments.__init__.__defaults__"
        monkeypatch.setattr(listed, (str(folder / "nni-experiments"),))
