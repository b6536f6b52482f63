"""The comparison: MetaD2A beside the searches of the host toolkits, run by the hosts' own loops on the benchmark.

    PYTHONPATH=NASLib python benchmarks/comparison.py --data ../shared/data

Every search is told the validation accuracy after 200 epochs of one cell after the other; reported is the test accuracy
of its best by validation. Finished runs stay under ``runs/comparison``. A host that is not installed must be left out
by name: ``--without naslib``. BANANAS needs lightgbm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from metad2a_plugin.adapters.trace import Trace

from metad2a_plugin.data import ImageDataset
from metad2a_plugin.utils.files import PRETRAINED

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks.search_curves import queries_to_reach
else:
    import _common as common
    from search_curves import queries_to_reach

AT = (1, 5, 10, 30, 100)
BUDGET = 10
"""Queries in which MetaD2A shall reach what evolution reaches in the last of `AT`."""
IMAGES = 20
"""Images a class that MetaD2A reads."""
ONE_SHOT = {"per_class": 50, "epochs": 10, "batch_size": 32, "input_size": 16}
NOTES = """
Test accuracy in percent of the best by validation accuracy, after so many queries: mean and standard deviation of the
runs; the figure's bands are the middle half of them. A query is one training of 200 epochs, looked up in the table;
searches are told its validation accuracy, because that is what a search has, and the test accuracy of the incumbent
is what it is worth. *Own* is what the search itself took on one core of a busy machine (median), *simulated* the
training that its queries stand for, both for 100 queries; MetaD2A's own time includes reading and encoding {images}
images a class, and is part of its time in the figure.
*To match* are queries until the mean validation accuracy of the incumbent, which cannot fall, reaches that of MetaD2A
after {budget}, and until that of *half of the runs* does (on CIFAR-10 it is the best of the table, which a mean reaches
with the last of its runs); searches that are quick to run were run to {longest} queries.

MetaD2A is the shipped `nasbench201-paper`, which has never seen the tables; a run has its own random images, and a
spread of 0.00 says that all of them put the same cells first.
"""
HOST_NOTES = {
    "naslib": """
The searches of NASLib run in its Trainer with the settings of its `nb201_defaults.yaml` (evolution: population 30, so
that it is random search until then). BANANAS has LightGBM as its predictor, one of those that NASLib offers it: a run
takes two seconds of computing instead of 95 with its own three networks.
""",
    "nni": """
The searches of NNI run in its experiment on the sequential engine with their default settings but for two: evolution
has the population of 30 and the tournaments of 10 of NASLib's (with its own 100 it would be random search throughout),
and TPE maximises (its default is to minimise what it is told).
""",
}
ONE_SHOT_NOTES = """
One-shot searches train no cell: NASLib's optimizers really searched {images} images of CIFAR-10 at {input_size} pixels
for {epochs} epochs, half for weights, half for the architecture, and their final cell was looked up in both tables.
That is what a core does in minutes, and far less than the 50 epochs and more on all images that DARTS and GDAS are made
for: the numbers say what these methods find in little time, not what they can do.
"""


# -- methods ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Bench:
    """What methods search with."""

    data: common.Data

    @cached_property
    def _images(self) -> dict[str, ImageDataset]:
        return {}

    def images(self, dataset: str) -> ImageDataset:
        if dataset not in self._images:
            self._images[dataset] = self.data.images(dataset)
        return self._images[dataset]


@dataclass(frozen=True)
class Method:
    """One search.

    Attributes:
        host: package whose loop runs it.
        run: from dataset, seed and number of queries to what was looked up.
        quick: whether many queries are no trouble.
        key: what a finished run depends on, besides its name.
    """

    host: str
    run: Callable[[Bench, str, int, int], Trace]
    quick: bool = False
    key: str = ""


def in_naslib(name: str, quick: bool = True, **settings: Any) -> Method:
    """An optimizer of NASLib's own; `settings` replace those of its configuration."""

    def run(bench: Bench, dataset: str, seed: int, queries: int) -> Trace:
        from metad2a_plugin.adapters import naslib

        found: Trace = naslib.search(
            name, bench.data.table, dataset, epochs=queries, seed=seed, settings=settings
        )
        return found

    return Method("naslib", run, quick, json.dumps(settings) if settings else "")


