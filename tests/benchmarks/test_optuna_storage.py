from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="Optuna is not installed")
import optuna_storage


@pytest.mark.slow
def test_processes_on_one_storage_lose_and_repeat_nothing(toy_data: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(toy_data), "--trials", "12", "--seeds", "1"]
    optuna_storage.main([*arguments, "--out", str(tmp_path), "--runs", str(tmp_path)])
    found = json.loads((tmp_path / "optuna_storage.json").read_text())["runs"]
    for strategy, kinds in found.items():
        for [run] in kinds.values():
            assert (run["trials"], run["lost"]) == (12, 0)
            assert strategy == optuna_storage.TPE or run["twice"] == 0
