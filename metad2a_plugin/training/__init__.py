"""Training of architectures on images, and trained networks as files; names are resolved on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metad2a_plugin.training.classifier import ImageClassifier, NormalizedNetwork
    from metad2a_plugin.training.config import TrainConfig
    from metad2a_plugin.training.files import export_network, export_onnx, load_network
    from metad2a_plugin.training.fit import Epoch, train_network
    from metad2a_plugin.training.images import TrainingData, augmented, prepare
    from metad2a_plugin.training.result import TrainResult, wilson_interval
    from metad2a_plugin.training.run import train_architecture, train_many

_NAMES = {
    "classifier": ("ImageClassifier", "NormalizedNetwork"),
    "config": ("TrainConfig",),
    "files": ("export_network", "export_onnx", "load_network"),
    "fit": ("Epoch", "train_network"),
    "images": ("TrainingData", "augmented", "prepare"),
    "result": ("TrainResult", "wilson_interval"),
    "run": ("train_architecture", "train_many"),
}

__all__ = [
    "Epoch",
    "ImageClassifier",
    "NormalizedNetwork",
    "TrainConfig",
    "TrainResult",
    "TrainingData",
    "augmented",
    "export_network",
    "export_onnx",
    "load_network",
    "prepare",
    "train_architecture",
    "train_many",
    "train_network",
    "wilson_interval",
]


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