def in_nni(name: str, **options: Any) -> Method:
    """A strategy of NNI's own, in its experiment on the sequential engine."""

    def run(bench: Bench, dataset: str, seed: int, queries: int) -> Trace:
        if TYPE_CHECKING:
            from benchmarks import _nni_search
        else:
            import _nni_search

        found: Trace = _nni_search.search(name, bench.data.table, dataset, trials=queries, seed=seed, **options)
        return found

    return Method("nni", run, key=json.dumps(options) if options else "")


def metad2a(bench: Bench, dataset: str, seed: int, queries: int) -> Trace:
    from metad2a_plugin.adapters import naslib

    images = bench.images(dataset).sample(IMAGES, seed)
    # Without the cache: encoding the images is part of what the search costs.
    options = {"images": images, "cache_dir": False, "progress": False}
    found: Trace = naslib.search("metad2a", bench.data.table, dataset, epochs=queries, seed=seed, **options)
    return found


METHODS: dict[str, Method] = {
    "MetaD2A": Method("naslib", metad2a, key=common.fingerprint(PRETRAINED / "nasbench201-paper")),
    "random search (NASLib)": in_naslib("rs"),
    "evolution (NASLib)": in_naslib("re"),
    "local search (NASLib)": in_naslib("ls"),
    "BANANAS (NASLib)": in_naslib("bananas", quick=False, predictor_type="lgb"),
    "evolution (NNI)": in_nni("RegularizedEvolution", population_size=30, sample_size=10),
    "TPE (NNI)": in_nni("TPE"),
}
REFERENCE = "evolution (NASLib)"
ONE_SHOT_METHODS = {"DARTS (NASLib)": "darts", "GDAS (NASLib)": "gdas"}


def trace_of(bench: Bench, name: str, dataset: str, seed: int, queries: int, runs: Path) -> Trace:
    """The run, or what is kept of it."""
    method = METHODS[name]
    path = runs / dataset / _slug(name) / f"{seed}.json"
    key = {"queries": queries, "key": method.key}
    values = common.remember(path, key, lambda: method.run(bench, dataset, seed, queries).to_dict())
    return Trace(**values)


def one_shot(bench: Bench, name: str, seed: int, runs: Path) -> Mapping[str, Any]:
    """The cell and the seconds of a one-shot search, or what is kept of it."""

    def compute() -> dict[str, Any]:
        from metad2a_plugin.adapters import naslib

        settings = dict(ONE_SHOT)
        images = bench.images("cifar10").sample(settings.pop("per_class"), seed)
        found = naslib.search_one_shot(images, ONE_SHOT_METHODS[name], seed=seed, **settings)
        return {"cell": common.SPACE.format(found.architecture), "seconds": found.seconds}

    found: Mapping[str, Any] = common.remember(runs / "one-shot" / _slug(name) / f"{seed}.json", ONE_SHOT, compute)
    return found


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


# -- tables ----------------------------------------------------------------------------------------
def curves_of(traces: Sequence[Trace], split: str) -> np.ndarray:
    """``[runs, queries]``, to the length of the shortest run."""
    curves = [trace.curve(split) for trace in traces]
    return np.array([curve[: min(map(len, curves))] for curve in curves])


def mean_curve(traces: Sequence[Trace], split: str) -> np.ndarray:
    return np.array(curves_of(traces, split).mean(0))


