"""A row of a meta-database of a supernet: the accuracy of one of its networks on a task."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from metad2a_plugin.data import DatasetWarning, ImageDataset, load_dataset
from metad2a_plugin.meta.config import PlanConfig
from metad2a_plugin.meta.plan import Plan
from metad2a_plugin.meta.supernet import LabelledImages, accuracy
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import load_supernet
from metad2a_plugin.utils.torch_device import one_thread

COLUMNS = ("row", "task", "arch_str", "accuracy", "split")
_CACHE = 2**30  # bytes of decoded images that a process keeps


@dataclass(frozen=True)
class SubnetAssignment:
    """What a process needs to measure networks of a supernet.

    Attributes:
        images: path of the images.
        supernet: path of the weights.
        config: settings.
        input_size: side of the images, in pixels.
        own: the supernet's outputs are the usable classes, and not all classes of the images.
        device: where networks run.
    """

    images: str
    supernet: str
    config: PlanConfig
    input_size: int
    own: bool
    device: str

    def worker(self) -> SubnetWorker:
        """Reads the images and the supernet."""
        return SubnetWorker(self)


class SubnetWorker:
    """Measures rows; one thread, so that the same row always gives the same number."""

    def __init__(self, assignment: SubnetAssignment) -> None:
        self.assignment = assignment
        size = assignment.input_size if assignment.own else None
        self.plan = Plan(readable(assignment.images, size), assignment.config)
        self.supernet = load_supernet(assignment.supernet).to(assignment.device)
        channels = 3 * assignment.input_size**2 * (assignment.config.test_images + assignment.config.calibration_images)
        self._class = lru_cache(maxsize=max(assignment.config.classes, _CACHE // channels))(self._decode)

    def measure(self, number: int) -> list[str]:
        """A row of the file, by its number."""
        with one_thread():
            row = self.plan.row(number)
            classes = self.plan.task_classes[row.task]
            outputs = np.searchsorted(self.plan.usable, classes) if self.assignment.own else classes
            network = self.supernet.extract(row.architecture, torch.from_numpy(outputs).to(self.assignment.device))
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            calibration, tested = zip(*(self._class(int(label)) for label in classes), strict=True)
            labels = torch.arange(len(classes)).repeat_interleave(self.assignment.config.test_images)
            percent = accuracy(
                network,
                torch.cat(calibration).to(self.assignment.device),
                LabelledImages(torch.cat(tested).to(self.assignment.device), labels.to(self.assignment.device)),
            )
        text = MobileNetV3Space().format(row.architecture)
        split = "valid" if self.plan.is_valid(row.task) else "train"
        return [str(number), str(row.task), text, f"{percent:.4f}", split]

    def _decode(self, label: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of a class to calibrate on and to test on, uint8 ``[n, 3, size, size]`` each."""
        train, test = self.plan.parts[label]
        chosen = np.concatenate([train[: self.assignment.config.calibration_images], test])
        decoded = self.plan.images.images(chosen, self.assignment.input_size)
        first, second = decoded.split([self.assignment.config.calibration_images, len(test)])
        return first, second


def readable(path: str, size: int | None) -> ImageDataset:
    """With `size`, the images that can be decoded."""
    with without_warnings():
        images = load_dataset(path)
    return images if size is None else images.verified(size)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Classes of few images are left out on purpose."""
    with warnings.catch_warnings():
        for message in (".* have a single image", ".* has a single image", ".* have no usable image"):
            warnings.filterwarnings("ignore", message, DatasetWarning)
        yield
