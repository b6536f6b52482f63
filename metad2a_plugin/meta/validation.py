"""How well meta-trained models do on the validation rows of a meta-database."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TypeVar

import torch

from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.meta.inputs import task_codes
from metad2a_plugin.meta.metrics import pearson, spearman
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.checkpoint import AccuracyModel
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.generator import TEMPERATURE, PaperGenerator
from metad2a_plugin.models.predictor import PaperAccuracy
from metad2a_plugin.plugins.predictor import Prediction

Model = TypeVar("Model", SubspaceEnsemble, PaperAccuracy)


def validate(
    predictor: AccuracyModel, database: MetaDatabase, classes: ClassFeatures, twin: SubspaceEnsemble | None = None
) -> dict[str, float]:
    """How well validation rows are predicted, with and without the dataset.

    Keys: ``pearson`` and ``spearman`` of predicted and measured accuracy; the same with ``_new`` on the rows of
    tasks that no training row has. Where the model can do that, ``_level`` with a dataset moving all architectures
    alike, ``_blind`` from the architecture alone, and ``_twin`` by the `twin`, which never saw a dataset. Where tasks
    have two rows or more on average, ``pearson_within``, of deviations from the mean of the task, and the same with
    ``_twin``. ``coverage_90``, the share of the rows of protocol 0 inside the 90% interval that a search shows, and
    ``width_90``, its mean width in points; with ``_all`` the same over all rows, of an interval that allows for either
    protocol. Where `calibrated` has used half of the tasks, both are of the other half.
    """
    if isinstance(predictor, BudgetModel):
        predictor = predictor.long  # rows are of long trainings
    rows = torch.nonzero(database.valid).squeeze(1)
    truth, main = database.accuracy[rows], database.protocol[rows] == 0
    others: dict[str, float] = {}
    check = torch.ones_like(main)
    if isinstance(predictor, PaperAccuracy) or of_new_classes(database):
        half = ~calibration_half(database, rows)
        check = half if (half & main).any() else check  # a single task leaves none to check on
    if isinstance(predictor, SubspaceEnsemble):
        code, cells = row_codes(predictor, database, classes, rows), predictor.cell_features(database.vertices[rows])
        shown = predictor.predict_code(code, cells)
        mean, low, high = predictor.mixture(code, cells)
        level, _, _ = replace(predictor, interaction=torch.zeros_like(predictor.interaction)).mixture(code, cells)
        blind, _, _ = predictor.mixture(None, cells)
        without = {"level": level, "blind": blind}
        if twin is not None:
            without["twin"], _, _ = twin.mixture(None, twin.cell_features(database.vertices[rows]))
        if len(rows) >= 2 * len(database.task[rows].unique()):
            others["pearson_within"] = _pearson_within(mean, truth, database.task[rows])
            if twin is not None:
                others["pearson_within_twin"] = _pearson_within(without["twin"], truth, database.task[rows])
        for name, values in without.items():
            others |= {f"pearson_{name}": pearson(values, truth), f"spearman_{name}": spearman(values, truth)}
        others |= {
            "coverage_90_all": ((truth >= low) & (truth <= high))[check].float().mean().item(),
            "width_90_all": (high - low)[check].mean().item(),
        }
    else:
        assert isinstance(predictor, PaperAccuracy)
        shown = Prediction(*paper_rows(predictor, database, classes, rows))
        mean = shown.mean
    new = ~torch.isin(database.task[rows], database.task[~database.valid])
    low, high = shown.interval(0.9) or (shown.mean, shown.mean)
    return {
        "pearson": pearson(mean, truth),
        "spearman": spearman(mean, truth),
        "pearson_new": pearson(mean[new], truth[new]),
        "spearman_new": spearman(mean[new], truth[new]),
        **others,
        "coverage_90": ((truth >= low) & (truth <= high))[main & check].float().mean().item(),
        "width_90": (high - low)[main & check].mean().item(),
    }


def _pearson_within(predicted: torch.Tensor, measured: torch.Tensor, task: torch.Tensor) -> float:
    """Correlation of deviations from the means of the same task, over rows ``[n]`` each."""
    index, counts = task.unique(return_inverse=True, return_counts=True)[1:]
    a, b = (v - (torch.zeros(len(counts)).index_add(0, index, v) / counts)[index] for v in (predicted, measured))
    return pearson(a, b)


def row_codes(
    predictor: SubspaceEnsemble, database: MetaDatabase, classes: ClassFeatures, rows: torch.Tensor
) -> torch.Tensor:
    """Standardised codes of the datasets of rows, ``[rows, code]``."""
    raw = task_codes(database, classes, predictor.anchors, predictor.sees_images)[database.task[rows]]
    return (raw - predictor.task_center) / predictor.task_scale


def calibrated(predictor: Model, database: MetaDatabase, classes: ClassFeatures) -> Model:
    """The predictor with its errors on half of the validation tasks as noise; `validate` looks at the other half.

    An ensemble only where validation tasks have new classes: else its cross-validation has seen the like.
    """
    rows = torch.nonzero(database.valid).squeeze(1)
    rows = rows[calibration_half(database, rows)]
    if isinstance(predictor, PaperAccuracy):
        mean, _ = paper_rows(predictor, database, classes, rows)
        return replace(predictor, noise=float((database.accuracy[rows] - mean).abs().quantile(0.9)) / 1.645)
    rows = rows[database.protocol[rows] == 0]
    if not of_new_classes(database) or not len(rows):
        return predictor
    cells = predictor.cell_features(database.vertices[rows])
    mean = predictor.predict_code(row_codes(predictor, database, classes, rows), cells).mean
    noise = (database.accuracy[rows] - mean).abs().quantile(0.9) / 1.645 / predictor.response[1]
    return replace(predictor, noise=predictor.noise * noise / predictor.noise[0])


def of_new_classes(database: MetaDatabase) -> bool:
    """Whether no validation task has a class of a training task."""
    train, valid = (database.task_classes[database.task[s]].unique() for s in (~database.valid, database.valid))
    return not torch.isin(valid, train).any()


def calibration_half(database: MetaDatabase, rows: torch.Tensor) -> torch.Tensor:
    """Which of the validation rows ``[rows]`` are of every second task, bool."""
    return database.task[rows].unique(return_inverse=True)[1] % 2 == 0


@torch.inference_mode()
def paper_rows(
    model: PaperAccuracy, database: MetaDatabase, classes: ClassFeatures, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the accuracy of rows, ``[rows]`` each, over `PaperAccuracy.DRAWS` draws."""
    generator = torch.Generator().manual_seed(0)
    graphs, scores = model.network.graph_code(database.vertices[rows]), []
    for _ in range(model.DRAWS):
        sets = classes.draw(database.task_classes[database.task[rows]], 20, generator)
        codes = torch.cat([model.network.set_encoder(part) for part in sets.split(64)])
        scores.append(model.network.head(codes, graphs))
    percent = model.center + model.scale * torch.stack(scores)
    return percent.mean(0), (percent.var(0) + model.noise**2).sqrt()


