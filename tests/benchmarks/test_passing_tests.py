from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import passing_tests
import pytest

from metad2a_plugin.one_shot.config import FORMS

TINY: dict[str, Any] = {"batch_size": 4, "channels": 2, "cells": 1, "input_size": 8, "alpha_lr": 0.1, "device": "cpu"}


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_tests, "SMALL", TINY)
    monkeypatch.setattr(passing_tests, "ANEW", passing_tests.ANEW | {"epochs": 1, "input_size": 8, "channels": 2})
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    given = [*folders, "--seeds", "2", "--steps", "2", "--datasets", "cifar10", "clothing10"]
    passing_tests.main(given)
    found = json.loads((tmp_path / "out" / "passing_tests.json").read_text())
    for name in ("cifar10", "clothing10"):
        assert set(found["scores"][name]) == {*passing_tests.METHODS, passing_tests.RANDOM}
        assert all(len(columns["trained anew"]) == 2 for columns in found["scores"][name].values())
    assert all(len(columns["in the table"]) == 2 for columns in found["scores"]["cifar10"].values())
    assert set(found["gradients"]) == set(FORMS) and set(found["gradients"]["exact"]["error"]) == {0.0}
    text = (tmp_path / "out" / "passing_tests.md").read_text()
    # What is finished is not searched again.
    for system, (_, *others) in passing_tests.SYSTEMS.items():
        monkeypatch.setitem(passing_tests.SYSTEMS, system, (lambda *_: pytest.fail("it searched again"), *others))
    passing_tests.main(given)
    assert (tmp_path / "out" / "passing_tests.md").read_text() == text


def test_differences_are_paired_by_seed() -> None:
    def scores(*values: float) -> dict[str, list[float]]:
        return {"trained anew": list(values)}

    methods = {name: scores(1, 1, 1) for name in passing_tests.METHODS}
    methods |= {"LPT, exact": scores(91, 90, 80), "DARTS, exact": scores(90, 90, 84)}
    text = passing_tests.differences({"clothing10": methods})
    expected = "LPT, exact - DARTS, exact | Clothing-10, trained anew | -1.00 [-7.57, 5.57] | cannot be told | 30 |"
    assert expected in text
    assert "DARTS, exact - DARTS, none | Clothing-10, trained anew | 87.00 [78.39, 95.61] | better | 2 |" in text
