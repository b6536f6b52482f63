"""A library of known tasks: of each, a small trained network and cells that were really trained on it.

``config.json`` says what the tasks and their cells are, ``model.safetensors`` holds the networks' weights in half
precision; neither can run code. `build.build_library` writes such folders; one comes with the package.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors

from metad2a_plugin.errors import CheckpointError, ConfigError, MetaD2AError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.similarity.backbones import TaskNetwork
from metad2a_plugin.similarity.config import TaskConfig
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.files import read_model, write_atomically, write_json

FORMAT = "metad2a-tasks-1"
SHIPPED = Path(__file__).parents[1] / "pretrained" / "tasks"


class Cell(NamedTuple):
    """A cell that was trained on a task; accuracy and its 95% interval in percent of the validation images."""

    architecture: str
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class KnownTask:
    """One dataset of a library.

    Attributes:
        name: in the library, unique.
        description: one line on its images and classes.
        class_names: one per class.
        fingerprint: SHA-256 of the pixels and labels that the network was trained on.
        accuracy: of the small network, percent of its validation images.
        majority_accuracy: of always answering the most frequent class, for the cells' validation images.
        cells: all that were trained, the best first.
        network: the small one.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    fingerprint: str
    accuracy: float
    majority_accuracy: float
    cells: tuple[Cell, ...]
    network: TaskNetwork = field(repr=False, compare=False)


@dataclass(frozen=True)
class TaskLibrary:
    """Known tasks that are compared with others by the same measurement.

    Attributes:
        config: how networks are trained and measured, also that of a new dataset.
        space: name of the cells' search space.
        good: how many of the best cells of a task are its good cells.
        tasks: at least one.
        distances: by the distance's name, ``[source][target]`` among the tasks, in their order.
        provenance: the command, the settings of the cells' training, versions.
    """

    config: TaskConfig
    space: str
    good: int
    tasks: tuple[KnownTask, ...]
    distances: Mapping[str, Sequence[Sequence[float]]]
    provenance: Mapping[str, Any]

    def good_cells(self, name: str) -> tuple[Cell, ...]:
        """The best cells of a task, the best first.

        Raises:
            ConfigError: no task has that name.
        """
        for task in self.tasks:
            if task.name == name:
                return task.cells[: self.good]
        raise ConfigError(f"no task {name!r} in the library; it has {', '.join(task.name for task in self.tasks)}")

    def good_architectures(self, names: Sequence[str], space: SearchSpace) -> list[Architecture]:
        """The good cells of some tasks, as architectures.

        Raises:
            ConfigError: no task has that name, or the library is of another space.
        """
        if space.name != self.space:
            raise ConfigError(f"the library's cells are of the space {self.space!r}, not {space.name!r}")
        return [space.parse(cell.architecture) for name in names for cell in self.good_cells(name)]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``.

        Raises:
            ConfigError: the folder cannot be written.
        """
        weights = to_safetensors(
            {
                f"{task.name}/{name}": value.half().contiguous()
                for task in self.tasks
                for name, value in task.network.state_dict().items()
            }
        )
        plain = [{k: v for k, v in vars(task).items() if k != "network"} for task in self.tasks]
        found = {
            "format": FORMAT,
            "config": asdict(self.config),
            "space": self.space,
            "good": self.good,
            "tasks": plain,
            "distances": self.distances,
            "provenance": self.provenance,
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        write_atomically(Path(folder) / "model.safetensors", weights)
        write_json(Path(folder) / "config.json", found)


def load_library(path: str | os.PathLike[str] | None = None) -> TaskLibrary:
    """Read the shipped library, or one that ``metad2a build-tasks`` wrote by its folder.

    Raises:
        CheckpointError: there is none, or its files are damaged or of another kind.
    """
    folder = SHIPPED if path is None else Path(os.path.expanduser(path))
    text, weights = read_model(folder, "library of tasks", "write one with metad2a build-tasks")
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}, expected {FORMAT!r}")
        if hashlib.sha256(weights).hexdigest() != found["sha256"]:
            raise ValueError("model.safetensors is not the file that config.json was written with")
        return _library(found, from_safetensors(weights))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError, MetaD2AError) as error:
        raise CheckpointError(
            f"the library {str(folder)!r} cannot be read ({type(error).__name__}: {error}); write it again with "
            "metad2a build-tasks"
        ) from error


def _library(found: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> TaskLibrary:
    config, space = TaskConfig(**found["config"]), get_space(found["space"])
    tasks = []
    for entry in found["tasks"]:
        network = TaskNetwork(config.backbone, len(entry["class_names"]), config.init_seed)
        prefix = f"{entry['name']}/"
        state = {k.removeprefix(prefix): v.float() for k, v in weights.items() if k.startswith(prefix)}
        network.load_state_dict(state)
        cells = tuple(Cell(text, float(value), (low, high)) for text, value, (low, high) in entry["cells"])
        for cell in cells:
            space.parse(cell.architecture)
        plain = entry | {"class_names": tuple(entry["class_names"]), "cells": cells}
        tasks.append(KnownTask(**plain, network=network.eval()))
    if not tasks:
        raise ValueError("it has no tasks")
    return TaskLibrary(config, space.name, found["good"], tuple(tasks), found["distances"], found["provenance"])
