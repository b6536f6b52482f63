"""Learning by Passing Tests beside plain DARTS: the same supernet, data, seeds and epochs, with and without the tester.

    python benchmarks/passing_tests.py --data ../shared/data

Finished searches and trainings stay under ``runs/passing_tests``; an interrupted search goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.data import ImageDataset
from metad2a_plugin.one_shot.config import SearchConfig
from metad2a_plugin.one_shot.darts import DARTS
from metad2a_plugin.one_shot.loop import halves
from metad2a_plugin.one_shot.passing_tests import PassingTests, PassingTestsConfig
from metad2a_plugin.spaces.nasbench201.cell import OPS
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.run import train_architecture

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
IMAGES = {"cifar10": 200, "clothing10": 60}
"""At most so many of a class, in both halves together."""
HELD_OUT, SPLIT = 0.3, 1
"""Share of the images that no search sees, and the seed of the split."""
NOTES = """
Mean and standard deviation of {seeds} seeds. Each seed has one supernet ({channels} channels, {cells} cell a stage),
one split of the images into halves, at {input_size} pixels, and {epochs} epochs of batches of {batch_size} images; LPT
is second-order DARTS and the tester. The rate of the architecture parameters is {alpha_lr:g} and not the papers' 3e-4,
for their searches take some 20,000 steps, and so is LPT's `selector_lr`; images are mirrored at random;
no setting was chosen by any accuracy. `skip_connect` and `none` count the edges of the found cell with these
operations; entropy is the mixture's at the end, 1.609 for all operations alike; `selected` is the mean weight that the
selector gave an image in the last epoch: all at 1 is DARTS.
"""
OF_DATASET = {
    "cifar10": """
At most {images} images a class, in both halves together: {steps} steps. Accuracies are those of the benchmark's tables,
after 200 epochs; a live cell has {mean}. One epoch of a search takes {cost}
of processor time.
""",
    "clothing10": """
At most {images} images a class, in both halves together: {steps} steps. A found cell was trained anew for 5 epochs, in
a network of the supernet's size, on the images that a search may see, and tested on the 30% that none sees.
""",
}


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
    size: dict[str, Any] = {
        "input_size": SMALL["input_size"], "options": {name: SMALL[name] for name in ("channels", "cells")}
    }
    recipe: dict[str, Any] = {"epochs": 5, "batch_size": 64, "flip": True, "validation": HELD_OUT, "split_seed": SPLIT}
    config = TrainConfig(seed=seed, device="cpu", **recipe, **size)
    architecture = common.SPACE.parse(cell)
    return train_architecture(common.SPACE, architecture, dataset, config, run_dir=folder, progress=False).accuracy


def search_all(options: argparse.Namespace, data: common.Data) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Every search by dataset and method, and cells that are drawn at random; one of each seed."""
    images = {name: data.images(name).split(HELD_OUT, seed=SPLIT)[0].sample(IMAGES[name]) for name in options.datasets}
    rng = random.Random(0)
    drawn = [cell for cell in (common.SPACE.sample(rng) for _ in range(99)) if not common.SPACE.is_dead(cell)]
    cells = [{"cell": common.SPACE.format(cell)} for cell in drawn[: options.seeds]]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {m: [] for m in METHODS} for name in options.datasets}
    for name in options.datasets:
        for seed in range(options.seeds):
            for method, results in found[name].items():
                results.append(_search(options, name, images[name], method, seed))
                print(name, seed, method, results[-1]["cell"], f"{results[-1]['seconds']:.0f} s", flush=True)
    return {name: methods | {RANDOM: cells} for name, methods in found.items()}


def _search(options: argparse.Namespace, name: str, images: ImageDataset, method: str, seed: int) -> dict[str, Any]:
    _, kind, settings = METHODS[method]
    config = kind.from_dict(SMALL | settings | {"epochs": options.epochs, "seed": seed, "split_seed": seed})
    prepared = halves(images, config)
    folder = options.runs / "passing_tests" / name
    key = config.to_dict() | {"images": prepared.fingerprint}
    kept: dict[str, Any] = common.remember(
        folder / f"{method}-{seed}.json", key, partial(search, prepared, config, method, folder)
    )
    return kept


def cost(data: common.Data, method: str) -> float:
    """Processor seconds of the first epoch on CIFAR-10; clocks on the wall would count other work of the machine."""
    search, kind, settings = METHODS[method]
    config = kind.from_dict(SMALL | settings | {"epochs": 1})
    prepared = halves(data.images("cifar10").split(HELD_OUT, seed=SPLIT)[0].sample(IMAGES["cifar10"]), config)
    begin = time.process_time()
    search(prepared, config).run()
    return time.process_time() - begin


