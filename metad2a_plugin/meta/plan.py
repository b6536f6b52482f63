"""What a meta-database will hold, before anything is measured: tasks, their classes, and the networks of each row."""

from __future__ import annotations

import csv
import io
import random
from functools import cached_property
from typing import NamedTuple

import numpy as np

from metad2a_plugin.data import ImageDataset
from metad2a_plugin.errors import DatasetError, said
from metad2a_plugin.meta.config import PlanConfig
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space


class Row(NamedTuple):
    """A measurement to make: the network of an architecture on a task."""

    number: int
    task: int
    architecture: Architecture


class Plan:
    """Tasks and rows; the same images and settings always give the same.

    Args:
        images: all of their classes, in this order, are the outputs of a supernet that is brought along.
        config: settings.

    Attributes:
        usable: classes with enough images, int64 ``[k]``; the outputs of a supernet of our own.

    Raises:
        DatasetError: too few classes have enough images.
    """

    def __init__(self, images: ImageDataset, config: PlanConfig) -> None:
        self.images, self.config = images, config
        needed = config.test_images + config.calibration_images
        counts = np.bincount(images.labels, minlength=images.num_classes)
        self.usable: np.ndarray = np.flatnonzero(counts >= needed)
        rng = np.random.default_rng((config.seed, 0))
        held_out = round(config.held_out * len(self.usable))
        if min(held_out, len(self.usable) - held_out) < config.classes:
            raise DatasetError(
                f"{len(self.usable)} of the {images.num_classes} classes of {images.name!r} have {needed} images or "
                f"more; {held_out} for validation and {len(self.usable) - held_out} for training are too few for "
                f"tasks of {config.classes} classes. Give more images, or lower classes, test_images or "
                "calibration_images"
            )
        valid = np.zeros(len(self.usable), bool)
        valid[rng.permutation(len(self.usable))[:held_out]] = True
        self._groups = self.usable[~valid], self.usable[valid]

    def __len__(self) -> int:
        return (self.config.tasks + self.config.valid_tasks) * self.config.rows_per_task

    def is_valid(self, task: int) -> bool:
        """Whether it is a validation task; they come last."""
        return task >= self.config.tasks

    @cached_property
    def task_classes(self) -> np.ndarray:
        """Classes of each task, ascending, int64 ``[tasks, classes]``."""
        config, rng = self.config, np.random.default_rng((self.config.seed, 1))
        tasks = []
        for task in range(config.tasks + config.valid_tasks):
            group = self._groups[self.is_valid(task)]
            if rng.random() < config.related:
                first = rng.integers(max(1, len(group) - 2 * config.classes + 1))
                group = group[first : first + 2 * config.classes]
            tasks.append(np.sort(rng.choice(group, config.classes, replace=False)))
        return np.stack(tasks)

    def row(self, number: int) -> Row:
        """The row of a number from 0."""
        rng = random.Random(f"{self.config.seed} {number}")
        return Row(number, number // self.config.rows_per_task, MobileNetV3Space().sample_balanced(rng))

    @cached_property
    def parts(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Images of each usable class that a supernet may learn from, and those for testing."""
        rng = np.random.default_rng((self.config.seed, 2))
        found = {}
        for label in self.usable.tolist():
            shuffled = rng.permutation(np.flatnonzero(self.images.labels == label))
            found[label] = shuffled[self.config.test_images :], shuffled[: self.config.test_images]
        return found

    def files(self) -> dict[str, str]:
        """``tasks.csv`` and ``map_clsloc.txt``, by name."""
        tasks = io.StringIO()
        writer = csv.writer(tasks, lineterminator="\n")
        writer.writerow(["task", *(f"class_{i}" for i in range(self.config.classes))])
        writer.writerows([task, *(classes + 1).tolist()] for task, classes in enumerate(self.task_classes))
        names = self.images.class_names
        if broken := [name for name in names if len(name.split()) != 1]:
            raise DatasetError(f"names of classes must have no spaces, got {said(broken[0])}; rename it")
        folders = "".join(f"{name} {number} {name}\n" for number, name in enumerate(names, 1))
        return {"tasks.csv": tasks.getvalue(), "map_clsloc.txt": folders}
