"""Every strategy of the package, side by side: on the benchmark tables, and training for real on an image set.

    python benchmarks/strategies.py --data ../shared/data

On the tables a strategy is told the validation accuracy after 200 epochs of what it asks for. On images what it asks
for is trained, small and short, and it is told the accuracy on validation images; searches in a supernet train that,
and then the cell that they recommend. Reported is always the test accuracy of what a strategy recommends. Finished runs
stay under ``runs/strategies``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin import get_strategy
from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.predictors.naswot import NASWOTPredictor
from metad2a_plugin.spaces.base import Architecture, Architectures
from metad2a_plugin.strategies.trained_search import search_by_shared_weights
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.run import train_architecture
from metad2a_plugin.utils.files import write_atomically

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

AT, TRAINED_AT = (1, 10, 30, 100), (1, 3, 5, 10)
"""Queries that the tables show."""
TIMED = 10
"""Networks whose scoring is timed where scores are taken over."""


@dataclass(frozen=True)
class Method:
    """A strategy: its registry name and options.

    Attributes:
        looks: whether it is shown the images.
        scores: whether it takes NASWOT's scores.
        supernet: epochs of its search in a supernet; 0 for strategies that train cells one by one.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    looks: bool = False
    scores: bool = False
    supernet: int = 0


METHODS = {
    "MetaD2A": Method("metad2a", {"model": "nasbench201-paper"}, looks=True),
    "AREA": Method("area", scores=True),
    "NASWOT": Method("naswot", scores=True),
    "task similarity": Method("task-similarity", looks=True),
    "regularized evolution": Method("regularized-evolution"),
    "local search": Method("local-search"),
    "OFA's evolution": Method("ofa-evolution"),
    "MDENAS": Method("mdenas"),
    "random search": Method("random"),
    "DARTS": Method("darts", looks=True, supernet=20),
    "LPT": Method("lpt", {"selector_lr": 1e-2}, looks=True, supernet=20),
    "MDENAS, shared weights": Method("mdenas", supernet=100),
}


class Scores(Predictor):
    """NASWOT's scores of one minibatch, each computed once and kept in a file.

    Attributes:
        seconds: that those scores took which were kept, and so cost nothing now.
    """

    def __init__(self, dataset: ImageDataset, path: Path, **options: Any) -> None:
        super().__init__(common.SPACE)
        self._predictor = NASWOTPredictor(common.SPACE, dataset, **options)
        self._path = path
        self._kept: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
        self.seconds = 0.0

    def predict(self, task: Any, architectures: Architectures) -> Prediction:
        found = [self._score(architecture) for architecture in self.space.decode(architectures)]
        return Prediction(torch.tensor(found, dtype=torch.float32))

    def _score(self, architecture: Architecture) -> float:
        key = common.SPACE.format(architecture)
        if key not in self._kept:
            begin = time.process_time()
            score = float(self._predictor.predict(None, [architecture]).mean[0])
            self._kept[key] = [score, time.process_time() - begin]
            write_atomically(self._path, json.dumps(self._kept).encode())
            return score
        score, seconds = self._kept[key]
        self.seconds += seconds
        return score

    def adopt(self, source: Path) -> None:
        """Take over the scores that ``benchmarks/naswot.py`` has kept, with the time that a few take here."""
        lines = [json.loads(line) for line in source.read_text().splitlines()] if source.exists() else []
        cells = list(common.SPACE.enumerate())
        new = {common.SPACE.format(cells[line["index"]]): line["score"] for line in lines}
        new = {key: score for key, score in new.items() if key not in self._kept}
        timed = [common.SPACE.parse(key) for key in list(new)[:TIMED]]
        here = self.predict(None, timed).mean.tolist()
        if not np.allclose(here, [new[common.SPACE.format(cell)] for cell in timed], rtol=1e-5):
            raise SystemExit(f"{source} holds scores of another minibatch; run benchmarks/naswot.py again")
        if timed:
            typical = float(np.median([self._kept[common.SPACE.format(cell)][1] for cell in timed]))
            self._kept |= {key: [score, typical] for key, score in new.items() if key not in self._kept}
            write_atomically(self._path, json.dumps(self._kept).encode())


@dataclass(frozen=True)
class Row:
    """After one query.

    Attributes:
        test: accuracy of what is recommended, percent.
        own: seconds of computing that the strategy took so far.
        training: seconds of training so far: what the table says, or what was measured.
    """

    test: float
    own: float
    training: float