# -- scores --------------------------------------------------------------------------------------
def score(
    found: dict[str, dict[str, list[dict[str, Any]]]], options: argparse.Namespace, data: common.Data
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By dataset and method: each score of each seed."""
    tables = {title: data.table.accuracies(name, "test") for name, title in common.TITLES.items()}
    scores: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, methods in found.items():
        scores[name] = {}
        for method, results in methods.items():
            cells = [common.SPACE.parse(result["cell"]) for result in results]
            if name == "cifar10":
                rows = [data.table.index_of(cell) for cell in cells]
                columns = {title: [float(table[row]) for row in rows] for title, table in tables.items()}
            else:
                folder = options.runs / "passing_tests" / name / "stand-alone"
                whole = data.images(name)
                trained = [stand_alone(whole, r["cell"], seed, folder) for seed, r in enumerate(results)]
                columns = {DATASETS[name]: trained}
            for op in ("skip_connect", "none"):
                columns[op] = [float(cell.choices.count(OPS.index(op))) for cell in cells]
            if method != RANDOM:
                columns["entropy"] = [result["history"][-1]["entropy"] for result in results]
            if method == "LPT":
                columns["selected"] = [result["history"][-1]["selected"] for result in results]
            scores[name][method] = columns
    return scores


def table(scores: dict[str, dict[str, list[float]]], titles: Sequence[str]) -> str:
    """Scores of a dataset, as markdown."""
    digits = dict.fromkeys(titles, 2) | {"skip_connect": 1, "none": 1, "entropy": 3, "selected": 2}
    header = ("method", *(f"test accuracy, {title} (%)" for title in titles), *list(digits)[len(titles) :])
    rows = [
        [method, *(common.mean_std(columns[name], n) if name in columns else "" for name, n in digits.items())]
        for method, columns in scores.items()
    ]
    return common.markdown(header, rows)


def differences(scores: dict[str, dict[str, list[float]]], titles: Sequence[str]) -> str:
    """LPT beside DARTS, paired by seed, as markdown."""
    rows = []
    for other in ("DARTS, second order", "DARTS, first order"):
        for title in titles:
            pairs = zip(scores["LPT"][title], scores[other][title], strict=True)
            gains = [with_tester - without for with_tester, without in pairs]
            signs = [sum(gain > 0 for gain in gains), sum(gain == 0 for gain in gains), sum(gain < 0 for gain in gains)]
            rows.append([f"LPT - {other}", title, common.mean_std(gains, 2), " / ".join(map(str, signs))])
    return common.markdown(("difference", "scored on", "points", "better / equal / worse seeds"), rows)


def draw(found: dict[str, dict[str, list[dict[str, Any]]]], data: common.Data, out: Path) -> None:
    """Entropy of the mixture, and the accuracy of the cell that is read off, over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2 * len(found)), layout="constrained")
    tested = data.table.accuracies("cifar10", "test")
    rows = figure.subplots(len(found), 2, squeeze=False)
    for (left, right), (name, methods) in zip(rows, found.items(), strict=True):
        for number, method in enumerate(METHODS):
            for seed, result in enumerate(methods[method]):
                history, colour = result["history"], f"C{number}"
                x = [epoch["epoch"] for epoch in history]
                label = method if seed == 0 else None
                left.plot(x, [epoch["entropy"] for epoch in history], color=colour, label=label, alpha=0.8)
                cells = [data.table.index_of(common.SPACE.parse(epoch["cell"])) for epoch in history]
                shared = [epoch["cell_accuracy"] for epoch in history]
                right.plot(x, tested[cells] if name == "cifar10" else shared, color=colour, alpha=0.8)
        left.axhline(math.log(5), color="black", linewidth=0.8, linestyle=":", label="all operations alike")
        left.set_ylabel("entropy of an edge's mixture (nats)")
        what = "on CIFAR-10 after 200 epochs of its own" if name == "cifar10" else "with the supernet's weights"
        right.set_ylabel(f"accuracy of the cell (%)\n{what}")
        for axes in (left, right):
            axes.set_title(f"Search on {DATASETS[name]}")
            axes.set_xlabel("epoch of the search")
            axes.grid(alpha=0.3)
    left.legend(fontsize=9, title="a line for each seed")
    common.write_figure(out, "passing_tests", figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of a search")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = common.Data(options.data)
    found = search_all(options, data)
    scores = score(found, options, data)
    live = ~common.SPACE.dead_mask(common.SPACE.all_vertices()).numpy()
    every = {title: data.table.accuracies(name, "test")[live] for name, title in common.TITLES.items()}
    mean = ", ".join(f"{v.mean():.2f} ± {v.std():.2f} on {title}" for title, v in every.items())
    costs = {method: cost(data, method) for method in METHODS}
    spent = ", ".join(f"{seconds:.1f} s ({method})" for method, seconds in costs.items())
    texts = []
    for name, methods in scores.items():
        titles = list(common.TITLES.values()) if name == "cifar10" else [DATASETS[name]]
        steps = options.epochs * -(-5 * IMAGES[name] // SMALL["batch_size"])
        texts += [f"**Search on {DATASETS[name]}**\n", table(methods, titles), differences(methods, titles)]
        texts.append(OF_DATASET[name].format(images=IMAGES[name], steps=steps, mean=mean, cost=spent))
    texts.append(NOTES.format(**SMALL, **vars(options)))
    results = {"settings": common.settings(options) | SMALL, "costs": costs, "scores": scores, "found": found}
    common.write(options.out, "passing_tests", results, {"passing_tests": "\n".join(texts)})
    draw(found, data, options.out)


if __name__ == "__main__":
    main()
