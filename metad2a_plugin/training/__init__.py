"""Training of architectures on images, and trained networks as files; names are resolved on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metad2a_plugin.utils.lazy import resolver

if TYPE_CHECKING:
    from metad2a_plugin.nn.normalized import NormalizedNetwork
    from metad2a_plugin.training.classifier import ImageClassifier
    from metad2a_plugin.training.config import TrainConfig, batch_size_for
    from metad2a_plugin.training.files import export_network, export_onnx, load_network
    from metad2a_plugin.training.fit import Callback, Epoch, Training, train_network
    from metad2a_plugin.training.images import TrainingData, augmented, prepare
    from metad2a_plugin.training.loggers import CSVLogger, TensorBoardLogger
    from metad2a_plugin.training.predict import ImagePredictions, predict_images
    from metad2a_plugin.training.references import Reference, fit_references
    from metad2a_plugin.training.result import TrainResult, wilson_interval
    from metad2a_plugin.training.run import train_architecture, train_many
    from metad2a_plugin.training.speed import measure_speed

_NAMES = {
    "nn.normalized": ("NormalizedNetwork",),
    "training.classifier": ("ImageClassifier",),
    "training.config": ("TrainConfig", "batch_size_for"),
    "training.files": ("export_network", "export_onnx", "load_network"),
    "training.fit": ("Callback", "Epoch", "Training", "train_network"),
    "training.images": ("TrainingData", "augmented", "prepare"),
    "training.loggers": ("CSVLogger", "TensorBoardLogger"),
    "training.predict": ("ImagePredictions", "predict_images"),
    "training.references": ("Reference", "fit_references"),
    "training.result": ("TrainResult", "wilson_interval"),
    "training.run": ("train_architecture", "train_many"),
    "training.speed": ("measure_speed",),
}

__all__ = [
    "CSVLogger", "Callback", "Epoch", "ImageClassifier", "ImagePredictions", "NormalizedNetwork", "Reference",
    "TensorBoardLogger", "TrainConfig", "TrainResult", "Training", "TrainingData", "augmented", "batch_size_for",
    "export_network", "export_onnx", "fit_references", "load_network", "measure_speed", "predict_images", "prepare",
    "train_architecture", "train_many", "train_network", "wilson_interval",
]  # fmt: skip
__getattr__ = resolver(__name__, _NAMES)
