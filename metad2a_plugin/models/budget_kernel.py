"""The covariance of `BudgetModel`: of what two trainings reach, by their budgets, datasets and architectures.

It is a sum of effects with learned variances. Effects of the context (all but the architecture) are linear and smooth
in the budget, in the dataset, and in both together, and each image set, task and context has one of its own. Effects of
the architecture are linear in its descriptors and in its prior columns, each TIMES a covariance over contexts: what is
common to all contexts, what changes smoothly with the budget, what with the budget and the kind of data, and what a
single image set has of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

PARTS = ("budget", "dataset", "both", "set", "set_budget", "task", "context")
"""Effects of contexts, in the order of `Hyper.context`."""
SHARES = ("common", "budget", "both", "set")
"""Ways in which the effects of architectures vary, in the order of `Hyper.descriptors` and `Hyper.columns`."""
_ROWS = 512


@dataclass(frozen=True)
class Hyper:
    """Logarithms of standard deviations and length scales.

    Attributes:
        budget_length, dataset_length: of smooth effects, ``[budget features]`` and ``[dataset features]``.
        budget_slope, dataset_slope: of linear effects, likewise.
        context: of `PARTS`, ``[7]``.
        descriptors: of `SHARES`, ``[4]``.
        columns: of `SHARES`, for every prior column, ``[4, columns]``.
        architecture: of one architecture in one context, ``[1]``.
        noise: of one training, ``[1]``.
        noise_slope: how its logarithm changes with the budget features, ``[budget features]``.
    """

    budget_length: torch.Tensor
    dataset_length: torch.Tensor
    budget_slope: torch.Tensor
    dataset_slope: torch.Tensor
    context: torch.Tensor
    descriptors: torch.Tensor
    columns: torch.Tensor
    architecture: torch.Tensor
    noise: torch.Tensor
    noise_slope: torch.Tensor

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    @classmethod
    def start(cls, budget: int, dataset: int, columns: int) -> Hyper:
        """Where learning begins, of so many features; float64."""

        def full(value: float, *shape: int) -> torch.Tensor:
            return torch.full(shape, value, dtype=torch.float64)

        return cls(
            budget_length=full(1.0, budget),
            dataset_length=full(1.3, dataset),
            budget_slope=full(-1.5, budget),
            dataset_slope=full(-1.5, dataset),
            context=full(-1.0, len(PARTS)),
            descriptors=full(-1.0, len(SHARES)),
            columns=full(-1.5, len(SHARES), columns),
            architecture=full(-2.0, 1),
            noise=full(-1.5, 1),
            noise_slope=full(0.0, budget),
        )

    def state(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in self.names()}


@dataclass(frozen=True)
class Contexts:
    """All but the architecture, of several trainings.

    Attributes:
        budget: standardised features, float64 ``[n, budget features]``.
        dataset: likewise, ``[n, dataset features]``; NaN throughout where the dataset is not known.
        image_set, task, number: which it is, int64 ``[n]`` each; -1 is like no other.
    """

    budget: torch.Tensor
    dataset: torch.Tensor
    image_set: torch.Tensor
    task: torch.Tensor
    number: torch.Tensor

    def __len__(self) -> int:
        return len(self.budget)

    def __getitem__(self, chosen: torch.Tensor) -> Contexts:
        return Contexts(*(getattr(self, field.name)[chosen] for field in fields(self)))


def joined(parts: Sequence[Contexts]) -> Contexts:
    """All of them."""
    return Contexts(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Contexts)))


@dataclass(frozen=True)
class Networks:
    """Architectures as the model reads them.

    Attributes:
        descriptors: float64 ``[n, descriptors]``.
        columns: what is known of each beforehand, float64 ``[n, columns]``.
        kind: equal for architectures that compute the same, int64 ``[n]``.
    """

    descriptors: torch.Tensor
    columns: torch.Tensor
    kind: torch.Tensor

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, chosen: torch.Tensor) -> Networks:
        return Networks(self.descriptors[chosen], self.columns[chosen], self.kind[chosen])


@dataclass(frozen=True)
class Shared:
    """What the effects of two lists of contexts have in common.

    Attributes:
        context: covariance of the effects of contexts, ``[n, m]``.
        descriptors: factor of that of descriptors, ``[n, m]``.
        columns: of each prior column, ``[columns, n, m]``.
        same: 1 where the context is the same, ``[n, m]``.
    """

    context: torch.Tensor
    descriptors: torch.Tensor
    columns: torch.Tensor
    same: torch.Tensor


def shared(hyper: Hyper, a: Contexts, b: Contexts) -> Shared:
    """Covariances between contexts."""
    known = a.dataset.isfinite().all(1)[:, None] & b.dataset.isfinite().all(1)[None]
    first, second = a.dataset.nan_to_num(), b.dataset.nan_to_num()
    budget = _smooth(a.budget, b.budget, hyper.budget_length)
    # Datasets of which nothing is known are like no other.
    dataset = _smooth(first, second, hyper.dataset_length) * known
    image_set, task, same = (_same(getattr(a, n), getattr(b, n)) for n in ("image_set", "task", "number"))
    both = budget * dataset
    parts = (budget, dataset, both, image_set, image_set * budget, task, same)
    variances = (2 * hyper.context).exp().unbind()
    linear = _linear(a.budget, b.budget, hyper.budget_slope) + _linear(first, second, hyper.dataset_slope)
    # The level of everything is not known beforehand.
    context = 1 + linear + _sum(variances, parts)
    shares = (torch.ones_like(budget), budget, both, image_set)
    columns = [_sum((2 * one).exp().unbind(), shares) for one in hyper.columns.unbind(1)]
    empty = budget.new_empty(0, *budget.shape)
    return Shared(
        context,
        _sum((2 * hyper.descriptors).exp().unbind(), shares),
        torch.stack(columns) if columns else empty,
        same,
    )


def own(hyper: Hyper, contexts: Contexts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Variance of the effects of contexts ``[n]``, and of descriptors ``[n]`` and columns ``[n, columns]`` there."""
    unknown = ~contexts.dataset.isfinite().all(1)
    slopes = (2 * hyper.dataset_slope).exp()
    # Standardised features of an unknown dataset deviate by 1.
    dataset = torch.where(unknown, slopes.sum(), contexts.dataset.nan_to_num().square() @ slopes)
    linear = contexts.budget.square() @ (2 * hyper.budget_slope).exp() + dataset
    n = len(contexts)
    return (
        1 + linear + (2 * hyper.context).exp().sum(),
        (2 * hyper.descriptors).exp().sum().expand(n),
        (2 * hyper.columns).exp().sum(0).expand(n, -1),
    )


