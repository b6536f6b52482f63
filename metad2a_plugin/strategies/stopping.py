"""Learning curves as evidence: how a training will end, as far as its first epochs tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.task import Task

HOPELESS = 0.05
"""A training is stopped when its chance to end above the best is lower."""
SEEN = 0.1
"""Share of the epochs that must be seen before any training is stopped: the first tell of the warm-up."""


@runtime_checkable
class CurveModel(Protocol):
    """Predicts learning curves."""

    def curve(
        self, task: Task | None, vertices: torch.Tensor, budget: Budget, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the accuracy in percent after every epoch, float32 ``[n, epochs]`` each.

        Args:
            task: the dataset; None for the average one.
            vertices: encoded architectures, int64 ``[n, vertices]``.
            budget: what they are trained with.
            seen: accuracies of the first epochs, in percent, ``[n, k]``.
        """
        ...


@dataclass(frozen=True)
class Forecast:
    """Normal distribution of a training's final accuracy, in percent."""

    mean: float
    std: float

    def chance_above(self, value: float) -> float:
        """That the training ends above a value."""
        return float(torch.special.ndtr(torch.tensor((self.mean - value) / max(self.std, 1e-9))))

    def hopeless(self, best: float) -> bool:
        """Whether the training will hardly end above `best`."""
        return self.chance_above(best) < HOPELESS


@dataclass(frozen=True)
class CurveReader:
    """What a curve model says of trainings for one budget on one dataset.

    Args:
        model: predicts the curves.
        task: the dataset, as the model reads it; None for the average one.
        budget: with its number of images, unless the task knows it.
    """

    model: CurveModel
    task: Task | None
    budget: Budget

    def forecast(self, vertices: torch.Tensor, curve: Sequence[float]) -> Forecast:
        """Of an encoded architecture, int64 ``[vertices]``, whose first accuracies are known."""
        mean, std = self.model.curve(self.task, vertices[None], self.budget, torch.tensor([list(curve)]))
        return Forecast(float(mean[0, -1]), float(std[0, -1]))

    def ready(self, seen: int) -> bool:
        """Whether a training may be stopped after so many epochs."""
        return SEEN * self.budget.epochs <= seen < self.budget.epochs

    def hopeless(self, vertices: torch.Tensor, curve: Sequence[float], best: float) -> bool:
        """Whether a training that is under way will hardly end above `best`, an accuracy in percent."""
        return self.ready(len(curve)) and self.forecast(vertices, curve).hopeless(best)
