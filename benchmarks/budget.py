"""What the predictor of budgets tells of image sets that it has not seen: the rows of `benchmarks/trainings`.

    python benchmarks/budget.py --data ../shared/data
    python benchmarks/budget.py --data ../shared/data --ablations

Every image set is left out once, with all of its tasks and tables: trainings of the other sets are all that is known.
Variances are learned without the set too, of which `--groups` are left out together for that. Its blind twin sees no
images, another twin no budget; *mean order* sees neither, and so gives the order that the other sets have on average.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr

from metad2a_plugin.data.statistics import STATISTICS
from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.meta.trainings.evidence import Made, budget_of
from metad2a_plugin.meta.trainings.fit import BudgetFitConfig, fit_budget_model, learn
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.budget_curve import condition, percent
from metad2a_plugin.models.budget_inputs import DATASET, dataset_features
from metad2a_plugin.models.budget_kernel import Hyper
from metad2a_plugin.models.budget_process import Head
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.plugins.task import Task

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks._budget_tables import metrics, plain, texts
    from benchmarks._trainings import FOLDER, Measured, without
else:
    import _common as common
    from _budget_tables import metrics, plain, texts
    from _trainings import FOLDER, Measured, without

VARIANTS: dict[str, tuple[str, ...]] = {
    "ours": (),
    "blind twin": ("dataset",),
    "no budget": ("budget",),
    "mean order": ("dataset", "budget"),
}
ABLATED: dict[str, tuple[str, ...]] = {
    "steps": ("steps", "epochs"),
    "number of images": ("images",),
    "resolution": ("input_size",),
    "network size": ("channels", "cells"),
    "learning rate": ("lr",),
    "prior columns (tables)": ("columns",),
    "pixel statistics": STATISTICS,
    "features of the encoder": ("linear_probe", "prototypes", "margin", "entropy_5", "entropy_20", "within"),
}
DEFAULTS = (
    {"channels": 16, "cells": 5, "input_size": 32, "epochs": 30, "batch_size": 128},
    {"channels": 16, "cells": 1, "input_size": 32, "epochs": 30, "batch_size": 32},
    {"channels": 32, "cells": 1, "input_size": 32, "epochs": 20, "batch_size": 32},
    {"channels": 32, "cells": 2, "input_size": 48, "epochs": 20, "batch_size": 64},
    {"channels": 24, "cells": 2, "input_size": 32, "epochs": 40, "batch_size": 16},
)
"""Configurations that one could always use; the nearest measured one stands for each."""
_SHARED = 6  # architectures of a context, from which its order is scored
_OF_A_TASK = 5  # contexts of a task, likewise
SEEN = (0, 1, 3)


@dataclass(frozen=True)
class LeftOut:
    """Predictions of the rows of one image set, in percent and of the model that knows no row of it."""

    rows: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor


def groups(sets: Sequence[str], count: int) -> list[list[str]]:
    """Image sets whose variances are learned without all of a group."""
    return [list(sets[start::count]) for start in range(count)]


class Study:
    """Fits without image sets; what was fitted is kept for the run."""

    def __init__(self, measured: Measured, count: int, config: BudgetFitConfig) -> None:
        live = ~measured.trainings.space.dead_mask(measured.trainings.vertices)
        self.measured, self.config = measured, config
        self.trainings = measured.trainings.rows(live)
        self.sets = sorted(set(self.trainings.image_set))
        self.groups = groups(self.sets, count)
        predictor = load_checkpoint("nasbench201").predictor
        assert isinstance(predictor, SubspaceEnsemble)
        self.long = predictor
        self.owner = np.array(self.trainings.image_set)
        self._described: dict[int, torch.Tensor] = {}

    def described(self, task: Task) -> torch.Tensor:
        """`dataset_features`, computed once."""
        if id(task) not in self._described:
            self._described[id(task)] = dataset_features(task)
        return self._described[id(task)]

    def model(
        self, sets: Sequence[str], left: tuple[str, ...], *, curves: bool = False, start: Any = None
    ) -> BudgetModel:
        """Fitted without these sets, and without some inputs."""
        config = replace(self.config, without=left, curves_from=self.config.curves_from if curves else 0)
        if start is not None:
            # Widths of intervals are asked of the one with curves only.
            config = replace(config, iterations=0, learned_from=config.learned_from if curves else 0)
        rows = torch.from_numpy(~np.isin(self.owner, sets))
        tables = without(self.measured.tables, set(sets))
        return fit_budget_model(
            self.trainings.rows(rows),
            self.measured.tasks,
            self.long,
            tables=tables,
            config=config,
            start=start,
            described=self.described,
        )

    def models(self, left: tuple[str, ...], *, curves: bool = False) -> Iterator[tuple[str, BudgetModel]]:
        """One for every image set, which it has not seen; all of them at once would take tens of gigabytes."""
        done = 0
        for group in self.groups:
            start = [head.hyper for head in self.model(group, left, curves=curves).heads]
            # Tables that the others have may be prior columns here, and were none in the group.
            for one in group:
                columns = len({t.schedule for t in without(self.measured.tables, {one})}) * ("columns" not in left)
                known = start if start[0].columns.shape[1] == columns else None
                yield one, self.model([one], left, curves=curves, start=known)
                done += 1
            print(f"without {', '.join(left) or 'nothing'}: {done} of {len(self.sets)} image sets", flush=True)

    def left_out(self, name: str, model: BudgetModel) -> LeftOut:
        """What a model says of the rows of an image set."""
        rows = torch.from_numpy(np.flatnonzero(self.owner == name))
        mean, std = torch.zeros(len(rows)), torch.zeros(len(rows))
        for number in self.trainings.task[rows].unique().tolist():
            inside = self.trainings.task[rows] == number
            budgets = [budget_of(self.trainings, row) for row in rows[inside].tolist()]
            task, vertices = self.measured.tasks[number], self.trainings.vertices[rows[inside]]
            told = model.predict_designs(task, vertices, budgets)
            assert told.std is not None
            mean[inside], std[inside] = told.mean, told.std
        return LeftOut(rows, mean, std)


# -- (a) orders, (b) regret ----------------------------------------------------------------------
def averaged(trainings: Trainings, rows: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of the rows of a context: score, mean accuracy and variance between seeds of each architecture."""
    kind = trainings.space.places(trainings.space.simplify(trainings.vertices[rows]))
    found, index = kind.unique(return_inverse=True)
    accuracy = trainings.accuracy[rows].double()
    mean = torch.stack([accuracy[index == k].mean() for k in range(len(found))])
    score = torch.stack([scores[index == k].double().mean() for k in range(len(found))])
    many = [accuracy[index == k] for k in range(len(found)) if (index == k).sum() > 1]
    noise = torch.stack([one.var() for one in many]).mean() if many else torch.tensor(torch.nan)
    return score, mean, noise


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    value = float(spearmanr(a.numpy(), b.numpy())[0])
    return value if value == value else 0.0


