from __future__ import annotations

import csv
import gzip
import json
import shutil
from functools import partial
from pathlib import Path

import _common as common
import naswot
import numpy as np
import pytest

from metad2a_plugin.predictors.naswot import NASWOTPredictor

TINY = {"channels": 2, "cells": 1, "input_size": 8}


@pytest.fixture
def data(toy_data: Path, tmp_path: Path) -> Path:
    """The toy data with recorded scores of every other cell."""
    root = tmp_path / "data"
    shutil.copytree(toy_data, root)
    with gzip.open(root / "nas_bench_201" / "zero_cost_proxies.csv.gz", "wt", compresslevel=1) as stream:
        writer = csv.writer(stream)
        writer.writerow(["index", "cifar10_nwot", "imagenet16_nwot"])
        for cell in common.SPACE.enumerate():
            value = sum(op in (2, 3) for op in cell.choices)
            index = common.SPACE.index(cell)
            writer.writerow([index, *([value, value + 1] if index % 2 else ["", ""])])
    return root


@pytest.mark.slow
def test_a_tiny_run_writes_everything_and_scores_nothing_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = naswot.draws
    monkeypatch.setattr(naswot, "draws", lambda seed, count: plain(seed, min(count, 40)))
    monkeypatch.setattr(naswot, "run", partial(naswot.run, **TINY))
    folders = ["--data", str(data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    sizes = ["--images", "4", "--repeats", "2", "--runs-100", "0", "--runs-1000", "0", "--shared", "10"]
    command = [*folders, *sizes, "--queries", "15", "--cells", "2", "--speed-repeats", "1"]
    naswot.main(command)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    written = (tmp_path / "out" / "naswot.md").read_text()
    for part in ("| 10 | 2 |", "Kendall with test accuracy, CIFAR-10", "AREA, recorded, 100 scored", "wall time"):
        assert part in written
    results = json.loads((tmp_path / "out" / "naswot.json").read_text())
    assert len(results["mean"]["cifar10"]["AREA"]) == 15 and results["speed"]["difference"] < 1e-3
    kept = (tmp_path / "runs" / "naswot" / "cifar10.jsonl").read_text()
    assert 40 <= len(kept.splitlines()) <= 60
    monkeypatch.setattr(NASWOTPredictor, "predict", lambda *_: pytest.fail("scored again"))
    naswot.main(command)
    assert (tmp_path / "runs" / "naswot" / "cifar10.jsonl").read_text() == kept


def test_the_first_proposal_is_the_best_by_score(data: Path) -> None:
    table = common.Data(data)
    cells = naswot.draws(0, 10)
    scores = {common.SPACE.index(cell): float(i) for i, cell in enumerate(cells)}
    found = naswot.searches(table, naswot.Kept(scores), 10, 1)
    assert found["cifar10"] == [table.table.accuracy(table.table.index_of(cells[-1]), "cifar10")]


def test_catching_up_is_counted_by_means() -> None:
    slow, fast = (np.stack([np.arange(120) * step] * 2, -1)[None].repeat(2, 0) for step in (1.0, 2.0))
    rows = naswot.area_rows({"regularized evolution": slow, "AREA": fast}, "cifar10")
    assert [row[-2:] for row in rows] == [["100", "100"], ["51", "51"]]
