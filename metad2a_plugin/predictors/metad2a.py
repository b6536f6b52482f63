"""MetaD2A's meta-trained predictor by its name."""

from __future__ import annotations

from typing import Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import AnyBudget
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.search.predictor import CheckpointPredictor
from metad2a_plugin.spaces.base import Architectures, SearchSpace


class MetaD2APredictor(CheckpointPredictor):
    """Scores architectures by their predicted accuracy, in percent, on a task.

    Args:
        space: the search space; the model must be of it.
        model: a shipped checkpoint, its folder, or a `MetaD2A`; by default the checkpoint named like the space, for a
            budget the one that knows budgets.
        budget: that accuracies are for, or its settings by name; None is long training.

    Raises:
        ConfigError: the model is of another space, or knows no budgets and is given one.
        CheckpointError: the model cannot be read.
    """

    needs_task = True

    def __init__(
        self,
        space: SearchSpace,
        model: str | MetaD2A | None = None,
        budget: AnyBudget = None,
    ) -> None:
        self.searcher = MetaD2A.of_space(space, model, budgeted=budget is not None)
        super().__init__(space, self.searcher.checkpoint, budget)

    def read(self, images: Any, seed: int) -> Task:
        """By the encoder of its checkpoint."""
        return self.searcher.task(images, seed=seed)

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        if task is None:
            raise ConfigError(
                "this predictor needs a task; make one with extract_task(load_dataset(...)), or rank without a "
                "dataset with MetaD2A.predict(None, architectures)"
            )
        return super().predict(self.searcher.task(task), architectures)