def contexts(trainings: Trainings, rows: torch.Tensor) -> list[torch.Tensor]:
    """Positions among `rows` of each context with many architectures."""
    numbers = trainings.context[rows]
    found = [torch.nonzero(numbers == number)[:, 0] for number in numbers.unique()]
    return [one for one in found if len(trainings.vertices[rows[one]].unique(dim=0)) >= _SHARED]


def cells(
    trainings: Trainings, left: Mapping[str, LeftOut], score: Callable[[LeftOut], torch.Tensor]
) -> dict[str, Any]:
    """Order and regret of architectures in a context, means of each image set."""
    found: dict[str, list[list[float]]] = {}
    for name, one in left.items():
        for inside in contexts(trainings, one.rows):
            predicted, accuracy, noise = averaged(trainings, one.rows[inside], score(one)[inside])
            order, best = predicted.argsort(descending=True), accuracy.max()
            spread = float((best - accuracy.mean()).clamp(min=1e-6))
            ceiling = float((1 - noise / accuracy.var()).clamp(0, 1).sqrt())
            first, five = float(best - accuracy[order[0]]), float(best - accuracy[order[:5]].max())
            found.setdefault(name, []).append(
                [spearman(predicted, accuracy), ceiling, first, five, first / spread, five / spread]
            )
    return {name: np.nanmean(np.array(values), axis=0).tolist() for name, values in found.items()}


