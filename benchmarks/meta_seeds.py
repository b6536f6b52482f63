"""How well predictors do over meta-training seeds: on validation rows, and zero-shot on the benchmark tables.

    python benchmarks/meta_seeds.py --data ../shared/data

Table accuracies only score what a model has ranked; no model but those named so has seen a table. Checkpoints and
finished seeds stay under ``runs/meta_seeds``, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task, extract_task, get_encoder
from metad2a_plugin.meta.config import MetaTrainConfig
from metad2a_plugin.meta.database import MetaDatabase
from metad2a_plugin.meta.fit import FitConfig, fit_ensemble
from metad2a_plugin.meta.metrics import pearson, spearman
from metad2a_plugin.meta.paper import train_predictor
from metad2a_plugin.meta.paper_config import PREDICTOR
from metad2a_plugin.meta.train import meta_train
from metad2a_plugin.meta.validation import validate
from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.models.predictor import PaperAccuracy

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

Result = dict[str, Any]
"""``validation`` metrics, and ``zero_shot`` metrics by dataset, of one seed; a blind twin's under ``blind``."""
OTHER = {"cifar10": "imagenet16-120", "imagenet16-120": "cifar10"}
AIMS = {
    "default": {"pearson": 0.80, "spearman": 0.76},
    "teacher": {"pearson": 0.83, "spearman": 0.79},
}
ZERO_SHOT_AIMS = {
    "cifar10": {"spearman": 0.80, "top1": 93.9, "top5": 94.3},
    "imagenet16-120": {"spearman": 0.80, "top1": 45.0, "top5": 46.5},
}
TABLE_AIMS = {"cifar10": 94.3, "imagenet16-120": 46.4}
COVERAGE = (0.85, 0.95)
NAMES = {
    "default": "default, shipped encoder",
    "teacher": "default, teacher features",
    "paper": "paper's, shipped encoder",
}
VALIDATION_NOTES = """
Means and standard deviations over meta-training seeds, on the {rows} validation rows of the meta-database; *new tasks*
are the {new} rows of tasks that no training row has. *Level only* lets a dataset move all architectures alike. *Blind*
is without the dataset: the default predictor's answer for the average task, the paper's predictor trained on features
of zeros. *Teacher features* are those that the shipped encoder was distilled from: what a better
encoder could reach. *Ridge* knows which classes a task has, which no new dataset can offer: one weight a class, and
one for each operation and pair of operations. Coverage is the share of the rows measured by the main protocol inside
the 90% interval that a search shows (of the paper's predictor on the half of the tasks that did not set its noise),
width the mean length of the interval in points; *all rows* is the coverage of one that allows for either protocol.
"""
ZERO_SHOT_NOTES = """
No architecture is trained and the tables only score: test accuracy after 200 epochs, in percent. Spearman is over all
15,625 cells; the top is that of `MetaD2A.rank`, without dead cells and duplicates. Means and standard deviations over
meta-training seeds. *Blind* ranks without the dataset. *Tables* also learned from all cells of the other dataset
(mean of its validation and test accuracies); the baseline takes the best cells of the other dataset by that same mean.
*Random* draws live networks. The best cells of the tables have {best}. The images of CIFAR-10 are at most 200 a class
of its training set; those of ImageNet16-120 are its 120 classes at 16 px, classes that meta-training tasks hold too.
"""