@torch.inference_mode()
def generator_metrics(
    generator: PaperGenerator,
    predictor: AccuracyModel,
    database: MetaDatabase,
    classes: ClassFeatures,
    seed: int,
    tasks: int = 20,
    n: int = 1000,
) -> dict[str, float]:
    """Validity, uniqueness and novelty, in percent, of `n` architectures for each of some validation tasks.

    ``unique_independent`` counts independent draws, ``unique`` draws without replacement (what a search uses);
    ``novel`` are those of the latter that the training rows do not hold. ``live`` are those with a path from
    input to output. ``gain`` is in points: the mean predicted accuracy of draws without replacement, less that of
    random architectures.
    """
    space = database.space
    rows = torch.nonzero(database.valid).squeeze(1)
    chosen = database.task[rows].unique()[:tasks]
    known = {tuple(v) for v in database.vertices[~database.valid].tolist()}
    rng, dice = torch.Generator().manual_seed(seed), random.Random(seed)
    others = space.encode([space.sample_balanced(dice) for _ in range(n)])
    totals, gain = dict.fromkeys(("valid", "live", "unique_independent", "unique", "novel"), 0.0), 0.0
    for task in chosen:
        sets = classes.draw(database.task_classes[task].expand(10, -1), 20, rng)
        z = generator.encode(sets)[0].mean(0, keepdim=True)
        independent = generator.decoder.sample(z.expand(n, -1), rng, TEMPERATURE)
        distinct, _ = generator.decoder.sample_distinct(z, n, rng, TEMPERATURE)
        drawn = {tuple(v) for v in distinct.tolist()}
        totals["valid"] += len(space.decode(distinct)) / n  # decode refuses what is no architecture
        totals["live"] += (~space.dead_mask(distinct)).double().mean().item()
        totals["unique_independent"] += len(independent.unique(dim=0)) / n
        totals["unique"] += len(drawn) / n
        totals["novel"] += len(drawn - known) / len(drawn)
        dataset = classes.task(database.task_classes[task], f"task {task}")
        predicted = predictor.predict_task(dataset, torch.cat([distinct, others])).mean
        gain += float(predicted[: len(distinct)].mean() - predicted[len(distinct) :].mean())
    percent = {f"generator_{name}": 100 * total / len(chosen) for name, total in totals.items()}
    return percent | {"generator_gain": gain / len(chosen)}
