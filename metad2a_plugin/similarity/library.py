"""A library of known tasks: of each, a small trained network and cells that were really trained on it.

``config.json`` says what the tasks and their cells are, ``model.safetensors`` holds the networks' weights in half
precision; neither can run code. `build.build_library` writes such folders; one comes with the package.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as to_safetensors

from metad2a_plugin.errors import CheckpointError, ConfigError, said
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.similarity.backbones import TaskNetwork
from metad2a_plugin.similarity.config import TaskConfig
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.files import UNREADABLE, check_model, write_atomically, write_json
from metad2a_plugin.utils.schema import (
    SchemaError,
    anything,
    integer,
    list_of,
    mapping_of,
    number,
    read_json,
    record,
    refuse,
    text,
    why,
)
from metad2a_plugin.utils.tensors import FLOATS, TensorFile, file_digest

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
    check_model(folder, "library of tasks", "write one with metad2a build-tasks")
    try:
        plain = mapping_of(anything)(read_json(folder / "config.json"), "config.json")
        if plain.get("format") != FORMAT:
            raise SchemaError(f"format {said(plain.get('format'))}, expected {FORMAT!r}")
        found = _LIBRARY(plain, "")
        if file_digest(folder / "model.safetensors") != found["sha256"]:
            raise SchemaError("model.safetensors is not the file that config.json was written with")
        if not found["tasks"]:
            raise SchemaError("it has no tasks")
        file = TensorFile(folder / "model.safetensors")
        file.require(FLOATS)
        return _library(found, file.read())
    except UNREADABLE as error:
        raise CheckpointError(
            f"the library {str(folder)!r} cannot be read ({why(error)}); write it again with metad2a build-tasks"
        ) from error


_PERCENT = number(0, 100)
_INTERVAL = list_of(_PERCENT, 2, 2)


def _cell(value: Any, where: str) -> Cell:
    if not isinstance(value, list) or len(value) != 3:
        return refuse(where, "a list of architecture, accuracy and interval", value)
    low, high = _INTERVAL(value[2], where)
    return Cell(text(1)(value[0], where), _PERCENT(value[1], where), (low, high))


_TASK = record(
    {
        "name": text(1, 1000),
        "description": text(most=10_000),
        "class_names": list_of(text(most=1000), 1, 10_000),
        "fingerprint": text(1, 1000),
        "accuracy": _PERCENT,
        "majority_accuracy": _PERCENT,
        "cells": list_of(_cell, 1, 10_000),
    },
    others=False,
)
_LIBRARY = record(
    {
        "config": mapping_of(anything),
        "space": text(1, 200),
        "good": integer(1, 10_000),
        "tasks": list_of(_TASK, most=10_000),
        "distances": mapping_of(list_of(list_of(number(0), most=10_000), most=10_000)),
        "provenance": mapping_of(anything),
        "sha256": text(64, 64),
    }
)


def _library(found: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> TaskLibrary:
    config, space = TaskConfig(**found["config"]), get_space(found["space"])
    tasks = []
    for entry in found["tasks"]:
        network = TaskNetwork(config.backbone, len(entry["class_names"]), config.init_seed)
        prefix = f"{entry['name']}/"
        state = {k.removeprefix(prefix): v.float() for k, v in weights.items() if k.startswith(prefix)}
        network.load_state_dict(state)
        for cell in entry["cells"]:
            space.parse(cell.architecture)
        plain = entry | {"class_names": tuple(entry["class_names"]), "cells": tuple(entry["cells"])}
        tasks.append(KnownTask(**plain, network=network.eval()))
    for name, rows in found["distances"].items():
        if len(rows) != len(tasks) or any(len(row) != len(tasks) for row in rows):
            raise SchemaError(f"its distances {said(name)} are not of each two of {len(tasks)} tasks")
    return TaskLibrary(config, space.name, found["good"], tuple(tasks), found["distances"], found["provenance"])