@dataclass(frozen=True)
class Bench:
    """What all models share: the data, tasks by dataset, and the folder of finished parts."""

    data: common.Data
    tasks: Mapping[str, Task]
    folder: Path

    # -- one seed each -----------------------------------------------------------------------
    def shipped(self, seed: int, recipe: str = "default") -> Result:
        """A model of the meta-database's rows alone, as ``metad2a meta-train`` makes it."""
        searcher = self.train("nasbench201-paper" if recipe == "default" else recipe, seed, recipe=recipe)
        metrics = searcher.checkpoint.training["metrics"]
        result: Result = {
            "validation": metrics,
            "zero_shot": {name: self.zero_shot(searcher, task, name) for name, task in self.tasks.items()},
        }
        if recipe == "default":
            result["blind"] = {
                "validation": {key: metrics[f"{key}_blind"] for key in ("pearson", "spearman")},
                "zero_shot": {name: self.zero_shot(searcher, None, name) for name in self.tasks},
            }
        else:
            result["blind"] = self.paper_blind(seed)
        return result

    def teacher(self, seed: int) -> Result:
        database, classes = self.data.database, self.data.teacher
        model = fit_ensemble(database, classes, common.SPACE.all_vertices(), FitConfig(seed=seed, selection=True))
        return {"validation": validate(model, database, classes)}

    def paper_blind(self, seed: int) -> Result:
        """The paper's predictor without a dataset: every feature is zero."""
        classes = replace(self.data.classes, features=torch.zeros_like(self.data.classes.features))
        config, run_dir = replace(PREDICTOR, seed=seed), self.folder / "paper-blind" / f"seed-{seed}"
        trained = train_predictor(self.data.database, classes, config, run_dir=run_dir)
        model = PaperAccuracy(trained.predictor, trained.mean, trained.scale, noise=1.0)
        encoder = get_encoder()
        searcher = MetaD2A(Checkpoint("blind", common.SPACE.name, encoder.name, encoder.fingerprint, model, None))
        metrics = validate(model, self.data.database, classes)
        blank = {n: replace(t, features=torch.zeros_like(t.features)) for n, t in self.tasks.items()}
        return {
            "validation": {key: metrics[key] for key in ("pearson", "spearman")},
            "zero_shot": {name: self.zero_shot(searcher, task, name) for name, task in blank.items()},
        }

    def left_out(self, name: str, seed: int) -> Result:
        """A model that learned from the other dataset's table too."""
        table = {OTHER[name]: self.data.table.training_table(OTHER[name])}
        searcher = self.train(f"without-{name}", seed, tables=table)
        blind = {"zero_shot": {name: self.zero_shot(searcher, None, name)}}
        return {"zero_shot": {name: self.zero_shot(searcher, self.tasks[name], name)}, "blind": blind}

    # -- parts -------------------------------------------------------------------------------
    def train(self, name: str, seed: int, recipe: str = "default", tables: Mapping[str, Any] | None = None) -> MetaD2A:
        config = MetaTrainConfig(
            recipe=recipe, protocol_step=common.PROTOCOL_STEP, selection=True, generator=False, seed=seed
        )
        out = self.folder / name / f"seed-{seed}"
        meta_train(self.data.meta, self.data.imagenet, out, config, tables=tables, command="benchmarks/meta_seeds.py")
        # Read back, because that is what a search would use.
        return MetaD2A.from_pretrained(out)

    def zero_shot(self, searcher: MetaD2A, task: Task | None, name: str) -> dict[str, float]:
        truth = torch.from_numpy(self.data.table.accuracies(name).copy())
        predicted = searcher.predict(task, common.SPACE.all_vertices()).mean
        best = self.data.table.accuracy(searcher.rank(task).vertices[:10], name)
        return {"spearman": spearman(predicted, truth)} | top(best)


def top(accuracies: np.ndarray) -> dict[str, float]:
    """Of the ten best by prediction, best first."""
    found = {"top1": accuracies[0], "top5": accuracies[:5].max(), "mean10": accuracies.mean()}
    return {name: float(value) for name, value in found.items()}


def best_of_other(data: common.Data, name: str) -> dict[str, float]:
    """Baseline: the cells that were best on the other dataset."""
    accuracy, truth = data.table.training_table(OTHER[name]).accuracy, data.table.accuracies(name)
    best = accuracy.argsort(descending=True, stable=True)[:10]
    return {"spearman": spearman(accuracy, torch.from_numpy(truth.copy()))} | top(truth[best.numpy()])


def random_networks(data: common.Data, name: str) -> dict[str, float]:
    """What to expect of ten random live networks."""
    cells = common.SPACE.all_vertices()
    live = data.table.accuracies(name)[~common.SPACE.dead_mask(cells).numpy()]
    draws = np.random.default_rng(0).choice(live, (20_000, 5))
    mean = float(live.mean())
    return {"spearman": 0.0, "top1": mean, "top5": float(draws.max(1).mean()), "mean10": mean}


