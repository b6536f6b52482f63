"""Learning by Passing Tests beside plain DARTS: the same supernet, data, seeds and epochs, with and without the tester.

    python benchmarks/passing_tests.py --data ../shared/data

Finished searches and trainings stay under ``runs/passing_tests``; an interrupted search goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.data import ImageDataset
from metad2a_plugin.one_shot._config import SearchConfig
from metad2a_plugin.one_shot._loop import halves
from metad2a_plugin.one_shot.darts import DARTS
from metad2a_plugin.one_shot.passing_tests import PassingTests, PassingTestsConfig
from metad2a_plugin.spaces.nasbench201 import OPS
from metad2a_plugin.training import TrainConfig, TrainingData, train_architecture

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

DATASETS = {"cifar10": "CIFAR-10", "clothing10": "Clothing-10"}
METHODS: dict[str, tuple[type[DARTS], type[SearchConfig], dict[str, Any]]] = {
    "DARTS, first order": (DARTS, SearchConfig, {"order": 1}),
    "DARTS, second order": (DARTS, SearchConfig, {"order": 2}),
    # The selector takes as few steps as the architecture does, so its learning rate is raised alike.
    "LPT": (PassingTests, PassingTestsConfig, {"order": 2, "selector_lr": 1e-2}),
}
RANDOM = "random cell"
# A search has some 300 steps here, 20,000 in the paper: with its rate of 3e-4 the mixture would stay uniform.
SMALL: dict[str, Any] = {"batch_size": 32, "channels": 8, "cells": 1, "input_size": 12, "flip": True, "device": "cpu"}
SMALL["alpha_lr"] = 1e-2
IMAGES = 200
"""Of a class, in both halves together."""
HELD_OUT, SPLIT = 0.3, 1
"""Share of the images that no search sees, and the seed of the split."""


def search(data: TrainingData, config: SearchConfig, method: str, folder: Path) -> dict[str, Any]:
    """One search: what it found and its log."""
    outcome = METHODS[method][0](data, config, folder).run()
    return {
        "cell": common.SPACE.format(outcome.cell),
        "alpha": outcome.alpha.tolist(),
        "seconds": outcome.seconds,
        "history": [epoch._asdict() for epoch in outcome.history],
    }


def stand_alone(dataset: ImageDataset, cell: str, seed: int, folder: Path) -> float:
    """Accuracy of a cell trained anew on what a search may see, in percent of the images held out from all searches."""
    size = {name: SMALL[name] for name in ("channels", "cells", "input_size")}
    recipe = {"epochs": 8, "batch_size": 64, "flip": True, "validation": HELD_OUT, "split_seed": SPLIT}
    config = TrainConfig(seed=seed, device="cpu", **recipe, **size)
    architecture = common.SPACE.parse(cell)
    return train_architecture(common.SPACE, architecture, dataset, config, run_dir=folder, progress=False).accuracy


def search_all(options: argparse.Namespace, data: common.Data) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Every search by dataset and method, and cells that are drawn at random; one of each seed."""
    images = {name: data.images(name).split(HELD_OUT, seed=SPLIT)[0].sample(IMAGES) for name in DATASETS}
    rng = random.Random(0)
    drawn = [cell for cell in (common.SPACE.sample(rng) for _ in range(99)) if not common.SPACE.is_dead(cell)]
    cells = [{"cell": common.SPACE.format(cell)} for cell in drawn[: options.seeds]]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {m: [] for m in METHODS} for name in DATASETS}
    for seed in range(options.seeds):
        for name in DATASETS:
            for method, results in found[name].items():
                results.append(_search(options, name, images[name], method, seed))
                print(name, seed, method, results[-1]["cell"], f"{results[-1]['seconds']:.0f} s", flush=True)
    return {name: methods | {RANDOM: cells} for name, methods in found.items()}


def _search(options: argparse.Namespace, name: str, images: ImageDataset, method: str, seed: int) -> dict[str, Any]:
    _, kind, settings = METHODS[method]
    config = kind(**SMALL, **settings, epochs=options.epochs, seed=seed, split_seed=seed)
    prepared = halves(images, config)
    folder = options.runs / "passing_tests" / name
    key = asdict(config) | {"images": prepared.fingerprint}
    kept: dict[str, Any] = common.remember(
        folder / f"{method}-{seed}.json", key, partial(search, prepared, config, method, folder)
    )
    return kept


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = common.Data(options.data)
    found = search_all(options, data)


if __name__ == "__main__":
    main()
