from __future__ import annotations

import csv
import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metad2a_plugin.data import DatasetWarning, ImageDataset, load_dataset
from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError, DatasetError
from metad2a_plugin.nn.normalized import NormalizedNetwork
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training import fit
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.files import load_network
from metad2a_plugin.training.fit import train_network
from metad2a_plugin.training.images import augmented, prepare
from metad2a_plugin.training.result import TrainResult, wilson_interval
from metad2a_plugin.training.run import train_architecture, train_many

SPACE = NASBench201()
CELL = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
OTHER = SPACE.parse("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
DEAD = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
CONFIG = TrainConfig(epochs=3, batch_size=16, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")


def coloured(*counts: int, seed: int = 0) -> ImageDataset:
    """So many noisy images of each class, which differ in the brightest channel."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = rng.integers(0, 120, (len(labels), 10, 10, 3), dtype=np.uint8)
    images[np.arange(len(labels)), :, :, labels % 3] += 100
    return load_dataset((images, labels), name="coloured")


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    return coloured(60, 40, 40)


def train(dataset: ImageDataset, cell: Architecture = CELL, **changes: Any) -> TrainResult:
    run_dir = changes.pop("run_dir", None)
    return train_architecture(SPACE, cell, dataset, dataclasses.replace(CONFIG, **changes), run_dir=run_dir)


def curve(result: TrainResult) -> list[tuple[float, ...]]:
    return [tuple(epoch)[:-1] for epoch in result.history]  # all but the seconds


def same_weights(a: TrainResult, b: TrainResult) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


# -- results -------------------------------------------------------------------------------------
def test_any_network_trains_by_the_same_recipe(dataset: ImageDataset) -> None:
    data = prepare(dataset, CONFIG)
    network = ImageClassifier(
        SPACE, CELL, 3, input_size=8, mean=data.mean, std=data.std, seed=CONFIG.seed, options=CONFIG.options
    )
    history = train_network(network, data, CONFIG)
    assert len(history) == CONFIG.epochs
    assert [tuple(epoch)[:-1] for epoch in history] == curve(train(dataset))
    with pytest.raises(ConfigError, match="prepared with"):
        train_network(network, data, dataclasses.replace(CONFIG, split_seed=1))


def test_training_learns_and_says_what_a_blind_guess_would_reach(dataset: ImageDataset) -> None:
    result = train(dataset, epochs=6)
    assert result.accuracy > result.majority_accuracy + 20
    assert result.history[-1].loss < result.history[0].loss
    assert (result.train_images, result.validation_images) == (112, 28)
    assert result.majority_accuracy == pytest.approx(100 * 12 / 28)
    assert result.chance_accuracy == pytest.approx(100 / 3)
    cost = SPACE.cost(CELL, num_classes=3, input_size=8, channels=4, cells=1)
    assert (result.params, result.flops) == (cost.params, cost.flops)
    assert result.architecture_str == SPACE.format(CELL)
    assert json.loads(json.dumps(result.to_dict()))["accuracy"] == result.accuracy


def test_the_accuracy_is_the_last_epoch_s_and_that_of_the_network_returned(dataset: ImageDataset) -> None:
    result, data = train(dataset), prepare(dataset, CONFIG)
    right = result.network(data.validation_images).argmax(1) == data.validation_labels
    assert result.accuracy == result.history[-1].accuracy == pytest.approx(100 * right.double().mean().item())
    low, high = wilson_interval(int(right.sum()), len(right))
    assert result.interval == pytest.approx((100 * low, 100 * high))
    assert result.history[result.best_epoch - 1].accuracy == max(e.accuracy for e in result.history)


def test_same_seed_same_result(dataset: ImageDataset) -> None:
    state = torch.get_rng_state()
    first, again, other = (train(dataset, epochs=2, seed=seed) for seed in (0, 0, 1))
    assert curve(first) == curve(again) and same_weights(first, again)
    assert not same_weights(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_several_architectures_share_the_split_and_keep_their_order(dataset: ImageDataset) -> None:
    results = train_many(SPACE, [CELL, OTHER], prepare(dataset, CONFIG), CONFIG, progress=False)
    assert [result.architecture for result in results] == [CELL, OTHER]
    assert curve(results[1]) == curve(train(dataset, OTHER))


def test_classes_of_unequal_size_are_balanced_in_the_balanced_accuracy() -> None:
    result = train(coloured(90, 10), DEAD, epochs=2)  # a dead cell answers the same for every image
    assert result.balanced_accuracy == pytest.approx(50)
    assert result.majority_accuracy == pytest.approx(90)


# -- data ----------------------------------------------------------------------------------------
def test_the_split_depends_on_its_own_seed_only(dataset: ImageDataset) -> None:
    first = prepare(dataset, CONFIG)
    other_seed = prepare(dataset, dataclasses.replace(CONFIG, seed=5))
    other_split = prepare(dataset, dataclasses.replace(CONFIG, split_seed=5))
    assert first.fingerprint == other_seed.fingerprint != other_split.fingerprint
    assert torch.bincount(other_split.validation_labels).tolist() == [12, 8, 8]


def test_normalisation_comes_from_the_training_part(dataset: ImageDataset) -> None:
    data = prepare(dataset, CONFIG)
    pixels = data.images.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())
    assert data.images.dtype == torch.uint8 and data.images.shape == (112, 3, 8, 8)


def test_images_of_one_colour_can_be_normalised() -> None:
    images, labels = np.full((8, 9, 9), 200, np.uint8), np.arange(8) % 2
    assert np.isfinite(train(load_dataset((images, labels)), epochs=1).history[0].loss)


@pytest.mark.filterwarnings("ignore::metad2a_plugin.data.DatasetWarning")
@pytest.mark.parametrize("counts", [(2, 1), (2, 2), (9, 8, 1), (17, 16)])
def test_datasets_smaller_than_a_batch_and_classes_of_one_image(counts: tuple[int, ...]) -> None:
    result = train(coloured(*counts), epochs=2)
    assert result.train_images + result.validation_images == sum(counts)
    assert len(result.network.class_names) == len(counts)
    assert 0 <= result.interval[0] <= result.accuracy <= result.interval[1] <= 100


@pytest.mark.filterwarnings("ignore::metad2a_plugin.data.DatasetWarning")
def test_nothing_to_validate_on_is_an_error() -> None:
    with pytest.raises(DatasetError, match="none can be held out"):
        train(coloured(1, 1, 1))


def test_broken_images_are_left_out_with_a_warning(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("L", (9, 9), 20 * i).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    with pytest.warns(DatasetWarning, match="1 of 12"):
        result = train(load_dataset(tmp_path), epochs=1)
    assert result.train_images + result.validation_images == 11


@pytest.mark.parametrize("padding", [None, "edge"])
@pytest.mark.parametrize("flip", [False, True])
def test_augmented_images_are_windows_of_the_padded_image(flip: bool, padding: str | None) -> None:
    torch.manual_seed(0)
    image = torch.randint(1, 256, (3, 16, 16), dtype=torch.uint8)
    mode = "constant" if padding is None else padding
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)), mode))
    windows = padded.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 16, 16)
    crops = augmented(image.expand(200, -1, -1, -1), flip, padding)
    plain = (crops[:, None] == windows).flatten(2).all(2).any(1)
    mirrored = (crops[:, None] == windows.flip(-1)).flatten(2).all(2).any(1)
    assert (plain ^ mirrored).all()
    assert 60 < plain.sum() < 140 if flip else plain.all()
    assert len(crops.unique(dim=0)) > 20


@pytest.mark.parametrize("flip", [False, True])
def test_augmented_images_are_the_windows_that_were_drawn(flip: bool) -> None:
    images = torch.randint(256, (30, 3, 16, 16), dtype=torch.uint8)
    padded = torch.zeros(30, 3, 20, 20, dtype=torch.uint8)
    padded[:, :, 2:-2, 2:-2] = images
    torch.manual_seed(7)
    crops = augmented(images, flip)
    torch.manual_seed(7)
    tops, lefts = (torch.randint(5, (30, 1)) for _ in range(2))
    mirrored = torch.rand(30, 1) < 0.5 if flip else torch.zeros(30, 1, dtype=torch.bool)
    for crop, image, top, left, mirror in zip(crops, padded, tops, lefts, mirrored, strict=True):
        window = image[:, top : top + 16, left : left + 16]
        assert crop.equal(window.flip(-1) if mirror else window)


def test_accuracies_do_not_depend_on_how_validation_is_cut(dataset: ImageDataset) -> None:
    pixels = torch.randint(256, (dataset.labels.size, 10, 10, 3), dtype=torch.uint8)
    data = prepare(load_dataset((pixels.numpy(), dataset.labels), name="noise"), CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        found = []
        for pixels_of_a_batch in (1, 300, 2**16):
            patch.setattr(fit, "_EVALUATION_PIXELS", pixels_of_a_batch)
            torch.manual_seed(0)
            network = NormalizedNetwork(SPACE.build(CELL, 3, channels=4, cells=1), data.mean, data.std)
            found.append([epoch[2:5] for epoch in train_network(network, data, CONFIG)])
    assert found[0] == found[1] == found[2]


# -- interruption --------------------------------------------------------------------------------
def interrupt_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Stop the training as Ctrl-C would, in the middle of an epoch (an epoch has seven batches)."""
    original: Callable[..., torch.Tensor] = augmented
    calls = iter(range(batches))

    def counted(*args: Any) -> torch.Tensor:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(fit, "augmented", counted)


@pytest.mark.parametrize(
    "batches", [pytest.param(3, marks=pytest.mark.slow), 10, pytest.param(18, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    dataset: ImageDataset, tmp_path: Path, batches: int
) -> None:
    whole = train(dataset)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, batches)
        with pytest.raises(KeyboardInterrupt):
            train(dataset, run_dir=tmp_path)
    for checkpoint in tmp_path.rglob("checkpoint.pt"):
        assert len(torch.load(checkpoint, weights_only=True)["history"]) == batches // 7
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 21 - 7 * (batches // 7))  # finished epochs are not repeated
        resumed = train(dataset, run_dir=tmp_path)
    assert curve(resumed) == curve(whole) and same_weights(resumed, whole)


def test_a_finished_architecture_is_not_trained_again(
    dataset: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(dataset, run_dir=tmp_path)
    interrupt_after(monkeypatch, 0)
    again = train(dataset, run_dir=tmp_path)
    assert again == first and same_weights(again, first)
    for changes in ({"seed": 1}, {"lr": 0.05}, {"cell": OTHER}):
        with pytest.raises(KeyboardInterrupt):
            train(dataset, run_dir=tmp_path, **changes)


def test_a_run_leaves_a_log_a_result_and_a_loadable_network(dataset: ImageDataset, tmp_path: Path) -> None:
    result = train(dataset, run_dir=tmp_path)
    assert result.run_dir is not None and result.run_dir.parent == tmp_path
    names = sorted(file.name for file in result.run_dir.iterdir())
    assert names == ["epochs.csv", "network.safetensors", "result.json"]
    with open(result.run_dir / "epochs.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["accuracy"]) for line in lines] == [epoch.accuracy for epoch in result.history]
    assert json.loads((result.run_dir / "result.json").read_text()) == result.to_dict()
    images = prepare(dataset, CONFIG).validation_images
    assert torch.equal(load_network(result.run_dir / "network.safetensors")(images), result.network(images))


def test_the_same_run_in_two_processes_is_refused_and_another_is_not(dataset: ImageDataset, tmp_path: Path) -> None:
    said: list[str] = []

    def again(stage: str, done: int, total: int, note: str) -> None:
        """As another process would, while the first goes on."""
        if not said:
            with pytest.raises(ConfigError, match="another process is writing") as refused:
                train(dataset, run_dir=tmp_path)
            said.append(str(refused.value))
            train(dataset, epochs=1, run_dir=tmp_path)

    result = train_architecture(SPACE, CELL, dataset, CONFIG, run_dir=tmp_path, progress=again)
    assert result.run_dir is not None and result.run_dir.name in said[0]
    assert curve(train(dataset, run_dir=tmp_path)) == curve(result)


@pytest.mark.parametrize("name", ["checkpoint.pt", "result.json", "network.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}", b"garbage"])
def test_damaged_files_are_named(dataset: ImageDataset, tmp_path: Path, name: str, content: bytes) -> None:
    run_dir = train(dataset, epochs=1, run_dir=tmp_path).run_dir
    assert run_dir is not None
    (run_dir / name).write_bytes(content)
    if name == "checkpoint.pt":
        (run_dir / "result.json").unlink()
    with pytest.raises(CheckpointError, match=name):
        train(dataset, epochs=1, run_dir=tmp_path)


# -- errors --------------------------------------------------------------------------------------
def test_a_diverging_loss_names_the_remedy(dataset: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lower learning rate"):
        train(dataset, lr=1e30, run_dir=tmp_path)
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch_size": 1},
        {"lr": 0},
        {"lr": float("nan")},
        {"lr": "0.1"},
        {"momentum": 1},
        {"weight_decay": -1e-4},
        {"warmup": 1},
        {"label_smoothing": 1},
        {"validation": 0},
        {"validation": 1.0},
        {"input_size": 4},
        {"seed": -1},
        {"flip": True, "augment": False},
        {"padding": "mirror"},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        dataclasses.replace(CONFIG, **changes)


def test_settings_are_plain_values_and_read_back() -> None:
    config = TrainConfig(epochs=2, options={"cells": 1, "depth": 3})
    plain = config.to_dict()
    assert json.loads(json.dumps(plain)) == plain and TrainConfig.from_dict(plain) == config
    # Names of run folders hang on it: as when options were settings of their own.
    assert list(plain)[10:14] == ["channels", "cells", "width", "depth"] and plain["channels"] is None
    with pytest.raises(ConfigError, match="seed is a setting of the training"):
        TrainConfig(options={"seed": 1})


def test_what_does_not_fit_is_refused_before_training(dataset: ImageDataset) -> None:
    with pytest.raises(ConfigError, match="channels"):
        train(dataset, options={"channels": 0})
    with pytest.raises(ConfigError, match=r"unknown option 'width' .* are channels, cells"):
        train(dataset, options={"width": 1.2})
    with pytest.raises(ConfigError, match="device"):
        train(dataset, device="abacus")
    with pytest.raises(ArchitectureError):
        train(dataset, Architecture("nasbench201", (9,) * 6))
    with pytest.raises(ConfigError, match="same config"):
        train_many(SPACE, [CELL], prepare(dataset, CONFIG), dataclasses.replace(CONFIG, split_seed=1))


# -- the rest ------------------------------------------------------------------------------------
@given(st.integers(1, 5000), st.data())
def test_wilson_interval_contains_the_proportion(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12 and successes / trials - 1e-12 <= high <= 1
    assert low < high
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_progress_is_shown_on_a_terminal(dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "150")
    terminal, silent = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    config = dataclasses.replace(CONFIG, epochs=1)
    train_many(SPACE, [CELL, OTHER], dataset, config)
    shown = terminal.getvalue()
    assert "network 1/2" in shown and "network 2/2" in shown and "validation accuracy" in shown
    monkeypatch.setattr(sys, "stderr", silent)
    train_many(SPACE, [CELL], dataset, config, progress=False)
    assert silent.getvalue() == ""


def test_one_epoch_on_real_images(data_root: Path) -> None:
    subset = load_dataset(data_root / "images" / "cifar10_test.zip", max_images_per_class=20)
    config = TrainConfig(epochs=1, batch_size=32, options={"channels": 8, "cells": 1}, flip=True, device="cpu")
    result = train_architecture(SPACE, CELL, subset, config, progress=False)
    assert (result.train_images, result.validation_images) == (160, 40)
    assert result.chance_accuracy == result.majority_accuracy == pytest.approx(10)
