"""Meta-training of the default predictor (`SubspaceEnsemble`): maximum a posteriori, in seconds on a CPU.

One latent quality q(cell) is seen through up to three likelihoods:

1. accuracies of the meta-database: ``offset + q(cell) + g(dataset) + h(cell, dataset) + protocol + noise``;
2. *which* cells the meta-database holds at all: its authors kept good ones, so being in it is evidence,
   ``P(in) = ceiling * sigmoid(a + slope * q)`` (a selection model in the sense of Heckman, 1979);
3. optionally, benchmark tables: normal scores of the accuracy of every cell on a known dataset.

q is linear in cell descriptors, g in the dataset's code, h in products of the two; all have Gaussian priors.
h counts in proportion to the chance that the database would hold the cell: it says nothing of other cells.
With tables, q also has one effect per cell, as far as the meta-database shows it to carry over (`_cell_effect`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional as F

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.models.ensemble import CENTER, SCALE, SubspaceEnsemble
from metad2a_plugin.models.set_code import embed, remoteness, separability
from metad2a_plugin.spaces import _nasbench201_descriptors as descriptors

Member = dict[str, torch.Tensor]
"""Fitted weights of one member."""
Remember = Callable[[str, Callable[[], Member]], Member]


@dataclass(frozen=True)
class FitConfig:
    """Settings of the default predictor.

    Attributes:
        members: models in the ensemble.
        subspace: structural descriptors each member sees.
        cell_prior, task_prior, interaction_prior: prior variances of the linear maps, on features of unit
            mean square.
        factors: principal components of the dataset code that may change a descriptor's weight.
        selection: the database's cells were chosen for being good, so use which cells it holds as evidence.
        table_weight: weight of each table's log-likelihood; a table has more rows than the database, and must not
            outweigh it.
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
    folds: int = 5
    fold_members: int = 4
    iterations: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members < 2 or not 1 <= self.subspace <= len(descriptors.STRUCTURE):
            raise ConfigError(
                f"members must be at least 2 and subspace 1 to {len(descriptors.STRUCTURE)}, "
                f"got {self.members} and {self.subspace}"
            )


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

    cells: torch.Tensor  # [population, descriptors], standardised
    held: torch.Tensor  # [population] 1 where the database holds the cell
    tables: torch.Tensor  # [tables, population] normal scores
    row_cells: torch.Tensor  # [rows, descriptors]
    row_tasks: torch.Tensor  # [rows, task features]
    row_factors: torch.Tensor  # [rows, factors]
    value: torch.Tensor  # [rows]
    protocol: torch.Tensor  # [rows]


def task_codes(database: MetaDatabase, classes: ClassFeatures, anchors: torch.Tensor) -> torch.Tensor:
    """Raw code of every task of the database, float32 ``[tasks, code]``."""
    prototypes, unit = classes.prototypes(), anchor_unit(anchors)
    by_class = embed(prototypes.unsqueeze(1), anchors, unit)
    embedding = torch.stack([by_class[task].mean(0) for task in database.task_classes])
    return torch.cat([embedding, separability(prototypes[database.task_classes], unit)], dim=1)


def anchor_unit(anchors: torch.Tensor) -> float:
    """Median squared distance between anchors."""
    return float(torch.pdist(anchors).square().median())


def _whitening(anchors: torch.Tensor) -> torch.Tensor:
    """``[code, code]`` matrix W such that ``code @ W`` has the kernels' inner product."""
    unit, n = anchor_unit(anchors), len(anchors)
    kernels = embed(anchors.unsqueeze(1), anchors, unit).double().split(n, dim=1)
    # The jitter keeps weights on near-duplicate anchors from cancelling in float32.
    blocks = [torch.linalg.cholesky(k + 1e-2 * torch.eye(n, dtype=k.dtype)) for k in kernels]
    inverse = [torch.linalg.solve_triangular(b, torch.eye(n, dtype=b.dtype), upper=False).T for b in blocks]
    return torch.block_diag(*inverse, torch.eye(8, dtype=torch.float64)).float()


def _unit_scale(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1).mean().sqrt().clamp(min=1e-9)