def covariance(
    hyper: Hyper, between: Shared, a: Networks, b: Networks, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Of trainings, without noise, ``[n, m]``.

    Args:
        hyper: variances.
        between: of the contexts.
        a, b: the architectures, ``n`` and ``m``.
        rows, columns: the context of each.
    """

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values[rows][:, columns]

    found = spread(between.context) + spread(between.descriptors) * (a.descriptors @ b.descriptors.T)
    for number, one in enumerate(between.columns):
        found = found + spread(one) * torch.outer(a.columns[:, number], b.columns[:, number])
    same = (a.kind[:, None] == b.kind[None]) * spread(between.same)
    return found + (2 * hyper.architecture).exp() * same


def noise(hyper: Hyper, contexts: Contexts) -> torch.Tensor:
    """Variance of a training around what its architecture reaches in its context on average, ``[n]``."""
    return (2 * (hyper.noise + contexts.budget @ hyper.noise_slope)).clamp(-10, 4).exp()


def marginal(
    hyper: Hyper, contexts: Contexts, networks: Networks, index: torch.Tensor, known: torch.Tensor, jitter: float = 1e-6
) -> torch.Tensor:
    """Covariance of trainings as they were measured, with all noise, ``[n, n]``.

    Args:
        hyper: variances.
        contexts: each once.
        networks: the architectures, ``n``.
        index: the context of each.
        known: variance known of each.
        jitter: added, so that the matrix can be factored.
    """
    # A block of rows at once, since every effect takes as much memory as the whole.
    found = known.new_empty(len(networks), len(networks))
    for rows in _blocks(len(networks)):
        some, place = index[rows].unique(return_inverse=True)
        between = shared(hyper, contexts[some], contexts)
        found[rows] = covariance(hyper, between, networks[rows], networks, place, index)
    found.diagonal().add_(known + noise(hyper, contexts)[index] + jitter)
    return found


def _blocks(length: int) -> tuple[torch.Tensor, ...]:
    return torch.arange(length).split(_ROWS)


def _smooth(a: torch.Tensor, b: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    x, y = a / length.exp(), b / length.exp()
    squares = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T
    return (-squares.clamp(min=0) / 2).exp()


def _linear(a: torch.Tensor, b: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    return (a * (2 * slope).exp()) @ b.T


def _same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ((a[:, None] == b[None]) & (a >= 0)[:, None]).double()


def _sum(variances: tuple[torch.Tensor, ...], parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    total = variances[0] * parts[0]
    for variance, part in zip(variances[1:], parts[1:], strict=True):
        total = total + variance * part
    return total