@dataclass(frozen=True)
class Bench:
    """What strategies search on: `value` and `test` are accuracies, `seconds` those of a training.

    Attributes:
        images: shown to strategies that look at some.
        scored: the images that NASWOT scores.
        folder: for kept files.
        settings: options of NASWOT's predictor.
    """

    images: Callable[[int], ImageDataset]
    scored: ImageDataset
    folder: Path
    settings: Mapping[str, Any]
    query: Callable[[Architecture, int], tuple[float, float, float]]

    def strategy(self, method: Method, seed: int) -> tuple[Strategy, Scores | None]:
        options: dict[str, Any] = dict(method.options)
        if method.looks:
            options["dataset"] = self.images(seed)
        scores = None
        if method.scores:
            name = "-".join(["naswot", *(f"{key}{value}" for key, value in self.settings.items())])
            scores = Scores(self.scored, self.folder / f"{name}.json", **self.settings)
            options["predictor"] = scores
        make: Callable[..., Strategy] = get_strategy(method.name)
        return make(common.SPACE, seed=seed, **options), scores

    def curve(self, method: Method, seed: int, queries: int) -> list[dict[str, float]]:
        """A row after each query."""
        begin, training = time.process_time(), 0.0
        strategy, scores = self.strategy(method, seed)
        own, rows, known = time.process_time() - begin, [], {}
        for _ in range(queries):
            begin = time.process_time()
            looked_up = 0.0 if scores is None else scores.seconds
            asked = strategy.ask(1)
            own += time.process_time() - begin
            if scores is not None:
                # Kept scores count with the time that they took.
                own += scores.seconds - looked_up
            if not asked:
                break
            [cell] = asked
            if cell not in known:
                known[cell] = self.query(cell, seed)
                training += known[cell][2]
            begin = time.process_time()
            strategy.tell(cell, known[cell][0])
            own += time.process_time() - begin
            best = strategy.recommendation
            assert best is not None
            # Trained only to be scored, where it was not asked for: no time of the search.
            test = known[best][1] if best in known else self.query(best, seed)[1]
            rows.append(asdict(Row(test, own, training)))
        return rows


# -- on the tables -------------------------------------------------------------------------------
def table_bench(data: common.Data, dataset: str, folder: Path) -> Bench:
    told, test = (data.table.accuracies(dataset, split) for split in ("valid", "test"))
    images = data.images(dataset)

    def query(cell: Architecture, seed: int) -> tuple[float, float, float]:
        index = data.table.index_of(cell)
        return float(told[index]), float(test[index]), float(data.table.train_seconds(cell, dataset, "valid"))

    # Of a minibatch of CIFAR-10 for both tables, as in the paper's search.
    return Bench(
        images=lambda seed: images.sample(20, seed),
        scored=data.images("cifar10"),
        folder=folder,
        settings={},
        query=query,
    )


# -- training for real ---------------------------------------------------------------------------
IMAGES_A_CLASS = 150
CONFIG = TrainConfig(
    epochs=8, batch_size=64, input_size=16, options={"channels": 8, "cells": 1}, flip=True, device="cpu"
)
# Some hundred steps, of which the rates of the papers, made for 20,000, would leave the mixture uniform.
SUPERNET = {"channels": 8, "cells": 1, "input_size": 16, "batch_size": 32, "flip": True, "alpha_lr": 1e-2}


@dataclass(frozen=True)
class Training:
    """Trains cells on CIFAR-10's images, each once for a seed."""

    data: common.Data
    folder: Path

    @cached_property
    def dataset(self) -> ImageDataset:
        return self.data.images("cifar10").sample(IMAGES_A_CLASS)

    @cached_property
    def prepared(self) -> TrainingData:
        return prepare(self.dataset, CONFIG)

    @cached_property
    def train_part(self) -> ImageDataset:
        return self.dataset.split(CONFIG.validation, CONFIG.split_seed)[0]

    @cached_property
    def test(self) -> tuple[torch.Tensor, torch.Tensor]:
        held_out = load_dataset(self.data.root / "images" / "cifar10_test.zip")
        return held_out.images(range(len(held_out)), CONFIG.input_size), torch.from_numpy(held_out.labels)

    def query(self, cell: Architecture, seed: int) -> tuple[float, float, float]:
        path = self.folder / "trained" / f"{common.SPACE.index(cell)}-{seed}.json"
        key = {"config": asdict(CONFIG), "images": IMAGES_A_CLASS}
        found = common.remember(path, key, partial(self._train, cell, seed))
        return found[0], found[1], found[2]

    def _train(self, cell: Architecture, seed: int) -> list[float]:
        begin = time.process_time()
        result = train_architecture(common.SPACE, cell, self.prepared, replace(CONFIG, seed=seed), progress=False)
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

    def one_shot(self, method: Method, seed: int) -> list[dict[str, float]]:
        """A search in a supernet, and one training."""
        strategy: Strategy
        begin = time.process_time()
        if method.looks:
            make: Callable[..., Strategy] = get_strategy(method.name)
            settings = {"epochs": method.supernet, **SUPERNET, **method.options}
            strategy = make(common.SPACE, seed=seed, dataset=self.train_part, **settings)
            [found] = strategy.ask()
        else:
            strategy = get_strategy(method.name)(common.SPACE, seed=seed)
            search_by_shared_weights(strategy, self.prepared, replace(CONFIG, seed=seed), method.supernet)
            assert strategy.recommendation is not None
            found = strategy.recommendation
        own = time.process_time() - begin
        _, test, seconds = self.query(found, seed)
        return [asdict(Row(test, own, seconds)) | {"cell": common.SPACE.index(found)}]


