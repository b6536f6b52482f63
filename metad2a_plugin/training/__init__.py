"""Training of architectures on images, and trained networks as files."""

from metad2a_plugin.training.classifier import ImageClassifier, NormalizedNetwork
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.files import export_network, export_onnx, load_network
from metad2a_plugin.training.fit import Epoch, train_network
from metad2a_plugin.training.images import TrainingData, augmented, prepare
from metad2a_plugin.training.result import TrainResult, wilson_interval
from metad2a_plugin.training.run import train_architecture, train_many

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
