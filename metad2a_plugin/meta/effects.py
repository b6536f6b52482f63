"""What of benchmark tables, of a quality and of being held the descriptors of cells tell, and what single cells do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from metad2a_plugin.meta.database import MetaDatabase
from metad2a_plugin.meta.member import Member, Problem, expected


@dataclass(frozen=True)
class BenchmarkTable:
    """Accuracies of a whole population of cells on one known dataset.

    Attributes:
        accuracy: percent, ``[population]``.
        noise: standard deviation, over repetitions of the training, of each of these numbers; ``[population]``.
    """

    accuracy: torch.Tensor
    noise: torch.Tensor


def direction(cells: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """What of `quality` ``[n]`` is linear in descriptors ``[n, d]``: ``[d, 1]``, of unit mean square over the cells."""
    wanted = (quality - quality.mean()).double()
    x = cells.double()
    ridge = 1e-3 * torch.eye(x.shape[1], dtype=x.dtype)  # descriptors depend on each other
    direction = torch.linalg.solve(x.T @ x / len(x) + ridge, x.T @ wanted / len(x))
    return (direction / (x @ direction).std())[:, None].float()


def cell_effect(
    problem: Problem, fitted: list[Member], tables: Sequence[BenchmarkTable], index: torch.Tensor
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
    left = problem.value - torch.stack([expected(problem, f, everything) for f in fitted]).mean(0)
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


def row_index(population: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Position in `population` of the cell of each row, int64 ``[rows]``; both are places in the space."""
    places, order = population.sort()
    return order[torch.searchsorted(places, rows)]


def normal_scores(values: torch.Tensor) -> torch.Tensor:
    """Ranks mapped to standard normal quantiles; equal values get equal scores."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    middle = counts.cumsum(0) - counts / 2
    return torch.special.ndtri((middle[inverse] / len(values)).double()).float()


def held_cells(database: MetaDatabase, population: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """1 where a cell of `population` is among `rows` of the first protocol; float32 ``[population]``."""
    held = database.vertices[rows][database.protocol[rows] == 0]
    return torch.isin(database.space.places(population), database.space.places(held)).float()
