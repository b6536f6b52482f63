"""Accuracy against the number of trained architectures, on the benchmark tables: MetaD2A beside other strategies.

    python benchmarks/meta_seeds.py     # first: its checkpoints are searched with
    python benchmarks/search_curves.py --data ../shared/data

A strategy is told the validation accuracy after 200 epochs of what it asks for; reported is the test accuracy of the
best so far by validation. Finished runs stay under ``runs/search_curves``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin import MetaD2A, get_strategy
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.plugins.strategy import Strategy

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "MetaD2A": ("metad2a", {"adapt": True}),
    "MetaD2A, fixed order": ("metad2a", {"adapt": False}),
    "regularized evolution": ("regularized-evolution", {}),
    "local search": ("local-search", {}),
    "random search": ("random", {}),
}
"""Registry name and options of each."""
AT = (1, 5, 10, 30, 100, 150)
SPEED_UP_AT = (1, 10)
SLOW = ("regularized evolution", "random search")
"""Whose number of queries to catch up is counted."""
IMAGES = 20
NOTES = """
Test accuracy in percent of the best by validation accuracy, after so many trained architectures: mean and standard
deviation of {runs} runs; the figure's bands are the middle half of the runs. Who needs how many to catch up is counted
by mean validation accuracy: that is what a search sees, and it cannot fall. A run of MetaD2A has its own random
{images} images a class and a checkpoint that has seen no table, of {checkpoints} meta-training seeds; its fixed order
is the paper's way, otherwise it learns from what it is told. A spread of 0.00 is not precision: these checkpoints and
draws of images all put the same cells first. The other strategies have the package's default settings; regularized
evolution may ask for a cell again, and that counts.
"""
BEST = """
The best of the table has {best:.2f}; the best by validation, where every search must end, {perfect:.2f}.
"""


@dataclass(frozen=True)
class Bench:
    """One dataset of the table."""

    data: common.Data
    name: str
    task: Task
    checkpoints: Sequence[Path]

    def strategy(self, method: str, run: int) -> Strategy:
        name, options = METHODS[method]
        if name == "metad2a":
            searcher = MetaD2A.from_pretrained(self.checkpoints[run % len(self.checkpoints)])
            options = options | {"model": searcher, "dataset": some_images(self.task, run)}
        # Strategies share one interface but not their options.
        make: Callable[..., Strategy] = get_strategy(name)
        return make(common.SPACE, seed=run, **options)

    def curve(self, method: str, run: int, queries: int) -> list[tuple[float, float]]:
        """Validation and test accuracy of the incumbent after each query."""
        return incumbents(self.data, self.name, self.strategy(method, run), queries)


def incumbents(data: common.Data, name: str, strategy: Strategy, queries: int) -> list[tuple[float, float]]:
    """Validation and test accuracy of the best by validation after each query, for a dataset of the table."""
    told, scored = (data.table.accuracies(name, split) for split in ("valid", "test"))
    incumbent, found = (-np.inf, -np.inf), []
    for _ in range(queries):
        for cell in strategy.ask(1):
            index = data.table.index_of(cell)
            strategy.tell(cell, told[index])
            if told[index] > incumbent[0]:
                incumbent = (float(told[index]), float(scored[index]))
        found.append(incumbent)
    return found


def some_images(task: Task, seed: int) -> Task:
    """The task with at most `IMAGES` random images of each class."""
    order = torch.randperm(len(task.labels), generator=torch.Generator().manual_seed(seed))
    kept = [order[task.labels[order] == label][:IMAGES] for label in range(task.num_classes)]
    rows = torch.cat(kept)
    return replace(task, features=task.features[rows], labels=task.labels[rows])


def queries_to_reach(curve: np.ndarray, level: float) -> int | None:
    """Queries after which a mean curve has reached a level."""
    reached = np.flatnonzero(curve >= level)
    return int(reached[0]) + 1 if len(reached) else None


def table(curves: Mapping[str, np.ndarray], valid: Mapping[str, np.ndarray], longest: int) -> str:
    """Test accuracies at `AT`, and what others need to catch up with MetaD2A by validation, as markdown."""
    shortest = min(curve.shape[1] for curve in curves.values())
    at = [q for q in AT if q <= shortest]
    rows = [[name, *(common.mean_std(list(curve[:, q - 1]), 2) for q in at)] for name, curve in curves.items()]
    text = common.markdown(("strategy", *(f"{q} trained" for q in at)), rows)
    rows = []
    for name in (name for name in curves if name.startswith("MetaD2A")):
        for q in (q for q in SPEED_UP_AT if q <= shortest):
            level = float(valid[name][:, q - 1].mean())
            needed = [queries_to_reach(valid[other].mean(0), level) for other in SLOW]
            cells = [f"more than {longest}" if n is None else str(n) for n in needed]
            rows.append([name, str(q), f"{level:.2f}", *cells])
    header = ("reached by", "trained", "mean validation accuracy", *(f"{other} needs" for other in SLOW))
    return text + "\n" + common.markdown(header, rows)


def draw(
    curves: Mapping[str, Mapping[str, np.ndarray]], best: Mapping[str, float], perfect: Mapping[str, float], out: Path
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, (name, methods) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        shown = min(curve.shape[1] for curve in methods.values())
        x = np.arange(1, shown + 1)
        for method, curve in methods.items():
            low, high = np.quantile(curve[:, :shown], (0.25, 0.75), axis=0)
            (line,) = axes.plot(x, curve[:, :shown].mean(0), label=method, linewidth=1.8)
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.axhline(best[name], color="black", linewidth=0.8, linestyle="--", label="best of the table")
        axes.axhline(perfect[name], color="black", linewidth=0.8, linestyle=":", label="best by validation")
        final = min(float(curve[:, shown - 1].mean()) for curve in methods.values())
        axes.set_ylim(best[name] - 4 * (best[name] - final) - 1, best[name] + 0.3)
        axes.set_xscale("log")
        ticks = [q for q in AT if q <= shown]
        axes.set_xticks(ticks, [str(q) for q in ticks])
        axes.minorticks_off()
        axes.set_xlabel("trained architectures (queries)")
        axes.set_ylabel("test accuracy of the best by validation (%)")
        axes.set_title(common.TITLES[name])
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right", title="mean; band: middle half of the runs", fontsize=9, title_fontsize=9)
    common.write_figure(out, "search_curves", figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="runs of each strategy")
    parser.add_argument("--queries", type=int, default=150, help="architectures trained in a run of MetaD2A")
    parser.add_argument("--longest", type=int, default=2000, help="and of the other strategies, to see them catch up")
    parser.add_argument("--checkpoints", type=int, default=10, help="seeds of benchmarks/meta_seeds.py")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    folder = options.runs / "meta_seeds" / "nasbench201-paper"
    checkpoints = [folder / f"seed-{seed}" for seed in range(options.checkpoints)]
    weights = [common.fingerprint(checkpoint) for checkpoint in checkpoints]
    valid: dict[str, dict[str, np.ndarray]] = {}
    curves: dict[str, dict[str, np.ndarray]] = {}
    for name in common.TITLES:
        bench = Bench(data, name, extract_task(data.images(name)), checkpoints)
        curves[name], valid[name] = {}, {}
        for method, (registered, settings) in METHODS.items():
            own = registered == "metad2a"
            queries = options.queries if own else max(options.queries, options.longest)
            found = []
            for repeat in range(options.repeats):
                key = settings | {"queries": queries, "weights": weights[repeat % len(weights)] if own else None}
                kept = options.runs / "search_curves" / name / method / f"{repeat}.json"
                found.append(common.remember(kept, key, partial(bench.curve, method, repeat, queries)))
            valid[name][method], curves[name][method] = np.moveaxis(np.array(found), 2, 0)
            print(f"{name}: {method} done", flush=True)
    best = {name: float(data.table.accuracies(name).max()) for name in curves}
    # Where a search that has seen every validation accuracy ends.
    perfect = {name: data.table.accuracy(int(data.table.accuracies(name, "valid").argmax()), name) for name in curves}
    texts = [
        f"**{common.TITLES[name]}**\n\n{table(methods, valid[name], options.longest)}"
        + BEST.format(best=best[name], perfect=perfect[name])
        for name, methods in curves.items()
    ]
    texts.append(NOTES.format(runs=options.repeats, images=IMAGES, checkpoints=options.checkpoints))
    results = {
        "settings": common.settings(options),
        "best": best,
        "perfect": perfect,
        "mean": _means(curves),
        "mean_valid": _means(valid),
        "std": {name: {m: curve.std(0).tolist() for m, curve in methods.items()} for name, methods in curves.items()},
    }
    common.write(options.out, "search_curves", results, {"search_curves": "\n".join(texts)})
    draw(curves, best, perfect, options.out)


def _means(curves: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, list[float]]]:
    return {name: {m: curve.mean(0).tolist() for m, curve in methods.items()} for name, methods in curves.items()}


if __name__ == "__main__":
    main()