# -- ridge regression on class identities --------------------------------------------------------
def ridge(database: MetaDatabase, blind: bool = False) -> dict[str, float]:
    """Correlations on validation rows; penalties by cross-validation over the tasks of the training rows."""
    ops = F.one_hot(database.vertices[:, 1:-1] - 2).double()
    first, second = torch.triu_indices(6, 6, offset=1)
    pairs = torch.einsum("npa,npb->npab", ops[:, first], ops[:, second]).flatten(1)
    held = torch.zeros(len(database.task_classes), int(database.task_classes.max()) + 1, dtype=torch.float64)
    held.scatter_(1, database.task_classes, 1.0)
    parts = [torch.cat([ops.flatten(1), pairs], dim=1), held[database.task]]
    value, train = database.accuracy.double(), torch.nonzero(~database.valid).squeeze(1)
    fold = database.task % 5

    def predict(penalties: tuple[float, float], inside: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
        scaled = [part / penalty**0.5 for part, penalty in zip(parts, penalties, strict=True)]
        x = scaled[0] if blind else torch.cat(scaled, dim=1)
        center, mean = x[inside].mean(0), value[inside].mean()
        known = x[inside] - center
        gram = known.T @ known + torch.eye(x.shape[1], dtype=x.dtype)
        weights = torch.linalg.solve(gram, known.T @ (value[inside] - mean))
        return mean + (x[outside] - center) @ weights

    def error(penalties: tuple[float, float]) -> float:
        splits = [(train[fold[train] != k], train[fold[train] == k]) for k in range(5)]
        return sum(float((predict(penalties, i, o) - value[o]).square().sum()) for i, o in splits)

    grid = [(a, b) for a in (3.0, 10.0, 30.0) for b in ((1.0,) if blind else (10.0, 30.0, 100.0))]
    valid = torch.nonzero(database.valid).squeeze(1)
    found = predict(min(grid, key=error), train, valid)
    return {"pearson": pearson(found, value[valid]), "spearman": spearman(found, value[valid])}


# -- tables and figure ---------------------------------------------------------------------------
def validation_row(name: str, metrics: Sequence[Mapping[str, float]], aims: Mapping[str, float]) -> list[str]:
    """A line of the table; metrics that were not measured leave their column empty."""
    values = {key: [m[key] for m in metrics] for key in metrics[0]}
    reached = [common.aim(values[key], least, 2) for key, least in aims.items()]
    shares = {key: [100 * v for v in found] for key, found in values.items() if key.startswith("coverage")}
    columns = (
        (values, "pearson", 3),
        (values, "spearman", 3),
        (values, "pearson_new", 3),
        (values, "spearman_new", 3),
        (shares, "coverage_90", 1),
        (values, "width_90", 1),
        (shares, "coverage_90_all", 1),
    )
    row = [name, str(len(metrics))]
    row += [common.mean_std(found[key], digits) if key in found else "" for found, key, digits in columns]
    if "coverage_90" in values:
        covered = statistics.fmean(values["coverage_90"])
        reached.append(f"85 to 95% {'met' if COVERAGE[0] <= covered <= COVERAGE[1] else 'missed'}")
    return [*row, ", ".join(reached)]


def validation_table(results: Mapping[str, Sequence[Result]], references: Mapping[str, Any]) -> str:
    rows = []
    for name, title in NAMES.items():
        seeds = results.get(name, [])
        metrics = [seed["validation"] for seed in seeds]
        if seeds:
            rows.append(validation_row(title, metrics, AIMS.get(name, {})))
        if seeds and "pearson_level" in metrics[0]:
            level = [{key: m[f"{key}_level"] for key in ("pearson", "spearman")} for m in metrics]
            rows.append(validation_row(f"{title}, level only", level, {}))
        if seeds and "blind" in seeds[0]:
            rows.append(validation_row(f"{title}, blind", [s["blind"]["validation"] for s in seeds], {}))
    rows += [validation_row(name, [metrics], {}) for name, metrics in references.items()]
    header = (
        "predictor",
        "seeds",
        "Pearson",
        "Spearman",
        "Pearson, new tasks",
        "Spearman, new tasks",
        "90% coverage",
        "width",
        "coverage, all rows",
        "aim (Pearson, Spearman, coverage)",
    )
    return common.markdown(header, rows)


def zero_shot_row(name: str, metrics: Sequence[Mapping[str, float]], aims: Sequence[str] = ()) -> list[str]:
    numbers = [
        common.mean_std([m[key] for m in metrics], digits)
        for key, digits in (("spearman", 3), ("top1", 2), ("top5", 2), ("mean10", 2))
    ]
    return [name, str(len(metrics)) if len(metrics) > 1 else "", *numbers, ", ".join(aims)]


def zero_shot_table(dataset: str, results: Mapping[str, Sequence[Result]], references: Mapping[str, Any]) -> str:
    rows = []
    for key, title in {**NAMES, f"without-{dataset}": "default, tables"}.items():
        seeds = [s for s in results.get(key, []) if "zero_shot" in s]
        if not seeds:
            continue
        found = [s["zero_shot"][dataset] for s in seeds]
        aims: list[str] = []
        if key == "default":
            limits = ZERO_SHOT_AIMS[dataset]
            aims = [common.aim([f[k] for f in found], v, 2 if k == "spearman" else 1) for k, v in limits.items()]
        elif key == f"without-{dataset}":
            plain = references["best of the other dataset"]["top1"]
            top1 = [f["top1"] for f in found]
            aims = [common.aim(top1, TABLE_AIMS[dataset], 1), f"baseline's {common.aim(top1, plain, 2)}"]
        rows.append(zero_shot_row(title, found, aims))
        rows.append(zero_shot_row(f"{title}, blind", [s["blind"]["zero_shot"][dataset] for s in seeds]))
    rows += [zero_shot_row(name, [metrics]) for name, metrics in references.items()]
    header = ("ranked by", "seeds", "Spearman", "top 1", "best of top 5", "mean of top 10", "aim")
    return f"**{common.TITLES[dataset]}**\n\n" + common.markdown(header, rows)


def draw(bench: Bench, out: Path) -> None:
    """Predicted against measured accuracy of every cell, by the first seed."""
    from matplotlib.figure import Figure

    searcher = MetaD2A.from_pretrained(bench.folder / "nasbench201-paper" / "seed-0")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (name, task) in zip(figure.subplots(1, 2), bench.tasks.items(), strict=True):
        truth = bench.data.table.accuracies(name)
        ranking = searcher.rank(task)
        index = bench.data.table.index_of(ranking.vertices)
        predicted = ranking.prediction.mean.numpy()
        axes.scatter(predicted, truth[index], s=3, alpha=0.25, linewidths=0, label=f"{len(index):,} live networks")
        axes.scatter(
            predicted[:10], truth[index[:10]], s=22, color="tab:red", label="the ten that a search returns first"
        )
        axes.axhline(truth.max(), color="black", linewidth=0.8, linestyle="--", label="best of the table")
        axes.set_xlabel("predicted accuracy on the scale of meta-training tasks (%)")
        axes.set_ylabel("test accuracy after 200 epochs (%)")
        axes.set_title(common.TITLES[name])
        axes.legend(loc="lower right", markerscale=1.5)
    common.write_figure(out, "zero_shot", figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="of the default predictor")
    parser.add_argument("--paper-seeds", type=int, default=3, help="of the paper's predictor, which takes longer")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    tasks = {name: extract_task(data.images(name)) for name in common.TITLES}
    bench = Bench(data, tasks, options.runs / "meta_seeds")
    models: dict[str, tuple[Callable[[int], Result], int]] = {
        "default": (bench.shipped, options.seeds),
        "teacher": (bench.teacher, options.seeds),
        "paper": (partial(bench.shipped, recipe="paper"), options.paper_seeds),
        **{f"without-{name}": (partial(bench.left_out, name), options.seeds) for name in tasks},
    }
    key = {"encoder": get_encoder().fingerprint, "threads": options.threads}
    results: dict[str, list[Result]] = {}
    for name, (compute, seeds) in models.items():
        results[name] = []
        for seed in range(seeds):
            kept = bench.folder / "results" / f"{name}-{seed}.json"
            results[name].append(common.remember(kept, key, partial(compute, seed)))
            print(f"{name}: seed {seed} done", flush=True)
    identities = {
        "ridge on class identities": ridge(data.database),
        "ridge, blind": ridge(data.database, blind=True),
    }
    references = {
        name: {"best of the other dataset": best_of_other(data, name), "random": random_networks(data, name)}
        for name in tasks
    }
    valid, task = data.database.valid, data.database.task
    new = int((~torch.isin(task[valid], task[~valid])).sum())
    best = " and ".join(f"{data.table.accuracies(n).max():.2f} ({common.TITLES[n]})" for n in tasks)
    zero_shot = "\n".join(zero_shot_table(name, results, references[name]) for name in tasks)
    common.write(
        options.out,
        "meta_seeds",
        {
            "settings": common.settings(options),
            "results": results,
            "validation_references": identities,
            "zero_shot_references": references,
        },
        {
            "validation": validation_table(results, identities)
            + VALIDATION_NOTES.format(rows=int(valid.sum()), new=new),
            "zero_shot": zero_shot + ZERO_SHOT_NOTES.format(best=best),
        },
    )
    draw(bench, options.out)


if __name__ == "__main__":
    main()
