"""Predictors are objects as scikit-learn expects: parameters, clones, pickles."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from meta_toys import SPACE, checkpoint, image_dataset
from one_shot_toys import coloured

from metad2a_plugin import MetaD2A, get_predictor, get_space
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.registry import BUILT_IN
from metad2a_plugin.testing import ToySpace
from metad2a_plugin.testing.helpers import some
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare

base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed; see the extra 'digits'")
SMALL = {"batch_size": 8, "channels": 2, "cells": 1, "input_size": 8, "progress": False}


def metad2a(tmp_path: Path) -> tuple[Predictor, Task | None]:
    found = get_predictor("metad2a")(SPACE, MetaD2A(checkpoint()))
    return found, extract_task(image_dataset(), cache_dir=False)


def supernet(tmp_path: Path) -> tuple[Predictor, Task | None]:
    config = TrainConfig(epochs=1, batch_size=8, input_size=8, options={"channels": 2, "cells": 1}, device="cpu")
    images = coloured(16, 16)
    shared = SharedWeights(prepare(images, config), config)
    shared.train()
    shared.save(tmp_path / "supernet.safetensors")
    return get_predictor("supernet")(SPACE, images, weights=tmp_path / "supernet.safetensors"), None


MAKE: dict[str, Callable[[Path], tuple[Predictor, Task | None]]] = {
    "flops": lambda tmp_path: (get_predictor("flops")(SPACE), None),
    "params": lambda tmp_path: (get_predictor("params")(SPACE), None),
    "metad2a": metad2a,
    "naswot": lambda tmp_path: (get_predictor("naswot")(SPACE, image_dataset(), **SMALL), None),
    "ofa-imagenet": lambda tmp_path: (get_predictor("ofa-imagenet")(get_space("mobilenetv3"), resolution=160), None),
    "supernet": supernet,
}


def test_every_built_in_predictor_is_tried() -> None:
    assert set(MAKE) == set(BUILT_IN["predictors"])


@pytest.mark.parametrize("name", MAKE)
def test_clones_copies_and_pickles_predict_alike(name: str, tmp_path: Path) -> None:
    predictor, task = MAKE[name](tmp_path)
    cells = some(predictor.space, 3)
    expected = predictor.predict(task, cells)
    for again in (base.clone(predictor), deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        assert type(again) is type(predictor) and again is not predictor and again.name == predictor.name
        assert again.get_params(deep=False).keys() == predictor.get_params(deep=False).keys()
        found = again.predict(task, cells)
        assert found.mean.equal(expected.mean)
        assert (found.std is None) == (expected.std is None)
        assert found.std is None or expected.std is None or found.std.equal(expected.std)


def test_parameters_are_the_arguments() -> None:
    images = image_dataset()
    predictor = get_predictor("naswot")(SPACE, images, **SMALL)
    params = predictor.get_params()
    assert params["space"] is SPACE and params["dataset"] is images and params["channels"] == 2 and params["seed"] == 0
    assert predictor.set_params(seed=3, channels=4) is predictor
    assert predictor.get_params()["seed"] == 3 and predictor.network == {"channels": 4, "cells": 1}
    for wrong in ({"batch_size": 0}, {"chanels": 4}):
        with pytest.raises(ConfigError):
            predictor.set_params(**wrong)
        assert predictor.get_params()["batch_size"] == 8, "it stays as it was"


def test_an_unknown_parameter_is_named_with_a_near_one() -> None:
    with pytest.raises(ConfigError, match=r"no parameter 'resoluton' .did you mean 'resolution'"):
        get_predictor("ofa-imagenet")(get_space("mobilenetv3")).set_params(resoluton=160)


class Linear(Predictor):
    """A plug-in's, which knows nothing of parameters, and holds another predictor."""

    def __init__(self, space: Any, other: Predictor, factor: float = 1.0) -> None:
        super().__init__(space)
        self.other, self.times = other, factor

    def predict(self, task: Task | None, architectures: Any) -> Prediction:
        return Prediction(self.times * self.other.predict(task, architectures).mean)


def test_predictors_of_plug_ins_have_it_too() -> None:
    space = ToySpace()
    predictor = Linear(space, get_predictor("params")(space), factor=2.0)
    assert predictor.get_params()["factor"] == 2.0 and predictor.get_params()["other__space"] is space
    again = base.clone(predictor).set_params(factor=-1.0)
    cells = some(space, 4)
    assert torch.equal(-2 * again.predict(None, cells).mean, predictor.predict(None, cells).mean)
