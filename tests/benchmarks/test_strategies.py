from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mdenas
import pytest
import strategies


@pytest.mark.slow
def test_a_tiny_comparison_writes_everything(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(strategies.CONFIG, epochs=1, options={"channels": 2, "cells": 1}, input_size=8)
    monkeypatch.setattr(strategies, "CONFIG", tiny)
    monkeypatch.setattr(strategies, "SUPERNET", strategies.SUPERNET | {"channels": 2, "input_size": 8, "batch_size": 2})
    few = {"NASWOT": {"options": {"candidates": 2}}, "DARTS": {"supernet": 1}}
    few["MDENAS, shared weights"] = {"supernet": 3}
    for name, changes in few.items():
        monkeypatch.setitem(strategies.METHODS, name, replace(strategies.METHODS[name], **changes))
    names = ["MetaD2A", "random search", "MDENAS", *few]
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    sizes = ["--repeats", "2", "--queries", "3", "--image-repeats", "2", "--trained", "2"]
    strategies.main([*folders, *sizes, "--methods", *names])
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    text = (tmp_path / "out" / "strategies.md").read_text()
    assert "Where MetaD2A is behind" in text and "| MDENAS, shared weights | 2 |" in text
    found = json.loads((tmp_path / "out" / "strategies.json").read_text())
    assert set(found["tables"]["cifar10"]) == set(found["images"]) == set(names)
    assert [len(run) for run in found["images"]["random search"]] == [2, 2]
    assert [len(run) for run in found["images"]["DARTS"]] == [1, 1]


def test_what_is_told_and_what_is_scored(toy_data: Path, tmp_path: Path) -> None:
    data = strategies.common.Data(toy_data)
    bench = strategies.table_bench(data, "cifar10", tmp_path)
    rows = bench.curve(strategies.METHODS["random search"], 3, 8)
    strategy, _ = bench.strategy(strategies.METHODS["random search"], 3)
    index = [data.table.index_of(cell) for cell in strategy.ask(8)]
    valid, test = (data.table.accuracies("cifar10", split)[index] for split in ("valid", "test"))
    assert [row["test"] for row in rows] == [test[valid[: q + 1].argmax()] for q in range(8)]
    assert rows[-1]["training"] == pytest.approx(data.table.train_seconds(index, "cifar10", "valid").sum())


def test_where_metad2a_is_behind_is_computed() -> None:
    def runs(test: float) -> list[list[dict[str, float]]]:
        return [[{"test": test, "own": 0.0, "training": 0.0}]]

    behind = strategies.ahead({"cifar10": {"MetaD2A": runs(90), "MDENAS": runs(91)}}, {"MetaD2A": runs(50)}, 1)
    assert "- CIFAR-10 after 1: MDENAS (+1.00)" in behind and "images" not in behind
    assert "nowhere" in strategies.ahead({"cifar10": {"MetaD2A": runs(90), "MDENAS": runs(90)}}, {}, 1)


def test_mdenas_writes_its_table(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdenas, "STEPS", (2, 4, 6))
    monkeypatch.setattr(mdenas, "AIM", {2: 90.0, 4: 0.0, 6: 90.0})
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    mdenas.main([*folders, "--repeats", "2"])
    text = (tmp_path / "out" / "mdenas.md").read_text()
    assert text.count("| CIFAR-10 |") == 2 and "missed" in text
