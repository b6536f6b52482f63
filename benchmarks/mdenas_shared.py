"""MDENAS on weights that all cells share: is it better than chance, and which part limits it?

    python benchmarks/mdenas_shared.py --data ../shared/data --workers 2

A seed is one search in a supernet, an epoch a step, for each record; beside it the same distribution fed by the
benchmark's table, and a supernet that was trained along random paths. All recommended cells are looked up in the table.
Minutes a seed on one core; finished parts are kept under ``runs/mdenas_shared``, an interrupted search goes on.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.plugins.strategy import maximize
from metad2a_plugin.spaces.base import Architecture, random_live
from metad2a_plugin.strategies.mdenas import MDENAS, RECORDS
from metad2a_plugin.strategies.trained_search import search_by_shared_weights
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import _jobs as jobs
else:
    import _common as common
    import _jobs as jobs

NETWORK: dict[str, Any] = {"channels": 4, "cells": 1, "input_size": 12, "batch_size": 32, "device": "cpu"}
PARTS = (0.25, 0.5, 1.0)
"""Of the steps, after which the recommendation is looked up."""
TABLE = {record: f"table, {record}" for record in RECORDS}
SHARED = {record: f"shared weights, {record}" for record in RECORDS}
NOTES = """
{sentence}

{table}
{seeds} seeds. Accuracy in the table (200 epochs, test, percent) of the cell that MDENAS recommends; the mean live cell
has {chance}. Intervals of 95% by Student's t over seeds, *above the spread* says whether the gain exceeds the seeds'
standard deviation. *Shared weights* are of a supernet of 4 channels and a cell a stage on {images} images at 12 pixels,
an epoch of the drawn cell's path a step; *table* tells the same distribution the table's accuracies after 12 epochs
instead. *Mean* and *last* are what is kept of an operation's accuracies.

{ranking}
Spearman correlation of shared-weight accuracies with the table's, over the same {cells} random live cells, mean ±
standard deviation of the seeds; *random paths* is a supernet that was trained as long, another path for each batch.
"""


class Job(NamedTuple):
    """All of one seed on one dataset."""

    root: Path
    runs: Path
    dataset: str
    seed: int
    steps: int
    images: int
    cells: int


@cache
def _data(root: Path) -> common.Data:
    return common.Data(root)


def recommended(history: Sequence[tuple[Architecture, float]], record: str) -> list[Architecture]:
    """What MDENAS recommends after each of `PARTS` of what it was told."""
    strategy, found = MDENAS(common.SPACE, record=record), []
    for step, (architecture, value) in enumerate(history, 1):
        strategy.tell(architecture, value)
        if step in [round(part * len(history)) for part in PARTS]:
            assert strategy.recommendation is not None
            found.append(strategy.recommendation)
    return found


@jobs.without_onednn()
def measure(job: Job) -> dict[str, Any]:
    """Table accuracies of the recommended cells, by what was told, and rank correlations by the supernet."""
    table = _data(job.root).table
    config = TrainConfig.from_dict({**NETWORK, "epochs": job.steps, "seed": job.seed, "split_seed": job.seed})
    images = _data(job.root).images(job.dataset)
    data = prepare(images.sample(-(-job.images // images.num_classes), job.seed), config)
    told, test = table.accuracies(job.dataset, "valid", 12), table.accuracies(job.dataset, "test")
    rng = random.Random(job.seed)
    cells = [random_live(common.SPACE, rng) for _ in range(job.cells)]
    folder = job.runs / "mdenas_shared" / job.dataset

    def ranking(shared: SharedWeights) -> float:
        return float(stats.spearmanr([shared.accuracy(cell) for cell in cells], test[table.index_of(cells)])[0])

    def looked_up(history: Sequence[tuple[Architecture, float]], record: str) -> list[float]:
        found: list[float] = test[table.index_of(recommended(history, record))].tolist()
        return found

    def compute() -> dict[str, Any]:
        found: dict[str, Any] = {"accuracy": {}, "ranking": {}}
        for record in RECORDS:
            strategy = MDENAS(common.SPACE, seed=job.seed, record=record)
            shared = search_by_shared_weights(strategy, data, config, job.steps, run_dir=folder / "searches")
            found["accuracy"][SHARED[record]] = looked_up(strategy.history, record)
            found["ranking"][SHARED[record]] = ranking(shared)
            fed = MDENAS(common.SPACE, seed=job.seed, record=record)
            maximize(fed, lambda asked: told[table.index_of(list(asked))].tolist(), job.steps, batch=1)
            found["accuracy"][TABLE[record]] = looked_up(fed.history, record)
        shared = SharedWeights(data, config, common.SPACE)
        shared.train(run_dir=folder / "random_paths")
        found["ranking"]["random paths"] = ranking(shared)
        return found

    key = {**config.to_dict(), "images": data.fingerprint, "cells": job.cells}
    found: dict[str, Any] = common.remember(folder / f"{job.seed}.json", key, compute)
    print(job.dataset, job.seed, found, flush=True)
    return found


def above(values: Sequence[float], chance: float) -> tuple[list[float], bool]:
    """What each seed has more than chance, and whether their mean exceeds their spread."""
    gains = [value - chance for value in values]
    return gains, len(gains) > 1 and float(np.mean(gains)) > float(np.std(gains, ddof=1))


Found = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each dataset, a seed each."""


