"""NASWOT and AREA on NAS-Bench-201 beside the paper: scores, searches, queries and speed.

    python benchmarks/naswot.py --data ../shared/data

Scores of untrained networks are kept as they are made, in ``runs/naswot/cifar10.jsonl``; with all runs these are some
8,600 networks, at a second or less each. Fewer runs (``--runs-100``, ``--runs-1000``) take less.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats
from torch import nn

from metad2a_plugin import get_strategy
from metad2a_plugin.data import Task
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.predictors.naswot import NASWOTPredictor
from metad2a_plugin.spaces.base import Architecture, Architectures
from metad2a_plugin.strategies import AREA, NASWOTStrategy, RegularizedEvolution
from metad2a_plugin.utils.torch_device import seeded

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks.search_curves import incumbents, queries_to_reach
else:
    import _common as common
    from search_curves import incumbents, queries_to_reach

PUBLISHED = {
    "cifar10": {10: (92.44, 1.13), 100: (92.81, 0.99), 1000: (92.96, 0.81)},
    "imagenet16-120": {10: (41.31, 4.11), 100: (43.10, 3.16), 1000: (44.44, 2.10)},
}
"""Test accuracy and its standard deviation, of the best by score of so many."""
TAU = {"cifar10": 0.574, "imagenet16-120": 0.549}
"""Published Kendall correlation of score and test accuracy over 1,000 networks."""
RECORDED_SHARE = 0.6
"""Of the cells, that the recorded scores know; so many more are drawn where these are used."""
LAST = -1e9
AREA_QUERIES, AREA_AIM = 100, 60
NOTES = """
Scores are of networks of full size (16 channels, 5 cells a stage) on one minibatch of {images} CIFAR-10 images, one set
of initial weights an architecture; runs differ in what they draw. *Recorded* are the scores that a public table holds
for {recorded:,} of the 15,625 cells.

**Search.** Test accuracy, in percent, of the best by score of so many random cells, mean ± standard deviation of the
runs; the search is on CIFAR-10 for both datasets, as in the paper.

{search}
**Rank correlation.** Spearman with the recorded scores is over {shared} random cells that have one, Kendall with the
test accuracy over 1,000 random cells; ± is the standard deviation over such draws.

{correlation}
**AREA.** Queries are architectures whose 200-epoch validation accuracy is told; {seeds} seeds. *Catches up* is the
number of queries after which the mean of the best so far reaches that of regularized evolution after {queries}: by
validation accuracy, which is what a search sees, and by the test accuracy of the best by validation. The aim is {aim}
on CIFAR-10. The first two of AREA are the paper's method, the others depart from it in one respect: more are scored, no
network is asked for twice, or scores choose among mutations too (`children`). A mean of {seeds} seeds moves by about
0.05 on CIFAR-10 and 0.1 on ImageNet16-120 with other seeds, which is 10 to 20 queries.

{area}
**Speed.** {cells} random live cells, {repeats} repeats in one process with --threads {threads}, on a machine that does
other work too, building the network included; medians. *Straightforward* looks at one ReLU after the other through
hooks and multiplies both halves of the matrix.

{speed}
"""


# -- scores --------------------------------------------------------------------------------------
class Kept(Predictor):
    """Scores from a table, by the cell's index; what has none comes last."""

    def __init__(self, scores: Mapping[int, float]) -> None:
        super().__init__(common.SPACE)
        self.scores = scores

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        cells = common.SPACE.decode(architectures)
        return Prediction(torch.tensor([self.scores.get(common.SPACE.index(cell), LAST) for cell in cells]))


def recorded(data: common.Data, dataset: str) -> dict[int, float]:
    """The public table's scores, by index."""
    column = {"cifar10": "cifar10_nwot", "imagenet16-120": "imagenet16_nwot"}[dataset]
    with gzip.open(data.root / "nas_bench_201" / "zero_cost_proxies.csv.gz", "rt") as stream:
        return {int(row["index"]): float(row[column]) for row in csv.DictReader(stream) if row[column]}


def draws(seed: int, count: int) -> list[Architecture]:
    """The cells that the strategies draw under a seed, in their order."""
    return get_strategy("random")(common.SPACE, seed=seed).ask(count)


