"""Meta-training of the default predictor (`SubspaceEnsemble`): maximum a posteriori, in seconds on a CPU.

One latent quality q(cell) is seen through up to three likelihoods:

1. accuracies of the meta-database: ``offset + q(cell) + g(dataset) + h(cell, dataset) + protocol + noise``;
2. *which* cells the meta-database holds at all: its authors kept good ones, so being in it is evidence,
   ``P(in) = ceiling * sigmoid(a + slope * q)`` (a selection model in the sense of Heckman, 1979);
3. optionally, benchmark tables: normal scores of the accuracy of every cell on a known dataset.

q is linear in cell descriptors (`SearchSpace.describe`), g in the dataset's code, h in products of the two; all have
Gaussian priors. With a selection model, h counts in proportion to the chance that the database would hold the cell: it
says nothing of other cells. With tables, q also has one effect per cell, as far as the meta-database shows it to carry
over (`effects.cell_effect`). A cell is any architecture of the database's space.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch.nn import functional as F

from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.meta.effects import BenchmarkTable, cell_effect, direction, held_cells, normal_scores, row_index
from metad2a_plugin.meta.inputs import anchor_unit, describe, encode
from metad2a_plugin.meta.member import (
    FitConfig,
    Member,
    Problem,
    Remember,
    fit_member,
    held_out_error,
    second_protocol_logit,
    subspace,
)
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.few_images import MOST_IMAGES

__all__ = ["BenchmarkTable", "FitConfig", "Member", "Remember", "fit_ensemble", "normal_scores"]


def fit_ensemble(
    database: MetaDatabase,
    classes: ClassFeatures,
    population: torch.Tensor,
    config: FitConfig | None = None,
    *,
    tables: Sequence[BenchmarkTable] = (),
    rows: torch.Tensor | None = None,
    quality: torch.Tensor | None = None,
    blind: bool = False,
    remember: Remember = lambda name, fit: fit(),
) -> SubspaceEnsemble:
    """Train the default predictor on the database's training rows.

    Args:
        database, classes: from `load_database` and `ClassFeatures.group`.
        population: the cells the database's authors could have chosen, encoded, int64 ``[population, vertices]``; a
            sample of them where neither `tables` nor `FitConfig.selection` need all.
        config: settings.
        tables: accuracies of `population` on known datasets.
        rows: rows to train on; default all of the training split.
        quality: scores of `population` by something that knows its order, ``[population]``; q is a multiple of what is
            linear in them, h is zero, and the rows tell the dataset's effect and the multiple only.
        blind: leave out all that depends on the dataset, which makes the twin that a model must beat for its dataset to
            be of use; its noise is not measured.
        remember: called with the name of each of the ``members + folds * fold_members`` fits and what makes it; may
            keep the weights and return them instead, to go on after an interruption.

    Raises:
        ConfigError: a table's length is not the population's, or the space cannot be listed where it has to be.
        DatasetError: all training rows have the same accuracy, or rows and `quality` contradict each other.
    """
    config = config or FitConfig()
    rows = torch.nonzero(~database.valid).squeeze(1) if rows is None else rows
    _check(database, population, config, tables)
    center, unit = _response(database.accuracy[rows], config)
    cells = describe(database.space, population, database.vertices[rows], config.subspace)
    tasks = encode(database, classes, rows, config.factors, config.seed, config.images)
    basis = torch.eye(len(cells.center)) if quality is None else direction(cells.population, quality)
    seen = 0.0 if blind else 1.0
    problem = Problem(
        structural=cells.structural if quality is None else 0,
        cells=cells.population @ basis,
        held=held_cells(database, population, rows) if config.selection else torch.empty(0),
        tables=torch.stack([normal_scores(t.accuracy) for t in tables]) if tables else torch.empty(0, len(population)),
        row_cells=cells.rows @ basis,
        row_tasks=seen * tasks.rows,
        row_factors=seen * tasks.row_factors,
        value=(database.accuracy[rows] - center) / unit,
        protocol=database.protocol[rows],
        task=database.task[rows],
    )
    everything = torch.arange(len(rows))
    fitted = []
    for member in range(config.members):
        fit = partial(fit_member, problem, subspace(problem, config, member), everything, config)
        fitted.append(remember(f"member-{member}", fit))
    if not all(tensor.isfinite().all() for f in fitted for name, tensor in f.items() if name != "gate"):
        raise DatasetError(f"{len(rows)} training rows of {len(tasks.rows.unique(dim=0))} datasets are too few")
    weight = torch.stack([f["w"] for f in fitted])
    if quality is not None and not (weight > 0).all():
        raise DatasetError("in this database, networks of higher quality are no better; train without quality")
    weight = weight @ basis.T
    interaction = torch.stack([f["u"] for f in fitted]) @ basis.T
    second_logit = second_protocol_logit(problem.row_cells, problem.protocol)
    second_logit = torch.cat([second_logit[:1], basis @ second_logit[1:]])
    effect = torch.empty(0)
    if tables:
        listed, held = (database.space.places(vertices) for vertices in (population, database.vertices[rows]))
        effect = torch.zeros(database.space.size)
        effect[listed] = cell_effect(problem, fitted, tables, row_index(listed, held))
        # One more descriptor, of weight 1 in every member.
        weight = torch.cat([weight, torch.ones(len(weight), 1)], dim=1)
        interaction, second_logit = F.pad(interaction, (0, 1)), F.pad(second_logit, (0, 1))
    return SubspaceEnsemble(
        space=database.space,
        cell_center=cells.center,
        cell_scale=cells.scale,
        cell_weight=weight,
        cell_effect=effect,
        anchors=tasks.anchors,
        unit=torch.tensor([anchor_unit(tasks.anchors)]),
        task_center=tasks.center,
        task_scale=tasks.scale,
        task_weight=torch.stack([tasks.whitening @ f["v"] for f in fitted]),
        task_spread=(problem.row_tasks @ torch.stack([f["v"] for f in fitted]).mean(0)).std()[None],
        factors=tasks.factors,
        interaction=interaction,
        gate=torch.stack([f["gate"] for f in fitted]),
        radius=tasks.row_factors.norm(dim=1).quantile(0.99)[None],
        classes=torch.tensor([float(database.task_classes.shape[1])]),
        images=_images(database, classes, rows).quantile(0.01)[None],
        reach=tasks.reach[None],
        offset=torch.stack([f["offset"] for f in fitted]),
        second_offset=torch.stack([f["second"] for f in fitted]),
        second_logit=second_logit,
        noise=torch.zeros(2) if blind else held_out_error(problem, config, remember),
        response=torch.tensor([center, unit]),
    )


def _images(database: MetaDatabase, classes: ClassFeatures, rows: torch.Tensor) -> torch.Tensor:
    """Of a class of each row's task, on average, as `few_images.images_of_a_class` counts them; ``[rows]``."""
    of_class = classes.count.clamp(max=MOST_IMAGES).float()
    return of_class[database.task_classes[database.task[rows]]].mean(1)


def _check(
    database: MetaDatabase, population: torch.Tensor, config: FitConfig, tables: Sequence[BenchmarkTable]
) -> None:
    for table in tables:
        if table.accuracy.shape != (len(population),) or table.noise.shape != (len(population),):
            raise ConfigError(
                f"a table has {len(table.accuracy)} accuracies and {len(table.noise)} noise levels for "
                f"{len(population)} architectures"
            )
    if tables or config.selection:
        try:
            database.space.places(population[:0])
        except ConfigError as error:
            raise ConfigError(
                f"a selection and benchmark tables can only be learned from in a space that can be listed: {error}"
            ) from error


def _response(accuracy: torch.Tensor, config: FitConfig) -> tuple[float, float]:
    if config.response is not None:
        return config.response
    center, unit = accuracy.mean().item(), accuracy.std().item()
    if not unit > 0:
        raise DatasetError("all training rows have the same accuracy, so there is nothing to predict")
    return center, unit
