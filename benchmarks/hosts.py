"""One problem in every host: Optuna, Ray Tune and neps, each with searchers of its own and with ours.

    pip install '.[optuna,ray]'         # and neps by the line of docs/neps.md; HyperOpt, if it is there, takes part
    python benchmarks/hosts.py --data ../shared/data

On the benchmark tables a searcher is told the validation accuracy after 200 epochs of what it asks for, and scored is
the test accuracy of the best so far. On real trainings (``benchmarks/trainings``, as in ``trainings_strategies.py``,
whose result is read) it chooses from the cells that were trained in a context. Nothing is trained, and hosts are asked
and told as they do it themselves. Finished runs stay under ``runs/hosts``.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import neps
import numpy as np
import optuna
import ray
import torch
from metad2a_plugin.adapters import neps as neps_adapter
from metad2a_plugin.adapters.optuna import StrategySampler
from metad2a_plugin.adapters.ray import StrategySearch
from ray import tune

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task
from metad2a_plugin.meta.trainings.database import load_trainings

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks._hosts import MODEL, Problem, Searcher, curve, key, searchers
    from benchmarks._trainings import FOLDER
    from benchmarks.trainings_strategies import rows_of_contexts
else:
    import _common as common
    from _hosts import MODEL, Problem, Searcher, curve, key, searchers
    from _trainings import FOLDER
    from trainings_strategies import rows_of_contexts

AT, POOL_AT = (10, 30, 100), (1, 3, 5, 10)
"""Queries that the tables show."""
IMAGES, LISTED = 20, 6
RESULTS = Path(__file__).parent / "results"
PACKAGES = {"Optuna": "optuna", "Ray Tune": "ray", "neps": "neural-pipeline-search"}
Runs = list[dict[str, list[float]]]
OF_STRATEGIES = ("MetaD2A, budget model's prior", "random search")
"""Rows of ``trainings_strategies`` that stand beside the hosts' own."""
NOTES = """
Test accuracy in percent of the best by validation accuracy after so many queries, mean and standard deviation of the
runs. **Ours** is the same strategy by each host's adapter: their proposals differ by how a host seeds them. MetaD2A is
`nasbench201-paper`, which has not seen the tables, with {images} images a class of its own in each run. *An ask* is the
processor's time of a proposal and of telling the value before it, after the first; the first has MetaD2A's features and
ranking in it, not the reading of the model. *All* is that of a whole run, medians. Where a proposal takes long there
are fewer runs, or queries. Ray Tune's OptunaSearch is Optuna's TPE.

A whole search by the strategy `random`, {trials} trials that only look something up, takes {whole} a
trial, starting included.
"""


# -- problems ------------------------------------------------------------------------------------
def tables(data: common.Data) -> list[Problem]:
    searcher, found = MetaD2A.from_pretrained(MODEL), []
    for name in common.TITLES:
        images = data.images(name)

        def task(seed: int, images: Any = images) -> Task:
            return searcher.task(images.sample(IMAGES, seed), progress=False)

        told, test = (data.table.accuracies(name, split) for split in ("valid", "test"))
        found.append(Problem(name, common.SPACE.decisions, partial(place_of_cell, data), told, test, task))
    return found


def place_of_cell(data: common.Data, chosen: Mapping[str, Any]) -> int:
    return data.table.index_of(common.SPACE.decide(lambda name: chosen[name]))


def pools() -> list[Problem]:
    """Cells that were trained in a context; a searcher chooses from a list."""
    trainings, found = load_trainings(FOLDER), []
    for name, rows in rows_of_contexts(trainings, 1).items():
        values = trainings.accuracy[rows].double().numpy()
        cells = [str(number) for number in range(len(rows))]
        found.append(Problem(name, {"cell": cells}, lambda chosen: int(chosen["cell"]), values, values))
    return found


