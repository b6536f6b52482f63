"""The `Predictor` interface: scores architectures for a task without training them, and says how sure it is.

A whole plug-in::

    class Smallest(Predictor):
        def predict(self, task, architectures):
            params, _ = self.space.costs(self.space.encode(architectures))
            return Prediction(-params.float())
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.spaces.base import Architectures, SearchSpace
from metad2a_plugin.utils.checks import instance
from metad2a_plugin.utils.lazy import torch
from metad2a_plugin.utils.parameters import Parameterized

if TYPE_CHECKING:
    from metad2a_plugin.plugins.task import Task


@dataclass(frozen=True)
class Prediction:
    """Scores of architectures, float32 ``[n]``, in the order in which they were given.

    Attributes:
        mean: the scores; higher is better. Of a predictor of accuracies, the expected accuracy in percent.
        std: standard deviation of one measured value around each; None where the predictor does not know.
        percent: whether measured values lie between 0 and 100.
    """

    mean: torch.Tensor
    std: torch.Tensor | None = None
    percent: bool = False

    def interval(self, level: float = 0.9) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Central interval that a measured value falls into with probability `level`; None without `std`."""
        if self.std is None:
            return None
        half = math.sqrt(2) * torch.erfinv(torch.tensor(level)) * self.std
        low, high = self.mean - half, self.mean + half
        return (low.clamp(0, 100), high.clamp(0, 100)) if self.percent else (low, high)

    def __getitem__(self, rows: torch.Tensor | slice | list[int]) -> Prediction:
        return Prediction(self.mean[rows], None if self.std is None else self.std[rows], self.percent)

    def __add__(self, other: Prediction) -> Prediction:
        """Of the architectures of both, one after the other."""
        std = None if self.std is None or other.std is None else torch.cat([self.std, other.std])
        return Prediction(torch.cat([self.mean, other.mean]), std, self.percent and other.percent)


class Predictor(Parameterized, ABC):
    """Ranks architectures; has `get_params` and `set_params`, can be pickled and cloned by scikit-learn.

    Attributes:
        name: the registry name it was made by; else that of the class.
        needs_task: False where scores do not depend on a dataset.
        quantity: what scores are: ``accuracy``, or ``score`` where they only rank.
        unit: of the scores, such as ``%``; empty where they have none.
        scale: a sentence on what the scores are, for those who read a search's result.
        notes: further sentences, on what scores are for.
        candidates: networks that a search scores unless told, of a predictor that takes its time; None where it can
            score thousands.
        network: options of the networks that it builds; None where it builds none. One that does takes them as
            ``**options``, and is given those that a search counts costs for.
        knows_budgets: whether scores can be those of a `Budget`; a class that does takes it as ``budget``.
        budget: that scores are for; None is long training.
    """

    name: str = ""
    needs_task: bool = False
    quantity: str = "score"
    unit: str = ""
    scale: str = ""
    notes: tuple[str, ...] = ()
    candidates: int | None = None
    network: Mapping[str, Any] | None = None
    knows_budgets: bool = False
    budget: Budget | None = None

    def __init__(self, space: SearchSpace) -> None:
        instance("space", space, SearchSpace, "a search space, such as get_space('nasbench201')")
        self.space = space
        self.name = self.name or type(self).__name__

    @abstractmethod
    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        """Scores, higher is better, in the order given, and how sure they are where that is known.

        Args:
            task: features of the dataset; None where `needs_task` is False.
            architectures: a sequence of them, or encoded ones, int64 ``[n, vertices]``; `SearchSpace.encode` and
                `SearchSpace.decode` make either of both.

        Raises:
            ConfigError: `task` is None and `needs_task` is True.
            ArchitectureError: an architecture is of another space.
        """

    def read(self, images: Any, seed: int) -> Task | None:
        """The images as this predictor wants to see them; None where the default encoder's features will do."""
        return None

    def training(self, task: Task | None) -> Budget | None:
        """`budget` as it is for a dataset, with its number of training images where that is known."""
        if self.budget is None or task is None or task.images is None:
            return self.budget
        return self.budget.resolved(task.images)

    def distance(self, task: Task) -> float | None:
        """How far a dataset may be from those that were learned from, of which 99% are within 1; None where not known.

        Less data of a dataset is no nearer.
        """
        return None

    def level_unknown(self, task: Task) -> str | None:
        """Why scores only order architectures, and their level is a guess, in a sentence; None where it is known."""
        return None
