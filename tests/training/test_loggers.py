from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.cli import main
from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.errors import ConfigError, MissingExtraError
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.strategies.trained_search import train_search
from metad2a_plugin.training import (
    CSVLogger,
    Epoch,
    ImageClassifier,
    TensorBoardLogger,
    TrainConfig,
    Training,
    prepare,
    train_architecture,
    train_many,
    train_network,
)

SPACE = NASBench201()
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
OTHER = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
CONFIG = TrainConfig(epochs=2, batch_size=16, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")
EPOCH = Epoch(1, 0.1, 1.5, 75.0, 70.0, 2.0)


class Kept:
    """What it was told; it can fail after so many epochs."""

    def __init__(self, fails: int = 99) -> None:
        self.told: list[tuple[str, int]] = []
        self.trainings: list[Training] = []
        self.fails = fails

    def on_epoch_end(self, epoch: Epoch, training: Training) -> None:
        self.told.append((training.architecture, epoch.epoch))
        self.trainings.append(training)
        if len(self.told) == self.fails:
            raise ConnectionError("the tracker is away")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    rng = np.random.default_rng(0)
    return load_dataset((rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8), np.arange(40) % 2), name="noise")


# -- what is told --------------------------------------------------------------------------------
def test_every_epoch_of_every_network_is_told_once(dataset: ImageDataset, tmp_path: Path) -> None:
    kept, own = Kept(), Kept()
    train_many(SPACE, [CELL, OTHER], dataset, CONFIG, tmp_path, progress=False, callbacks=[kept, own])
    assert kept.told == own.told == [(CELL, 1), (CELL, 2), (OTHER, 1), (OTHER, 2)]
    assert {training.name for training in kept.trainings} == {folder.name for folder in tmp_path.iterdir()}
    assert kept.trainings[0].config.epochs == 2
    train_many(SPACE, [CELL, OTHER], dataset, CONFIG, tmp_path, progress=False, callbacks=[kept])
    assert len(kept.told) == 4  # nothing was trained


def test_a_training_goes_on_after_a_callback_has_failed(dataset: ImageDataset, tmp_path: Path) -> None:
    first, then = Kept(fails=1), Kept()
    with pytest.raises(ConnectionError, match="the tracker is away"):
        train_architecture(SPACE, CELL, dataset, CONFIG, run_dir=tmp_path, progress=False, callbacks=[first])
    train_architecture(SPACE, CELL, dataset, CONFIG, run_dir=tmp_path, progress=False, callbacks=[then])
    assert first.told + then.told == [(CELL, 1), (CELL, 2)]
    assert first.trainings == then.trainings


def test_any_network_tells_its_epochs(dataset: ImageDataset) -> None:
    kept, data = Kept(), prepare(dataset, CONFIG)
    network = ImageClassifier(SPACE, CELL, 2, input_size=8, options=CONFIG.options)
    train_network(network, data, CONFIG, callbacks=[kept])
    assert kept.told == [("ImageClassifier", 1), ("ImageClassifier", 2)]


def test_a_search_by_training_tells_too(dataset: ImageDataset) -> None:
    kept = Kept()
    train_search(SPACE, "random", dataset, CONFIG, queries=2, callbacks=[kept])
    assert [epoch for _, epoch in kept.told] == [1, 2, 1, 2]


@pytest.mark.parametrize("wrong", [[print], Kept(), [Kept], 3, ["csv"]])
def test_what_is_no_callback_is_refused_before_anything_is_trained(wrong: Any, dataset: ImageDataset) -> None:
    with pytest.raises(ConfigError, match=r"a list of objects with on_epoch_end\(epoch, training\), got "):
        train_architecture(SPACE, CELL, dataset, CONFIG, callbacks=wrong)


# -- a table -------------------------------------------------------------------------------------
def test_a_table_has_a_line_for_each_epoch_of_all_trainings(dataset: ImageDataset, tmp_path: Path) -> None:
    for cell in (CELL, OTHER):  # the second one goes on with the file
        result = train_architecture(
            SPACE, cell, dataset, CONFIG, progress=False, callbacks=[CSVLogger(tmp_path / "logs" / "log.csv")]
        )
    found = rows(tmp_path / "logs" / "log.csv")
    assert [(row["architecture"], row["epoch"]) for row in found] == [(c, e) for c in (CELL, OTHER) for e in "12"]
    assert float(found[-1]["accuracy"]) == result.accuracy and float(found[-1]["loss"]) == result.history[-1].loss


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=5))
def test_any_notation_comes_back_from_a_table(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("table") / "log.csv"
    for name in names:
        CSVLogger(path).on_epoch_end(EPOCH, Training("net", name, CONFIG))
    assert [row["architecture"] for row in rows(path)] == names


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n1,2\n", b"\x89PNG", b"training,architecture\n"])
def test_a_file_of_something_else_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is no log of trainings; give another file"):
        CSVLogger(path)
    assert path.read_bytes() == content


def test_a_log_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "log.csv"):
        with pytest.raises(ConfigError):
            CSVLogger(place)
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    with pytest.raises(ConfigError, match="is a file"):
        TensorBoardLogger(tmp_path / "file")


# -- TensorBoard ---------------------------------------------------------------------------------
def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_a_run_for_each_training(dataset: ImageDataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    logger = TensorBoardLogger(tmp_path / "tb")
    results = train_many(SPACE, [CELL, OTHER], dataset, CONFIG, tmp_path / "runs", progress=False, callbacks=[logger])
    for result in results:
        assert result.run_dir is not None
        found = scalars(tmp_path / "tb" / result.run_dir.name)
        assert sorted(found) == ["accuracy", "balanced_accuracy", "loss", "lr", "seconds"]
        assert found["accuracy"] == [(e.epoch, pytest.approx(e.accuracy)) for e in result.history]


def test_tensorboard_drops_what_a_killed_training_told_and_did_not_keep(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    training = Training("net", CELL, TrainConfig(epochs=9))
    for last, accuracy in ((3, 50.0), (4, 60.0)):
        logger = TensorBoardLogger(tmp_path)
        for number in range(2 if last == 4 else 1, last + 1):
            logger.on_epoch_end(EPOCH._replace(epoch=number, accuracy=accuracy), training)
    assert scalars(tmp_path / "net")["accuracy"] == [(1, 50.0), (2, 60.0), (3, 60.0), (4, 60.0)]


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[tensorboard\]"):
        TensorBoardLogger(tmp_path)


# -- the command ---------------------------------------------------------------------------------
def test_the_command_logs_what_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--epochs", "1", "--input-size", "8", "--channels", "4", "--cells", "1", "--max-images-per-class", "4"]
    assert main(["train", "sklearn:digits", "-a", CELL, *small, "--out", "runs", "--log", "csv"]) == 0
    [row] = rows(tmp_path / "runs" / "log.csv")
    assert row["architecture"] == CELL and row["epoch"] == "1"
    assert row["training"] in {folder.name for folder in (tmp_path / "runs").iterdir()}


def test_a_log_of_another_name_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "sklearn:digits", "-a", CELL, "--out", str(tmp_path / "out"), "--log", "wandb"]) == 2
    assert "unknown log 'wandb'" in capsys.readouterr().err and not (tmp_path / "out").exists()
