from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from one_shot_toys import coloured

from metad2a_plugin import get_space
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.predictors.supernet import SupernetPredictor
from metad2a_plugin.testing import PredictorConformance, ToySpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare

SPACE = get_space("nasbench201")
GOOD = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
DEAD = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
CONFIG = TrainConfig(epochs=3, batch_size=16, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")
DATASET = coloured(60, 40, 40)


@pytest.fixture(scope="module")
def trained() -> SharedWeights:
    shared = SharedWeights(prepare(DATASET, CONFIG), CONFIG)
    shared.train()
    return shared


@pytest.fixture(scope="module")
def saved(trained: SharedWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shared") / "supernet.safetensors"
    trained.save(path)
    return path


def test_random_paths_train_every_operation(trained: SharedWeights) -> None:
    untrained = SharedWeights(trained.data, CONFIG).supernet.state_dict()
    moved = {name for name, tensor in trained.supernet.state_dict().items() if not tensor.equal(untrained[name])}
    assert moved == set(untrained), "some weights never moved"
    assert trained.finished and len(trained.history) == 3
    assert trained.accuracy(GOOD) > 70 > trained.accuracy(DEAD)


def test_same_seed_same_weights(trained: SharedWeights) -> None:
    torch.manual_seed(5)
    again = SharedWeights(trained.data, CONFIG)
    again.train()
    weights = trained.supernet.state_dict()
    assert all(tensor.equal(weights[name]) for name, tensor in again.supernet.state_dict().items())


def test_a_query_trains_its_path_only() -> None:
    shared = SharedWeights(prepare(DATASET, CONFIG), CONFIG)
    before = {name: tensor.clone() for name, tensor in shared.supernet.state_dict().items()}
    value = shared.evaluate(GOOD)
    assert value == shared.accuracy(GOOD) == shared.history[0].accuracy
    moved = {name for name, tensor in shared.supernet.state_dict().items() if not tensor.equal(before[name])}
    assert any("edges.0.nor_conv_3x3" in name for name in moved)
    assert not any("edges.0.nor_conv_1x1" in name or "edges.5.nor_conv_3x3" in name for name in moved)


def test_after_its_schedule_a_query_trains_no_more(trained: SharedWeights) -> None:
    before = trained.supernet.classifier.weight.clone()
    assert trained.evaluate(GOOD) == trained.accuracy(GOOD)
    assert trained.supernet.classifier.weight.equal(before) and len(trained.history) == 3


def test_a_file_brings_the_same_accuracies(trained: SharedWeights, saved: Path) -> None:
    loaded = SharedWeights.load(saved, DATASET)
    assert loaded.accuracy(GOOD) == trained.accuracy(GOOD) and loaded.finished
    with pytest.raises(CheckpointError, match="trained on the classes 0, 1, 2"):
        SharedWeights.load(saved, coloured(20, 20))


def test_other_images_are_refused_some_of_which_it_may_have_seen(saved: Path) -> None:
    for other in (coloured(60, 40, 40, seed=1), DATASET.split(0.2)[0]):
        with pytest.raises(CheckpointError, match="trained on other images"):
            SharedWeights.load(saved, other)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("text.safetensors", "absent.safetensors"):
        with pytest.raises(CheckpointError, match="is no supernet"):
            SharedWeights.load(tmp_path / name, DATASET)


def test_what_the_space_does_not_have_is_refused() -> None:
    data = prepare(DATASET, CONFIG)
    with pytest.raises(ConfigError, match=r"unknown option 'width' .* are channels, cells"):
        SharedWeights(data, replace(CONFIG, options={"width": 1.0}))
    with pytest.raises(ConfigError, match="'mobilenetv3' has no supernet"):
        SharedWeights(data, CONFIG, get_space("mobilenetv3"))


class TestPredictor(PredictorConformance):
    path: Path

    @pytest.fixture(autouse=True)
    def _file(self, saved: Path) -> None:
        type(self).path = saved

    def make_space(self):
        return SPACE

    def make(self, space):
        return SupernetPredictor(space, DATASET, weights=self.path)


def test_the_predictor_says_what_it_needs(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs weights=FILE"):
        SupernetPredictor(SPACE, DATASET)
    with pytest.raises(ConfigError, match="needs the dataset"):
        SupernetPredictor(SPACE, weights=saved)
    with pytest.raises(ConfigError, match="no file"):
        SupernetPredictor(SPACE, DATASET, weights=tmp_path / "absent")
    with pytest.raises(ConfigError, match="'toy' has no supernet"):
        SupernetPredictor(ToySpace(), DATASET, weights=saved)