# -- whole hosts ---------------------------------------------------------------------------------
def whole(problem: Problem, trials: int) -> dict[str, float]:
    """Seconds a trial of whole searches by each host, of which the trial itself takes none."""
    found = {}

    def value(chosen: Mapping[str, Any]) -> float:
        return float(problem.told[problem.place(chosen)])

    def objective(trial: optuna.Trial) -> float:
        return value({name: trial.suggest_categorical(name, options) for name, options in problem.decisions.items()})

    def evaluate(**chosen: Any) -> float:
        return -value({name.removeprefix("architecture_"): option for name, option in chosen.items()})

    def trial(config: dict[str, Any]) -> dict[str, float]:
        return {"accuracy": float(len(config))}  # a table would be sent to every process

    def timed(name: str, search: Callable[[], Any]) -> None:
        begin = time.perf_counter()
        search()
        found[name] = (time.perf_counter() - begin) / trials

    study = optuna.create_study(direction="maximize", sampler=StrategySampler("random", group="", seed=0))
    timed("Optuna", lambda: study.optimize(objective, n_trials=trials))
    with tempfile.TemporaryDirectory() as folder:
        space = neps_adapter.pipeline_space(common.SPACE)
        optimizer = partial(neps_adapter.strategy, name="random")
        arguments = {"root_directory": f"{folder}/neps", "optimizer": optimizer, "total_evaluations_to_spend": trials}
        timed("neps", lambda: neps.run(evaluate, space, **arguments))
        ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
        search = tune.TuneConfig(search_alg=StrategySearch("random"), num_samples=trials, reuse_actors=True)
        once = tune.RunConfig(storage_path=folder, name="tune", verbose=0)
        timed("Ray Tune", lambda: tune.Tuner(trial, tune_config=search, run_config=once).fit())
        ray.shutdown()
    return found


# -- results -------------------------------------------------------------------------------------
def after(runs: Runs, query: int) -> list[float]:
    return [run["scores"][query - 1] for run in runs]


def table_of_tables(rows: Sequence[Searcher], found: Mapping[str, Mapping[str, Runs]]) -> str:
    head = ["host", "searcher", "runs"]
    head += [f"{common.TITLES[name]}, {query}" for name in found for query in AT]
    lines = []
    for row in rows:
        runs = {name: each[key(row)] for name, each in found.items()}
        longest = len(next(iter(runs.values()))[0]["scores"])
        line = [row.host, f"**{row.name}**" if row.ours else row.name, str(len(next(iter(runs.values()))))]
        line += [
            common.mean_std(after(each, query), 2) if query <= longest else ""
            for each in runs.values()
            for query in AT
        ]
        asks = sorted(1000 * second for each in runs.values() for run in each for second in run["seconds"][1:])
        first = float(np.median([run["seconds"][0] for each in runs.values() for run in each]))
        line += [f"{np.median(asks):.1f} ({asks[int(0.95 * len(asks))]:.1f})", f"{first:.2f}"]
        total = float(np.median([sum(run["seconds"]) for each in runs.values() for run in each]))
        lines.append([*line, f"{total:.1f}"])
    return common.markdown([*head, "an ask, ms (95%)", "the first, s", "all, s"], lines)


def behind(rows: Sequence[Searcher], found: Mapping[str, Mapping[str, Runs]]) -> str:
    """Where a host's own searchers have a higher mean than ours of that host."""
    lines: dict[str, list[str]] = {row.name: [] for row in rows if row.ours}
    pairs = dict.fromkeys(lines, 0)
    for name, each in found.items():
        for query in AT:
            means = {
                row: float(np.mean(after(each[key(row)], query)))
                for row in rows
                if len(each[key(row)][0]["scores"]) >= query
            }
            for ours in (row for row in means if row.ours):
                others = {row.name: mean for row, mean in means.items() if row.host == ours.host and not row.ours}
                pairs[ours.name] += len(others)
                lines[ours.name] += [
                    f"{common.TITLES[name]} after {query}, {ours.host}: {other} (+{mean - means[ours]:.2f})"
                    for other, mean in others.items()
                    if mean > means[ours] + 0.005
                ]
    said = []
    for name, where in lines.items():
        # Those of a strategy that is often behind would be a page.
        listed = f": {'; '.join(where)}" if 0 < len(where) <= LISTED else ""
        said.append(f"- **{name}** in {len(where)} of {pairs[name]} comparisons{listed}")
    return "Where ours are behind what a host has of its own, by means:\n\n" + "\n".join(said) + "\n"


def gains(problem: Problem, runs: Iterable[Sequence[float]]) -> np.ndarray:
    """Of the way from a pool's mean to its best, percent, ``[runs, queries]``."""
    mean, best = problem.told.mean(), problem.told.max()
    return 100 * (np.array(list(runs)) - mean) / (best - mean)


