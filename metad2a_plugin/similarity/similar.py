"""Which known tasks a dataset is like: `similar_tasks`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.similarity.fisher import DISTANCES
from metad2a_plugin.similarity.library import TaskLibrary, load_library
from metad2a_plugin.similarity.measure import accuracy, fisher_on, task_data, train_task_network
from metad2a_plugin.utils.checks import integer, one_of
from metad2a_plugin.utils.figures import write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Similarity:
    """The distances from every known task to a dataset.

    Attributes:
        dataset: its name.
        library: of the known tasks.
        distance: the name of the one that orders them.
        measured: by distance and task.
        accuracy: of the dataset's small network, percent of its validation images.
        images: that the network was trained on.
    """

    dataset: str
    library: TaskLibrary
    distance: str
    measured: dict[str, dict[str, float]]
    accuracy: float
    images: int

    @property
    def distances(self) -> dict[str, float]:
        """By task, the nearest first."""
        return dict(sorted(self.measured[self.distance].items(), key=lambda pair: pair[1]))

    def nearest(self, count: int = 1) -> tuple[str, ...]:
        """Names of the nearest tasks.

        Raises:
            ConfigError: the library has not so many.
        """
        integer("nearest", count, 1)
        if count > len(self.distances):
            raise ConfigError(f"nearest is {count}, but the library has {len(self.distances)} tasks")
        return tuple(self.distances)[:count]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the tasks, the nearest first, with their good cells."""
        tasks = [
            {"task": name, "distance": value, "good_cells": [cell._asdict() for cell in self.library.good_cells(name)]}
            for name, value in self.distances.items()
        ]
        return {
            "dataset": self.dataset,
            "distance": self.distance,
            "images": self.images,
            "network_accuracy": self.accuracy,
            "space": self.library.space,
            "tasks": tasks,
        }

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Write a heat map of the distances among the known tasks and to the dataset, as ``.svg`` or ``.png``.

        Raises:
            ConfigError: another suffix, or the file cannot be written.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """
        names = [task.name for task in self.library.tasks]
        matrix = [
            [*row, self.distances[name]] for name, row in zip(names, self.library.distances[self.distance], strict=True)
        ]
        targets = [*names, f"{self.dataset} (new)"]
        write_figure(path, lambda: heat_map(matrix, names, targets, f"{self.distance} distance"))


def similar_tasks(
    dataset: Any,
    library: TaskLibrary | str | os.PathLike[str] | None = None,
    *,
    distance: str = "frechet",
    seed: int = 0,
    device: str = "cpu",
) -> Similarity:
    """Train the library's small network on a dataset and measure how far each known task is from it.

    Args:
        dataset: anything `load_dataset` takes.
        library: or its folder; None takes the shipped one.
        distance: one of `DISTANCES`.
        seed: of the choice of images, the order of training and the sampled labels. The initial weights are always
            those of the library's networks, since weights are compared one by one.
        device: where the network is trained.

    Raises:
        ConfigError: no such distance or device.
        CheckpointError: the library cannot be read.
        DatasetError: the dataset cannot be used.
    """
    one_of("distance", distance, DISTANCES)
    integer("seed", seed, 0)
    images = load_dataset(dataset)
    known = library if isinstance(library, TaskLibrary) else load_library(library)
    config = replace(known.config, seed=seed, device=device)
    data = task_data(images, config)
    network = train_task_network(data, config)
    own = fisher_on(network, data, config)
    fishers = {task.name: fisher_on(task.network, data, config) for task in known.tasks}
    measured = {
        kind: {name: measure(fisher, own) for name, fisher in fishers.items()} for kind, measure in DISTANCES.items()
    }
    return Similarity(images.name, known, distance, measured, accuracy(network, data), len(data.labels))


def heat_map(matrix: Sequence[Sequence[float]], sources: Sequence[str], targets: Sequence[str], title: str) -> Figure:
    """Distances from the sources (rows) to the targets (columns), the nearest other source of each target framed."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(2.2 + 0.62 * len(targets), 1.8 + 0.5 * len(sources)), layout="constrained")
    axes = figure.add_subplot()
    highest = max(map(max, matrix)) or 1.0
    picture = axes.imshow(matrix, cmap="viridis_r", vmin=0, vmax=highest, aspect="auto")
    for column, target in enumerate(targets):
        others = [row for row, source in enumerate(sources) if source != target or column >= len(sources)]
        nearest = min(others, key=lambda row: matrix[row][column], default=None)
        for row in range(len(sources)):
            value = matrix[row][column]
            colour = "white" if value > 0.6 * highest else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
        if nearest is not None:
            frame = Rectangle((column - 0.5, nearest - 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=2)
            axes.add_patch(frame)
    axes.set_xticks(range(len(targets)), targets, rotation=40, ha="right")
    axes.set_yticks(range(len(sources)), sources)
    axes.set_xlabel("to the task (framed: its nearest)")
    axes.set_ylabel("from the network of")
    axes.set_title(title)
    figure.colorbar(picture, ax=axes, label="distance (0: alike; lighter is nearer)")
    return figure
