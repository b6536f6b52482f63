from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import task_spaces

SMALL = {"channels": 2, "cells": 1, "input_size": 8, "batch_size": 4, "device": "cpu"}
METHODS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "FUSE": ("fuse", 1, {"rounds": 1, "epochs": 1}),
    "random": ("random", 2, {}),
}


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_spaces, "NETWORK", SMALL)
    monkeypatch.setattr(task_spaces, "METHODS", METHODS)
    monkeypatch.setattr(task_spaces, "EPOCHS", 1)
    monkeypatch.setattr(task_spaces, "ANEW", 1)
    near = {"digits": 0.1, "vehicles": 0.7, "seconds": 1.0}
    monkeypatch.setattr(task_spaces, "distances", lambda *_: near)
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    tasks = ["MNIST, 0 or not", "CIFAR-10, ten classes"]
    task_spaces.main([*folders, "--seeds", "2", "--tasks", *tasks])
    found = json.loads((tmp_path / "out" / "task_spaces.json").read_text())["found"]
    assert len(found) == 2 * 3 * 2 and all(len(one["runs"]) == 2 for one in found)
    known = {one["space"]: {run["known"] for run in one["runs"]} for one in found}
    assert known == {"nearest": {"digits"}, "whole": {""}, "farthest": {"vehicles"}}
    text = (tmp_path / "out" / "task_spaces.md").read_text()
    assert "| nearest - farthest | FUSE | all (2 tasks) |" in text
    # What is finished is not searched again.
    monkeypatch.setattr(task_spaces, "train_search", lambda *_, **__: pytest.fail("it searched again"))
    task_spaces.main([*folders, "--seeds", "2", "--tasks", *tasks])
    assert (tmp_path / "out" / "task_spaces.md").read_text() == text


def test_differences_are_of_means_over_tasks_paired_by_seed() -> None:
    def runs(*accuracies: float) -> list[dict[str, float]]:
        return [{"accuracy": accuracy, "params": 1.0, "seconds": 1.0} for accuracy in accuracies]

    tasks = ["MNIST, a", "CIFAR-10, b"]
    found = {(t, s, m): runs(50, 60) for t in tasks for s in task_spaces.SPACES for m in task_spaces.METHODS}
    found["MNIST, a", "nearest", "FUSE"] = runs(54, 66)
    text = task_spaces.differences(found, tasks)
    assert "| nearest - whole | FUSE | MNIST (1 tasks) | 5.00 [-7.71, 17.71] | cannot be told | 3 |" in text
    assert "| nearest - whole | FUSE | all (2 tasks) | 2.50 [-3.85, 8.85] | cannot be told | 3 |" in text
    assert "| farthest - whole | FUSE | all (2 tasks) | 0.00 [0.00, 0.00] | cannot be told |  |" in text
