from __future__ import annotations

import json
from pathlib import Path

import _common as common
import numpy as np
import pytest
import search_curves
import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task


def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = MetaD2A.from_pretrained("nasbench201-paper").checkpoint
    shipped.save(tmp_path / "runs" / "meta_seeds" / "nasbench201-paper" / "seed-0")
    # Few networks, so that strategies are quick.
    monkeypatch.setitem(search_curves.METHODS, "MetaD2A", ("metad2a", {"adapt": True, "candidates": 30}))
    monkeypatch.setitem(search_curves.METHODS, "MetaD2A, fixed order", ("metad2a", {"adapt": False, "candidates": 30}))
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    search_curves.main([*folders, "--repeats", "2", "--queries", "10", "--longest", "40", "--checkpoints", "1"])
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    results = json.loads((tmp_path / "out" / "search_curves.json").read_text())
    lengths = {method: len(curve) for method, curve in results["mean"]["cifar10"].items()}
    assert lengths["MetaD2A"] == 10 and lengths["random search"] == 40
    assert "| regularized evolution |" in (tmp_path / "out" / "search_curves.md").read_text()


def test_a_curve_is_the_test_accuracy_of_the_best_by_validation(toy_data: Path) -> None:
    data = common.Data(toy_data)
    task = Task(torch.zeros(2, 3), torch.tensor([0, 1]))
    curve = search_curves.Bench(data, "cifar10", task, []).curve("random search", 3, 20)
    strategy = search_curves.Bench(data, "cifar10", task, []).strategy("random search", 3)
    index = [data.table.index_of(cell) for cell in strategy.ask(20)]
    valid, test = (data.table.accuracies("cifar10", split)[index] for split in ("valid", "test"))
    assert [test for _, test in curve] == [test[valid[: q + 1].argmax()] for q in range(20)]
    assert [told for told, _ in curve] == np.maximum.accumulate(valid).tolist()


def test_queries_are_counted_from_one() -> None:
    curve = np.array([1.0, 2.0, 3.0])
    assert [search_curves.queries_to_reach(curve, level) for level in (0.5, 2.0, 4.0)] == [1, 2, None]


def test_a_run_sees_its_own_images_of_every_class() -> None:
    task = Task(torch.arange(100.0)[:, None], torch.arange(100) % 2)
    some, others = (search_curves.some_images(task, seed) for seed in (0, 1))
    assert some.labels.bincount().tolist() == [20, 20] and not torch.equal(some.features, others.features)
    assert torch.equal(some.features[:, 0].long() % 2, some.labels)