def _fit_member(problem: _Problem, keep: torch.Tensor, rows: torch.Tensor, config: FitConfig) -> Member:
    """One member on the descriptors in `keep` and the rows in `rows`."""
    cells, row_cells = problem.cells[:, keep], problem.row_cells[rows][:, keep]
    row_tasks, value, second = problem.row_tasks[rows], problem.value[rows], problem.protocol[rows].float()
    w = torch.zeros(cells.shape[1], requires_grad=True)
    v = torch.zeros(row_tasks.shape[1], requires_grad=True)
    structural = keep[keep < len(descriptors.STRUCTURE)]
    crossed = _cross(problem.row_factors[rows], problem.row_cells[rows][:, structural])
    u = torch.zeros(crossed.shape[1], requires_grad=True)
    # offset, protocol offset, selection intercept, log slope, ceiling logit, log noise of each protocol
    h = torch.tensor([0.0, -3.0, -1.0, 1.0, -0.5, -0.7, -0.3], requires_grad=True)
    t = torch.tensor([[0.0, 0.0, -1.0]]).repeat(len(problem.tables), 1).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [w, v, u, h, t], max_iter=config.iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        log_noise = torch.where(second > 0, h[6], h[5])
        row_q = row_cells @ w
        gate = torch.sigmoid(h[2] + h[3].exp() * row_q) if config.selection else 1.0
        mean = h[0] + row_q + row_tasks @ v + gate * (crossed @ u) + h[1] * second
        loss = (0.5 * (value - mean) ** 2 * torch.exp(-2 * log_noise) + log_noise).sum()
        q = cells @ w
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
    interaction[:, structural] = u.detach().view(-1, len(structural))
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