def wanted(options: argparse.Namespace) -> list[Architecture]:
    """What the runs score, each once: first what says most."""
    cells = draws(0, 1000)
    for count, runs in ((20, options.repeats), (100, options.runs_100), (1000, options.runs_1000)):
        cells += [cell for seed in range(runs) for cell in draws(seed, count)]
    return list(dict.fromkeys(cells))


def scores(path: Path, cells: Sequence[Architecture], make: Callable[[], Predictor]) -> dict[int, float]:
    """Of all these cells, by index; those that are not kept in the file yet are made, one after the other, and kept."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = {line["index"]: line["score"] for line in map(json.loads, lines)}
    missing = [cell for cell in cells if common.SPACE.index(cell) not in kept]
    if missing:
        predictor = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            for done, cell in enumerate(missing, 1):
                index = common.SPACE.index(cell)
                kept[index] = float(predictor.predict(None, [cell]).mean)
                stream.write(json.dumps({"index": index, "score": kept[index]}) + "\n")
                stream.flush()
                if done % 100 == 0:
                    print(f"{done} of {len(missing)} networks scored", flush=True)
    return kept


# -- search and correlation ----------------------------------------------------------------------
def searches(data: common.Data, kept: Predictor, count: int, runs: int) -> dict[str, list[float]]:
    """Test accuracies of the first proposals."""
    strategies = [NASWOTStrategy(common.SPACE, seed=seed, predictor=kept, candidates=count) for seed in range(runs)]
    found = [strategy.ask(1)[0] for strategy in strategies]
    return {name: [data.table.accuracy(data.table.index_of(cell), name) for cell in found] for name in common.TITLES}


def correlations(options: argparse.Namespace, data: common.Data, mine: Mapping[int, float]) -> dict[str, list[float]]:
    """Rank correlations, one a draw of 1,000 cells."""
    theirs = recorded(data, "cifar10")
    found: dict[str, list[float]] = {"recorded": [], **{name: [] for name in common.TITLES}}
    for seed in range(max(1, options.runs_1000)):
        cells = [common.SPACE.index(cell) for cell in draws(seed, 1000)]
        both = [i for i in cells if i in theirs][: options.shared]
        found["recorded"].append(float(stats.spearmanr([mine[i] for i in both], [theirs[i] for i in both])[0]))
        for name in common.TITLES:
            accuracy = data.table.accuracies(name)[cells]
            found[name].append(float(stats.kendalltau([mine[i] for i in cells], accuracy)[0]))
    return found


# -- AREA ----------------------------------------------------------------------------------------
def ways(data: common.Data, mine: Mapping[int, float], dataset: str) -> dict[str, Callable[[int], Strategy]]:
    """Strategies by what they are called, each made for a seed."""
    own, theirs = Kept(mine), Kept(recorded(data, dataset))

    def area(predictor: Predictor, scored: int, **more: Any) -> Callable[[int], Strategy]:
        drawn = scored if predictor is own else round(scored / RECORDED_SHARE)
        return lambda seed: AREA(common.SPACE, seed=seed, predictor=predictor, candidates=drawn, **more)

    return {
        "regularized evolution": lambda seed: RegularizedEvolution(common.SPACE, seed=seed),
        "AREA": area(own, 20),
        "AREA, recorded scores": area(theirs, 20),
        "AREA, recorded, 100 scored": area(theirs, 100),
        "AREA, recorded, 1,000 scored": area(theirs, 1000),
        "AREA, recorded, no network twice": area(theirs, 20, dedupe="canonical"),
        "AREA, recorded, best of 3 mutations": area(theirs, 20, children=3),
        "AREA, recorded, best of 10 mutations": area(theirs, 20, children=10),
        "NASWOT, recorded, 100 scored": lambda seed: NASWOTStrategy(
            common.SPACE, seed=seed, predictor=theirs, candidates=round(100 / RECORDED_SHARE)
        ),
    }


def curves(options: argparse.Namespace, data: common.Data, mine: Mapping[int, float], dataset: str) -> dict[str, Any]:
    """Validation and test accuracy of the best so far, ``[seeds, queries, 2]``, by strategy."""
    return {
        name: np.array([incumbents(data, dataset, make(seed), options.queries) for seed in range(options.repeats)])
        for name, make in ways(data, mine, dataset).items()
    }


def area_rows(found: Mapping[str, np.ndarray], dataset: str) -> list[list[str]]:
    """A row each: test accuracies, and when it catches up with evolution."""
    at = min(AREA_QUERIES, next(iter(found.values())).shape[1])
    level = found["regularized evolution"].mean(0)[at - 1]
    rows = []
    for name, curve in found.items():
        needs = [queries_to_reach(curve.mean(0)[:, kind], float(level[kind])) for kind in (0, 1)]
        tests = [common.mean_std(curve[:, q - 1, 1].tolist(), 2) for q in (10, 30, AREA_AIM, at) if q <= at]
        caught = [f"more than {curve.shape[1]}" if n is None else str(n) for n in needs]
        rows.append([common.TITLES[dataset], name, *tests, *caught])
    return rows


# -- speed ---------------------------------------------------------------------------------------
def straightforward(predictor: NASWOTPredictor, cell: Architecture) -> float:
    """The score, one ReLU after the other; networks and images are those of the predictor."""
    with seeded((predictor.seed, *cell.choices), torch.device("cpu")):
        network = common.SPACE.build(cell, predictor.num_classes, **predictor.network)
    count = len(predictor.images)
    kernel = torch.zeros(count, count, dtype=torch.float64)

    def add(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = (inputs[0] > 0).float().flatten(1)
        kernel.add_(x @ x.T + (1 - x) @ (1 - x).T)

    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(add)
    with torch.no_grad():
        network.train()(predictor.images.contiguous())
    return float(torch.linalg.slogdet(kernel)[1])


def speed(options: argparse.Namespace, predictor: NASWOTPredictor) -> dict[str, Any]:
    """Seconds a cell, of the process's clock and of the wall's, and the largest relative difference of the scores."""
    cells = [cell for cell in draws(0, 1000) if not common.SPACE.is_dead(cell)][: options.cells]
    methods: dict[str, Callable[[Architecture], float]] = {
        "fast": lambda cell: float(predictor.predict(None, [cell]).mean),
        "straightforward": partial(straightforward, predictor),
    }
    found: dict[str, Any] = {name: {"wall": [], "processor": []} for name in methods}
    values: dict[str, list[float]] = {}
    for repeat in range(-1, options.speed_repeats):
        seconds = {name: np.zeros(2) for name in methods}
        values = {name: [] for name in methods}
        for cell in cells if repeat >= 0 else cells[:2]:  # to warm up
            for name, method in methods.items():
                begin = np.array([time.perf_counter(), time.process_time()])
                values[name].append(method(cell))
                seconds[name] += np.array([time.perf_counter(), time.process_time()]) - begin
        if repeat >= 0:
            for name, both in seconds.items():
                for clock, total in zip(("wall", "processor"), both.tolist(), strict=True):
                    found[name][clock].append(total / len(cells))
    difference = max(abs(a / b - 1) for a, b in zip(values["fast"], values["straightforward"], strict=True))
    return found | {"difference": difference}


def speed_rows(found: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for clock, title in (("processor", "processor time"), ("wall", "wall time")):
        fast, slow = (found[name][clock] for name in ("fast", "straightforward"))
        ratios = [b / a for a, b in zip(fast, slow, strict=True)]
        middle = [f"{statistics.median(values):.2f}" for values in (fast, slow, ratios)]
        rows.append([title, *middle[:2], f"{middle[2]} (aim: 3)", f"{found['difference']:.0e}"])
    return rows


# -- results -------------------------------------------------------------------------------------
def text(options: argparse.Namespace, data: common.Data, results: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    search = []
    for count, accuracies in results["search"].items():
        row = [f"{int(count):,}", str(len(accuracies["cifar10"]))]
        for name in common.TITLES:
            mean, std = PUBLISHED[name][int(count)]
            row += [common.mean_std(accuracies[name], 2), f"{mean:.2f} ± {std:.2f}"]
        search.append(row)
    header = [part for title in common.TITLES.values() for part in (title, "paper")]
    tau = results["correlation"]
    correlation = [["Spearman with the recorded scores, CIFAR-10", common.mean_std(tau["recorded"]), "≥ 0.95 (aim)"]]
    correlation += [
        [f"Kendall with test accuracy, {title}", common.mean_std(tau[name]), f"{TAU[name]:.3f} (paper)"]
        for name, title in common.TITLES.items()
    ]
    area = [row for name, curve in found.items() for row in area_rows(curve, name)]
    at = [f"{q} queries" for q in (10, 30, AREA_AIM, AREA_QUERIES) if q <= options.queries]
    return NOTES.format(
        images=options.images,
        recorded=len(recorded(data, "cifar10")),
        shared=options.shared,
        seeds=options.repeats,
        queries=AREA_QUERIES,
        aim=f"{AREA_AIM} or fewer",
        cells=options.cells,
        repeats=options.speed_repeats,
        threads=options.threads,
        search=common.markdown(("scored", "runs", *header), search),
        correlation=common.markdown(("", "here", ""), correlation),
        area=common.markdown(("dataset", "strategy", *at, "catches up, validation", "test"), area),
        speed=common.markdown(
            ("", "seconds a cell", "straightforward", "times faster", "largest relative difference of scores"),
            speed_rows(results["speed"]),
        ),
    ).lstrip()


def draw(found: Mapping[str, Mapping[str, np.ndarray]], out: Path) -> None:
    from matplotlib.figure import Figure

    shown = {
        "regularized evolution": "regularized evolution",
        "AREA": "AREA, 20 scored",
        "AREA, recorded, best of 3 mutations": "AREA, best of 3 mutations by score",
        "AREA, recorded, 100 scored": "AREA, 100 scored",
        "NASWOT, recorded, 100 scored": "NASWOT, 100 scored, best first",
    }
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, (name, methods) in zip(figure.subplots(1, 2), found.items(), strict=True):
        for method, label in shown.items():
            curve = methods[method][:, :, 1]
            x = np.arange(1, curve.shape[1] + 1)
            low, high = np.quantile(curve, (0.25, 0.75), axis=0)
            (line,) = axes.plot(x, curve.mean(0), label=label, linewidth=1.8)
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        top = max(float(curve[:, -1, 1].mean()) for curve in methods.values())
        low = min(float(methods[method][:, min(4, curve.shape[1] - 1), 1].mean()) for method in shown)
        axes.set_ylim(low - 1, top + 0.4)
        axes.set_xscale("log")
        ticks = [q for q in (1, 3, 10, 30, 100) if q <= len(x)]
        axes.set_xticks(ticks, [str(q) for q in ticks])
        axes.minorticks_off()
        axes.set_xlabel("trained architectures (queries)")
        axes.set_ylabel("test accuracy of the best by validation (%)")
        axes.set_title(common.TITLES[name])
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title="mean; band: middle half of the runs", fontsize=9, title_fontsize=9)
    common.write_figure(out, "naswot", figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=128, help="in the minibatch")
    parser.add_argument("--repeats", type=int, default=30, help="runs of AREA, and searches among 10")
    parser.add_argument("--runs-100", type=int, default=30, help="searches among 100")
    parser.add_argument("--runs-1000", type=int, default=10, help="searches among 1,000")
    parser.add_argument("--shared", type=int, default=500, help="cells whose recorded score is compared")
    parser.add_argument("--queries", type=int, default=150, help="of a run of AREA and of evolution")
    parser.add_argument("--cells", type=int, default=30, help="timed")
    parser.add_argument("--speed-repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


def run(options: argparse.Namespace, **network: Any) -> None:
    """All parts; `network` are options of the scored networks."""
    data = common.Data(options.data)

    def predictor() -> NASWOTPredictor:
        return NASWOTPredictor(
            common.SPACE, data.images("cifar10"), batch_size=options.images, progress=False, **network
        )

    mine = scores(options.runs / "naswot" / "cifar10.jsonl", wanted(options), predictor)
    runs = {10: options.repeats, 100: options.runs_100, 1000: options.runs_1000}
    found = {name: curves(options, data, mine, name) for name in common.TITLES}
    key = {"cells": options.cells, "repeats": options.speed_repeats, "threads": options.threads}
    results = {
        "settings": common.settings(options),
        "search": {count: searches(data, Kept(mine), count, n) for count, n in runs.items() if n},
        "correlation": correlations(options, data, mine),
        "speed": common.remember(options.runs / "naswot" / "speed.json", key, lambda: speed(options, predictor())),
        "mean": {
            name: {method: curve.mean(0).round(4).tolist() for method, curve in methods.items()}
            for name, methods in found.items()
        },
    }
    common.write(options.out, "naswot", results, {"naswot": text(options, data, results, found)})
    draw(found, options.out)


if __name__ == "__main__":
    main()
