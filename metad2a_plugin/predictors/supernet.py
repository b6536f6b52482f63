"""Accuracies by the weights that a trained supernet shares among all architectures."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from metad2a_plugin.data import Task, load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.spaces.base import Architectures, SearchSpace
from metad2a_plugin.spaces.interfaces import weight_sharing


class SupernetPredictor(Predictor):
    """Scores a cell by its accuracy with shared weights on the validation part of the dataset, in percent.

    Such accuracies compare cells, poorly, and are not what a cell reaches that is trained on its own (Yu et al.,
    *Evaluating the Search Phase of Neural Architecture Search*, ICLR 2020).

    Args:
        space: one with a supernet, such as ``nasbench201``.
        dataset: the dataset that the supernet was trained on; anything that `load_dataset` takes.
        weights: a file of ``metad2a train-supernet``.
        device: where it runs.

    Raises:
        ConfigError: no dataset, no file, or another search space.
        CheckpointError: the file is none of a supernet, or of other classes.
        DatasetError: the dataset cannot be read.
    """

    quantity, unit = "accuracy", "%"
    scale = "Accuracies are those of shared weights: they compare cells, and metad2a train measures them."
    candidates = 200

    def __init__(
        self,
        space: SearchSpace,
        dataset: Any = None,
        *,
        weights: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(space)
        weight_sharing(space)
        if weights is None:
            raise ConfigError("the predictor 'supernet' needs weights=FILE; metad2a train-supernet writes one")
        if dataset is None:
            raise ConfigError("the predictor 'supernet' needs the dataset that its supernet was trained on")
        if not Path(weights).is_file():
            raise ConfigError(f"no file {os.fspath(weights)!r}; metad2a train-supernet writes one")
        self._source, self._weights, self._device = dataset, weights, device

    @cached_property
    def _shared(self) -> SharedWeights:
        shared = SharedWeights.load(self._weights, load_dataset(self._source), self._device)
        if shared.space.name != self.space.name:
            raise ConfigError(f"the supernet is of {shared.space.name!r}, not of {self.space.name!r}")
        return shared

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        cells = [self.space.validate(architecture) for architecture in self.space.decode(architectures)]
        return Prediction(torch.tensor([self._shared.accuracy(cell) for cell in cells], dtype=torch.float32))