def configurations(
    trainings: Trainings, left: Mapping[str, LeftOut], score: Callable[[LeftOut], torch.Tensor]
) -> dict[str, list[float]]:
    """Order within a set and within its tasks, and the regret of the first proposal within a task.

    One row of every context, so that cells of one context are not taken for configurations.
    """
    found = {}
    for name, one in left.items():
        _, number = trainings.context[one.rows].unique(return_inverse=True)
        first = torch.tensor([int(torch.nonzero(number == n)[0]) for n in range(int(number.max()) + 1)])
        tasks, accuracy = trainings.task[one.rows][first], trainings.accuracy[one.rows].double()[first]
        scores, values = score(one).double()[first], []
        for task in tasks.unique():
            inside = tasks == task
            if inside.sum() >= _OF_A_TASK:
                a, s = accuracy[inside], scores[inside]
                values.append([spearman(s, a), float(a.max() - a[s.argmax()]), float(a.max() - a.mean())])
        if len(first) >= _OF_A_TASK:
            means = np.mean(values, axis=0).tolist() if values else [float("nan")] * 3
            found[name] = [spearman(scores, accuracy), *means]
    return found


def default_scores(trainings: Trainings, default: Mapping[str, float]) -> Callable[[LeftOut], torch.Tensor]:
    """Nearness to a fixed configuration, in doublings."""

    def score(one: LeftOut) -> torch.Tensor:
        parts = [(trainings.settings[name][one.rows] / value).log2().abs() for name, value in default.items()]
        return -torch.stack(parts).sum(0)

    return score


# -- (c) tables ----------------------------------------------------------------------------------
def tables(study: Study) -> dict[str, dict[str, float]]:
    """Spearman over all live cells of each table, from all but that table, and from no table of its dataset."""
    every, found = common.SPACE.all_vertices(), {}
    live = ~common.SPACE.dead_mask(every)
    for left in study.measured.tables:
        values = {}
        for how, kept in (
            ("table left out", [t for t in study.measured.tables if t is not left]),
            ("dataset left out", [t for t in study.measured.tables if t.source != left.source]),
        ):
            rows = torch.from_numpy(study.owner != left.image_set)
            config = replace(study.config, curves_from=0)
            some = study.trainings.rows(rows)
            model = fit_budget_model(
                some, study.measured.tasks, study.long, tables=kept, config=config, described=study.described
            )
            predicted = model.predict_task(left.task, every[live], left.budget).mean
            values[how] = spearman(predicted, left.accuracy[live])
        found[f"{left.source}, {left.budget.epochs} epochs"] = values
    return found


# -- (e) curves ----------------------------------------------------------------------------------
def curves(study: Study, name: str, model: BudgetModel) -> dict[str, list[float]]:
    """Mean absolute error of the last accuracy of an image set, in points: ours and the last value seen."""
    trainings = study.trainings
    errors: dict[str, list[tuple[float, float]]] = {}
    owned = torch.from_numpy(np.flatnonzero(study.owner == name))
    owned = owned[trainings.task[owned].argsort(stable=True)]
    for number in trainings.context[owned].unique_consecutive().tolist():
        rows = owned[trainings.context[owned] == number]
        budget = budget_of(trainings, int(rows[0]))
        if budget.epochs < 10:
            continue
        task, truth = study.measured.tasks[int(trainings.task[rows[0]])], trainings.curve[rows, : budget.epochs]
        tenth = max(1, round(budget.epochs / 10))
        context, networks = model.context(task, budget), model.networks(trainings.vertices[rows])
        held_out = float(trainings.settings["held_out_images"][rows[0]])
        middle, joint = model.logits(context, networks, held_out)
        for title, seen in (*((f"{n} epochs", n) for n in SEEN), ("a tenth", tenth)):
            mean = percent(*condition(middle, joint, budget.epochs, truth[:, :seen], model.wiggle))[0]
            wrong = (mean[:, -1] - truth[:, -1]).abs().tolist()
            last = (truth[:, seen - 1] - truth[:, -1]).abs() if seen else torch.full((len(rows),), float("nan"))
            errors.setdefault(title, []).extend(zip(wrong, last.tolist(), strict=True))
    return {title: np.mean(values, axis=0).tolist() for title, values in errors.items()}


