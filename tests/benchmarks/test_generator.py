from __future__ import annotations

import json
from pathlib import Path

import generator
import pytest
import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "CANDIDATES", 10)
    folders = ["--data", str(toy_data), "--out", str(tmp_path)]
    generator.main([*folders, "--models", "nasbench201-paper", "--draws", "50", "--tasks", "2"])
    results = json.loads((tmp_path / "generator.json").read_text())
    assert results["settings"]["models"] == ["nasbench201-paper"]
    draws = results["models"]["nasbench201-paper"]["draws"]
    assert draws["MNIST"][0]["valid"] == 100 and draws["MNIST"][0]["unique"] == 100
    assert len(draws["validation tasks"]) == 2
    assert "CIFAR-10, measured" in (tmp_path / "generator.md").read_text()


def test_cells_that_are_known_are_not_novel() -> None:
    searcher = MetaD2A.from_pretrained("nasbench201-paper")
    dim = searcher.checkpoint.predictor.feature_dim
    task = Task(torch.randn(8, dim, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2, encoder="default")
    drawn = searcher.generate(task, 40, seed=0)
    report = generator.draw_report(searcher, task, set(map(tuple, drawn[:10].tolist())), 40)
    assert report["novel"] == pytest.approx(75) and report["networks"] <= report["live"]
