"""The images of a run, split once: what is learned from, what is chosen by, and what is measured on at the end."""

from __future__ import annotations

import time
from collections import OrderedDict

import torch

from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.nn.probe import RidgeClassifier, fit_ridge
from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, prepare

_KEPT = 2  # sizes that are decoded at once
_PIXELS = 2**20  # of a batch
_FEW = 8


class Images:
    """Parts of a dataset, in any size.

    Args:
        dataset: all images.
        config: settings.

    Attributes:
        sides: encoders of the run by name, and the side of the images that they see.
    """

    def __init__(self, dataset: ImageDataset, config: AutoConfig) -> None:
        self.config = config
        self.dataset = dataset = dataset.verified()
        tested = dataset.held_out(config.test, config.seed)
        self.known, self.tested = dataset.subset(~tested), dataset.subset(tested)
        self.sides: dict[str, int] = {}
        self._prepared: OrderedDict[int, TrainingData] = OrderedDict()
        self._encoders: dict[str, ImageEncoder] = {}
        self._heads: dict[str, RidgeClassifier] = {}

    def at(self, size: int) -> TrainingData:
        """All but the test part, in this size, split into training and validation part."""
        if size not in self._prepared:
            while len(self._prepared) >= _KEPT:
                self._prepared.popitem(last=False)
            split = TrainConfig(input_size=size, validation=self.config.validation, split_seed=self.config.seed)
            self._prepared[size] = prepare(self.known, split)
        self._prepared.move_to_end(size)
        return self._prepared[size]

    def test(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels and labels of the test part: uint8 ``[n, 3, size, size]``, int64 ``[n]``."""
        return self.tested.images(range(len(self.tested)), size), torch.from_numpy(self.tested.labels)

    # -- encoders --------------------------------------------------------------------------------
    def encoder(self, name: str) -> ImageEncoder:
        if name not in self._encoders:
            self._encoders[name] = get_encoder(name)
        return self._encoders[name]

    def seconds(self, name: str, side: int) -> float:
        """That an encoder takes for all images of this size, by a few."""
        few = self.known.images(range(min(len(self.known), _FEW)), side)
        network = self.encoder(name)
        network(few)  # warms up
        begin = time.perf_counter()
        network(few)
        return (time.perf_counter() - begin) / len(few) * len(self.dataset)

    def head(self, name: str) -> RidgeClassifier:
        """The linear classifier of an encoder's features of the training part."""
        if name not in self._heads:
            data = self.at(self.sides[name])
            self._heads[name] = fit_ridge(self._features(name, data.images), data.labels, len(data.class_names))
        return self._heads[name]

    @property
    def teacher(self) -> str:
        """The encoder whose linear classifier is best on images that it has not seen."""
        return max(self.sides, key=lambda name: self.head(name).accuracy)

    @property
    def soft(self) -> torch.Tensor:
        """Logits of training images by the teacher's linear classifiers that have not seen them, ``[n, classes]``."""
        head = self.head(self.teacher)
        return (head.sharpness * head.left_out).float()

    def _features(self, name: str, pixels: torch.Tensor) -> torch.Tensor:
        batches = pixels.split(max(1, _PIXELS // pixels[0, 0].numel()))
        return torch.cat([self.encoder(name)(batch) for batch in batches])
