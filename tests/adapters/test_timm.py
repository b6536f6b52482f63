"""The registration with timm. All is tried with a stand-in of its registry too, which says nothing of timm itself."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hub_toys import LocalHub

from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError, MissingExtraError
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.utils.beside_torch import import_torchvision

# It is registered again for each test.
pytestmark = pytest.mark.filterwarnings("ignore:Overwriting metad2a_network")
SPACE = NASBench201()
CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"
SMALL = {"channels": 4, "cells": 1}
IMAGES = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def real_timm() -> bool:
    import_torchvision()
    try:
        import timm  # noqa: F401
    except ImportError:
        return False
    return True


def stand_in() -> dict[str, ModuleType]:
    """As much of timm as registers and creates: a registry, and a factory that leaves out what is None."""
    timm, models = ModuleType("timm"), ModuleType("timm.models")
    registry: dict[str, Callable[..., Any]] = {}

    def register_model(function: Callable[..., Any]) -> Callable[..., Any]:
        registry[function.__name__] = function
        return function

    def create_model(name: str, pretrained: bool = False, cache_dir: Any = None, **options: Any) -> Any:
        kept = {key: value for key, value in options.items() if value is not None}
        passed = {"pretrained_cfg": None, "pretrained_cfg_overlay": None, "cache_dir": cache_dir}
        return registry[name](pretrained=pretrained, **passed | kept)

    models.register_model = register_model  # type: ignore[attr-defined]
    timm.create_model, timm.models = create_model, models  # type: ignore[attr-defined]
    return {"timm": timm, "timm.models": models}


@pytest.fixture(params=["timm", "stand-in"])
def create(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """``timm.create_model``, once this package is registered."""
    pytest.importorskip("metad2a_plugin.adapters", reason="adapters are inside the package once it is installed")
    sys.modules.pop("metad2a_plugin.adapters.timm", None)
    if request.param == "stand-in":
        for name, module in stand_in().items():
            monkeypatch.setitem(sys.modules, name, module)
    elif not real_timm():
        pytest.skip("timm is not installed: it needs torchvision")
    importlib.import_module("metad2a_plugin.adapters.timm")
    yield importlib.import_module("timm").create_model
    sys.modules.pop("metad2a_plugin.adapters.timm", None)


def classifier() -> ImageClassifier:
    look: dict[str, Any] = {"mean": (0.4, 0.5, 0.6), "std": (0.1, 0.2, 0.3)}
    return ImageClassifier(SPACE, CELL, 2, class_names=["cat", "dog"], input_size=16, options=SMALL, **look).eval()


def normalised(network: Any) -> torch.Tensor:
    """Images as timm's transforms make them."""
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (IMAGES / 255 - mean) / std


@torch.no_grad()
def test_a_trained_network_answers_as_ours(create: Callable[..., Any], tmp_path: Path) -> None:
    ours = classifier()
    ours.save_pretrained(tmp_path)
    network = create("metad2a_network", pretrained=True, file=str(tmp_path)).eval()
    assert torch.allclose(network(normalised(network)), ours(IMAGES), atol=1e-5)
    assert network.num_classes == 2 and network.pretrained_cfg["input_size"] == (3, 16, 16)


@pytest.mark.slow
@torch.no_grad()
def test_a_fine_tuned_encoder_answers_as_ours(create: Callable[..., Any], tmp_path: Path) -> None:
    ours = EncoderClassifier("default", ["cat", "dog"], input_size=16).eval()
    torch.nn.init.normal_(ours.network[-1].weight)  # type: ignore[index]
    ours.save_pretrained(tmp_path)
    network = create("metad2a_network", pretrained=True, file=str(tmp_path)).eval()
    assert torch.allclose(network(normalised(network)), ours(IMAGES), atol=1e-3, rtol=1e-3)


def test_a_network_of_the_hub_gets_another_head(create: Callable[..., Any], hub: LocalHub) -> None:
    ours = classifier()
    name = ours.push_to_hub("me/pets")
    network = create("metad2a_network", pretrained=True, file=name, num_classes=5)
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 5) and network.num_classes == 5
    same = [key for key, value in ours.network.state_dict().items() if torch.equal(value, network.state_dict()[key])]
    assert len(same) == len(ours.network.state_dict()) - 2


def test_an_untrained_network_is_of_any_architecture(create: Callable[..., Any]) -> None:
    network = create("metad2a_network", architecture=CELL, num_classes=3, **SMALL)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert network.pretrained_cfg["input_size"] == (3, 32, 32)
    with pytest.raises(ArchitectureError):
        create("metad2a_network", architecture="|no|")
    with pytest.raises(ConfigError, match="chanels"):
        create("metad2a_network", architecture=CELL, chanels=4)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"architecture": CELL, "features_only": True}, "does not support features_only=True: networks give logits"),
        ({"architecture": CELL, "in_chans": 1}, "does not support in_chans=1"),
        ({"architecture": CELL, "cache_dir": "x"}, "HF_HUB_CACHE"),
        ({"architecture": CELL, "num_classes": 0}, "num_classes must be an integer from 1 to 10,000,000"),
        ({"architecture": CELL, "pretrained": True}, "give pretrained=True and file="),
        ({"architecture": CELL, "pretrained": True, "file": "x"}, "give pretrained=True and file="),
        ({"file": "x"}, "give pretrained=True and file="),
        ({}, "give pretrained=True and file="),
        ({"pretrained": True, "file": "x", "channels": 3}, "leave 'channels' out"),
    ],
)
def test_what_is_not_supported_is_said(given: dict[str, Any], text: str, create: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=text):
        create("metad2a_network", **given)


def test_a_file_that_is_none_is_refused(create: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read a network"):
        create("metad2a_network", pretrained=True, file=str(tmp_path / "none"))


def test_timm_makes_its_transforms_of_a_network(create: Callable[..., Any], tmp_path: Path) -> None:
    data = pytest.importorskip("timm.data", reason="timm is not installed: it needs torchvision")
    classifier().save_pretrained(tmp_path)
    network = create("metad2a_network", pretrained=True, file=str(tmp_path))
    found = data.resolve_model_data_config(network)
    assert found["input_size"] == (3, 16, 16) and found["mean"] == pytest.approx((0.4, 0.5, 0.6))


def test_without_timm_the_line_keeps_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("metad2a_plugin.adapters", reason="adapters are inside the package once it is installed")
    for name in ("timm", "timm.models"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "metad2a_plugin.adapters.timm", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install timm torchvision torch=="):
        importlib.import_module("metad2a_plugin.adapters.timm")
