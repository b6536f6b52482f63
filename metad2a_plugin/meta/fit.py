"""Meta-training of the default predictor (`SubspaceEnsemble`): maximum a posteriori, in seconds on a CPU.

One latent quality q(cell) is seen through up to three likelihoods:

1. accuracies of the meta-database: ``offset + q(cell) + g(dataset) + h(cell, dataset) + protocol + noise``;
2. *which* cells the meta-database holds at all: its authors kept good ones, so being in it is evidence,
   ``P(in) = ceiling * sigmoid(a + slope * q)`` (a selection model in the sense of Heckman, 1979);
3. optionally, benchmark tables: normal scores of the accuracy of every cell on a known dataset.

q is linear in cell descriptors (`SearchSpace.describe`), g in the dataset's code, h in products of the two; all have
Gaussian priors. With a selection model, h counts in proportion to the chance that the database would hold the cell: it
says nothing of other cells. With tables, q also has one effect per cell, as far as the meta-database shows it to carry
over (`_cell_effect`). A cell is any architecture of the database's space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional as F

from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.meta.inputs import anchor_unit, describe, encode
from metad2a_plugin.models.ensemble import CENTER, SCALE, SubspaceEnsemble

Member = dict[str, torch.Tensor]
"""Fitted weights of one member."""
Remember = Callable[[str, Callable[[], Member]], Member]


@dataclass(frozen=True)
class FitConfig:
    """Settings of the default predictor.

    Attributes:
        members: models in the ensemble.
        subspace: structural descriptors each member sees; a space that has fewer shows all.
        cell_prior, task_prior, interaction_prior: prior variances of the linear maps, on features of unit
            mean square.
        factors: principal components of the dataset code that may change a descriptor's weight.
        selection: the database's cells were chosen for being good, so use which cells it holds as evidence; the space
            must be one that can be listed.
        table_weight: weight of each table's log-likelihood; a table has more rows than the database, and must not
            outweigh it.
        task_level: rows of a task deviate together, by what its dataset's code does not tell: of use where tasks have
            several rows each.
        images: the code of a dataset also says how well its images are told apart (`image_separability`).
        response: accuracies in percent are modelled as ``response[0] + response[1] * value``; None takes mean and
            standard deviation of the training rows.
        folds, fold_members: cross-validation over tasks that measures the noise level.
        iterations: L-BFGS steps of each member.
    """

    members: int = 20
    subspace: int = 8
    cell_prior: float = 0.05
    task_prior: float = 3.0
    interaction_prior: float = 0.01
    factors: int = 8
    selection: bool = False
    table_weight: float = 0.05
    task_level: bool = False
    images: bool = False
    response: tuple[float, float] | None = (CENTER, SCALE)
    folds: int = 5
    fold_members: int = 4
    iterations: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members < 1 or self.subspace < 1:
            raise ConfigError(f"members and subspace must be at least 1, got {self.members} and {self.subspace}")


@dataclass(frozen=True)
class BenchmarkTable:
    """Accuracies of a whole population of cells on one known dataset.

    Attributes:
        accuracy: percent, ``[population]``.
        noise: standard deviation, over repetitions of the training, of each of these numbers; ``[population]``.
    """

    accuracy: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True)
class _Problem:
    """Everything members share. q = cells @ w; g = tasks @ v."""

    structural: int  # first descriptors of these are structural
    cells: torch.Tensor  # [population, descriptors], standardised
    held: torch.Tensor  # [population] 1 where the database holds the cell
    tables: torch.Tensor  # [tables, population] normal scores
    row_cells: torch.Tensor  # [rows, descriptors]
    row_tasks: torch.Tensor  # [rows, task features]
    row_factors: torch.Tensor  # [rows, factors]
    value: torch.Tensor  # [rows]
    protocol: torch.Tensor  # [rows]
    task: torch.Tensor  # [rows]


def _fit_member(problem: _Problem, keep: torch.Tensor, rows: torch.Tensor, config: FitConfig) -> Member:
    """One member on the descriptors in `keep` and the rows in `rows`."""
    cells, row_cells = problem.cells[:, keep], problem.row_cells[rows][:, keep]
    row_tasks, value, second = problem.row_tasks[rows], problem.value[rows], problem.protocol[rows].float()
    w = torch.zeros(cells.shape[1], requires_grad=True)
    v = torch.zeros(row_tasks.shape[1], requires_grad=True)
    structural = keep[keep < problem.structural]
    crossed = _cross(problem.row_factors[rows], problem.row_cells[rows][:, structural])
    u = torch.zeros(crossed.shape[1], requires_grad=True)
    # offset, protocol offset, selection intercept, log slope, ceiling logit, log noise of each protocol
    h = torch.tensor([0.0, -3.0, -1.0, 1.0, -0.5, -0.7, -0.3], requires_grad=True)
    level = torch.tensor(-0.7, requires_grad=True)  # log deviation of tasks
    task = problem.task[rows]
    t = torch.tensor([[0.0, 0.0, -1.0]]).repeat(len(problem.tables), 1).requires_grad_()
    weights = [w, v, u, h, t, *([level] if config.task_level else [])]
    optimizer = torch.optim.LBFGS(
        weights, max_iter=config.iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        log_noise = torch.where(second > 0, h[6], h[5])
        row_q = row_cells @ w
        gate = torch.sigmoid(h[2] + h[3].exp() * row_q) if config.selection else 1.0
        mean = h[0] + row_q + row_tasks @ v + gate * (crossed @ u) + h[1] * second
        loss = (0.5 * (value - mean) ** 2 * torch.exp(-2 * log_noise) + log_noise).sum()
        if config.task_level:
            loss = loss + _shared(value - mean, log_noise, level, task) + 0.05 * level.square()
        q = cells @ w if config.selection or len(problem.tables) else w
        if config.selection:
            chance = torch.sigmoid(h[4]) * torch.sigmoid(h[2] + h[3].exp() * q)
            loss = loss + F.binary_cross_entropy(chance.clamp(1e-6, 1 - 1e-6), problem.held, reduction="sum")
        for table, (shift, slope, noise) in zip(problem.tables, t, strict=True):
            error = (table - shift - slope.exp() * q) ** 2
            loss = loss + config.table_weight * (0.5 * error * torch.exp(-2 * noise) + noise).sum()
        loss = loss + 0.5 * (w.square().sum() / config.cell_prior + v.square().sum() / config.task_prior)
        loss = loss + 0.5 * u.square().sum() / config.interaction_prior
        loss = loss + 0.05 * h[1:].square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    reached = objective().detach()
    full = torch.zeros(problem.cells.shape[1])
    full[keep] = w.detach()
    interaction = torch.zeros(problem.row_factors.shape[1], problem.cells.shape[1])
    interaction[:, structural] = u.detach().view(len(interaction), len(structural))
    gate = torch.stack([h[2], h[3].exp()]).detach() if config.selection else torch.tensor([math.inf, 0.0])
    offset, second = h[:2].detach()
    return {
        "w": full,
        "u": interaction,
        "v": v.detach(),
        "offset": offset,
        "second": second,
        "gate": gate,
        "objective": reached,
    }


def _shared(error: torch.Tensor, log_noise: torch.Tensor, level: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
    """What a deviation that the rows of a task share adds to their negative log-likelihood as independent rows.

    The covariance of a task's errors is ``diag(noise^2) + level^2``, inverted after Sherman and Morrison.
    """
    precision, variance = torch.exp(-2 * log_noise), torch.exp(2 * level)
    sums = torch.zeros(2, int(task.max()) + 1).index_add(1, task, torch.stack([precision * error, precision]))
    spread = 1 + variance * sums[1]
    return 0.5 * (spread.log() - variance * sums[0] ** 2 / spread).sum()


def _cross(factors: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """All products, ``[n, f]`` and ``[n, d]`` to ``[n, f * d]``."""
    return (factors[:, :, None] * cells[:, None, :]).flatten(1)


def _subspace(problem: _Problem, config: FitConfig, member: int) -> torch.Tensor:
    """The descriptors that a member sees."""
    generator = torch.Generator().manual_seed(config.seed * 10_007 + member)
    chosen = torch.randperm(problem.structural, generator=generator)[: config.subspace]
    return torch.cat([chosen.sort().values, torch.arange(problem.structural, problem.cells.shape[1])])


def _noise(problem: _Problem, config: FitConfig, remember: Remember) -> torch.Tensor:
    """Held-out error of each protocol by cross-validation over tasks: the 90% quantile over 1.645, ``[2]``."""
    generator = torch.Generator().manual_seed(config.seed)
    fold = torch.randint(config.folds, (int(problem.task.max()) + 1,), generator=generator)[problem.task]
    error = torch.zeros(len(problem.task))
    for k in range(config.folds):
        inside, outside = torch.nonzero(fold != k).squeeze(1), torch.nonzero(fold == k).squeeze(1)
        for m in range(config.fold_members):
            keep = _subspace(problem, config, m)
            fitted = remember(f"fold-{k}-{m}", partial(_fit_member, problem, keep, inside, config))
            mean = _mean(problem, fitted, outside)
            error[outside] += (problem.value[outside] - mean) / config.fold_members
    quantiles = [error[problem.protocol == p].abs().quantile(0.9) for p in problem.protocol.unique()]
    return torch.stack([quantiles[0], quantiles[-1]]) / 1.645


def _mean(problem: _Problem, fitted: Member, rows: torch.Tensor) -> torch.Tensor:
    """What a fitted member expects of rows, ``[rows]``."""
    q = problem.row_cells[rows] @ fitted["w"]
    crossed = _cross(problem.row_factors[rows], problem.row_cells[rows]) @ fitted["u"].flatten()
    gate = torch.sigmoid(fitted["gate"][0] + fitted["gate"][1] * q)
    level = fitted["offset"] + fitted["second"] * problem.protocol[rows]
    return level + q + problem.row_tasks[rows] @ fitted["v"] + gate * crossed


def _second_protocol_logit(row_cells: torch.Tensor, protocol: torch.Tensor) -> torch.Tensor:
    """Ridge logistic regression of the protocol on the cell; ``[1 + descriptors]``."""
    weight = torch.zeros(1 + row_cells.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        logit = weight[0] + row_cells @ weight[1:]
        loss = F.binary_cross_entropy_with_logits(logit, protocol.float(), reduction="sum")
        loss = loss + 0.5 * weight[1:].square().sum() / 10
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach()


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
    basis = torch.eye(len(cells.center)) if quality is None else _direction(cells.population, quality)
    seen = 0.0 if blind else 1.0
    problem = _Problem(
        structural=cells.structural if quality is None else 0,
        cells=cells.population @ basis,
        held=_held(database, population, rows) if config.selection else torch.empty(0),
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
        fit = partial(_fit_member, problem, _subspace(problem, config, member), everything, config)
        fitted.append(remember(f"member-{member}", fit))
    if not all(tensor.isfinite().all() for f in fitted for name, tensor in f.items() if name != "gate"):
        raise DatasetError(f"{len(rows)} training rows of {len(tasks.rows.unique(dim=0))} datasets are too few")
    weight = torch.stack([f["w"] for f in fitted])
    if quality is not None and not (weight > 0).all():
        raise DatasetError("in this database, networks of higher quality are no better; train without quality")
    weight = weight @ basis.T
    interaction = torch.stack([f["u"] for f in fitted]) @ basis.T
    second_logit = _second_protocol_logit(problem.row_cells, problem.protocol)
    second_logit = torch.cat([second_logit[:1], basis @ second_logit[1:]])
    effect = torch.empty(0)
    if tables:
        listed, held = (database.space.places(vertices) for vertices in (population, database.vertices[rows]))
        effect = torch.zeros(database.space.size)
        effect[listed] = _cell_effect(problem, fitted, tables, _row_index(listed, held))
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
        reach=tasks.reach[None],
        offset=torch.stack([f["offset"] for f in fitted]),
        second_offset=torch.stack([f["second"] for f in fitted]),
        second_logit=second_logit,
        noise=torch.zeros(2) if blind else _noise(problem, config, remember),
        response=torch.tensor([center, unit]),
    )


def _direction(cells: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """What of `quality` ``[n]`` is linear in descriptors ``[n, d]``: ``[d, 1]``, of unit mean square over the cells."""
    wanted = (quality - quality.mean()).double()
    x = cells.double()
    ridge = 1e-3 * torch.eye(x.shape[1], dtype=x.dtype)  # descriptors depend on each other
    direction = torch.linalg.solve(x.T @ x / len(x) + ridge, x.T @ wanted / len(x))
    return (direction / (x @ direction).std())[:, None].float()


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


def _cell_effect(
    problem: _Problem, fitted: list[Member], tables: Sequence[BenchmarkTable], index: torch.Tensor
) -> torch.Tensor:
    """What the tables say of single cells beyond the descriptors, as far as it carries over; ``[population]``.

    Each table's residual is shrunk by its reliability. How much of it holds for other datasets is a least squares
    fit to the residuals of the meta-database, whose rows hold the cells `index` of the population.
    """
    quality = torch.stack([problem.cells @ f["w"] for f in fitted]).mean(0)
    quality, spread = quality - quality.mean(), quality.std()
    residuals = []
    for scores, table in zip(problem.tables, tables, strict=True):
        unit = spread / scores.std()
        residual = unit * scores - quality
        noise = unit * _slope(table.accuracy, scores) * table.noise
        signal = (residual.var() - noise.square().mean()).clamp(min=0.1 * residual.var())
        residuals.append(residual * signal / (signal + noise.square()))
    everything = torch.arange(len(index))
    left = problem.value - torch.stack([_mean(problem, f, everything) for f in fitted]).mean(0)
    main = problem.protocol == 0
    seen = torch.stack(residuals, dim=1)[index[main]]
    carried = torch.linalg.lstsq(seen - seen.mean(0), (left[main] - left[main].mean())[:, None]).solution[:, 0]
    return torch.stack(residuals, dim=1) @ carried.clamp(0, 2)


def _slope(values: torch.Tensor, scores: torch.Tensor, window: int = 50) -> torch.Tensor:
    """Change of the score per unit of value around each element, ``[n]``."""
    order = values.argsort()
    position = torch.arange(len(order))
    high, low = order[(position + window).clamp(max=len(order) - 1)], order[(position - window).clamp(min=0)]
    slope = torch.empty_like(scores)
    slope[order] = (scores[high] - scores[low]) / (values[high] - values[low]).clamp(min=1e-3)
    return slope


def _row_index(population: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Position in `population` of the cell of each row, int64 ``[rows]``; both are places in the space."""
    places, order = population.sort()
    return order[torch.searchsorted(places, rows)]


def normal_scores(values: torch.Tensor) -> torch.Tensor:
    """Ranks mapped to standard normal quantiles; equal values get equal scores."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    middle = counts.cumsum(0) - counts / 2
    return torch.special.ndtri((middle[inverse] / len(values)).double()).float()


def _held(database: MetaDatabase, population: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """1 where a cell of `population` is among `rows` of the first protocol; float32 ``[population]``."""
    held = database.vertices[rows][database.protocol[rows] == 0]
    return torch.isin(database.space.places(population), database.space.places(held)).float()
