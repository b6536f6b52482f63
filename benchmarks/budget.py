"""What the predictor of budgets tells of image sets that it has not seen: the rows of `benchmarks/trainings`.

    python benchmarks/budget.py --data ../shared/data

Every image set is left out once, with all of its tasks and tables: trainings of the other sets are all that is known.
Variances are learned without the set too, of which `--groups` are left out together for that. Its blind twin sees no
images, another twin no budget; *mean order* sees neither, and so gives the order that the other sets have on average.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr

from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.meta.trainings.evidence import budget_of
from metad2a_plugin.meta.trainings.fit import BudgetFitConfig, fit_budget_model
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.models.ensemble import SubspaceEnsemble

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks._trainings import FOLDER, Measured, without
else:
    import _common as common
    from _trainings import FOLDER, Measured, without

VARIANTS: dict[str, tuple[str, ...]] = {
    "ours": (),
    "blind twin": ("dataset",),
    "no budget": ("budget",),
    "mean order": ("dataset", "budget"),
}
ABLATED: dict[str, tuple[str, ...]] = {
    "steps": ("steps", "seen"),
    "number of images": ("images",),
    "resolution": ("input_size",),
    "network size": ("channels", "cells"),
    "learning rate": ("lr",),
    "prior columns (tables)": ("columns",),
    "pixel statistics": ("spectrum_slope", "colour", "background", "edges", "contrast", "variety", "pixel_probe"),
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
_OF_A_TASK = 8  # rows of a task, likewise
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

    def model(
        self, sets: Sequence[str], left: tuple[str, ...], *, curves: bool = False, start: Any = None
    ) -> BudgetModel:
        """Fitted without these sets, and without some inputs."""
        config = replace(self.config, without=left, curves_from=self.config.curves_from if curves else 0)
        if start is not None:
            config = replace(config, iterations=0)
        rows = torch.from_numpy(~np.isin(self.owner, sets))
        tables = without(self.measured.tables, set(sets))
        return fit_budget_model(
            self.trainings.rows(rows), self.measured.tasks, self.long, tables=tables, config=config, start=start
        )

    def models(self, left: tuple[str, ...], *, curves: bool = False) -> Mapping[str, BudgetModel]:
        """One for every image set, which it has not seen."""
        found = {}
        for group in self.groups:
            start = [head.hyper for head in self.model(group, left, curves=curves).heads]
            # Tables that the others have may be prior columns here, and were none in the group.
            for one in group:
                columns = len({t.schedule for t in without(self.measured.tables, {one})}) * ("columns" not in left)
                known = start if start[0].columns.shape[1] == columns else None
                found[one] = self.model([one], left, curves=curves, start=known)
        return found

    def left_out(self, models: Mapping[str, BudgetModel]) -> dict[str, LeftOut]:
        """Of every image set."""
        found = {}
        for name, model in models.items():
            rows = torch.from_numpy(np.flatnonzero(self.owner == name))
            mean, std = torch.zeros(len(rows)), torch.zeros(len(rows))
            for context in self.trainings.context[rows].unique():
                inside = self.trainings.context[rows] == context
                some = rows[inside]
                task = self.measured.tasks[int(self.trainings.task[some[0]])]
                budget = budget_of(self.trainings, int(some[0]))
                told = model.predict_task(task, self.trainings.vertices[some], budget)
                assert told.std is not None
                mean[inside], std[inside] = told.mean, told.std
            found[name] = LeftOut(rows, mean, std)
        return found


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
    """Order within each image set and within its tasks, and the regret of the first proposal within a task."""
    found = {}
    for name, one in left.items():
        accuracy, scores, values = trainings.accuracy[one.rows].double(), score(one).double(), []
        for task in trainings.task[one.rows].unique():
            inside = trainings.task[one.rows] == task
            if inside.sum() >= _OF_A_TASK:
                a, s = accuracy[inside], scores[inside]
                values.append([spearman(s, a), float(a.max() - a[s.argmax()]), float(a.max() - a.mean())])
        if values:
            found[name] = [spearman(scores, accuracy), *np.mean(values, axis=0).tolist()]
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
            model = fit_budget_model(some, study.measured.tasks, study.long, tables=kept, config=config)
            predicted = model.predict_task(left.task, every[live], left.budget).mean
            values[how] = spearman(predicted, left.accuracy[live])
        found[f"{left.source}, {left.budget.epochs} epochs"] = values
    return found


# -- (e) curves ----------------------------------------------------------------------------------
def curves(study: Study, models: Mapping[str, BudgetModel]) -> dict[str, dict[str, list[float]]]:
    """Mean absolute error of the last accuracy, in points, of each set: ours and the last value seen."""
    trainings, found = study.trainings, {}
    for name, model in models.items():
        errors: dict[str, list[tuple[float, float]]] = {}
        for row in np.flatnonzero(study.owner == name).tolist():
            budget = budget_of(trainings, row)
            if budget.epochs < 10:
                continue
            task, truth = study.measured.tasks[int(trainings.task[row])], trainings.curve[row, : budget.epochs]
            tenth = max(1, round(budget.epochs / 10))
            for title, seen in (*((f"{n} epochs", n) for n in SEEN), ("a tenth", tenth)):
                mean, _ = model.curve(task, trainings.vertices[row : row + 1], budget, truth[None, :seen])
                last = abs(float(truth[seen - 1] - truth[-1])) if seen else float("nan")
                errors.setdefault(title, []).append((abs(float(mean[0, -1] - truth[-1])), last))
        if errors:
            found[name] = {title: np.mean(values, axis=0).tolist() for title, values in errors.items()}
    return found


# -- all -----------------------------------------------------------------------------------------
def run(study: Study, ablations: bool) -> dict[str, Any]:
    trainings, results = study.trainings, {}
    models = {name: study.models(left, curves=name == "ours") for name, left in VARIANTS.items()}
    left = {name: study.left_out(one) for name, one in models.items()}
    params, _ = trainings.space.costs(trainings.vertices)

    def of(name: str) -> Callable[[LeftOut], torch.Tensor]:
        return lambda one: left[name][str(study.owner[int(one.rows[0])])].mean

    scores = {name: of(name) for name in VARIANTS} | {"parameters": lambda one: params[one.rows]}
    results["cells"] = {name: cells(trainings, left["ours"], score) for name, score in scores.items()}
    results["configurations"] = {name: configurations(trainings, left["ours"], of(name)) for name in VARIANTS}
    for number, default in enumerate(DEFAULTS, 1):
        results["configurations"][f"default {number}"] = configurations(
            trainings, left["ours"], default_scores(trainings, default)
        )
    inside = {}
    for name, one in left["ours"].items():
        error = (trainings.accuracy[one.rows] - one.mean).abs()
        inside[name] = [float((error <= 1.645 * one.std).double().mean()), float(error.mean())]
    results["intervals"] = inside
    results["curves"] = curves(study, models["ours"])
    results["tables"] = tables(study)
    if ablations:
        results["ablations"] = {}
        for name, inputs in {"nothing": (), **ABLATED}.items():
            found = left["ours"] if name == "nothing" else study.left_out(study.models(inputs))
            error = [float((trainings.accuracy[o.rows] - o.mean).abs().mean()) for o in found.values()]
            order = cells(trainings, found, lambda o: o.mean)
            whole = configurations(trainings, found, lambda o: o.mean)
            results["ablations"][name] = [
                statistics.fmean(v[0] for v in whole.values()),
                statistics.fmean(v[0] for v in order.values()),
                statistics.fmean(error),
            ]
    return results


def column(values: Mapping[str, Sequence[float]], place: int, digits: int = 2) -> str:
    return common.mean_std([v[place] for v in values.values()], digits)


def texts(results: Mapping[str, Any], study: Study) -> dict[str, str]:
    header = ["", "Spearman", "regret of the first", "of the best of five", "share of best to mean", "of five"]
    lines = [[name, *(column(v, p, d) for p, d in ((0, 2), (2, 1), (3, 1), (4, 2), (5, 2)))]
             for name, v in results["cells"].items()]  # fmt: skip
    ours = results["cells"]["ours"]
    lines.append(["what seeds allow", column(ours, 1), "", "", "", ""])
    order = common.markdown(header, lines)
    header = ["", "Spearman within a set", "within a task", "regret of the first", "best to mean"]
    lines = [[name, *(column(v, p, d) for p, d in ((0, 2), (1, 2), (2, 1), (3, 1)))]
             for name, v in results["configurations"].items()]  # fmt: skip
    whole = common.markdown(header, lines)
    lines = [[name, *(f"{value:.3f}" for value in v.values())] for name, v in results["tables"].items()]
    table = common.markdown(["", "table left out", "dataset left out"], lines)
    seen = list(next(iter(results["curves"].values())))
    lines = [
        [title, *(column({n: v[title] for n, v in results["curves"].items()}, p, 1) for p in (0, 1))] for title in seen
    ]
    curve = common.markdown(["seen", "error, points", "the last value seen"], lines)
    lines = [[n, *(f"{value:.2f}" for value in v)] for n, v in results.get("ablations", {}).items()]
    left = common.markdown(["without", "configurations", "cells", "error, points"], lines)
    about = (
        f"{len(study.trainings):,} trainings of {len(study.trainings.context.unique())} contexts, {len(study.sets)} image "
        f"sets; means over left-out sets ± standard deviation. 90% intervals hold "
        f"{100 * statistics.fmean(v[0] for v in results['intervals'].values()):.0f}% "
        f"({common.mean_std([100 * v[0] for v in results['intervals'].values()], 0)} by set); mean error "
        f"{column(results['intervals'], 1, 1)} points.\n"
    )
    return {
        "budget_cells": order, "budget_configurations": whole, "budget_tables": table, "budget_curves": curve,
        "budget_inputs": left, "budget_about": about,
    }  # fmt: skip


def metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """For the card."""
    return {
        "spearman_of_configurations": statistics.fmean(v[0] for v in results["configurations"]["ours"].values()),
        "spearman_of_cells": statistics.fmean(v[0] for v in results["cells"]["ours"].values()),
        "spearman_of_cells_that_seeds_allow": float(np.nanmean([v[1] for v in results["cells"]["ours"].values()])),
        "share_inside_90%_intervals": statistics.fmean(v[0] for v in results["intervals"].values()),
        "error_in_points": statistics.fmean(v[1] for v in results["intervals"].values()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the database of trainings")
    parser.add_argument(
        "--groups", type=int, default=4, help="parts of the image sets that variances are learned without"
    )
    parser.add_argument("--ablations", action="store_true", help="also leave out inputs, which takes as long again")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    measured = Measured(common.Data(options.data), options.runs / "features", options.folder)
    study = Study(measured, options.groups, BudgetFitConfig())
    results = run(study, options.ablations)
    results["metrics"] = metrics(results)
    given = {name: value for name, value in common.settings(options).items() if name != "folder"}
    common.write(options.out, "budget", {"settings": given, **results}, texts(results, study))


if __name__ == "__main__":
    main()
