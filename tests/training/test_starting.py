"""Networks that begin with weights of a supernet."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metad2a_plugin import get_space, train_architecture
from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.spaces.base import SearchSpace, random_live
from metad2a_plugin.spaces.interfaces import IMAGENET, Transferable
from metad2a_plugin.training import starting
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.starting import new_classifier, shipped_sizes

SIZES: dict[str, dict[str, Any]] = {"nasbench201": {"channels": 8, "cells": 2}, "mobilenetv3": {"width": 0.15}}
SMALLER: dict[str, dict[str, Any]] = {"nasbench201": {"channels": 4, "cells": 1}, "mobilenetv3": {"width": 0.15}}


def data(side: int = 32) -> TrainingData:
    """Three classes of noise of different brightness."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    images = rng.integers(0, 120, (60, 16, 16, 3)) + 60 * labels[:, None, None, None]
    return prepare(load_dataset((images.astype(np.uint8), labels), name="noise"), TrainConfig(input_size=side))


@pytest.fixture(params=sorted(SIZES))
def space(request: pytest.FixtureRequest) -> Transferable:
    found = get_space(request.param)
    assert isinstance(found, Transferable)
    return found


@pytest.fixture
def file(space: Transferable, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    space.write_supernet(tmp_path / "weights.safetensors", space.untrained_supernet(**SIZES[space.name]))
    return tmp_path / "weights.safetensors"


def config(space: SearchSpace, file: Path, **settings: Any) -> TrainConfig:
    options = settings.pop("options", SMALLER[space.name])
    return TrainConfig(input_size=32, options=options, weights=str(file), epochs=1, batch_size=16, **settings)


@pytest.mark.parametrize("seed", range(3))
def test_a_network_takes_all_its_parameters_but_the_head(space: Transferable, file: Path, seed: int) -> None:
    architecture = random_live(space, random.Random(seed))
    for options in (SIZES[space.name], SMALLER[space.name]):
        network = space.build(architecture, 3, **options)
        taken = space.cut(space.read_supernet(file), architecture, **options)
        own = dict(network.named_parameters())
        assert own.keys() - taken.keys() == {f"{space.head}.weight", f"{space.head}.bias"}
        assert all(taken[name].shape == value.shape for name, value in own.items() if name in taken)
        network.load_state_dict(taken, strict=False)


def test_it_begins_as_the_best_linear_classifier_of_what_it_sees(space: Transferable, file: Path) -> None:
    images, architecture = data(), space.sample(random.Random(1))
    network = new_classifier(space, architecture, images, config(space, file)).eval()
    assert network.metadata()["mean"] == pytest.approx(IMAGENET[0])
    with torch.no_grad():
        right = network(images.images[:]).argmax(1) == images.labels
    assert right.double().mean() > 0.5
    # What it begins with depends on the file alone, not on the seed.
    again = new_classifier(space, architecture, images, config(space, file, seed=3)).eval()
    assert torch.equal(again(images.images[:4]), network(images.images[:4]))


def test_it_is_trained_written_and_read_like_any_other(space: Transferable, file: Path, tmp_path: Path) -> None:
    images, architecture = data(), space.sample(random.Random(1))
    result = train_architecture(space, architecture, images, config(space, file), run_dir=tmp_path, progress=False)
    export_network(tmp_path / "n.safetensors", result.network)
    pixels = images.validation_images[:]
    assert torch.equal(load_network(tmp_path / "n.safetensors")(pixels), result.network(pixels))
    # Another file of weights is another training.
    torch.manual_seed(1)
    space.write_supernet(tmp_path / "other.safetensors", space.untrained_supernet(**SIZES[space.name]))
    other = config(space, tmp_path / "other.safetensors")
    again = train_architecture(space, architecture, images, other, run_dir=tmp_path, progress=False)
    assert again.run_dir != result.run_dir


def test_what_is_too_small_damaged_missing_or_of_another_space_is_refused(
    space: Transferable, file: Path, tmp_path: Path
) -> None:
    images, architecture = data(), space.sample(random.Random(1))
    larger = {"nasbench201": {"channels": 8, "cells": 3}, "mobilenetv3": {"width": 0.2}}[space.name]
    with pytest.raises(ConfigError, match="the supernet's weights are of"):
        new_classifier(space, architecture, images, config(space, file, options=larger))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"damaged.safetensors' holds no"):
        new_classifier(space, architecture, images, config(space, damaged))
    with pytest.raises(CheckpointError, match="there is no file 'nowhere'"):
        train_architecture(space, architecture, images, config(space, Path("nowhere")))
    [other] = SIZES.keys() - {space.name}
    with pytest.raises(CheckpointError, match="holds no"):
        get_space(other).read_supernet(file)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="a supernet is trained from nothing"):
        SharedWeights(images, config(get_space("nasbench201"), file, options=SIZES["nasbench201"]))


def test_where_nothing_is_shipped_it_is_said(
    space: Transferable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(starting, "PRETRAINED", tmp_path)
    assert shipped_sizes(space) == ()
    with pytest.raises(ConfigError, match="no starting weights are shipped"):
        new_classifier(space, space.sample(random.Random(0)), data(), config(space, Path("shipped")))


def test_settings_without_weights_are_written_as_ever() -> None:
    assert "weights" not in TrainConfig().to_dict()
    given = TrainConfig(weights="shipped")
    assert given.to_dict()["weights"] == "shipped" and TrainConfig.from_dict(given.to_dict()) == given
    assert dataclasses.replace(given, weights=None) == TrainConfig()
