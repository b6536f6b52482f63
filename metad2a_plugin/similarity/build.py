"""Building of a library of known tasks: a small network each, and the same random cells really trained on each."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from metad2a_plugin.data import ImageDataset
from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.similarity.backbones import TaskNetwork
from metad2a_plugin.similarity.card import card
from metad2a_plugin.similarity.config import CellConfig, TaskConfig
from metad2a_plugin.similarity.fisher import DISTANCES
from metad2a_plugin.similarity.library import Cell, KnownTask, TaskLibrary
from metad2a_plugin.similarity.measure import accuracy, fisher_on, task_data, train_task_network
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_many
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.installed import version
from metad2a_plugin.utils.kept import digest, kept
from metad2a_plugin.utils.locks import alone_in
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.tensors import TensorFile


def build_library(
    datasets: Mapping[str, ImageDataset],
    out: str | os.PathLike[str],
    config: TaskConfig | None = None,
    cells: CellConfig | None = None,
    *,
    run_dir: str | os.PathLike[str],
    command: str = "",
    progress: Progress = lambda stage, done, total, note: None,
) -> TaskLibrary:
    """Train what a library needs and write it; the same call goes on after an interruption.

    Args:
        datasets: by the name that the task shall have.
        out: the library's folder.
        config: of the small networks and the distances.
        cells: of the cells.
        run_dir: where finished networks are kept.
        command: what was called, for the card.
        progress: told the stage, what is done of how much, and a note.

    Raises:
        ConfigError: there is no dataset, a name has a slash, a folder cannot be written, or another process is
            writing `run_dir`.
        DatasetError: a dataset cannot be used.
    """
    config, cells = config or TaskConfig(), cells or CellConfig()
    for name in datasets:
        if not name or "/" in name:
            raise ConfigError(f"a task's name must be a word without slashes, got {said(name)}")
    if not datasets:
        raise ConfigError("a library needs at least one dataset; give themes or datasets")
    runs, parts = Path(run_dir), {name: task_data(dataset, config) for name, dataset in datasets.items()}
    networks = {}
    with alone_in(runs):
        for done, (name, data) in enumerate(parts.items(), 1):
            networks[name] = _network(data, config, runs / "networks")
            progress("networks", done, len(parts), name)
        distances = _distances(networks, parts, config, progress)
        trained = {name: _train(dataset, cells, config, runs, name, progress) for name, dataset in datasets.items()}
    tasks = tuple(
        KnownTask(
            name,
            datasets[name].summary().partition(": ")[2],
            parts[name].class_names,
            parts[name].fingerprint,
            accuracy(networks[name], parts[name]),
            results[0].majority_accuracy,
            tuple(sorted((Cell(r.architecture_str, r.accuracy, r.interval) for r in results), key=_by_accuracy)),
            networks[name],
        )
        for name, results in trained.items()
    )
    provenance: dict[str, Any] = {
        "command": command,
        "cells": asdict(cells),
        "training": cells.training(config.device).to_dict(),
        "versions": {"metad2a-plugin": version(), "torch": torch.__version__},
    }
    library = TaskLibrary(config, cells.space, cells.good, tasks, distances, provenance)
    library.save(out)
    write_atomically(Path(out) / "README.md", card(library).encode())
    return library


def _by_accuracy(cell: Cell) -> tuple[float, str]:
    return -cell.accuracy, cell.architecture


def live_cells(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Random live architectures, no two of equal networks."""
    rng, keys = random.Random(seed), set[str]()

    def fresh(cell: Architecture) -> bool:
        key = space.canonical(cell)
        new = key not in keys and not space.is_dead(cell)
        keys.add(key)
        return new

    draws = (space.sample(rng) for _ in range(1000 * count))
    return list(islice(filter(fresh, draws), count))


def _network(data: TrainingData, config: TaskConfig, folder: Path) -> TaskNetwork:
    """The task's small network, rounded as the library keeps it; read if it was trained before."""
    plain = {name: value for name, value in asdict(config).items() if name != "device"}

    def read(path: Path) -> TaskNetwork:
        network = TaskNetwork(config.backbone, len(data.class_names), config.init_seed)
        network.load_state_dict(TensorFile(path).read())
        return network.eval()

    return kept(
        folder / f"{digest([plain, data.fingerprint])}.safetensors",
        read,
        lambda: train_task_network(data, config),
        lambda network: save(network.state_dict()),
    )


def _distances(
    networks: Mapping[str, TaskNetwork], parts: Mapping[str, TrainingData], config: TaskConfig, progress: Progress
) -> dict[str, list[list[float]]]:
    """By distance, ``[source][target]``."""
    columns: dict[str, list[list[float]]] = {name: [] for name in DISTANCES}
    for done, (target, data) in enumerate(parts.items(), 1):
        found = {source: fisher_on(network, data, config) for source, network in networks.items()}
        for name, distance in DISTANCES.items():
            columns[name].append([distance(fisher, found[target]) for fisher in found.values()])
        progress("distances", done, len(parts), target)
    return {name: np.array(column).T.tolist() for name, column in columns.items()}


def _train(
    dataset: ImageDataset, config: CellConfig, tasks: TaskConfig, runs: Path, name: str, progress: Progress
) -> list[TrainResult]:
    space, training = get_space(config.space), config.training(tasks.device)
    sampled = dataset.alone().sample(max(2, config.images // dataset.num_classes), config.seed)
    data = prepare(sampled, training)
    results = []
    for done, cell in enumerate(live_cells(space, config.count, config.seed), 1):
        results += train_many(space, [cell], data, training, runs / "cells", progress=False)
        progress(f"cells of {name}", done, config.count, f"{results[-1].accuracy:.1f}%")
    return results