# -- results -------------------------------------------------------------------------------------
Curves = dict[str, list[list[dict[str, float]]]]
"""Rows of each run of each method."""


def column(runs: list[list[dict[str, float]]], query: int, what: str = "test") -> list[float]:
    """Of each run after so many queries; searches that ended earlier stay where they were."""
    return [run[min(query, len(run)) - 1][what] for run in runs]


def table(on_tables: Mapping[str, Curves], on_images: Curves, longest: int) -> str:
    """One row for each strategy."""
    header = ["strategy", "runs"]
    for dataset in on_tables:
        header += [f"{common.TITLES[dataset]}, {q}" for q in AT if q <= longest]
    header += ["own time", "runs, images", *(f"images, {q}" for q in TRAINED_AT), "time"]
    rows = []
    for name, method in METHODS.items():
        row = [name]
        tables = [curves[name] for curves in on_tables.values() if name in curves]
        row.append(str(len(tables[0])) if tables else "")
        for curves in on_tables.values():
            for q in (q for q in AT if q <= longest):
                shown = name in curves and (q == 1 or not method.supernet)
                row.append(common.mean_std(column(curves[name], q), 2) if shown else "")
        row.append(f"{np.median(column(tables[0], longest, 'own')):.1f} s" if tables else "")
        runs = on_images.get(name, [])
        row.append(str(len(runs)) if runs else "")
        for q in TRAINED_AT:
            row.append(common.mean_std(column(runs, q), 1) if runs and (q == 1 or not method.supernet) else "")
        row.append(f"{np.median([run[-1]['own'] + run[-1]['training'] for run in runs]):.0f} s" if runs else "")
        rows.append(row)
    return common.markdown(header, rows)


def ahead(on_tables: Mapping[str, Curves], on_images: Curves, longest: int) -> str:
    """Where others have a higher mean than MetaD2A, computed so that no reader has to look for it."""
    lines = []
    places = [(common.TITLES[d], curves, q) for d, curves in on_tables.items() for q in AT if q <= longest]
    places += [("images", on_images, q) for q in TRAINED_AT]
    for title, curves, q in places:
        if "MetaD2A" not in curves:
            continue
        means = {
            name: float(np.mean(column(runs, q)))
            for name, runs in curves.items()
            if runs and (q == 1 or not METHODS[name].supernet)
        }
        above = sorted((n for n in means if means[n] > means["MetaD2A"] + 0.005), key=lambda n: -means[n])
        if above:
            others = ", ".join(f"{n} (+{means[n] - means['MetaD2A']:.2f})" for n in above)
            lines.append(f"- {title} after {q}: {others}")
    return "Where MetaD2A is behind, by means:\n\n" + ("\n".join(lines) or "- nowhere in this table") + "\n"


NOTES = """
Test accuracy in percent of what a strategy recommends after so many trained networks: mean and standard deviation
over runs. *Tables*: it is told the validation accuracy after 200 epochs; *own time* is what the strategy itself
took for {queries} queries, scores of networks and features of images included (seconds of one core, median of the
runs), next to which {queries} trainings of 200 epochs would take days. *Images*: {images} images of CIFAR-10 at 16
pixels, a fifth of them for validation, networks of 8 channels and a cell a stage, trained for {epochs} epochs,
{runs} seeds, scored on 2,000 other images; *time* is all of it, search and {trained} trainings (one after a search
in a supernet), in seconds of one core. A score of 36% on 2,000 images has a standard error of 1.1 points: at this
size the strategies can hardly be told apart. What is recommended is the incumbent by validation accuracy; for
MDENAS the likeliest operation of each edge; for searches in a supernet the cell that they end with, trained on its
own.

DARTS, LPT and MDENAS with shared weights train a supernet on those {images} images instead of cells ({darts}
epochs, with rates of 0.01 for architecture and selector; MDENAS {shared} epochs, one a query); in the columns of
the tables stand the looked up accuracies of the cells that they found there. NASWOT scores 100 random cells, AREA
20, on one minibatch of 128 images of CIFAR-10. MetaD2A is the shipped `nasbench201-paper`, which has never seen a
table; with it and with task similarity each run on a table has its own 20 images a class. A spread of 0.00 says
that all runs put the same cells first.
"""


