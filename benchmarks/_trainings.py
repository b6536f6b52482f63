"""The database of real trainings with the features of its images, and the benchmark tables as contexts like its own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from metad2a_plugin.data import ImageDataset, extract_task, get_encoder, load_dataset
from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.meta.trainings.database import Trainings, load_trainings
from metad2a_plugin.meta.trainings.fit import TableContext
from metad2a_plugin.meta.trainings.tasks import TaskPlan
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.task import Task

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

FOLDER = Path(__file__).parent / "trainings"
TABLES = {
    "cifar10": ("cifar10_train", "cifar10_valid", 32, 25_000, 25_000),
    "imagenet16-120": ("imagenet64", "imagenet16_valid", 16, 151_700, 3_000),
}
"""Of each dataset of the tables: its image set, column, side, training images and held-out images."""


@dataclass(frozen=True)
class Measured:
    """What the predictor learns from.

    Attributes:
        data: the folder of real data.
        cache: folder of features of images.
        folder: of the database.
    """

    data: common.Data
    cache: Path
    folder: Path = FOLDER

    @cached_property
    def trainings(self) -> Trainings:
        return load_trainings(self.folder)

    @cached_property
    def tasks(self) -> Mapping[int, Task]:
        """Of the rows, as `extract_task` reads the images that they are trained on."""
        made_of = json.loads((self.folder / "build.json").read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes of few images are in no task
            sets = [self._set(name) for name in made_of["images"]]
            plan, encoder = TaskPlan(sets, TrainingsConfig(**made_of["trainings"])), get_encoder()
            return {
                number: extract_task(plan.dataset(number), encoder, cache_dir=self.cache, progress=False)
                for number in sorted(set(self.trainings.task.tolist()))
            }

    def _set(self, name: str) -> ImageDataset:
        return load_dataset("sklearn:digits" if name == "digits" else self.data.root / "images" / f"{name}.zip")

    @cached_property
    def tables(self) -> tuple[TableContext, ...]:
        """The validation accuracies after 12 and 200 epochs."""
        table, found = self.data.table, []
        for source, (image_set, column, side, images, held_out) in TABLES.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                task = extract_task(self.data.images(source), get_encoder(), cache_dir=self.cache, progress=False)
            for epochs, name in ((12, f"{column}_ep12"), (200, column)):
                budget = Budget(epochs, 256, side, 0.1, True, images, {"channels": 16, "cells": 5})
                accuracy = torch.from_numpy(table.column(name))
                found.append(TableContext(source, image_set, task, budget, accuracy, held_out, str(epochs)))
        return tuple(found)


def without(tables: Sequence[TableContext], sets: set[str]) -> tuple[TableContext, ...]:
    """Tables of other image sets than these."""
    return tuple(table for table in tables if table.image_set not in sets)
