"""Designs on the command line, and what becomes of budgets when networks are trained."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budget_toys import ship
from meta_toys import coloured

from metad2a_plugin.candidates.speed import Speed
from metad2a_plugin.cli.main import main
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.strategies.metad2a import MetaD2AStrategy
from metad2a_plugin.training import speed

CONVS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SKIPS = CONVS.replace("nor_conv_3x3", "skip_connect")
TINY = ["--epochs", "1", "--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a small dataset in it, and a toy as the shipped model that knows budgets."""
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shipped").mkdir()
    ship(tmp_path / "shipped", monkeypatch)
    monkeypatch.chdir(tmp_path)
    images, labels = coloured()
    np.savez("images.npz", images=images, labels=labels)
    return tmp_path


def found(*arguments: str) -> Any:
    assert main([*arguments, "--json", "found.json"]) == 0
    return json.loads(Path("found.json").read_text())


def mistake(capsys: Any, *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    return str(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "images.npz", "--epochs", "0"], "epochs must be an integer of 1 or more"),
        (["search", "images.npz", "--epochs", "2", "--lr", "0"], "lr must be a positive number"),
        (["score", CONVS, "--predictor", "params", "--cells", "2"], "--cells is of a training to score for"),
        (["search", "images.npz", "--minutes", "0"], "minutes must be a positive number"),
        (["search", "images.npz", "--minutes", "1", "--predictor", "params"], "--predictor does not go with --minutes"),
        (["search", "--minutes", "1"], "--minutes is for a training on a dataset"),
        (["search", "images.npz", "--minutes", "1", "--model", "nasbench201"], "knows no budgets"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], says: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "measure_speed", lambda space: Speed(5e-3, 5e-11, 3e-9))
    assert says in mistake(capsys, *arguments)


def test_minutes_give_designs_and_the_command_that_trains_the_best(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "measure_speed", lambda space: Speed(5e-3, 5e-11, 3e-9))
    plain = found(
        "search", "images.npz", "--minutes", "0.1", "--channels", "4", "--cells", "1", "--input-size", "8",
        "--epochs", "1", "--lr", "0.05", "--top", "2",
    )  # fmt: skip
    best = plain["designs"][0]
    shown = capsys.readouterr().out
    assert re.search(r"rank +accuracy +90% interval +channels +cells +px +epochs +batch +minutes", shown)
    [command] = [line for line in shown.splitlines() if line.startswith("metad2a train")]
    words = shlex.split(command)[1:]
    assert words[words.index("--architecture") + 1] == best["architecture"]
    assert words[words.index("--lr") + 1] == "0.05" and best["budget"]["channels"] == 4
    assert main([*words, "--device", "cpu"]) == 0
    [trained] = Path("runs/train").glob("*/result.json")
    result = json.loads(trained.read_text())
    assert result["architecture"] == best["architecture"] and len(result["history"]) == 1
    # Each of the three classes is rounded when it is split.
    assert abs(result["train_images"] - best["budget"]["images"]) < 3


def test_train_with_a_model_that_knows_no_budgets_searches_for_long_training() -> None:
    assert main(["train", "images.npz", "--top", "1", "--model", "nasbench201", *TINY]) == 0
    [trained] = Path("runs/train").glob("*/result.json")
    assert json.loads(trained.read_text())["architecture"] != SKIPS


def test_a_strategy_is_told_the_budget_of_its_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[MetaD2AStrategy] = []
    ask = MetaD2AStrategy.ask

    def watched(self: MetaD2AStrategy, n: int = 1) -> Any:
        made.append(self)
        return ask(self, n)

    monkeypatch.setattr(MetaD2AStrategy, "ask", watched)
    train = ["train", "images.npz", "--strategy", "metad2a", "--queries", "1", *TINY]
    assert main(train) == 0
    [trained] = Path("runs/train").glob("*/result.json")
    images = json.loads(trained.read_text())["train_images"]
    assert made[-1].budget == Budget(1, 16, input_size=8, images=images, options={"channels": 4, "cells": 1})
    assert main([*train, "--option", "model=nasbench201"]) == 0
    assert made[-1].budget is None


def test_train_takes_the_budget_of_a_result() -> None:
    found(
        "search", "images.npz", "--epochs", "2", "--lr", "0.05", "--channels", "4", "--cells", "1", "--input-size", "8"
    )
    assert main(["train", "images.npz", "--result", "found.json", "--top", "1", "--device", "cpu"]) == 0
    [trained] = Path("runs/train").glob("*/result.json")
    history = json.loads(trained.read_text())["history"]
    assert len(history) == 2 and history[0]["lr"] <= 0.05
    assert (
        main(["train", "images.npz", "--result", "found.json", "--top", "1", "--epochs", "1", "--device", "cpu"]) == 0
    )
    assert len(list(Path("runs/train").glob("*/result.json"))) == 2