def draw(on_tables: Mapping[str, Curves], on_images: Curves, out: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    colours = dict(zip(METHODS, mpl.color_sequences["tab20"][::2] + mpl.color_sequences["tab20"][1::2], strict=False))
    figure = Figure(figsize=(13, 10), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)

    def band(axes: Any, x: np.ndarray, values: np.ndarray, name: str) -> None:
        low, high = np.quantile(values, (0.25, 0.75), axis=0)
        axes.plot(x, values.mean(0), color=colours[name], label=name, linewidth=2.6 if name == "MetaD2A" else 1.6)
        axes.fill_between(x, low, high, color=colours[name], alpha=0.12, linewidth=0)

    for axes, (dataset, curves) in zip((first, second), on_tables.items(), strict=False):
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
    for name, runs in on_images.items():
        if METHODS[name].supernet:
            tests, took = column(runs, 1), [run[0]["own"] + run[0]["training"] for run in runs]
            spread = np.std(tests, ddof=1) if len(tests) > 1 else None
            for axes, x in ((third, 1.0), (fourth, float(np.median(took)))):
                axes.errorbar(x, np.mean(tests), yerr=spread, color=colours[name], marker="D", capsize=3, label=name)
            continue
        shortest = min(len(run) for run in runs)
        values = np.array([[row["test"] for row in run[:shortest]] for run in runs])
        seconds = np.array([[row["own"] + row["training"] for row in run[:shortest]] for run in runs])
        band(third, np.arange(1, shortest + 1), values, name)
        band(fourth, np.median(seconds, axis=0), values, name)
    for axes, label in ((third, "trained networks"), (fourth, "seconds, of search and training")):
        axes.set_title(f"images of CIFAR-10, {CONFIG.epochs} epochs, really trained")
        axes.set_xlabel(label)
    fourth.set_xscale("log")
    for axes in (first, second):
        axes.set_xscale("log")
        axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
        axes.minorticks_off()
    for axes in (first, second, third, fourth):
        axes.set_ylabel("test accuracy of what is recommended (%)")
        axes.grid(alpha=0.3)
    first.legend(loc="lower right", fontsize=8, ncols=2, title="mean; band: middle half of the runs", title_fontsize=8)
    common.write_figure(out, "strategies", figure)


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    folder = options.runs / "strategies"
    chosen = {name: METHODS[name] for name in options.methods or METHODS}
    training = Training(data, folder / "images")
    on_images: Curves = {}
    for name, method in chosen.items():
        key = asdict(method) | {"config": asdict(CONFIG), "queries": options.trained, "images": IMAGES_A_CLASS}
        if method.supernet and method.looks:
            key |= {"search": SUPERNET}
        work = training.one_shot if method.supernet else partial(training.bench().curve, queries=options.trained)
        on_images[name] = []
        for seed in range(options.image_repeats):
            kept = folder / "images" / name / f"{seed}.json"
            on_images[name].append(common.remember(kept, key, partial(work, method, seed)))
        print(f"images: {name} done", flush=True)
    if any(method.scores for method in chosen.values()):
        Scores(data.images("cifar10"), folder / "naswot.json").adopt(options.runs / "naswot" / "cifar10.jsonl")
    on_tables: dict[str, Curves] = {}
    for dataset in common.TITLES:
        bench = table_bench(data, dataset, folder)
        test = data.table.accuracies(dataset)
        on_tables[dataset] = {}
        for name, method in chosen.items():
            if method.supernet:
                # The cells found on images, looked up.
                on_tables[dataset][name] = [
                    [asdict(Row(float(test[int(found[0]["cell"])]), found[0]["own"], 0.0))] for found in on_images[name]
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
    text = table(on_tables, on_images, options.queries)
    text += "\n" + ahead(on_tables, on_images, options.queries)
    text += NOTES.format(
        queries=options.queries,
        images=10 * IMAGES_A_CLASS,
        epochs=CONFIG.epochs,
        runs=options.image_repeats,
        trained=options.trained,
        darts=METHODS["DARTS"].supernet,
        shared=METHODS["MDENAS, shared weights"].supernet,
    )
    results = {"settings": common.settings(options), "images": on_images, "tables": summary(on_tables, options.queries)}
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
    parser.add_argument("--image-repeats", type=int, default=3, help="runs on images")
    parser.add_argument("--trained", type=int, default=10, help="cells trained in a run on images")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), help="some of them only")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


if __name__ == "__main__":
    main()
