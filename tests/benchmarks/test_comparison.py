from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import _common as common
import comparison
import numpy as np
import pytest

SPACE = common.SPACE
CELLS = [SPACE.format(cell) for cell in SPACE.enumerate()]


def searched(quality: float) -> comparison.Method:
    """A search that is better the higher `quality`, without any host."""

    def run(bench: comparison.Bench, dataset: str, seed: int, queries: int) -> comparison.Trace:
        rng = np.random.default_rng(seed)
        index = rng.integers(0, SPACE.size, queries)
        told = quality + rng.normal(size=queries)
        return comparison.Trace(
            "toy",
            dataset,
            seed,
            [CELLS[i] for i in index],
            told.tolist(),
            (told + 1).tolist(),
            [3600.0 * (1 + i % 3) for i in range(queries)],
            [0.5] * queries,
            7.0,
        )

    return comparison.Method("nas_bench_201", run, quick=True)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"MetaD2A": searched(80), comparison.REFERENCE: searched(75), "TPE (NNI)": searched(79)}
    monkeypatch.setattr(comparison, "METHODS", methods)
    monkeypatch.setattr(comparison, "ONE_SHOT_METHODS", {"DARTS (NASLib)": "darts"})
    monkeypatch.setattr(comparison, "one_shot", lambda *_: {"cell": CELLS[0], "seconds": 60.0})


def run(data: Path, tmp_path: Path, *more: str) -> Any:
    folders = ["--data", str(data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    comparison.main([*folders, "--repeats", "3", "--longest", "120", "--one-shot-repeats", "2", *more])
    return json.loads((tmp_path / "out" / "comparison.json").read_text())


def test_a_tiny_run_writes_everything(toys: None, toy_data: Path, tmp_path: Path) -> None:
    results = run(toy_data, tmp_path)
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert text.count("| MetaD2A | 3 |") == 2 and "| DARTS (NASLib) | 2 |" in text
    assert all(verdict.endswith("met.") for verdict in results["verdicts"].values())
    assert len(results["mean"]["cifar10"]["TPE (NNI)"]["told"]) == 120


@pytest.mark.slow
def test_finished_runs_are_not_run_again(
    toys: None, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(toy_data, tmp_path)

    def fail(*_: Any) -> None:
        raise AssertionError("a finished run was run again")

    methods = {name: comparison.Method("nas_bench_201", fail, quick=True) for name in comparison.METHODS}
    monkeypatch.setattr(comparison, "METHODS", methods)
    assert run(toy_data, tmp_path)["mean"] == first["mean"]


def test_an_absent_host_is_named_and_left_out_only_if_asked(
    toys: None, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = comparison.Method("not_there", comparison.METHODS["MetaD2A"].run)
    monkeypatch.setitem(comparison.METHODS, "its search", absent)
    with pytest.raises(SystemExit, match="leave not_there out: --without not_there"):
        run(toy_data, tmp_path)
    results = run(toy_data, tmp_path, "--without", "not_there")
    assert "its search" not in results["mean"]["cifar10"]
    assert results["settings"]["left_out"] == ["not_there"]


@pytest.mark.slow
def test_a_missed_aim_is_said(toys: None, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(comparison.METHODS, "MetaD2A", searched(60))
    assert all(verdict.endswith("missed.") for verdict in run(toy_data, tmp_path)["verdicts"].values())
