from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import passing_tests
import pytest

TINY: dict[str, Any] = {"batch_size": 4, "channels": 2, "cells": 1, "input_size": 8, "alpha_lr": 0.1, "device": "cpu"}


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_tests, "SMALL", TINY)
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    passing_tests.main([*folders, "--seeds", "2", "--epochs", "2"])
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    scores = json.loads((tmp_path / "out" / "passing_tests.json").read_text())["scores"]
    assert set(scores["cifar10"]) == {*passing_tests.METHODS, passing_tests.RANDOM}
    for name, title in (("cifar10", "ImageNet16-120"), ("clothing10", "Clothing-10")):
        assert all(len(columns[title]) == 2 for columns in scores[name].values())
    text = (tmp_path / "out" / "passing_tests.md").read_text()
    # What is finished is not searched again.
    monkeypatch.setattr(passing_tests, "search", lambda *_: pytest.fail("it searched again"))
    monkeypatch.setattr(passing_tests, "cost", lambda *_: 1.0)
    passing_tests.main([*folders, "--seeds", "2", "--epochs", "2"])
    again = (tmp_path / "out" / "passing_tests.md").read_text()
    assert again.split("One epoch")[0] == text.split("One epoch")[0]


def test_differences_are_paired_by_seed() -> None:
    def scores(*values: float) -> dict[str, list[float]]:
        return {"CIFAR-10": list(values)}

    second, first = scores(90, 90, 84), scores(1, 1, 1)
    methods = {"LPT": scores(91, 90, 80), "DARTS, second order": second, "DARTS, first order": first}
    text = passing_tests.differences(methods, ["CIFAR-10"])
    assert "| LPT - DARTS, second order | CIFAR-10 | -1.00 ± 2.65 | 1 / 1 / 1 |" in text
