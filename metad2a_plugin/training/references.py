"""What a trained network must beat: the most frequent class, and a linear classifier of an encoder's features."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.data.features import extract_task
from metad2a_plugin.data.streamed import StreamedPixels, encoded
from metad2a_plugin.nn.probe import fit_ridge
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.result import wilson_interval

_MOST = 20_000  # training images whose features are read


@dataclass(frozen=True)
class Reference:
    """Something that answers without a trained network.

    Attributes:
        name: ``majority class`` or ``linear classifier``.
        accuracy: percent of the validation images.
        interval: Wilson's 95% interval of it.
        encoder: whose features it reads; None where it reads none.
        seconds: that it took.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    encoder: str | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"interval": list(self.interval)}


def fit_references(data: TrainingData, encoder: str = "default", device: str = "cpu") -> tuple[Reference, ...]:
    """Both, learned from the training part, of at most about 20,000 images, and measured on the validation part.

    Args:
        data: of `prepare`.
        encoder: name of the image encoder whose features of the training part are classified.
        device: where it runs.

    Raises:
        ConfigError: no such encoder or device.
        CheckpointError: the encoder's weights are missing or damaged.
        MissingExtraError: the encoder needs a package that is not installed.
    """
    begin, labels = time.perf_counter(), data.validation_labels
    majority = _reference("majority class", data.labels.bincount().argmax().expand_as(labels), labels, None, begin)
    begin, model = time.perf_counter(), get_encoder(encoder, device)
    # Of a search of the training part, these are known already where classes are small.
    task = extract_task(data.train, model, max_images_per_class=max(200, _MOST // len(data.class_names)))
    head = fit_ridge(task.features, task.labels)
    features = encoded(model, StreamedPixels(data.validation, model.size)).cpu()
    places = torch.tensor([data.class_names.index(name) for name in task.class_names])
    return majority, _reference("linear classifier", places[head(features).argmax(1)], labels, encoder, begin)


def _reference(name: str, answers: torch.Tensor, labels: torch.Tensor, encoder: str | None, begin: float) -> Reference:
    right = int((answers == labels).sum())
    low, high = wilson_interval(right, len(labels))
    seconds = time.perf_counter() - begin
    return Reference(name, 100 * right / len(labels), (100 * low, 100 * high), encoder, seconds)