def _cross(factors: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """All products, ``[n, f]`` and ``[n, d]`` to ``[n, f * d]``."""
    return (factors[:, :, None] * cells[:, None, :]).flatten(1)


def _subspace(structural: int, total: int, config: FitConfig, member: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(config.seed * 10_007 + member)
    chosen = torch.randperm(structural, generator=generator)[: config.subspace]
    return torch.cat([chosen.sort().values, torch.arange(structural, total)])


def _noise(
    problem: _Problem, groups: torch.Tensor, structural: int, config: FitConfig, remember: Remember
) -> torch.Tensor:
    """Held-out error of each protocol by cross-validation over tasks: the 90% quantile over 1.645, ``[2]``."""
    generator = torch.Generator().manual_seed(config.seed)
    fold = torch.randint(config.folds, (int(groups.max()) + 1,), generator=generator)[groups]
    error = torch.zeros(len(groups))
    for k in range(config.folds):
        inside, outside = torch.nonzero(fold != k).squeeze(1), torch.nonzero(fold == k).squeeze(1)
        for m in range(config.fold_members):
            keep = _subspace(structural, problem.cells.shape[1], config, m)
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
    remember: Remember = lambda name, fit: fit(),
) -> SubspaceEnsemble:
    """Train the default predictor on the database's training rows.

    Args:
        database, classes: from `load_database` and `ClassFeatures.group`.
        population: the cells the database's authors could have chosen, encoded, int64 ``[population, vertices]``.
        config: settings.
        tables: accuracies of `population` on known datasets.
        rows: rows to train on; default all of the training split.
        remember: called with the name of each of the ``members + folds * fold_members`` fits and what makes it; may
            keep the weights and return them instead, to go on after an interruption.

    Raises:
        ConfigError: a table's length is not the population's.
    """
    config = config or FitConfig()
    for table in tables:
        if table.accuracy.shape != (len(population),) or table.noise.shape != (len(population),):
            raise ConfigError(
                f"a table has {len(table.accuracy)} accuracies and {len(table.noise)} noise levels for "
                f"{len(population)} architectures"
            )
    rows = torch.nonzero(~database.valid).squeeze(1) if rows is None else rows
    # Rounded as a checkpoint stores them, so that the weights fit the anchors that will be read back.
    anchors = classes.prototypes()[classes.count > 0].half().float()

    structure, pairs = descriptors.describe(population)
    raw = torch.cat([structure, pairs], dim=1)
    center = raw.mean(0)
    scale = torch.cat(
        [
            structure.std(0).clamp(min=1e-6) * config.subspace**0.5,
            _unit_scale(pairs - pairs.mean(0)).expand(pairs.shape[1]),
        ]
    )
    row_raw = torch.cat(descriptors.describe(database.vertices[rows]), dim=1)

    codes = task_codes(database, classes, anchors)
    row_code = codes[database.task[rows]]
    whitening = _whitening(anchors)
    task_center, spread = row_code.mean(0), torch.ones(codes.shape[1])
    spread[-8:] = row_code[:, -8:].std(0).clamp(min=1e-6)
    feature = ((row_code - task_center) / spread) @ whitening
    groups = [*torch.split(torch.arange(feature.shape[1] - 8), len(anchors)), torch.arange(-8, 0)]
    for group in groups:
        whitening[:, group] /= _unit_scale(feature[:, group])
    row_tasks = ((row_code - task_center) / spread) @ whitening
    with torch.random.fork_rng(devices=[]):  # it starts from a random basis
        torch.manual_seed(config.seed)
        factors = torch.pca_lowrank(row_tasks, config.factors, niter=6)[2]
    factors = whitening @ (factors / (row_tasks @ factors).std(0))
    problem = _Problem(
        cells=(raw - center) / scale,
        held=_held(population, database.vertices[rows][database.protocol[rows] == 0]),
        tables=torch.stack([normal_scores(t.accuracy) for t in tables]) if tables else torch.empty(0, len(raw)),
        row_cells=(row_raw - center) / scale,
        row_tasks=row_tasks,
        row_factors=(((row_code - task_center) / spread) @ factors).clamp(-3, 3),
        value=(database.accuracy[rows] - CENTER) / SCALE,
        protocol=database.protocol[rows],
    )
    everything = torch.arange(len(rows))
    fitted = []
    for member in range(config.members):
        keep = _subspace(structure.shape[1], raw.shape[1], config, member)
        fit = partial(_fit_member, problem, keep, everything, config)
        fitted.append(remember(f"member-{member}", fit))
    weight = torch.stack([f["w"] for f in fitted])
    interaction = torch.stack([f["u"] for f in fitted])
    second_logit = _second_protocol_logit(problem.row_cells, problem.protocol)
    effect = torch.empty(0)
    if tables:
        found = _cell_effect(problem, fitted, tables, _row_index(population, database.vertices[rows]))
        effect = torch.zeros(descriptors.NUM_CELLS)
        effect[descriptors.rank(population)] = found
        # One more descriptor, of weight 1 in every member.
        weight = torch.cat([weight, torch.ones(len(weight), 1)], dim=1)
        interaction, second_logit = F.pad(interaction, (0, 1)), F.pad(second_logit, (0, 1))
    return SubspaceEnsemble(
        cell_center=center,
        cell_scale=scale,
        cell_weight=weight,
        cell_effect=effect,
        anchors=anchors,
        unit=torch.tensor([anchor_unit(anchors)]),
        task_center=task_center,
        task_scale=spread,
        task_weight=torch.stack([whitening @ f["v"] for f in fitted]),
        task_spread=(row_tasks @ torch.stack([f["v"] for f in fitted]).mean(0)).std()[None],
        factors=factors,
        interaction=interaction,
        gate=torch.stack([f["gate"] for f in fitted]),
        radius=problem.row_factors.norm(dim=1).quantile(0.99)[None],
        classes=torch.tensor([float(database.task_classes.shape[1])]),
        reach=remoteness(row_code, len(anchors)).amax()[None],
        offset=torch.stack([f["offset"] for f in fitted]),
        second_offset=torch.stack([f["second"] for f in fitted]),
        second_logit=second_logit,
        noise=_noise(problem, database.task[rows], structure.shape[1], config, remember),
    )


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
    """Position in `population` of the cell of each row, int64 ``[rows]``."""
    ranks, order = descriptors.rank(population).sort()
    return order[torch.searchsorted(ranks, descriptors.rank(rows))]


def normal_scores(values: torch.Tensor) -> torch.Tensor:
    """Ranks mapped to standard normal quantiles; equal values get equal scores."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    middle = counts.cumsum(0) - counts / 2
    return torch.special.ndtri((middle[inverse] / len(values)).double()).float()


def _held(population: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """1 where a row of `population` is among `rows`; float32 ``[population]``."""
    return torch.isin(descriptors.rank(population), descriptors.rank(rows)).float()
