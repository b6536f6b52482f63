"""ImageNet accuracy of Once-for-All subnets, predicted by a small linear model fitted to measured ones.

What is predicted is the top-1 accuracy, in percent of the 50,000 validation images, of a subnet with the weights of
OFA's supernet of width 1.0, not trained further. The logarithm of the error rate is one weight vector times features of
the network: its layers and depths, also times the resolution, pairs of depths, and powers of the logarithms of its
multiply-accumulates and parameters. Fitted by ``benchmarks/train_imagenet.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch

from metad2a_plugin.devices.fitted import FittedModel, check_finite
from metad2a_plugin.devices.mobilenetv3 import check_resolution
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import Architectures, SearchSpace
from metad2a_plugin.spaces.mobilenetv3.descriptors import cost_powers, depth_pairs, layers_and_depths
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.utils.files import PRETRAINED

MEASURED = (128, 160, 192, 224)
"""Resolutions that networks were measured at, in pixels."""
_SPACE = MobileNetV3Space()


class ImageNetPredictor(Predictor):
    """Scores an architecture by its predicted ImageNet top-1 accuracy, in percent; reads no dataset.

    >>> from metad2a_plugin import get_space
    >>> space = get_space("mobilenetv3")
    >>> largest = space.parse("+".join(["k7e6-k7e6-k7e6-k7e6"] * 5))
    >>> 76 < float(ImageNetPredictor(space).predict(None, [largest]).mean) < 79
    True

    Args:
        space: `MobileNetV3Space`.
        resolution: side of the images, 128 to 224 pixels in steps of 4. Measured were 128, 160, 192 and 224; the level
            is interpolated between them.
        directory: of the fitted model; the shipped one by default.

    Raises:
        ConfigError: another space or resolution.
        CheckpointError: the model's files are missing or damaged.
    """

    quantity, unit = "accuracy", "%"
    scale = (
        "Accuracies are ImageNet top-1 of subnets with the weights of OFA's supernet of width 1.0, not trained further."
    )

    def __init__(self, space: SearchSpace, resolution: int = 224, directory: Path | None = None) -> None:
        super().__init__(space)
        if space.name != _SPACE.name:
            raise ConfigError(f"ImageNet accuracies are known for the space {_SPACE.name!r}, not for {space.name!r}")
        check_resolution("ImageNet accuracies", resolution)
        self.resolution = resolution
        self.model = _shipped() if directory is None else ImageNetModel.load(directory)

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        """The spread is the same for all networks of a resolution; see the model card for the intervals' coverage."""
        mean = self.model.predict(self.space.encode(architectures), self.resolution)
        std = self.model.half_width(self.resolution) / NormalDist().inv_cdf(0.95)
        return Prediction(mean, torch.full((len(mean),), std), percent=True)


class ImageNetModel(FittedModel):
    """The fitted weights.

    Args:
        weights: float64 ``[features]``, of the logarithm of the error in percent.
        level: float64 ``[4]``, what is added at each of the `MEASURED` resolutions.
        config: the parsed ``config.json``.
    """

    title = "model of ImageNet accuracy"
    folder = PRETRAINED / "imagenet-mobilenetv3"
    script = "benchmarks/train_imagenet.py"

    def __init__(self, weights: torch.Tensor, level: torch.Tensor, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.weights, self.level = weights, level

    @classmethod
    def _restore(cls, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> ImageNetModel:
        return cls(tensors["weights"], tensors["level"], config)

    def predict(self, vertices: torch.Tensor, resolution: int) -> torch.Tensor:
        """Top-1 accuracy in percent, float32 ``[n]``, of encoded networks int64 ``[n, 22]``."""
        logarithm = features(vertices, resolution) @ self.weights + interpolated(self.level.tolist(), resolution)
        return (100 - logarithm.exp()).float()

    def half_width(self, resolution: int) -> float:
        """Half the length of the 90% interval, in points of accuracy."""
        return interpolated(self.config["half_width"], resolution)

    def _check(self) -> None:
        check_finite("weights", self.weights, (len(features(_SPACE.encode([]), 224).T),))
        check_finite("level", self.level, (len(MEASURED),))
        if len(self.config["half_width"]) != len(MEASURED) or not all(w > 0 for w in self.config["half_width"]):
            raise ValueError(f"half_width is {self.config['half_width']}, expected {len(MEASURED)} positive numbers")


@lru_cache(maxsize=1)
def _shipped() -> ImageNetModel:
    return ImageNetModel.load()


def interpolated(values: Sequence[float], resolution: int) -> float:
    """Linearly between the values at the `MEASURED` resolutions."""
    above = next(i for i, measured in enumerate(MEASURED) if measured >= resolution and i > 0)
    low, high = MEASURED[above - 1 : above + 1]
    share = (resolution - low) / (high - low)
    return (1 - share) * values[above - 1] + share * values[above]


def features(vertices: torch.Tensor, resolution: int) -> torch.Tensor:
    """Features of networks at a resolution, float64 ``[n, k]``.

    Args:
        vertices: int64 ``[n, 22]``.
        resolution: pixels.
    """
    return torch.cat(list(feature_blocks(vertices, resolution).values()), dim=1)


def feature_blocks(vertices: torch.Tensor, resolution: int) -> dict[str, torch.Tensor]:
    """The parts of `features`, float64 ``[n, k]`` each; nothing in them is measured."""
    vertices = vertices.cpu()
    alone = layers_and_depths(vertices)
    return {
        "layers and depths": alone,
        "+ times resolution": alone * ((resolution - 176) / 48),
        "+ costs": cost_powers(vertices, resolution),
        "+ pairs of depths": depth_pairs(vertices),
    }
