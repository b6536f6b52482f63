"""One member of the default predictor, and how well members do on tasks that were left out; see `meta.fit`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional as F

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.models.ensemble import CENTER, SCALE
from metad2a_plugin.utils.checks import NamedSettings

Member = dict[str, torch.Tensor]
"""Fitted weights of one member."""
Remember = Callable[[str, Callable[[], Member]], Member]


@dataclass(frozen=True)
class FitConfig(NamedSettings):
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
class Problem:
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


class _Numbers(NamedTuple):
    """What of a member is a single number, each a tensor ``[]``."""

    offset: torch.Tensor
    second: torch.Tensor  # offset of the second protocol, on top
    intercept: torch.Tensor  # of the selection's logit
    log_slope: torch.Tensor  # of the quality in it
    ceiling: torch.Tensor  # logit of the highest chance to be selected
    log_noise: torch.Tensor
    second_log_noise: torch.Tensor  # of the second protocol

    def selected(self, q: torch.Tensor) -> torch.Tensor:
        """How likely cells of quality `q` ``[n]`` are selected, as a share of the ceiling; ``[n]``."""
        return torch.sigmoid(self.intercept + self.log_slope.exp() * q)


_START = (0.0, -3.0, -1.0, 1.0, -0.5, -0.7, -0.3)  # of `_Numbers`


def fit_member(problem: Problem, keep: torch.Tensor, rows: torch.Tensor, config: FitConfig) -> Member:
    """One member on the descriptors in `keep` and the rows in `rows`."""
    cells, row_cells = problem.cells[:, keep], problem.row_cells[rows][:, keep]
    row_tasks, value, second = problem.row_tasks[rows], problem.value[rows], problem.protocol[rows].float()
    w = torch.zeros(cells.shape[1], requires_grad=True)
    v = torch.zeros(row_tasks.shape[1], requires_grad=True)
    structural = keep[keep < problem.structural]
    crossed = _cross(problem.row_factors[rows], problem.row_cells[rows][:, structural])
    u = torch.zeros(crossed.shape[1], requires_grad=True)
    numbers = torch.tensor(_START, requires_grad=True)
    level = torch.tensor(-0.7, requires_grad=True)  # log deviation of tasks
    task = problem.task[rows]
    t = torch.tensor([[0.0, 0.0, -1.0]]).repeat(len(problem.tables), 1).requires_grad_()
    weights = [w, v, u, numbers, t, *([level] if config.task_level else [])]
    optimizer = torch.optim.LBFGS(weights, max_iter=config.iterations, history_size=20, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        n = _Numbers(*numbers)
        log_noise = torch.where(second > 0, n.second_log_noise, n.log_noise)
        row_q = row_cells @ w
        gate = n.selected(row_q) if config.selection else 1.0
        mean = n.offset + row_q + row_tasks @ v + gate * (crossed @ u) + n.second * second
        loss = (0.5 * (value - mean) ** 2 * torch.exp(-2 * log_noise) + log_noise).sum()
        if config.task_level:
            loss = loss + _shared(value - mean, log_noise, level, task) + 0.05 * level.square()
        q = cells @ w if config.selection or len(problem.tables) else w
        if config.selection:
            chance = torch.sigmoid(n.ceiling) * n.selected(q)
            loss = loss + F.binary_cross_entropy(chance.clamp(1e-6, 1 - 1e-6), problem.held, reduction="sum")
        for table, (shift, slope, noise) in zip(problem.tables, t, strict=True):
            error = (table - shift - slope.exp() * q) ** 2
            loss = loss + config.table_weight * (0.5 * error * torch.exp(-2 * noise) + noise).sum()
        loss = loss + 0.5 * (w.square().sum() / config.cell_prior + v.square().sum() / config.task_prior)
        loss = loss + 0.5 * u.square().sum() / config.interaction_prior
        loss = loss + 0.05 * numbers[1:].square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    reached = objective().detach()
    full = torch.zeros(problem.cells.shape[1])
    full[keep] = w.detach()
    interaction = torch.zeros(problem.row_factors.shape[1], problem.cells.shape[1])
    interaction[:, structural] = u.detach().view(len(interaction), len(structural))
    n = _Numbers(*numbers.detach())
    gate = torch.stack([n.intercept, n.log_slope.exp()]) if config.selection else torch.tensor([math.inf, 0.0])
    return {
        "w": full,
        "u": interaction,
        "v": v.detach(),
        "offset": n.offset,
        "second": n.second,
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


def subspace(problem: Problem, config: FitConfig, member: int) -> torch.Tensor:
    """The descriptors that a member sees."""
    generator = torch.Generator().manual_seed(config.seed * 10_007 + member)
    chosen = torch.randperm(problem.structural, generator=generator)[: config.subspace]
    return torch.cat([chosen.sort().values, torch.arange(problem.structural, problem.cells.shape[1])])


def held_out_error(problem: Problem, config: FitConfig, remember: Remember) -> torch.Tensor:
    """Held-out error of each protocol by cross-validation over tasks: the 90% quantile over 1.645, ``[2]``."""
    generator = torch.Generator().manual_seed(config.seed)
    fold = torch.randint(config.folds, (int(problem.task.max()) + 1,), generator=generator)[problem.task]
    error = torch.zeros(len(problem.task))
    for k in range(config.folds):
        inside, outside = torch.nonzero(fold != k).squeeze(1), torch.nonzero(fold == k).squeeze(1)
        for m in range(config.fold_members):
            keep = subspace(problem, config, m)
            fitted = remember(f"fold-{k}-{m}", partial(fit_member, problem, keep, inside, config))
            mean = expected(problem, fitted, outside)
            error[outside] += (problem.value[outside] - mean) / config.fold_members
    quantiles = [error[problem.protocol == p].abs().quantile(0.9) for p in problem.protocol.unique()]
    return torch.stack([quantiles[0], quantiles[-1]]) / 1.645


def expected(problem: Problem, fitted: Member, rows: torch.Tensor) -> torch.Tensor:
    """What a fitted member expects of rows, ``[rows]``."""
    q = problem.row_cells[rows] @ fitted["w"]
    crossed = _cross(problem.row_factors[rows], problem.row_cells[rows]) @ fitted["u"].flatten()
    gate = torch.sigmoid(fitted["gate"][0] + fitted["gate"][1] * q)
    level = fitted["offset"] + fitted["second"] * problem.protocol[rows]
    return level + q + problem.row_tasks[rows] @ fitted["v"] + gate * crossed


def second_protocol_logit(row_cells: torch.Tensor, protocol: torch.Tensor) -> torch.Tensor:
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