def table(found: Mapping[str, Sequence[Trace]]) -> str:
    """Accuracies, costs and queries to match MetaD2A, as markdown."""
    last = AT[-1]
    level = float(mean_curve(found["MetaD2A"], "told")[BUDGET - 1])
    rows = []
    for name, traces in found.items():
        test, told = (curves_of(traces, split) for split in ("test", "told"))
        accuracies = [common.mean_std(test[:, q - 1].tolist(), 2) for q in AT]
        own = np.median([trace.setup_seconds + sum(trace.own_seconds[:last]) for trace in traces])
        hours = np.mean([sum(trace.train_seconds[:last]) for trace in traces]) / 3600
        needed = [_queries(curve, level) for curve in (told.mean(0), np.median(told, axis=0))]
        rows.append([name, str(len(traces)), *accuracies, f"{own:.1f} s", f"{hours:.0f} h", *needed])
    header = ("search", "runs", *(f"after {q}" for q in AT), "own", "simulated", "to match", "half of the runs")
    return common.markdown(header, rows)


def _queries(curve: np.ndarray, level: float) -> str:
    needed = queries_to_reach(curve, level)
    return f"more than {len(curve)}" if needed is None else str(needed)


def verdict(found: Mapping[str, Sequence[Trace]]) -> str:
    """Whether MetaD2A reaches with few queries what evolution reaches with many."""
    ours, theirs = (
        {split: float(mean_curve(found[name], split)[q - 1]) for split in ("told", "test")}
        for name, q in (("MetaD2A", BUDGET), (REFERENCE, AT[-1]))
    )
    needed = _queries(mean_curve(found[REFERENCE], "told"), ours["told"])
    met = all(ours[split] >= theirs[split] for split in ours)
    return (
        f"MetaD2A after {BUDGET} queries: {ours['told']:.2f} validation, {ours['test']:.2f} test; {REFERENCE} after "
        f"{AT[-1]}: {theirs['told']:.2f} and {theirs['test']:.2f}. To reach that validation accuracy it needs "
        f"{needed} queries. Aim, MetaD2A at least as good in both: "
        f"{'met' if met else 'missed'}."
    )


def one_shot_table(bench: Bench, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    rows = []
    for name, runs in found.items():
        cells = [common.SPACE.parse(run["cell"]) for run in runs]
        scores = [common.mean_std([bench.data.table.accuracy(c, d, "test") for c in cells], 2) for d in common.TITLES]
        rows.append([name, str(len(runs)), *scores, f"{np.mean([run['seconds'] for run in runs]):.0f} s"])
    header = ("one-shot search", "runs", *(f"{title}, test" for title in common.TITLES.values()), "own")
    return common.markdown(header, rows)


# -- figure ----------------------------------------------------------------------------------------
def draw(
    found: Mapping[str, Mapping[str, Sequence[Trace]]], bench: Bench, verdicts: Mapping[str, str], out: Path
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 8.4), layout="constrained")
    for row, (dataset, methods) in zip(figure.subplots(len(found), 2, squeeze=False), found.items(), strict=True):
        scores = bench.data.table.accuracies(dataset, "test")
        best = float(scores.max())
        by_valid = float(scores[bench.data.table.accuracies(dataset, "valid").argmax()])
        for name, traces in methods.items():
            curves = curves_of(traces, "test")[:, : AT[-1]]
            _band(row[0], np.arange(1, AT[-1] + 1), curves, name)
            clocks = np.array([trace.clock()[: AT[-1]] for trace in traces])
            seconds = np.geomspace(clocks[:, 0].max(), clocks[:, -1].min(), 200)
            # At any time, the incumbent is that of the last query that has ended.
            done = [np.searchsorted(clock, seconds, side="right") - 1 for clock in clocks]
            _band(row[1], seconds / 3600, np.take_along_axis(curves, np.array(done), 1), name)
        low = min(float(np.mean([trace.curve()[4] for trace in traces])) for traces in methods.values())
        for axes, label in zip(row, ("queries", "hours: simulated training, and the search's own time"), strict=True):
            axes.axhline(best, color="black", linewidth=0.8, linestyle="--", label="best of the table")
            axes.axhline(by_valid, color="black", linewidth=0.8, linestyle=":", label="best by validation")
            axes.set(xlabel=label, ylabel="test accuracy (%)", title=common.TITLES[dataset], xscale="log")
            axes.set_ylim(low - 0.3 * (best - low), best + 0.1 * (best - low))
        missed = "missed" if verdicts[dataset].endswith("missed.") else "met"
        row[0].set_title(f"{common.TITLES[dataset]}: {BUDGET} queries as good as evolution's {AT[-1]}: {missed}")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    common.write_figure(out, "comparison", figure)


