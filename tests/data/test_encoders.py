from __future__ import annotations

import copy
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_toys import MeanColour
from safetensors.torch import save_file
from torch import nn

from metad2a_plugin.data import encoders
from metad2a_plugin.data.distilled import DistilledEncoder
from metad2a_plugin.data.encoders import DefaultEncoder, get_encoder
from metad2a_plugin.data.zoo import TorchvisionEncoder
from metad2a_plugin.errors import CheckpointError, ConfigError, MissingExtraError
from metad2a_plugin.plugins import registry
from metad2a_plugin.plugins.encoder import TrainableEncoder

SHAPE = {"stem": [4, 4], "widths": [4, 6], "depths": [1, 1], "dim": 5}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small encoder with random fp16 weights, laid out like the shipped one."""
    torch.manual_seed(0)
    state = DistilledEncoder(**SHAPE).state_dict()  # type: ignore[arg-type]
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(halves, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model": SHAPE, "size": 24}))
    return tmp_path


def test_encoder_of_a_folder(checkpoint: Path) -> None:
    encoder = get_encoder(str(checkpoint))
    assert (encoder.dim, encoder.size, encoder.name) == (5, 24, str(checkpoint))
    images = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    features = encoder(images)
    assert features.shape == (3, 5) and features.dtype == torch.float32 and not features.requires_grad
    assert torch.allclose(encoder(images[1:2]), features[1:2], atol=1e-5)
    assert get_encoder(str(checkpoint)).fingerprint == encoder.fingerprint


def test_fingerprint_follows_weights_and_config(checkpoint: Path) -> None:
    first = DefaultEncoder(checkpoint).fingerprint
    (checkpoint / "config.json").write_text(json.dumps({"model": SHAPE, "size": 32}))
    second = DefaultEncoder(checkpoint).fingerprint
    save_file(DistilledEncoder(**SHAPE).state_dict(), checkpoint / "model.safetensors")  # type: ignore[arg-type]
    assert len({first, second, DefaultEncoder(checkpoint).fingerprint}) == 3


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "model.safetensors").unlink(), "no image encoder in .*model.safetensors"),
        (lambda d: (d / "config.json").unlink(), "no image encoder in .*config.json"),
        (lambda d: _cut(d / "model.safetensors"), "damaged or of another kind"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "damaged or of another kind"),
        (lambda d: _cut(d / "config.json"), "damaged or of another kind"),
        (lambda d: (d / "config.json").write_text("{}"), "damaged or of another kind"),
        (lambda d: (d / "config.json").write_text("[]"), "damaged or of another kind"),
        (lambda d: (d / "config.json").write_text('{"model": {}, "size": 64}'), "damaged or of another kind"),
        (lambda d: save_file({"x": torch.ones(1)}, d / "model.safetensors"), "damaged or of another kind"),
    ],
)
def test_missing_or_damaged(checkpoint: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=message):
        get_encoder(str(checkpoint))


def test_default_is_the_shipped_folder(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "SHIPPED", checkpoint)
    assert get_encoder().name == get_encoder("default").name == "default"


def test_shipped_encoder_tells_images_apart() -> None:
    encoder = get_encoder()
    flat = torch.stack([torch.full((3, encoder.size, encoder.size), v, dtype=torch.uint8) for v in (20, 230)])
    noise = torch.randint(0, 256, flat.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = encoder(torch.cat([flat, noise]))
    assert features.shape == (4, encoder.dim) and features.dtype == torch.float32
    assert torch.cdist(features, features)[~torch.eye(4, dtype=torch.bool)].min() > 1e-2


def test_unknown_names() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown image encoder 'defalut' .did you mean 'default'.*torchvision:"
    ):
        get_encoder("defalut")
    with pytest.raises(ConfigError, match=r"device 'nowhere' cannot be used here; try 'cpu'"):
        get_encoder("default", device="nowhere")


def _register(monkeypatch: pytest.MonkeyPatch, loaded: Any) -> None:
    """As if another distribution offered `loaded`."""
    point = types.SimpleNamespace(name="mean-colour", value="toys:MeanColour", dist=None, load=lambda: loaded)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group.endswith(".encoders") else [])


def test_third_party_encoder_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Registered(MeanColour):
        def __init__(self, device: str) -> None:
            super().__init__()

    _register(monkeypatch, Registered)
    assert isinstance(get_encoder("mean-colour"), MeanColour)
    assert "mean-colour" in registry.available("encoders")
    with pytest.raises(ConfigError, match="did you mean 'mean-colour'"):
        get_encoder("mean-color")


def test_entry_point_that_is_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    _register(monkeypatch, lambda device: object())
    with pytest.raises(ConfigError, match=r"'mean-colour' among the encoders.* must be a subclass of .*ImageEncoder"):
        get_encoder("mean-colour")


# -- torchvision, as far as it matters here ------------------------------------------------------
class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 7, 1)
        self.fc = nn.Linear(7, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.trunk(x).mean(dim=(2, 3)))


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Stands in for torchvision, with the calls the encoder makes."""
    transform = types.SimpleNamespace(crop_size=[20], mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    weights = types.SimpleNamespace(DEFAULT=types.SimpleNamespace(transforms=lambda: transform))
    network = Classifier()
    models = types.SimpleNamespace(
        list_models=lambda module: ["resnet18", "squeezenet1_0"],
        get_model_weights=lambda name: weights,
        get_model=lambda name, weights: copy.deepcopy(network) if name == "resnet18" else nn.Conv2d(3, 4, 1),
        network=network,
    )
    package = types.ModuleType("torchvision")
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    return models


def test_torchvision_penultimate_features(torchvision: types.SimpleNamespace) -> None:
    encoder = get_encoder("torchvision:resnet18")
    assert (encoder.name, encoder.dim, encoder.size) == ("torchvision:resnet18", 7, 20)
    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    expected = torchvision.network.trunk(images / 127.5 - 1).mean(dim=(2, 3))
    assert torch.allclose(encoder(images), expected, atol=1e-5)
    assert len(encoder(images[:1])) == 1
    before = encoder.fingerprint
    nn.init.ones_(torchvision.network.trunk.weight)
    assert TorchvisionEncoder("resnet18").fingerprint != before


def test_a_network_of_a_zoo_can_be_trained_further(torchvision: types.SimpleNamespace) -> None:
    encoder = get_encoder("torchvision:resnet18")
    assert isinstance(encoder, TrainableEncoder)
    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    features = encoder.network()(images)
    assert torch.allclose(features, encoder(images), atol=1e-6) and features.requires_grad


def test_timm_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pooled(nn.Module):
        num_features = 6

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).mean((2, 3))

    timm: Any = types.ModuleType("timm")
    timm.list_models = lambda pretrained: ["resnet18.a1_in1k"]
    timm.create_model = lambda name, pretrained, num_classes: Pooled()
    look = {"input_size": (3, 24, 24), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    timm.data = types.SimpleNamespace(resolve_model_data_config=lambda network: look)
    monkeypatch.setitem(sys.modules, "timm", timm)
    encoder = get_encoder("timm:resnet18")
    assert (encoder.name, encoder.dim, encoder.size) == ("timm:resnet18", 6, 24)
    assert encoder(torch.zeros(2, 3, 24, 24, dtype=torch.uint8)).shape == (2, 6)
    with pytest.raises(ConfigError, match=r"timm has no weights of a model 'resnet81' .did you mean"):
        get_encoder("timm:resnet81")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install timm torchvision torch==\d"):
        get_encoder("timm:resnet18")


def test_torchvision_errors(torchvision: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no classifier 'resnet81' .did you mean 'resnet18'"):
        get_encoder("torchvision:resnet81")
    with pytest.raises(ConfigError, match="'squeezenet1_0' has no final linear layer"):
        get_encoder("torchvision:squeezenet1_0")

    def offline(name: str, weights: object) -> nn.Module:
        raise OSError("name or service not known")

    torchvision.get_model = offline
    with pytest.raises(CheckpointError, match=r"cannot be downloaded .*use the encoder 'default'"):
        get_encoder("torchvision:resnet18")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match=r"'torchvision', which is not .*install torchvision torch==\d"):
        get_encoder("torchvision:resnet18")
