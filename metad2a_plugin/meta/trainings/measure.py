"""A row of a database of trainings: one network, really trained, and how well it did after every epoch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.meta.trainings.plan import Plan
from metad2a_plugin.meta.trainings.tasks import TaskPlan, TrainingTask, read_sets
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.fit import train_network
from metad2a_plugin.training.images import TrainingData, pixel_statistics, split_settings
from metad2a_plugin.utils.torch_device import one_thread

_CACHED = 8  # tasks whose pixels a process keeps


def columns(space: SearchSpace) -> tuple[str, ...]:
    """Of the file of rows."""
    settings = ("input_size", "epochs", "batch_size", "lr", "flip", "seed")
    found = ("classes", "train_images", "held_out_images", "seconds", "curve")
    return ("row", "task", "arch_str", *space.sizes, *settings, *found)


@dataclass(frozen=True)
class TrainingAssignment:
    """What a process needs to train the networks of rows.

    Attributes:
        images: paths of the image sets.
        config: settings.
        device: where networks train.
    """

    images: tuple[str, ...]
    config: TrainingsConfig
    device: str

    def worker(self) -> TrainingWorker:
        """Reads the image sets."""
        return TrainingWorker(self)


class TrainingWorker:
    """Trains the networks of rows; one thread, so that the same row always gives the same numbers."""

    def __init__(self, assignment: TrainingAssignment) -> None:
        self.device = torch.device(assignment.device)
        self.plan = Plan(TaskPlan(read_sets(assignment.images), assignment.config), assignment.config)
        self._pixels = lru_cache(maxsize=_CACHED)(self._decode)

    def measure(self, number: int) -> list[str]:
        """A row of the file, by its number."""
        row = self.plan.row(number)
        data = self._data(row.task, row.config)
        space, config = self.plan.space, row.config
        network = ImageClassifier(
            space,
            row.architecture,
            len(data.class_names),
            input_size=config.input_size,
            mean=data.mean,
            std=data.std,
            seed=config.seed,
            options=config.options,
        )
        with one_thread():
            begin = self._clock()
            curve = train_network(network, data, TrainConfig(**{**vars(config), "device": str(self.device)}))
            seconds = self._clock() - begin
        values = {
            "row": number,
            "task": row.task,
            "arch_str": space.format(row.architecture),
            **{name: config.options.get(name, "") for name in space.sizes},
            **{name: getattr(config, name) for name in ("input_size", "epochs", "batch_size", "lr", "seed")},
            "flip": int(config.flip),
            "classes": len(data.class_names),
            "train_images": len(data.labels),
            "held_out_images": len(data.validation_labels),
            "seconds": f"{seconds:.2f}",
            "curve": " ".join(f"{epoch.accuracy:.2f}" for epoch in curve),
        }
        return [str(values[name]) for name in columns(space)]

    def _clock(self) -> float:
        """Seconds of this process alone on a CPU, whatever else the machine does."""
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()

    def _data(self, number: int, config: TrainConfig) -> TrainingData:
        task = self.plan.tasks.task(number)
        pixels, held_out = self._pixels(number, config.input_size)
        mean, std = pixel_statistics(pixels)
        train, tested = task.images.subset(task.train), task.images.subset(task.held_out)
        return TrainingData(
            images=pixels,
            labels=_labels(task, task.train),
            validation_images=held_out,
            validation_labels=_labels(task, task.held_out),
            mean=mean,
            std=std,
            class_names=tuple(task.images.class_names[c] for c in task.classes),
            split=split_settings(config),
            train=train,
            validation=tested,
        )

    def _decode(self, number: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of a task to learn from and to measure on, uint8 ``[n, 3, size, size]`` each."""
        task = self.plan.tasks.task(number)
        return task.images.images(task.train, size), task.images.images(task.held_out, size)


def _labels(task: TrainingTask, indices: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.searchsorted(task.classes, task.images.labels[indices]))
