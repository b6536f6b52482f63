"""Every strategy of the package, side by side: on the benchmark tables, and training for real on three image sets.

    python benchmarks/strategies.py --data ../shared/data --workers 2

On the tables a strategy is told the validation accuracy after 200 epochs of what it asks for. On images what it asks
for is trained, small but for 2,000 steps, and it is told the accuracy on validation images; searches in a supernet
train that for as many steps, and then the cell that they recommend. Reported is the test accuracy of what a strategy
recommends, and which strategies can be told apart. About two hours on two cores. Finished runs and trainings stay under
``runs/strategies``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from metad2a_plugin import get_strategy
from metad2a_plugin.data import ImageDataset
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.strategies.trained_search import search_by_shared_weights
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.run import train_architecture

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import _jobs as jobs
    from benchmarks import _significance as significance
    from benchmarks._strategies import METHODS, Bench, Method, Row, Scores, table_bench
else:
    import _common as common
    import _jobs as jobs
    import _significance as significance
    from _strategies import METHODS, Bench, Method, Row, Scores, table_bench

AT, TRAINED_AT = (1, 10, 30, 100), (1, 3)
"""Queries that the tables show."""
SETS = {"cifar10": "CIFAR-10", "clothing10": "Clothing-10", "signdigits": "Sign digits"}
IMAGES_A_CLASS, HELD_OUT, SPLIT = 120, 0.3, 1
"""Images of a class, at most, that searches see and that none sees; share of the latter, and the seed of the split."""
STEPS, BATCH = 2000, 16
"""Of a training and of a search in a supernet, at the least; and images of a step of a training."""
RANDOM = "random search"


# -- training for real ---------------------------------------------------------------------------
CONFIG = TrainConfig(
    batch_size=BATCH, input_size=12, options={"channels": 8, "cells": 1}, flip=True, validation=0.25, device="cpu"
)
# Of few steps, in which the rates of the papers, made for 20,000, would leave the mixture uniform.
SUPERNET = {"channels": 4, "cells": 1, "input_size": 8, "batch_size": 8, "flip": True, "alpha_lr": 3e-3}


class Job(NamedTuple):
    """A search of one method on one image set, with one seed."""

    root: Path
    runs: Path
    images: str
    method: str
    seed: int
    trained: int
    steps: int


@dataclass(frozen=True)
class Training:
    """Trains cells on the images of one set, each once for a seed."""

    data: common.Data
    name: str
    folder: Path
    steps: int

    @cached_property
    def _parts(self) -> tuple[ImageDataset, ImageDataset]:
        searched, held_out = self.data.images(self.name).split(HELD_OUT, seed=SPLIT)
        return searched.sample(IMAGES_A_CLASS), held_out.sample(IMAGES_A_CLASS)

    @cached_property
    def prepared(self) -> TrainingData:
        return prepare(self._parts[0], CONFIG)

    @property
    def config(self) -> TrainConfig:
        """With the epochs that the steps take."""
        return replace(CONFIG, epochs=self.epochs(BATCH, len(self.prepared.labels)))

    def epochs(self, batch: int, images: int) -> int:
        return -(-self.steps // -(-images // batch))

    @cached_property
    def train_part(self) -> ImageDataset:
        return self.prepared.train

    @cached_property
    def test(self) -> tuple[torch.Tensor, torch.Tensor]:
        held_out = self._parts[1]
        return held_out.images(range(len(held_out)), CONFIG.input_size), torch.from_numpy(held_out.labels)

    def key(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "images": self.prepared.fingerprint}

    def query(self, cell: Architecture, seed: int) -> tuple[float, float, float]:
        # Cells that compute the same are trained once.
        [cell] = common.SPACE.decode(common.SPACE.simplify(common.SPACE.encode([cell])))
        path = self.folder / "trained" / f"{common.SPACE.index(cell)}-{seed}.json"
        found = common.remember(path, self.key(), partial(self._train, cell, seed))
        return found[0], found[1], found[2]

    @jobs.without_onednn()
    def _train(self, cell: Architecture, seed: int) -> list[float]:
        begin = time.process_time()
        config = replace(self.config, seed=seed)
        result = train_architecture(common.SPACE, cell, self.prepared, config, progress=False)
        seconds = time.process_time() - begin
        images, labels = self.test
        with torch.inference_mode():
            answers = torch.cat([result.network(part).argmax(1) for part in images.split(500)])
        return [result.accuracy, 100 * float((answers == labels).double().mean()), seconds]

    def bench(self) -> Bench:
        return Bench(
            images=lambda seed: self.train_part,
            scored=self.train_part,
            folder=self.folder,
            settings={"input_size": CONFIG.input_size, "channels": 8, "cells": 1},
            query=self.query,
        )

    @jobs.without_onednn()
    def one_shot(self, method: Method, seed: int) -> list[dict[str, float]]:
        """A search in a supernet, and one training."""
        strategy: Strategy
        begin = time.process_time()
        if method.looks:
            make: Callable[..., Strategy] = get_strategy(method.name)
            # It trains on one half of the images, and its mixture on the other.
            epochs = self.epochs(int(SUPERNET["batch_size"]), len(self.train_part) // 2)
            epochs = -(-epochs // int(method.options.get("rounds", 1)))
            settings = {"epochs": epochs, **SUPERNET, **method.options}
            strategy = make(common.SPACE, seed=seed, dataset=self.train_part, **settings)
            [found] = strategy.ask()
        else:
            strategy = get_strategy(method.name)(common.SPACE, seed=seed)
            config = replace(self.config, seed=seed)
            search_by_shared_weights(strategy, self.prepared, config, max(method.supernet, config.epochs))
            assert strategy.recommendation is not None
            found = strategy.recommendation
        own = time.process_time() - begin
        _, test, seconds = self.query(found, seed)
        return [asdict(Row(test, own, seconds)) | {"cell": common.SPACE.index(found)}]


@cache
def training_of(root: Path, runs: Path, name: str, steps: int) -> Training:
    return Training(common.Data(root), name, runs / "strategies" / "images" / name, steps)


def search(job: Job) -> list[dict[str, float]]:
    """The rows of a job, computed or kept."""
    training, method = training_of(job.root, job.runs, job.images, job.steps), METHODS[job.method]
    key = asdict(method) | training.key() | {"queries": job.trained}
    if method.supernet and method.looks:
        key |= {"search": SUPERNET}
    work = training.one_shot if method.supernet else partial(training.bench().curve, queries=job.trained)
    kept = training.folder / job.method / f"{job.seed}.json"
    rows: list[dict[str, float]] = common.remember(kept, key, partial(work, method, job.seed))
    print(f"{SETS[job.images]}, {job.method}, seed {job.seed}: {rows[-1]['test']:.1f}%", flush=True)
    return rows


# -- results -------------------------------------------------------------------------------------
Curves = dict[str, list[list[dict[str, float]]]]
"""Rows of each run of each method."""


def column(runs: list[list[dict[str, float]]], query: int, what: str = "test") -> list[float]:
    """Of each run after so many queries; searches that ended earlier stay where they were."""
    return [run[min(query, len(run)) - 1][what] for run in runs]


def scores(curves: Mapping[str, Curves], query: int, supernets: bool) -> significance.Scores:
    """What is recommended after so many queries, by method and dataset."""
    names = [name for name in METHODS if all(name in of_set for of_set in curves.values())]
    chosen = [name for name in names if supernets or not METHODS[name].supernet]
    return {name: {d: column(of_set[name], query) for d, of_set in curves.items()} for name in chosen}


def table(curves: Mapping[str, Curves], titles: Mapping[str, str], at: Sequence[int], digits: int) -> str:
    """One row for each strategy, and whom it is surely ahead of after the last query."""
    last = scores(curves, at[-1], supernets=titles is SETS)
    better = significance.ahead(last)
    rows = []
    for name, method in METHODS.items():
        if not all(name in of_set for of_set in curves.values()):
            continue
        row = [name]
        for of_set in curves.values():
            shown = [q for q in at if q == 1 or not method.supernet]
            row += [common.mean_std(column(of_set[name], q), digits) if q in shown else "" for q in at]
        row.append(_less_random(last, name, digits))
        row.append("" if name not in better else ", ".join(better[name]) or "none")
        runs = [run for of_set in curves.values() for run in of_set[name]]
        seconds = [run[-1]["own"] + (run[-1]["training"] if titles is SETS else 0.0) for run in runs]
        rows.append([*row, f"{np.median(seconds):.{0 if titles is SETS else 1}f} s"])
    header = ["strategy", *(f"{titles[d]}, {q}" for d in curves for q in at)]
    return common.markdown([*header, f"less {RANDOM}, {at[-1]}", "surely ahead of", "time"], rows)


def _less_random(last: significance.Scores, name: str, digits: int) -> str:
    if name == RANDOM or name not in last or RANDOM not in last:
        return ""
    mean, half, _ = significance.difference(last[name], last[RANDOM])
    return f"{mean:+.{digits}f} ± {half:.{digits}f}"


def sentence(curves: Mapping[str, Curves], titles: Mapping[str, str], query: int) -> str:
    """What a reader can quote."""
    last = scores(curves, query, supernets=titles is SETS)
    better = significance.ahead(last)
    told, pairs = sum(map(len, better.values())), len(last) * (len(last) - 1) // 2
    means = {name: float(np.mean([np.mean(v) for v in of.values()])) for name, of in last.items()}
    best = max(means, key=lambda name: means[name])
    over = [name for name in last if RANDOM in better[name]]
    where = f"On {', '.join(titles[d] for d in curves)} after {query} trained networks"
    return (
        f"{where} {told} of {pairs} pairs of strategies can be told apart (paired by seed, Holm's correction, 5%): "
        f"the highest mean has {best}, and {', '.join(over) or 'no strategy'} "
        f"{'is' if len(over) < 2 else 'are'} surely ahead of {RANDOM}."
    )


NOTES = """
Test accuracy in percent of what a strategy recommends after so many trained networks: mean and standard deviation over
runs. The difference is that of runs of the same dataset and seed, with the half of its 95% interval; *surely ahead of*
compares all pairs of strategies after the last number of networks, by Student's t of these differences within datasets,
corrected for the number of pairs by Holm's procedure at 5%. What is recommended is the incumbent by validation
accuracy; for MDENAS the likeliest operation of each edge; for searches in a supernet the cell that they end with,
trained on its own.

