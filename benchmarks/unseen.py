"""The main job on a dataset that no model was developed on: search it, train the best cell and random ones.

    python benchmarks/unseen.py --data ../shared/data

The search sees the training part only. All cells are trained alike, on one split, smaller than the benchmark's (to fit
two CPU cores); accuracies are of the last epoch. Every run is kept under ``runs/unseen`` after each epoch.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin import MetaD2A, load_dataset
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_architecture

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common


def random_cells(count: int, seed: int) -> list[Architecture]:
    rng = random.Random(seed)
    cells: list[Architecture] = []
    while len(cells) < count:
        cell = common.SPACE.sample(rng)
        if not common.SPACE.is_dead(cell):
            cells.append(cell)
    return cells


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--dataset", default="clothing10", help="a zip in DATA/images, or any dataset's path")
    parser.add_argument("--model", default="nasbench201")
    parser.add_argument("--images", type=int, default=200, help="of each class, at most")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the best cell")
    parser.add_argument("--random", type=int, default=6, help="random cells, trained once each")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    file = options.data / "images" / f"{options.dataset}.zip"
    images = load_dataset(file if file.is_file() else options.dataset, max_images_per_class=options.images)
    config = TrainConfig(
        epochs=options.epochs,
        batch_size=128,
        options={"channels": options.channels, "cells": options.cells},
        flip=True,
        device="cpu",
    )
    found = MetaD2A.from_pretrained(options.model).search(images.split(config.validation, config.split_seed)[0], top=1)
    data, runs = prepare(images, config), options.runs / "unseen"

    def train(cell: Architecture, seed: int) -> TrainResult:
        return train_architecture(common.SPACE, cell, data, replace(config, seed=seed), run_dir=runs)

    best = [train(found.best.architecture, seed) for seed in range(options.seeds)]
    drawn = [train(cell, seed) for seed, cell in enumerate(random_cells(options.random, seed=0))]
    rows = [row("best by prediction", best), *(row(f"random {i}", [run]) for i, run in enumerate(drawn, 1))]
    rows.append(["random, all", "", common.mean_std([run.accuracy for run in drawn], 1), "", "", ""])
    header = ("cell", "architecture", "validation accuracy", "trainings", "params (M)", "MACs (M)")
    first, seconds = best[0], found.seconds
    text = common.markdown(header, rows) + (
        f"\n{images.summary().partition(' (')[0]}; {first.train_images:,} for training, {first.validation_images:,} "
        f"for validation; {options.epochs} epochs, {options.channels} channels, {options.cells} cells a stage, mean ± "
        "standard deviation over trainings (of the random cells: over cells). Always answering the most frequent class "
        f"reaches {first.majority_accuracy:.1f}%. Reading the images took {seconds['features']:.1f} s, the search "
        f"{seconds['search']:.2f} s.\n"
    )
    results: dict[str, Any] = {
        "settings": common.settings(options),
        "search": found.to_dict(),
        "best": [run.to_dict() for run in best],
        "random": [run.to_dict() for run in drawn],
        "random_mean": statistics.fmean(run.accuracy for run in drawn),
    }
    common.write(options.out, "unseen", results, {"unseen": text})


def row(name: str, runs: Sequence[TrainResult]) -> list[str]:
    first = runs[0]
    text = first.architecture_str.replace("|", r"\|")
    accuracy = common.mean_std([run.accuracy for run in runs], 1)
    return [name, f"`{text}`", accuracy, str(len(runs)), f"{first.params:.3f}", f"{first.flops:.1f}"]


if __name__ == "__main__":
    main()
