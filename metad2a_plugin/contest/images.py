"""The images of a run, split once: what is learned from, what is chosen by, and what is measured on at the end."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property

import torch

from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.nn.probe import RidgeClassifier, fit_ridge
from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, prepare

_KEPT = 2  # sizes that are decoded at once
_BATCH = 256


class Images:
    """Parts of a dataset, in any size.

    Args:
        dataset: all images.
        config: settings.
    """

    def __init__(self, dataset: ImageDataset, config: AutoConfig) -> None:
        self.config = config
        self.dataset = dataset = dataset.verified()
        tested = dataset.held_out(config.test, config.seed)
        self.known, self.tested = dataset.subset(~tested), dataset.subset(tested)
        self._prepared: OrderedDict[int, TrainingData] = OrderedDict()

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

    @cached_property
    def encoder(self) -> ImageEncoder:
        return get_encoder(self.config.encoder)

    @cached_property
    def head(self) -> RidgeClassifier:
        """The linear classifier of the encoder's features of the training part."""
        data = self.at(self.encoder.size)
        return fit_ridge(self._features(data.images), data.labels, len(data.class_names))

    @property
    def soft(self) -> torch.Tensor:
        """Logits of training images by linear classifiers that have not seen them, ``[n, classes]``."""
        return (self.head.sharpness * self.head.left_out).float()

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.encoder(batch) for batch in pixels.split(_BATCH)])