def _band(axes: Any, x: np.ndarray, curves: np.ndarray, label: str) -> None:
    low, high = np.quantile(curves, (0.25, 0.75), axis=0)
    (line,) = axes.plot(x, curves.mean(0), label=label, linewidth=1.8)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


# -- all of it -------------------------------------------------------------------------------------
def main(argv: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="runs of a search on a dataset")
    parser.add_argument("--longest", type=int, default=500, help="queries of searches that are quick")
    parser.add_argument("--one-shot-repeats", type=int, default=5, help="runs of a one-shot search")
    hosts = list(dict.fromkeys(method.host for method in METHODS.values()))
    parser.add_argument("--without", nargs="*", choices=hosts, default=[], help="hosts that are left out")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    for host in (host for host in hosts if host not in arguments.without):
        try:
            # NASLib's first: it makes a torchvision importable that NNI would stumble over.
            import_module(f"metad2a_plugin.adapters.{host}")
        except ImportError as error:
            raise SystemExit(f"{error}; or leave {host} out: --without {host}") from error
    run(arguments)


def run(arguments: argparse.Namespace) -> None:
    bench, runs = Bench(common.Data(arguments.data)), arguments.runs / "comparison"
    methods = {name: method for name, method in METHODS.items() if method.host not in arguments.without}
    found: dict[str, dict[str, list[Trace]]] = {}
    for dataset in common.TITLES:
        found[dataset] = {
            name: [
                trace_of(bench, name, dataset, seed, arguments.longest if method.quick else AT[-1], runs)
                for seed in range(arguments.repeats)
            ]
            for name, method in methods.items()
        }
    shown = {} if "naslib" in arguments.without else ONE_SHOT_METHODS
    cells = {name: [one_shot(bench, name, s, runs) for s in range(arguments.one_shot_repeats)] for name in shown}
    verdicts = {dataset: verdict(traces) for dataset, traces in found.items()}
    parts = [
        f"**{common.TITLES[dataset]}**\n\n{table(traces)}\n{verdicts[dataset]}\n"
        for dataset, traces in found.items()
    ]
    notes = NOTES.format(images=IMAGES, budget=BUDGET, longest=arguments.longest)
    text = "\n".join([*parts, notes.strip("\n")]) + "\n"
    text += "".join(note for host, note in HOST_NOTES.items() if any(m.host == host for m in methods.values()))
    if cells:
        images = 10 * int(ONE_SHOT["per_class"])
        text += "\n" + one_shot_table(bench, cells) + ONE_SHOT_NOTES.format(images=images, **ONE_SHOT)
    results = {
        "settings": common.settings(arguments) | {"left_out": arguments.without},
        "verdicts": verdicts,
        "mean": {
            dataset: {
                name: {split: mean_curve(traces, split).round(4).tolist() for split in ("told", "test")}
                | {"seconds": np.mean([trace.clock()[: AT[-1]] for trace in traces], axis=0).round(2).tolist()}
                for name, traces in methods.items()
            }
            for dataset, methods in found.items()
        },
        "one_shot": cells,
    }
    draw(found, bench, verdicts, arguments.out)
    common.write(arguments.out, "comparison", results, {"comparison": text})


if __name__ == "__main__":
    main()
