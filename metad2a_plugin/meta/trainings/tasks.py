"""Tasks of a database of trainings: subsets of image sets, each with images to learn from and others to measure on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from metad2a_plugin.data import DatasetWarning, ImageDataset, load_dataset
from metad2a_plugin.errors import DatasetError
from metad2a_plugin.meta.trainings.config import TrainingsConfig

_HELD_OUT = 0.25
_LEAST_IMAGES = 8  # of a class
_FEW_CLASSES = 120  # an image set of more is never one task
_MOST_CLASSES = 40  # of a subset
_MORE_TASKS = 3  # times as many of a set of many classes


class TrainingTask(NamedTuple):
    """A subset of an image set.

    Attributes:
        images: the set.
        classes: its classes that the task has, ascending, int64 ``[classes]``.
        train: images to learn from, int64 ``[n]``, indices into the set.
        held_out: images to measure on, likewise.
    """

    images: ImageDataset
    classes: np.ndarray
    train: np.ndarray
    held_out: np.ndarray


class TaskPlan:
    """The tasks; the same image sets and settings always give the same.

    Args:
        sets: image sets.
        config: settings.

    Attributes:
        owner: number of the image set of each task.
    """

    def __init__(self, sets: Sequence[ImageDataset], config: TrainingsConfig) -> None:
        self.sets, self.config = tuple(sets), config
        if not self.sets:
            raise DatasetError("a database of trainings needs image sets, got none")
        names = [images.name for images in self.sets]
        if twins := sorted({name for name in names if names.count(name) > 1}):
            raise DatasetError(f"two image sets are called {twins[0]!r}; rename one, rows are told apart by it")
        of_each = [
            config.tasks_per_set * (_MORE_TASKS if images.num_classes > _FEW_CLASSES else 1) for images in self.sets
        ]
        self.owner = np.repeat(np.arange(len(self.sets)), of_each)
        self.first = np.concatenate([[0], np.cumsum(of_each)])

    def __len__(self) -> int:
        return len(self.owner)

    def task(self, number: int) -> TrainingTask:
        """The task of a number from 0.

        The first of a set is all of its classes, where these are few; the others are some, next to each other in the
        order of their names in half of the cases, and fewer images.
        """
        config, owner = self.config, int(self.owner[number])
        images, held_out = self.sets[owner], self._held_out[owner]
        rng = np.random.default_rng((config.seed, 1, number))
        whole = number == self.first[owner] and images.num_classes <= _FEW_CLASSES
        classes, limit = self._usable[owner], config.train_images
        if not whole:
            count = round(float(np.exp(rng.uniform(np.log(2), np.log(min(len(classes), _MOST_CLASSES))))))
            if rng.random() < 0.5:
                start = rng.integers(len(classes) - count + 1)
                classes = classes[start : start + count]
            else:
                classes = np.sort(rng.choice(classes, count, replace=False))
            least = min(8 * count, limit)
            limit = round(float(np.exp(rng.uniform(np.log(least), np.log(limit)))))
        wanted = np.isin(images.labels, classes)
        train = rng.permutation(np.flatnonzero(wanted & ~held_out))[:limit]
        # A class of which no image was drawn is none of the task.
        classes = classes[np.isin(classes, images.labels[train])]
        tested = rng.permutation(np.flatnonzero(wanted & held_out & np.isin(images.labels, classes)))
        return TrainingTask(images, classes, np.sort(train), np.sort(tested[: config.held_out_images]))

    def dataset(self, number: int) -> ImageDataset:
        """The images that a task is learned from, as a dataset of its own."""
        task = self.task(number)
        return task.images.subset(task.train)

    @cached_property
    def _usable(self) -> list[np.ndarray]:
        """Classes of each set with enough images."""
        counts = [np.bincount(images.labels, minlength=images.num_classes) for images in self.sets]
        found = [np.flatnonzero(count >= _LEAST_IMAGES) for count in counts]
        for images, classes in zip(self.sets, found, strict=True):
            if len(classes) < 2:
                raise DatasetError(
                    f"{images.name!r} has {len(classes)} classes of {_LEAST_IMAGES} images or more, at least two are "
                    "needed; add images, or leave the set out"
                )
        return found

    @cached_property
    def _held_out(self) -> list[np.ndarray]:
        return [images.held_out(_HELD_OUT, self.config.seed) for images in self.sets]


def read_sets(paths: Sequence[str]) -> list[ImageDataset]:
    """Image sets by their paths; classes of few images are in no task, and not worth a warning.

    Raises:
        DatasetError: one cannot be used.
    """
    with warnings.catch_warnings():
        for message in (".* have a single image", ".* has a single image"):
            warnings.filterwarnings("ignore", message, DatasetWarning)
        return [load_dataset(path) for path in paths]
