"""Answers of a trained network: `predict_images`."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.data.listing import is_listed, list_images
from metad2a_plugin.data.pixels import DatasetWarning, few
from metad2a_plugin.errors import CheckpointError, DatasetError
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.files import load_network
from metad2a_plugin.training.result import wilson_interval
from metad2a_plugin.utils.checks import path_like
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.progress import stages
from metad2a_plugin.utils.rows import data_frame
from metad2a_plugin.utils.torch_device import usable

if TYPE_CHECKING:
    import pandas

_PIXELS = 1 << 22  # of a batch
_MOST = 256


@dataclass(frozen=True, eq=False)
class ImagePredictions:
    """What a network says of images.

    Attributes:
        images: their names, ``n``: relative paths, or positions.
        class_names: of the network.
        probabilities: of each class, float32 ``[n, classes]``.
        labels: int64 ``[n]``, -1 where an image has none that is a class of the network.
        broken: why an image could not be read, by its name; these are not among `images`.
    """

    images: tuple[str, ...]
    class_names: tuple[str, ...]
    probabilities: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def answers(self) -> torch.Tensor:
        """The most probable class of each image, int64 ``[n]``."""
        return self.probabilities.argmax(1)

    @property
    def labelled(self) -> int:
        """How many images have a label."""
        return int((self.labels >= 0).sum())

    @property
    def right(self) -> int:
        """How many of these are answered rightly."""
        return int((self.answers == self.labels).sum())

    @property
    def accuracy(self) -> float | None:
        """Percent of the images with a label; None where there is none."""
        return 100 * self.right / self.labelled if self.labelled else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95% interval of it, in percent."""
        if not self.labelled:
            return None
        low, high = wilson_interval(self.right, self.labelled)
        return 100 * low, 100 * high

    def label(self, i: int) -> str | None:
        """Name of the class that image `i` has; None where that is not known."""
        number = int(self.labels[i])
        return None if number < 0 else self.class_names[number]

    def best(self, i: int, top: int = 1) -> list[tuple[str, float]]:
        """The most probable classes of image `i` and their probabilities, 0 to 1."""
        values, places = self.probabilities[i].topk(min(top, len(self.class_names)))
        return [(self.class_names[place], value) for place, value in zip(places.tolist(), values.tolist(), strict=True)]

    def to_dict(self, top: int = 5) -> dict[str, Any]:
        """Plain JSON values, with the `top` most probable classes of each image."""
        rows = [
            {
                "image": name,
                "label": self.label(i),
                "classes": [{"class": each, "probability": value} for each, value in self.best(i, top)],
            }
            for i, name in enumerate(self.images)
        ]
        return {
            "class_names": list(self.class_names),
            "labelled": self.labelled,
            "accuracy": self.accuracy,
            "interval": None if self.interval is None else list(self.interval),
            "broken": dict(self.broken),
            "images": rows,
        }

    def to_dataframe(self, top: int = 5) -> pandas.DataFrame:
        """The rows of `to_csv`.

        Raises:
            MissingExtraError: pandas is not installed (extra ``pandas``).
        """
        return data_frame(self._rows(top))

    def to_csv(self, path: str | os.PathLike[str], top: int = 5) -> None:
        """Write a line for each image: its name, its label, and its `top` most probable classes.

        Raises:
            ConfigError: the file cannot be written.
        """
        text, rows = io.StringIO(), self._rows(top)
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())

    def _rows(self, top: int) -> list[dict[str, Any]]:
        found = []
        for i, name in enumerate(self.images):
            row: dict[str, Any] = {"image": name, "label": self.label(i)}
            for k, (each, value) in enumerate(self.best(i, top), 1):
                row |= {f"class_{k}": each, f"probability_{k}": value}
            found.append(row)
        return found


def predict_images(
    network: str | os.PathLike[str] | Classifier,
    images: Any,
    *,
    device: str = "cpu",
    progress: bool = True,
) -> ImagePredictions:
    """Classify images with a trained network.

    Args:
        network: a file, a folder or a place on the hub, see `load_network`; or what it returned.
        images: a folder or a zip of images, at any depth; a file, or a list of files; or anything else that
            `load_dataset` reads. An image whose folder has the name of a class of the network has that label.
        device: where the network runs.
        progress: show a progress bar where stderr is a terminal.

    Raises:
        CheckpointError: the network cannot be read, or its answers are no numbers.
        DatasetError: there is no image, or none can be read.
        ConfigError: the device cannot be used.
    """
    where = usable(device)
    if not isinstance(network, Classifier):
        path_like("network", network)
        network = load_network(network)
    classifier = network
    dataset, told = _read(images, classifier.class_names)
    was = next(classifier.parameters()).device, classifier.training
    classifier.eval().to(where)
    rows: list[torch.Tensor] = []
    kept: list[int] = []
    broken: dict[str, str] = {}
    batch = max(1, min(_MOST, _PIXELS // classifier.input_size**2))
    try:
        with stages(progress, brief=True) as report, torch.inference_mode():
            for start in range(0, len(dataset), batch):
                report(f"images of {dataset.name}", start, len(dataset), "")
                part = range(start, min(start + batch, len(dataset)))
                pixels, bad = dataset.decode(part, classifier.input_size)
                broken |= {dataset.key(i): reason for i, reason in bad.items()}
                if len(pixels):
                    rows.append(classifier(pixels.to(where)).float().softmax(1).cpu())
                    kept += [i for i in part if i not in bad]
    finally:
        classifier.to(was[0]).train(was[1])
    if broken:
        name, reason = next(iter(broken.items()))
        text = f"{len(broken)} of {len(dataset)} images of {dataset.name!r} cannot be read ({name!r}: {reason})"
        if not rows:
            raise DatasetError(f"{text}; give images that can")
        warnings.warn(f"{text}; they are left out", DatasetWarning, stacklevel=2)
    answers = torch.cat(rows)
    if not answers.isfinite().all():
        raise CheckpointError("the network's answers are no numbers: its weights are not those of a trained network")
    names = tuple(dataset.key(i) for i in kept)
    return ImagePredictions(names, classifier.class_names, answers.clone(), told[torch.tensor(kept)], broken)


def _read(images: Any, class_names: Sequence[str]) -> tuple[ImageDataset, torch.Tensor]:
    """Images, and the class of each in the network, -1 where it has none."""
    places = {name: place for place, name in enumerate(class_names)}
    if is_listed(images):
        dataset, folders = list_images(images)
        labels = [next((places[name] for name in reversed(parts) if name in places), -1) for parts in folders]
        inside = sorted({parts[-1] for parts, label in zip(folders, labels, strict=True) if parts and label < 0})
        if inside and any(label >= 0 for label in labels):
            text = f"the network has no class of the name {few(inside)}; accuracy leaves these images out"
            warnings.warn(text, DatasetWarning, stacklevel=3)
        return dataset, torch.tensor(labels)
    dataset = load_dataset(images)
    known = torch.tensor([places.get(name, -1) for name in dataset.class_names])
    return dataset, known[torch.from_numpy(np.asarray(dataset.labels))]
