"""Commands that are told what networks will be trained with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budget_toys import ship
from meta_toys import coloured

from metad2a_plugin.cli.main import main

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
CONVS = SKIPS.replace("skip_connect", "nor_conv_3x3")
SHORT = ["--epochs", "1", "--batch-size", "64"]
LONG = ["--epochs", "100", "--batch-size", "2"]
IMAGES, TRAINING_IMAGES = 18, 14


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a dataset in it; the toy is the shipped model that knows budgets."""
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    images, labels = coloured()
    assert len(images) == IMAGES
    np.savez("images.npz", images=images, labels=labels)
    (tmp_path / "shipped").mkdir()
    ship(tmp_path / "shipped", monkeypatch)
    return tmp_path


def found(*command: str) -> dict[str, Any]:
    assert main([*command, "--json", "found.json"]) == 0
    return dict(json.loads(Path("found.json").read_text()))


def said(capsys: Any, *command: str) -> str:
    """The one sentence of a command that fails."""
    assert main([*command]) == 2
    return str(capsys.readouterr().err)


def test_a_search_is_for_the_budget(capsys: Any) -> None:
    short = found("search", "images.npz", *SHORT, "--top", "1")
    assert "Ranked for 1 epoch of 14 images (1 steps), 32 pixels, batch 64" in capsys.readouterr().out
    long = found("search", "images.npz", *LONG, "--top", "1")
    assert short["candidates"][0]["architecture"] == SKIPS
    assert long["candidates"][0]["architecture"] == CONVS
    assert short["predictor"] == "nasbench201-budget"
    assert (short["budget"]["epochs"], short["budget"]["images"]) == (1, TRAINING_IMAGES)


def test_a_search_is_for_the_batches_that_a_training_would_have() -> None:
    budget = found("search", "images.npz", "--epochs", "1", "--top", "1")["budget"]
    trained = found("train", "images.npz", "--epochs", "1", "-a", SKIPS, "--input-size", "8", "--cells", "1")
    assert budget["batch_size"] == trained["config"]["batch_size"] == 16
    front = found("pareto", "images.npz", "--epochs", "1", "--points", "2")
    scores = found("score", SKIPS, "--dataset", "images.npz", "--epochs", "1")
    assert front["budget"]["batch_size"] == scores["budget"]["batch_size"] == 16


def test_the_budget_has_the_size_of_the_networks() -> None:
    sizes = ["--channels", "8", "--cells", "2", "--input-size", "16", "--lr", "0.05", "--flip"]
    budget = found("search", "images.npz", *SHORT, *sizes, "--top", "1")["budget"]
    expected = {"epochs": 1, "batch_size": 64, "input_size": 16, "lr": 0.05, "flip": True, "images": TRAINING_IMAGES}
    assert budget == expected | {"channels": 8, "cells": 2}


def test_without_a_budget_a_search_says_that_it_is_for_long_training(capsys: Any) -> None:
    result = found("search", "images.npz", "--model", "nasbench201-budget", "--top", "1")
    assert result["budget"] is None and result["candidates"][0]["architecture"] == CONVS
    assert "ranked for long training; give a budget (--epochs" in capsys.readouterr().out


def test_a_front_is_for_the_budget() -> None:
    front = found("pareto", "images.npz", *SHORT, "--points", "3")
    assert front["candidates"][-1]["architecture"] == SKIPS


def test_scores_are_for_the_budget() -> None:
    best = {
        name: found("score", CONVS, SKIPS, "--dataset", "images.npz", *budget)["scores"][0]["architecture"]
        for name, budget in {"short": SHORT, "long": LONG}.items()
    }
    assert best == {"short": SKIPS, "long": CONVS}


def test_what_knows_no_budgets_refuses_one(capsys: Any) -> None:
    for refused in (["--model", "nasbench201-paper"], ["--predictor", "params"]):
        if refused[1] == "nasbench201-paper" and not Path("shipped/nasbench201-paper").exists():
            continue
        error = said(capsys, "search", "images.npz", *SHORT, *refused)
        assert f"{refused[1]!r} knows no budgets" in error and "'nasbench201-budget'" in error
    error = said(capsys, "score", CONVS, "--predictor", "flops", *SHORT)
    assert "'flops' knows no budgets" in error
    error = said(capsys, "search", "images.npz", *SHORT, "--space", "mobilenetv3")
    assert "no shipped model of the space 'mobilenetv3' knows budgets" in error


@pytest.mark.parametrize("alone", [["--batch-size", "64"], ["--lr", "0.1"], ["--flip"]])
def test_what_goes_with_epochs_is_not_given_alone(alone: list[str], capsys: Any) -> None:
    assert f"{alone[0]} is of a training to rank for" in said(capsys, "search", "images.npz", *alone)


def test_a_training_searches_for_its_own_budget(work: Path) -> None:
    size = ["--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]
    for name, options in {"few": SHORT, "many": ["--epochs", "25", "--batch-size", "2"]}.items():
        assert main(["train", "images.npz", "--top", "1", *size, *options, "--out", name]) == 0
    trained = {
        name: json.loads(next((work / name).rglob("result.json")).read_text())["architecture"]
        for name in ("few", "many")
    }
    assert trained == {"few": SKIPS, "many": CONVS}


def test_a_strategy_that_trains_is_told_the_budget(work: Path) -> None:
    size = ["--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]
    command = ["train", "images.npz", "--strategy", "metad2a", "--queries", "1", *size, *SHORT, "--out", "runs"]
    assert main(command) == 0
    [result] = (work / "runs").rglob("result.json")
    assert json.loads(result.read_text())["architecture"] == SKIPS
