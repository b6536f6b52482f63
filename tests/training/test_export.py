from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.errors import CheckpointError, ConfigError, MissingExtraError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.files import export_network, export_onnx, load_network

SPACE = NASBench201()
CELL = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|")
IMAGES = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def classifier(**options: Any) -> ImageClassifier:
    """A small one whose running statistics look trained."""
    small = {"channels": 4, "cells": 1}
    settings: dict[str, Any] = {"num_classes": 3, "input_size": 16, "options": small, **options}
    made = ImageClassifier(SPACE, CELL, **settings).eval()
    generator = torch.Generator().manual_seed(1)
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.uniform_(-1, 1, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exported" / "cell.safetensors"


@torch.no_grad()
def test_a_network_comes_back_as_it_was(path: Path) -> None:
    written = classifier(class_names=["cat", "dog", "eel"], mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    export_network(path, written)
    read = load_network(path)
    assert torch.equal(read(IMAGES), written(IMAGES))
    assert read.metadata() == written.metadata()
    assert read.class_names == ("cat", "dog", "eel") and read.architecture == CELL
    assert not read.training
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@torch.no_grad()
def test_pixels_may_run_to_255_or_to_one(path: Path) -> None:
    export_network(path, classifier())
    read = load_network(path)
    whole = read(IMAGES)
    assert torch.equal(read(IMAGES.float()), whole)
    assert torch.allclose(read(IMAGES.float() / 255), whole, atol=1e-5)
    assert torch.allclose(read(IMAGES.double() / 255), whole, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("images", "says"),
    [
        ((IMAGES.float() / 255 - 0.5) / 0.25, r"pixels run from -2 to 2, expected 0 to 255 or 0 to 1"),
        (IMAGES.float() * 100, "pixels run from 0 to 2.5"),
        (IMAGES[..., :12, :12], "images of 12 x 12 pixels were given to a network that was made for 16 x 16"),
        (IMAGES[..., :12], "images of 16 x 12 pixels"),
    ],
)
def test_images_of_another_scale_or_size_are_warned_of(images: torch.Tensor, says: str) -> None:
    with pytest.warns(DatasetWarning, match=says) as caught:
        assert classifier()(images).shape == (5, 3)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("images", [IMAGES[0], IMAGES[:, :1], IMAGES.permute(0, 2, 3, 1)])
def test_images_of_another_layout_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"expected images \[batch, 3, height, width\], got"):
        classifier()(images)


def test_the_header_says_what_the_file_holds_without_torch(path: Path) -> None:
    export_network(path, classifier(class_names=["a", "b", "c"]))
    with safe_open(path, "np") as file:
        described = json.loads(file.metadata()["network"])
    assert described["space"] == "nasbench201" and described["architecture"] == SPACE.format(CELL)
    assert described["options"] == {"channels": 4, "cells": 1} and described["class_names"] == ["a", "b", "c"]
    assert described["mean"] == [0.5, 0.5, 0.5] and described["input_size"] == 16
    assert described["params_m"] == SPACE.cost(CELL, num_classes=3, channels=4, cells=1).params


@pytest.mark.parametrize("seed", range(3))
def test_any_cell_can_be_exported_untrained_with_the_space_s_own_options(path: Path, seed: int) -> None:
    cell = SPACE.sample(random.Random(seed))
    export_network(path, ImageClassifier(SPACE, cell, 10))
    assert load_network(path, SPACE).cost == SPACE.cost(cell)


@torch.no_grad()
def test_initial_weights_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (classifier(seed=seed)(IMAGES) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@torch.no_grad()
def test_pixels_are_normalised_inside() -> None:
    made = classifier(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    by_hand = IMAGES / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    expected = made.network(by_hand / torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1))
    torch.testing.assert_close(made(IMAGES), expected)
    assert torch.equal(made(IMAGES), made(IMAGES.float()))


@pytest.mark.parametrize(
    "options",
    [
        {"class_names": ["one"]},
        {"std": (0, 1, 1)},
        {"mean": (0.5,)},
        {"options": {"channels": 0}},
        {"options": {"colour": 1}},
    ],
    ids=str,
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        classifier(**options)


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def rewrite(path: Path, **described: Any) -> None:
    """The same weights under another description."""
    with safe_open(path, "pt") as file:
        header = file.metadata()
    network = {**json.loads(header["network"]), **described}
    save_file(load_file(path), path, {**header, "network": json.dumps(network)})


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "text": lambda path: path.write_text("not a network"),
    "pickle": lambda path: torch.save({"a": 1}, path),
    "one bit": flip_last_byte,
    "other safetensors": lambda path: save_file({"a": torch.zeros(1)}, path),
    "other cell": lambda path: rewrite(path, architecture=SPACE.format(SPACE.sample(random.Random(0)))),
    "no cell": lambda path: rewrite(path, architecture="conv conv pool"),
    "unknown space": lambda path: rewrite(path, space="darts"),
    "other classes": lambda path: rewrite(path, class_names=["a", "b"]),
    "too large for the file": lambda path: rewrite(path, options={"channels": 10**7}),
    "unknown option": lambda path: rewrite(path, options={"depth": 3}),
    "wrong types": lambda path: rewrite(path, mean=None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_whole_is_refused(path: Path, damage: str) -> None:
    export_network(path, classifier())
    DAMAGE[damage](path)
    with pytest.raises(CheckpointError):
        load_network(path)


def test_another_search_space_is_refused(path: Path) -> None:
    class Other(NASBench201):
        name = "other"

    export_network(path, classifier())
    with pytest.raises(CheckpointError, match="'nasbench201', not 'other'"):
        load_network(path, Other())


def test_a_failed_write_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_network(path, classifier())
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ConfigError, match="No space left"):
        export_network(path, classifier(seed=1))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# -- ONNX ----------------------------------------------------------------------------------------
def test_onnx_names_the_extra_it_needs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[onnx\]"):
        export_onnx(path, classifier())
    assert not path.exists()


@torch.no_grad()
def test_onnx_computes_the_same_for_any_batch(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    made = classifier(class_names=["cat", "dog", "eel"], mean=(0.4, 0.5, 0.6)).train()
    export_onnx(tmp_path / "cell.onnx", made)
    assert made.training
    session = runtime.InferenceSession(tmp_path / "cell.onnx")
    made.eval()
    for batch in (1, 5):
        (logits,) = session.run(None, {"images": IMAGES[:batch].numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), made(IMAGES[:batch]), rtol=1e-4, atol=1e-5)
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["metad2a"])["class_names"] == ["cat", "dog", "eel"]


@torch.no_grad()
def test_networks_of_another_space_are_exported_alike(path: Path, tmp_path: Path) -> None:
    space = get_space("mobilenetv3")
    network = space.parse("k5e4-k3e3+k7e6-k3e3+k3e3-k5e6+k7e3-k3e3+k3e6-k5e3")
    assert ImageClassifier(space, network, 2, options={"width": 0.1}).input_size == 224
    written = ImageClassifier(space, network, 3, options={"width": 0.1}, input_size=16).eval()
    export_network(path, written)
    read = load_network(path)
    assert torch.equal(read(IMAGES), written(IMAGES)) and read.metadata() == written.metadata()
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    export_onnx(tmp_path / "network.onnx", written)
    (logits,) = runtime.InferenceSession(tmp_path / "network.onnx").run(None, {"images": IMAGES.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), written(IMAGES), rtol=1e-4, atol=1e-5)
