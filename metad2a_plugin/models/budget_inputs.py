"""Budgets and datasets as `BudgetModel` reads them: a few numbers each."""

from __future__ import annotations

import math

import torch

from metad2a_plugin.models.set_code import image_separability
from metad2a_plugin.nn.probe import linear_probe
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import SearchSpace

_STATISTICS = (
    "spectrum_slope", "colour", "background", "edges", "contrast", "variety", "pixel_probe", "convolution_probe",
)  # fmt: skip
_PROBES = 2  # the last of them, which are shares
_PROBED = 1500  # images


def budget_names(space: SearchSpace) -> tuple[str, ...]:
    """Names of the columns of `budget_features`."""
    return ("steps", "epochs", "images", "batch_size", "lr", "input_size", "flip", *space.sizes)


def budget_features(space: SearchSpace, budget: Budget) -> torch.Tensor:
    """Logarithms of what a network is trained with, float64 ``[budget features]``; `budget.images` must be given.

    Raises:
        ConfigError: it is not.
    """
    network = space.cost_options(budget.options)
    numbers = [
        budget.epochs * budget.images / budget.batch_size if budget.images else budget.steps,
        budget.epochs,
        budget.images or 1,
        budget.batch_size,
        budget.lr,
        budget.input_size,
        math.exp(budget.flip),
        *(network.get(name, values[-1]) for name, values in space.sizes.items()),
    ]
    return torch.tensor([math.log(number) for number in numbers], dtype=torch.float64)


DATASET = (
    "classes",
    "linear_probe",
    "prototypes",
    "margin",
    "entropy_5",
    "entropy_20",
    "within",
    *_STATISTICS,
)
"""Names of the columns of `dataset_features`."""


def dataset_features(task: Task) -> torch.Tensor:
    """How hard a dataset is and what its images are like, float64 ``[dataset features]``; NaN where it is not known."""
    chosen = torch.linspace(0, len(task.labels) - 1, min(len(task.labels), _PROBED)).long()
    features = task.rows(chosen)
    labels = task.labels[chosen].unique(return_inverse=True)[1]
    unit = float(2 * features.var(0, correction=0).sum())
    told = image_separability(features, labels, unit).tolist()
    values = [math.log(task.num_classes), _logit(linear_probe(features, labels)), _logit(told[0]), *told[1:]]
    statistics = task.statistics or {}
    known = [statistics.get(name, math.nan) for name in _STATISTICS]
    known = [*known[:-_PROBES], *map(_logit, known[-_PROBES:])]
    return torch.tensor([*values, *known], dtype=torch.float64)


def standardised(features: torch.Tensor, center: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`dataset_features`, ``[..., k]``, of unit scale; what is not known is taken to be average."""
    return ((features - center) / scale).nan_to_num().clamp(-4, 4)


def components(space: SearchSpace, vertices: torch.Tensor, center: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """Descriptors of encoded architectures, int64 ``[n, vertices]``, along principal components, float64 ``[n, k]``."""
    return (torch.cat(space.describe(vertices), dim=1).double() - center) @ to


def _logit(share: float) -> float:
    share = min(max(share, 0.005), 0.995) if share == share else share
    return math.log(share / (1 - share))
