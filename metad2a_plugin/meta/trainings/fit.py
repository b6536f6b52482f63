"""Fit of `BudgetModel` to a database of trainings and to benchmark tables: marginal likelihood, minutes on a CPU.

Variances and length scales are those of the highest marginal likelihood (Rasmussen and Williams, 2006, section 5.4) of
some of the rows, with weak priors; the posterior is that of all. How wide intervals are is set on image sets left out,
which costs nothing more: what all other rows say of those of a set follows from one inverse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from metad2a_plugin.errors import DatasetError
from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.meta.trainings.evidence import BudgetFitConfig, Made, TableContext
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.budget_inputs import DATASET, dataset_features
from metad2a_plugin.models.budget_kernel import Hyper, marginal
from metad2a_plugin.models.budget_process import Evidence, Head
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.states import HEADS
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.utils.progress import Progress

_RANGE = (-7.0, 3.0)
"""Of logarithms of standard deviations and length scales; features and targets are standardised."""
_PRIOR = 0.4
"""Standard deviation of their prior around where they start: a few dozen image sets tell little of how these differ."""

__all__ = ["BudgetFitConfig", "TableContext", "fit_budget_model"]


def fit_budget_model(
    trainings: Trainings,
    tasks: Mapping[int, Task],
    long: SubspaceEnsemble,
    *,
    tables: Sequence[TableContext] = (),
    config: BudgetFitConfig | None = None,
    start: Sequence[Hyper] | None = None,
    described: Callable[[Task], torch.Tensor] = dataset_features,
    progress: Progress = lambda stage, done, total, note: None,
) -> BudgetModel:
    """Fit the predictor.

    Args:
        trainings: rows; those of networks that cannot learn say nothing.
        tasks: the images that each task of the rows was trained on, by its number.
        long: answers where no budget is given.
        tables: of the same space.
        config: settings.
        start: variances of each head to start from; with ``iterations=0`` they are kept.
        described: gives `dataset_features`; for those who fit many times, one that remembers them.
        progress: see `Progress`.

    Raises:
        DatasetError: too few rows, or a row's task is missing.
    """
    config = config or BudgetFitConfig()
    live = ~trainings.space.dead_mask(trainings.vertices)
    trainings = trainings.rows(live)
    if missing := set(trainings.task.tolist()) - set(tasks):
        raise DatasetError(f"no images of task {min(missing)}, that a training is of")
    if len(trainings) < 20 or len(set(trainings.image_set)) < 2:
        raise DatasetError(
            f"{len(trainings)} trainings of live networks are too few; make more, of two image sets or more"
        )
    made = Made(trainings, tasks, tables, config, described)
    heads, residuals = [], []
    for number, name in enumerate(HEADS):
        progress("fit", number, len(HEADS), name)
        rows, target, known = made.targets(number)
        first = Hyper.start(len(made.budget_center), len(DATASET), made.columns.shape[1])
        hyper = first if start is None else start[number]
        most = config.curves_from if number else config.learned_from
        if config.iterations and most:
            hyper = learn(hyper, made.evidence, rows, target, known, most, config)
        head = Head(hyper, rows, target, known, target.mean()[None], torch.ones(1).double())
        if not most:
            heads.append(head)
            continue
        wrong, deviation = made.left_out(head)
        left = wrong / deviation
        scale = left[made.real[rows]].abs().quantile(0.9) / 1.645
        heads.append(replace(head, scale=scale[None]))
        residuals.append(torch.full((len(made.real),), math.nan).double().scatter(0, rows, left / scale))
    return BudgetModel(
        space=trainings.space,
        long=long,
        evidence=made.evidence,
        heads=tuple(heads),
        budget_center=made.budget_center,
        budget_scale=made.budget_scale,
        dataset_center=made.dataset_center,
        dataset_scale=made.dataset_scale,
        descriptor_center=made.descriptor_center,
        descriptor_map=made.descriptor_map,
        columns=made.columns,
        correlation=_correlation(torch.stack(residuals, 1)) if config.curves_from else torch.eye(len(HEADS)).double(),
        wiggle=made.wiggle(),
    )


def learn(
    hyper: Hyper,
    evidence: Evidence,
    rows: torch.Tensor,
    target: torch.Tensor,
    known: torch.Tensor,
    most: int,
    config: BudgetFitConfig,
) -> Hyper:
    """Variances of the highest marginal likelihood, from at most so many rows."""
    generator = torch.Generator().manual_seed(config.seed)
    chosen = torch.randperm(len(rows), generator=generator)[:most]
    index, y, fixed = evidence.context[rows[chosen]], target[chosen] - target.mean(), known[chosen]
    used, index = index.unique(return_inverse=True)
    contexts, networks = evidence.contexts[used], evidence.networks[rows[chosen]]
    begin = hyper.state()
    # What is left out must stay so.
    values = {name: value.clone().requires_grad_(True) for name, value in begin.items()}
    optimizer = torch.optim.LBFGS(
        list(values.values()), max_iter=config.iterations, history_size=10, line_search_fn="strong_wolfe"
    )

    def within() -> Hyper:
        # A line search tries values of which no matrix can be factored.
        return Hyper(**{name: value.clamp(*_RANGE) for name, value in values.items()})

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        now = within()
        factor = torch.linalg.cholesky(marginal(now, contexts, networks, index, fixed, jitter=1e-4))
        white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
        prior = sum(((values[name] - begin[name]) / _PRIOR).square().sum() for name in values)
        value: torch.Tensor = white.square().sum() / 2 + factor.diagonal().log().sum() + prior / 2
        value.backward()
        return value

    optimizer.step(loss)
    return Hyper(**{name: value.detach() for name, value in within().state().items()})


def _correlation(errors: torch.Tensor) -> torch.Tensor:
    """Of standardised errors ``[n, heads]``, NaN where there is none; shrunk a little."""
    heads = errors.shape[1]
    found = torch.eye(heads, dtype=torch.float64)
    for i in range(heads):
        for j in range(i):
            both = errors[:, i].isfinite() & errors[:, j].isfinite()
            pair = torch.stack([errors[both, i], errors[both, j]]).clamp(-4, 4)
            found[i, j] = found[j, i] = torch.corrcoef(pair)[0, 1] if both.sum() > 10 else 0.0
    values, vectors = torch.linalg.eigh(0.95 * found + 0.05 * torch.eye(heads))
    found = (vectors * values.clamp(min=1e-3)) @ vectors.T
    spread = found.diagonal().sqrt()
    return found / spread[:, None] / spread[None]