def tables(found: Found, chance: Mapping[str, float], steps: int) -> tuple[str, str]:
    rows, ranking = [], []
    for dataset, seeds in found.items():
        for told in (*SHARED.values(), *TABLE.values()):
            columns = list(zip(*(seed["accuracy"][told] for seed in seeds), strict=True))
            gains, beats = above(columns[-1], chance[dataset])
            shown = [common.mean_std(column, 2) for column in columns]
            rows.append([common.TITLES[dataset], told, *shown, jobs.shown(gains), "yes" if beats else "no"])
        for told in seeds[0]["ranking"]:
            value = common.mean_std([seed["ranking"][told] for seed in seeds], 2)
            ranking.append([common.TITLES[dataset], told, value])
    at = [f"{round(part * steps)} steps" for part in PARTS]
    header = ("dataset", "told by", *at, "above the mean live cell", "above the spread")
    return common.markdown(header, rows), common.markdown(("dataset", "supernet", "rank correlation"), ranking)


def sentence(found: Found, chance: Mapping[str, float]) -> str:
    """What a reader can quote."""
    said = []
    for dataset, seeds in found.items():
        gains, beats = above([seed["accuracy"][SHARED["mean"]][-1] for seed in seeds], chance[dataset])
        fed, _ = above([seed["accuracy"][TABLE["mean"]][-1] for seed in seeds], chance[dataset])
        rank = float(np.mean([seed["ranking"][SHARED["mean"]] for seed in seeds]))
        more = "more" if beats else "not more"
        said.append(
            f"{jobs.shown(gains)} points above the mean live cell on {common.TITLES[dataset]}, {more} than the seeds' "
            f"spread, where the table's accuracies would give {jobs.shown(fed)} and the supernet ranks cells with a "
            f"correlation of {rank:.2f}"
        )
    return f"**On shared weights MDENAS recommends cells {'; and '.join(said)}.**"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="of a search, an epoch each")
    parser.add_argument("--images", type=int, default=600, help="of a dataset, for training and validation")
    parser.add_argument("--cells", type=int, default=50, help="that are ranked")
    parser.add_argument("--datasets", nargs="+", choices=common.TITLES, default=list(common.TITLES))
    parser.add_argument("--workers", type=int, default=1, help="seeds at once, each on one core")
    run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> None:
    sizes = options.steps, options.images, options.cells
    todo = [
        Job(options.data, options.runs, dataset, seed, *sizes)
        for seed, dataset in product(range(options.seeds), options.datasets)
    ]
    found: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in options.datasets}
    for job, result in zip(todo, jobs.each(measure, todo, options.workers), strict=True):
        found[job.dataset].append(result)
    live = ~common.SPACE.dead_mask(common.SPACE.all_vertices()).numpy()
    table = _data(options.data).table
    chance = {dataset: float(table.accuracies(dataset, "test")[live].mean()) for dataset in found}
    accuracies, ranking = tables(found, chance, options.steps)
    text = NOTES.format(
        sentence=sentence(found, chance),
        table=accuracies,
        ranking=ranking,
        chance=" and ".join(f"{chance[d]:.2f} on {common.TITLES[d]}" for d in found),
        **vars(options),
    ).lstrip()
    results = {"settings": common.settings(options), "found": found, "chance": chance}
    common.write(options.out, "mdenas_shared", results, {"mdenas_shared": text})


if __name__ == "__main__":
    main()
