"""The predictor of a checkpoint behind the `Predictor` interface."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.models.unexplained import Explained, explained
from metad2a_plugin.plugins.budget import AnyBudget, Budget, budget_model, refused
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import Architectures, SearchSpace
from metad2a_plugin.utils.last_use import LastUse
from metad2a_plugin.utils.torch_device import refuse_other_dtypes

if TYPE_CHECKING:
    import torch

FAR = 1.2
"""Datasets at more than this distance, where half of what was learned of datasets counts, are reported as unlike those
of meta-training."""
_AFTER_TRAINING = (
    "Accuracies are those expected of images that are held out of that training; metad2a train measures them."
)


class BudgetedModel(Protocol):
    """A checkpoint's model that knows budgets: its `knows_budgets` is true."""

    def predict_task(self, task: Task | None, vertices: torch.Tensor, budget: Budget | None = None) -> Prediction:
        """Accuracies in percent of encoded architectures, int64 ``[n, vertices]``, after a training.

        Args:
            task: the dataset; None predicts for the average one.
            vertices: the architectures.
            budget: with its number of images; None is long training.
        """
        ...

    def median_task(self, task: Task | None, vertices: torch.Tensor, budget: Budget) -> torch.Tensor:
        """The order of `predict_task`, fast: a middle of each architecture's accuracy, in percent, ``[n]``.

        Args:
            task, vertices, budget: as there, but the budget must be given.
        """
        ...

    def predict_designs(self, task: Task | None, vertices: torch.Tensor, budgets: Sequence[Budget]) -> Prediction:
        """`predict_task` of architectures with a budget each.

        Args:
            task: the dataset; None predicts for the average one.
            vertices: encoded architectures, int64 ``[n, vertices]``.
            budgets: ``n``, each with its number of images.
        """
        ...

    def distance(self, task: Task, budget: Budget | None = None) -> float | None:
        """How far a dataset is from those that answers for such a budget were learned from, where it is known.

        Args:
            task: the dataset.
            budget: None is long training.
        """
        ...


class CheckpointPredictor(Predictor):
    """Scores architectures by their predicted accuracy, in percent; without a task, for the average meta-training task.

    Args:
        space: the checkpoint's search space.
        checkpoint: the models.
        budget: that accuracies are for; None is long training.

    Raises:
        ConfigError: there is a budget, and the model knows none; or the space has no such network.
        CheckpointError: of `predict`, the model's weights give no numbers.
    """

    quantity, unit = "accuracy", "%"

    def __init__(self, space: SearchSpace, checkpoint: Checkpoint, budget: AnyBudget = None) -> None:
        super().__init__(space)
        self._explained: LastUse[Task, Explained] = LastUse()
        self.checkpoint, self.budget = checkpoint, Budget.of(budget)
        self.knows_budgets = checkpoint.predictor.knows_budgets
        if self.budget is not None:
            if not self.knows_budgets:
                raise refused(f"the model {checkpoint.name!r}", space.name)
            space.check_options(self.budget.options)
        self.name = checkpoint.name
        self.scale = scale_of(checkpoint) if self.budget is None else _AFTER_TRAINING
        if self.budget is None:
            known = self.knows_budgets or budget_model(space.name)
            advice = "; give a budget (--epochs and what goes with it) for yours" if known else ""
            self.notes = (f"Networks are ranked for long training{advice}.",)

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        refuse_other_dtypes()
        vertices, model = self.space.encode(architectures), self.checkpoint.predictor
        if self.budget is None:
            prediction = model.predict_task(task, vertices)
        else:
            budget = self.budget.resolved(None if task is None else task.images)
            prediction = cast(BudgetedModel, model).predict_task(task, vertices, budget)
        for values in (prediction.mean, prediction.std):
            # Weights that are finite each can still overflow together.
            if values is not None and not values.isfinite().all():
                raise CheckpointError(
                    f"the model {self.name!r} gives accuracies that are no numbers: its weights are not those of a "
                    "trained model; make it again"
                )
        return prediction

    def distance(self, task: Task) -> float | None:
        model = self.checkpoint.predictor
        return model.distance(task) if self.budget is None else cast(BudgetedModel, model).distance(task, self.budget)

    def level_unknown(self, task: Task) -> str | None:
        labels = self._explained.get(task, lambda: explained(task))
        if not labels.by_images:
            if labels.enough:
                message = f"nothing in the images of {task.name!r} explains their labels; check that these are theirs"
                warnings.warn(message, DatasetWarning, stacklevel=2)
            return _unexplained(labels)
        distance = self.distance(task)
        if distance is None or distance <= FAR:
            return None
        return (
            f"This dataset is or may be unlike those of meta-training (distance up to {distance:.1f}, more with fewer "
            "images and classes; 99% of them are within 1): the order rests on what makes networks good in general, "
            "and the level is a guess."
        )


def _unexplained(labels: Explained) -> str:
    told = (
        f"the nearest class mean gets {100 * labels.share:.0f}% of {labels.images:,} images right, with shuffled "
        f"labels {100 * labels.chance:.0f}%"
    )
    if labels.enough:
        return (
            f"Nothing in the images explains their labels ({told}): the order rests on what makes networks good in "
            "general, and there is no level."
        )
    return (
        f"These images are too few to tell whether anything in them explains their labels ({told}): the order rests on "
        "what makes networks good in general, and the level is a guess."
    )


def scale_of(checkpoint: Checkpoint) -> str:
    """What its accuracies are, if its training says so as ``scale``; else what is true of any, and its ``schedule``."""
    if "scale" in checkpoint.training:
        return str(checkpoint.training["scale"])
    tasks = f"{checkpoint.training.get('classes', 20)} classes"
    if "schedule" in checkpoint.training:
        tasks += f", {checkpoint.training['schedule']}"
    quality = checkpoint.training.get("quality")
    order = f" Their order is that of the predictor {quality}." if quality else ""
    return (
        f"Accuracies are on the scale of the meta-training tasks ({tasks}): they rank networks; metad2a train measures "
        f"them.{order}"
    )