*Tables*, {repeats} runs: a strategy is told the validation accuracy after 200 epochs, and *time* is what it takes
itself for {queries} queries, scores of networks and features of images included (seconds of one core, median).
*Images*, {seeds} seeds: at most {images} images of a class at {size} pixels, a quarter of them for validation, networks
of 8 channels and a cell a stage, trained for at least {steps:,} steps of {batch} images; scored on as many others;
*time* is all of it, search and trainings. DARTS, LPT and MDENAS with shared weights train a supernet for at least as
many steps on these images instead of cells, and FUSE mixtures of three cells; in the columns of the tables stand the
looked up accuracies of what they find on CIFAR-10, which no pair counts. NASWOT scores 100 random cells, AREA 20, on
one minibatch. MetaD2A is the shipped `nasbench201-paper`, which has never seen a table; with it and with task
similarity each run on a table has its own 20 images a class. A spread of 0.00 says that all runs put the same cells
first. After a few networks evolution, OFA's too, still draws at random.
"""


# -- figure and files ------------------------------------------------------------------------------
def draw(on_tables: Mapping[str, Curves], on_images: Mapping[str, Curves], out: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    colours = dict(zip(METHODS, mpl.color_sequences["tab20"][::2] + mpl.color_sequences["tab20"][1::2], strict=False))
    columns = max(len(on_tables), len(on_images))
    figure = Figure(figsize=(5 * columns, 9), layout="constrained")
    above, below = figure.subplots(2, columns, squeeze=False)
    for axes in (*above[len(on_tables) :], *below[len(on_images) :]):
        axes.set_visible(False)

    def band(axes: Any, x: np.ndarray, values: np.ndarray, name: str) -> None:
        low, high = np.quantile(values, (0.25, 0.75), axis=0)
        axes.plot(x, values.mean(0), color=colours[name], label=name, linewidth=2.6 if name == "MetaD2A" else 1.6)
        axes.fill_between(x, low, high, color=colours[name], alpha=0.12, linewidth=0)

    for axes, (dataset, curves) in zip(above, on_tables.items(), strict=False):
        tops = []
        for name, runs in curves.items():
            if METHODS[name].supernet:
                found = float(np.mean(column(runs, 1)))
                axes.plot([1], [found], color=colours[name], marker="D", label=name, linestyle="none")
                continue
            shortest = min(len(run) for run in runs)
            values = np.array([[row["test"] for row in run[:shortest]] for run in runs])
            band(axes, np.arange(1, shortest + 1), values, name)
            tops.append(values.mean(0).max())
        if tops:
            axes.set_ylim(max(tops) - 6 * (3 if dataset == "imagenet16-120" else 1), max(tops) + 0.5)
        axes.set_title(f"{common.TITLES[dataset]}, 200 epochs, looked up")
        axes.set_xlabel("trained networks (queries)")
        axes.set_xscale("log")
        axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
        axes.minorticks_off()
    for axes, (name, curves) in zip(below, on_images.items(), strict=False):
        for method, runs in curves.items():
            if METHODS[method].supernet:
                tests = column(runs, 1)
                spread = np.std(tests, ddof=1) if len(tests) > 1 else None
                axes.errorbar(1, np.mean(tests), yerr=spread, color=colours[method], marker="D", capsize=3)
                continue
            shortest = min(len(run) for run in runs)
            values = np.array([[row["test"] for row in run[:shortest]] for run in runs])
            band(axes, np.arange(1, shortest + 1), values, method)
        axes.set_title(f"{SETS[name]}, {STEPS:,} steps, really trained")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trained networks (queries)")
    for axes in (*above, *below):
        axes.set_ylabel("test accuracy of what is recommended (%)")
        axes.grid(alpha=0.3)
    title = "mean; band: middle half of the runs"
    above[0].legend(loc="lower right", fontsize=8, ncols=2, title=title, title_fontsize=8)
    common.write_figure(out, "strategies", figure)


def on_image_sets(options: argparse.Namespace, chosen: Sequence[str]) -> dict[str, Curves]:
    """Every run, seed by seed."""
    todo = [
        Job(options.data, options.runs, name, method, seed, options.trained, options.steps)
        for seed in range(options.image_repeats)
        for name in options.sets
        for method in chosen
    ]
    found: dict[str, Curves] = {name: {method: [] for method in chosen} for name in options.sets}
    for job, rows in zip(todo, jobs.each(search, todo, options.workers), strict=True):
        found[job.images][job.method].append(rows)
    return found


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    folder = options.runs / "strategies"
    chosen = {name: METHODS[name] for name in options.methods or METHODS}
    on_images = on_image_sets(options, list(chosen))
    if any(method.scores for method in chosen.values()):
        Scores(data.images("cifar10"), folder / "naswot.json").adopt(options.runs / "naswot" / "cifar10.jsonl")
    on_tables: dict[str, Curves] = {}
    for dataset in common.TITLES:
        bench = table_bench(data, dataset, folder)
        test = data.table.accuracies(dataset)
        on_tables[dataset] = {}
        for name, method in chosen.items():
            if method.supernet:
                # The cells found on images of CIFAR-10, or of the first set, looked up.
                first = on_images.get("cifar10", next(iter(on_images.values())))[name]
                on_tables[dataset][name] = [
                    [asdict(Row(float(test[int(found[0]["cell"])]), found[0]["own"], 0.0))] for found in first
                ]
                continue
            key = asdict(method) | {"queries": options.queries}
            on_tables[dataset][name] = [
                common.remember(
                    folder / dataset / name / f"{seed}.json", key, partial(bench.curve, method, seed, options.queries)
                )
                for seed in range(options.repeats)
            ]
            print(f"{dataset}: {name} done", flush=True)
    at, trained_at = [q for q in AT if q <= options.queries], [q for q in TRAINED_AT if q <= options.trained]
    said = [sentence(on_images, SETS, trained_at[-1]), sentence(on_tables, common.TITLES, at[-1])]
    notes = NOTES.format(
        queries=options.queries,
        repeats=options.repeats,
        seeds=options.image_repeats,
        images=IMAGES_A_CLASS,
        size=CONFIG.input_size,
        steps=options.steps,
        batch=BATCH,
    )
    both = (table(on_images, SETS, trained_at, 1), table(on_tables, common.TITLES, at, 2))
    text = "\n\n".join(f"**{one}**" for one in said) + "\n\n" + "\n".join([*both, notes.strip() + "\n"])
    results = {
        "settings": common.settings(options),
        "sentences": said,
        "images": on_images,
        "tables": summary(on_tables, options.queries),
    }
    common.write(options.out, "strategies", results, {"strategies": text})
    draw(on_tables, on_images, options.out)


def summary(on_tables: Mapping[str, Curves], longest: int) -> dict[str, Any]:
    """Mean and standard deviation at `AT`."""
    return {
        dataset: {
            name: {
                str(q): [float(np.mean(column(runs, q))), float(np.std(column(runs, q), ddof=min(1, len(runs) - 1)))]
                for q in AT
                if q <= longest
            }
            for name, runs in curves.items()
        }
        for dataset, curves in on_tables.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="runs on each table")
    parser.add_argument("--queries", type=int, default=100, help="cells looked up in a run")
    parser.add_argument("--image-repeats", type=int, default=5, help="runs on images")
    parser.add_argument("--trained", type=int, default=3, help="cells trained in a run on images")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a training, at the least")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="image sets")
    parser.add_argument("--workers", type=int, default=1, help="searches on images at once, each on one core")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), help="some of them only")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


if __name__ == "__main__":
    main()