# -- all -----------------------------------------------------------------------------------------
def run(study: Study) -> dict[str, Any]:
    trainings = study.trainings
    results: dict[str, Any] = {}
    left: dict[str, dict[str, LeftOut]] = {name: {} for name in VARIANTS}
    results["curves"] = {}
    for name, without_inputs in VARIANTS.items():
        ours = name == "ours"
        for image_set, model in study.models(without_inputs, curves=ours):
            left[name][image_set] = study.left_out(image_set, model)
            if ours and (errors := curves(study, image_set, model)):
                results["curves"][image_set] = errors
    params, _ = trainings.space.costs(trainings.vertices)

    def of(name: str) -> Callable[[LeftOut], torch.Tensor]:
        return lambda one: left[name][str(study.owner[int(one.rows[0])])].mean

    scores: dict[str, Callable[[LeftOut], torch.Tensor]] = {name: of(name) for name in VARIANTS}
    scores |= {"parameters": lambda one: params[one.rows]}
    results["cells"] = {name: cells(trainings, left["ours"], score) for name, score in scores.items()}
    results["configurations"] = {name: configurations(trainings, left["ours"], of(name)) for name in VARIANTS}
    for number, default in enumerate(DEFAULTS, 1):
        results["configurations"][f"default {number}"] = configurations(
            trainings, left["ours"], default_scores(trainings, default)
        )
    inside = {}
    for name, one in left["ours"].items():
        wrong = (trainings.accuracy[one.rows] - one.mean).abs()
        inside[name] = [float((wrong <= 1.645 * one.std).double().mean()), float(wrong.mean())]
    results["intervals"] = inside
    results["tables"] = tables(study)
    return results


def ablations(study: Study) -> dict[str, list[float]]:
    """Without each group of inputs: orders of configurations and of cells, and the error in points.

    Variances are learned anew, from all image sets at once; what the other sets say of the rows of one is in closed
    form.
    """
    results, trainings = {}, study.trainings
    for name, inputs in {"nothing": (), **ABLATED}.items():
        config = replace(study.config, without=inputs, curves_from=0)
        tables, tasks = study.measured.tables, study.measured.tasks
        made = Made(trainings, tasks, tables, config, study.described)
        rows, target, known = made.targets(0)
        start = Hyper.start(len(made.budget_center), len(DATASET), made.columns.shape[1])
        hyper = learn(start, made.evidence, rows, target, known, config.learned_from, config)
        head = Head(hyper, rows, target, known, target.mean()[None], torch.ones(1).double())
        mean = 100 * (target - made.left_out(head)[0])[: len(trainings)].sigmoid().float()
        owned = {one: torch.from_numpy(np.flatnonzero(study.owner == one)) for one in study.sets}
        found = {one: LeftOut(rows, mean[rows], torch.zeros(len(rows))) for one, rows in owned.items()}
        results[name] = [
            statistics.fmean(v[0] for v in configurations(trainings, found, lambda o: o.mean).values()),
            statistics.fmean(v[0] for v in cells(trainings, found, lambda o: o.mean).values()),
            statistics.fmean(float((trainings.accuracy[o.rows] - o.mean).abs().mean()) for o in found.values()),
        ]
        print(f"without {name}: {results[name]}", flush=True)
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the database of trainings")
    parser.add_argument(
        "--groups", type=int, default=4, help="parts of the image sets that variances are learned without"
    )
    parser.add_argument("--ablations", action="store_true", help="leave out inputs; the rest is done before")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    measured = Measured(common.Data(options.data), options.runs / "features", options.folder)
    study = Study(measured, options.groups, BudgetFitConfig())
    given = {name: value for name, value in common.settings(options).items() if name not in ("folder", "ablations")}
    if options.ablations:
        results = json.loads((options.out / "budget.json").read_bytes())
        given = results.pop("settings")
        results["ablations"] = ablations(study)
    else:
        results = run(study)
        results["metrics"] = metrics(results)
        contexts = len(study.trainings.context.unique())
        results["rows"] = {"trainings": len(study.trainings), "contexts": contexts, "image sets": len(study.sets)}
    common.write(options.out, "budget", {"settings": given, **plain(results)}, texts(results))


if __name__ == "__main__":
    main()