def table_of_pools(
    rows: Sequence[Searcher],
    found: Mapping[str, Mapping[str, Runs]],
    problems: Sequence[Problem],
    known: Mapping[str, Mapping[str, Sequence[float]]],
) -> str:
    def line(host: str, name: str, runs: str, curves: Sequence[np.ndarray]) -> list[str]:
        mean = np.mean([each[:, : POOL_AT[-1]].mean(0) for each in curves], axis=0)
        return [host, name, runs, *(f"{mean[query - 1]:.0f}" for query in POOL_AT)]

    lines = []
    for row in rows:
        if not row.ours:
            curves = [gains(p, [run["scores"] for run in found[p.name][key(row)]]) for p in problems]
            lines.append(line(row.host, row.name, str(len(curves[0])), curves))
    for name in OF_STRATEGIES:
        lines.append(line("", f"**{name}**", "30", [gains(p, [known[p.name][name]]) for p in problems]))
    return common.markdown(["host", "searcher", "runs", *(f"gain after {q}, %" for q in POOL_AT)], lines)


def all_runs(rows: Sequence[Searcher], problem: Problem, most: int, longest: int, folder: Path) -> dict[str, Runs]:
    digests = {"Optuna": "_optuna*.py", "Ray Tune": "_ray*.py", "neps": "_neps*.py"}
    found: dict[str, Runs] = {}
    for row in sorted(rows, key=lambda row: -row.runs):  # the quick ones first
        queries = min(longest, row.queries)
        known = {"queries": queries, "release": version(PACKAGES[row.host])}
        if row.ours:
            known["code"] = common.code_digest(digests[row.host])
        found[key(row)] = [
            common.remember(
                folder / problem.name / key(row) / f"{seed}.json", known, partial(curve, row, problem, seed, queries)
            )
            for seed in range(min(most, row.runs))
        ]
        print(f"{problem.name}: {key(row)} done", flush=True)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--queries", type=int, default=100, help="on the tables")
    parser.add_argument("--trials", type=int, default=10, help="of a whole search by each host")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder, rows = options.runs / "hosts", searchers()
    given, of_pools = tables(common.Data(options.data)), pools()
    own = [row for row in rows if not row.ours]
    on_tables = {p.name: all_runs(rows, p, options.seeds, options.queries, folder) for p in given}
    on_pools = {p.name: all_runs(own, p, options.seeds, POOL_AT[-1], folder) for p in of_pools}
    took = common.remember(folder / "whole.json", {"trials": options.trials}, partial(whole, given[0], options.trials))
    known = json.loads((RESULTS / "trainings_strategies.json").read_bytes())["best so far"]
    said = ", ".join(f"{host} {1000 * seconds:.3g} ms" for host, seconds in took.items())
    text = table_of_tables(rows, on_tables) + "\n" + behind(rows, on_tables)
    text += NOTES.format(images=IMAGES, trials=options.trials, whole=said)
    means = {
        name: {row: np.mean([run["scores"] for run in runs], axis=0).tolist() for row, runs in each.items()}
        for name, each in {**on_tables, **on_pools}.items()
    }
    releases = {package: version(package) for package in PACKAGES.values()}
    settings = common.settings(options) | {"hosts": releases}
    results = {"settings": settings, "scores": means, "whole searches, seconds a trial": took}
    texts = {"hosts": text, "hosts_trainings": table_of_pools(rows, on_pools, of_pools, known)}
    common.write(options.out, "hosts", results, texts)
    draw(rows, on_tables, options.out)


def draw(rows: Sequence[Searcher], found: Mapping[str, Mapping[str, Runs]], out: Path) -> None:
    from matplotlib.figure import Figure

    hosts = list(dict.fromkeys(row.host for row in rows))
    figure = Figure(figsize=(13, 7), layout="constrained")
    grid = figure.subplots(len(found), len(hosts), sharey="row", squeeze=False)
    for axes_of, (name, each) in zip(grid, found.items(), strict=True):
        for axes, host in zip(axes_of, hosts, strict=True):
            for row in (row for row in rows if row.host == host):
                mean = np.mean([run["scores"] for run in each[key(row)]], axis=0)
                style: dict[str, Any] = {"linewidth": 2.4} if row.ours else {"linestyle": "--"}
                style["label"] = f"{row.name}, ours" if row.ours else row.name
                axes.plot(np.arange(1, len(mean) + 1), mean, **style)
            top = max(np.mean([run["scores"] for run in runs], axis=0).max() for runs in each.values())
            axes.set_ylim(top - 2 * (3 if name == "imagenet16-120" else 1), top + 0.3)
            axes.set_xscale("log")
            axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
            axes.minorticks_off()
            axes.set_title(f"{common.TITLES[name]}, {host}")
            axes.grid(alpha=0.3)
            axes.legend(loc="lower right", fontsize=7)
        axes_of[0].set_ylabel("test accuracy of the best so far (%)")
    for axes in grid[-1]:
        axes.set_xlabel("queries")
    common.write_figure(out, "hosts", figure)


if __name__ == "__main__":
    main()
