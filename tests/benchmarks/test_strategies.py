from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import _significance as significance
import mdenas
import pytest
import strategies


@pytest.mark.slow
def test_a_tiny_comparison_writes_everything(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(strategies.CONFIG, options={"channels": 2, "cells": 1}, input_size=8, batch_size=4)
    monkeypatch.setattr(strategies, "CONFIG", tiny)
    monkeypatch.setattr(strategies, "BATCH", 4)
    monkeypatch.setattr(strategies, "SUPERNET", strategies.SUPERNET | {"channels": 2, "input_size": 8, "batch_size": 2})
    few = {"NASWOT": {"options": {"candidates": 2}}, "DARTS": {}, "MDENAS, shared weights": {"supernet": 3}}
    for name, changes in few.items():
        monkeypatch.setitem(strategies.METHODS, name, replace(strategies.METHODS[name], **changes))
    names = ["MetaD2A", "random search", "MDENAS", *few]
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    sizes = ["--repeats", "2", "--queries", "3", "--image-repeats", "2", "--trained", "2", "--steps", "2"]
    arguments = [*folders, *sizes, "--sets", "cifar10", "signdigits", "--methods", *names]
    strategies.main(arguments)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    text = (tmp_path / "out" / "strategies.md").read_text()
    assert "pairs of strategies can be told apart" in text and "| MDENAS, shared weights |" in text
    found = json.loads((tmp_path / "out" / "strategies.json").read_text())
    assert set(found["images"]) == {"cifar10", "signdigits"} and set(found["images"]["cifar10"]) == set(names)
    assert [len(run) for run in found["images"]["signdigits"]["random search"]] == [2, 2]
    assert [len(run) for run in found["images"]["cifar10"]["DARTS"]] == [1, 1]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.json")}
    monkeypatch.setattr(strategies, "train_architecture", None)
    strategies.main(arguments)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.json")} == kept
    assert (tmp_path / "out" / "strategies.md").read_text() == text


def test_what_is_told_and_what_is_scored(toy_data: Path, tmp_path: Path) -> None:
    data = strategies.common.Data(toy_data)
    bench = strategies.table_bench(data, "cifar10", tmp_path)
    rows = bench.curve(strategies.METHODS["random search"], 3, 8)
    strategy, _ = bench.strategy(strategies.METHODS["random search"], 3)
    index = [data.table.index_of(cell) for cell in strategy.ask(8)]
    valid, test = (data.table.accuracies("cifar10", split)[index] for split in ("valid", "test"))
    assert [row["test"] for row in rows] == [test[valid[: q + 1].argmax()] for q in range(8)]
    assert rows[-1]["training"] == pytest.approx(data.table.train_seconds(index, "cifar10", "valid").sum())


def runs(tests: list[float]) -> list[list[dict[str, float]]]:
    return [[{"test": test, "own": 0.0, "training": 0.0}] for test in tests]


def test_the_sentence_and_the_table_follow_the_numbers() -> None:
    of_set = {
        "MetaD2A": runs([91.0, 91.1, 90.9]),
        "MDENAS": runs([80.0, 90.0, 70.0]),
        "random search": runs([80.0, 80.2, 79.8]),
    }
    curves = {"cifar10": of_set, "signdigits": of_set}
    said = strategies.sentence(curves, strategies.SETS, 1)
    assert "1 of 3 pairs" in said and "highest mean has MetaD2A, and MetaD2A is surely ahead of random search" in said
    shown = strategies.table(curves, strategies.SETS, [1], 1)
    assert "+11.0 ± 0.1 | random search |" in shown and "| none |" in shown


def test_a_difference_is_paired_within_datasets() -> None:
    left = {"a": [10.0, 20.0, 31.0], "b": [50.0, 60.0, 69.0]}
    right = {"a": [9.0, 19.0, 29.0], "b": [40.0, 50.0, 60.0]}
    found = significance.difference(left, right)  # 1, 1, 2 and 10, 10, 9: spreads of 0.577 in each
    assert found.mean == pytest.approx((4 / 3 + 29 / 3) / 2)
    assert found.half == pytest.approx(2.776 * 0.57735 / math.sqrt(6), rel=1e-3) and found.p < 1e-3
    assert significance.difference(left, left) == (0, 0, 1)
    assert significance.difference({"a": [1.0]}, {"a": [0.0]}).p == 1


def test_chances_are_corrected_for_their_number() -> None:
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([0.5, 0.9]) == [1.0, 1.0] and significance.holm([]) == []
    noise = {name: {"a": [1.0, 2.0, 3.0 + shift]} for name, shift in (("x", 0.0), ("y", 0.1))}
    assert significance.ahead(noise) == {"x": [], "y": []}


def test_mdenas_writes_its_table(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdenas, "STEPS", (2, 4, 6))
    monkeypatch.setattr(mdenas, "AIM", {2: 90.0, 4: 0.0, 6: 90.0})
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    mdenas.main([*folders, "--repeats", "2"])
    text = (tmp_path / "out" / "mdenas.md").read_text()
    assert text.count("| CIFAR-10 |") == 2 and "missed" in text
