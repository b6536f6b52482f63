"""MetaD2A's meta-trained predictor behind the `Predictor` interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import Architecture, SearchSpace

if TYPE_CHECKING:
    from metad2a_plugin.plugins.task import Task


class MetaD2APredictor(Predictor):
    """Scores architectures by their predicted accuracy, in percent, on a task.

    Args:
        space: the search space; the model must be of it.
        model: a shipped checkpoint, its folder, or a `MetaD2A`; by default the checkpoint named like the space.

    Raises:
        ConfigError: the model is of another space.
        CheckpointError: the model cannot be read.
    """

    needs_task = True

    def __init__(self, space: SearchSpace, model: str | MetaD2A | None = None) -> None:
        super().__init__(space)
        model = space.name if model is None else model
        self.searcher = model if isinstance(model, MetaD2A) else MetaD2A.from_pretrained(model)
        if self.searcher.space.name != space.name:
            raise ConfigError(
                f"the model {self.searcher.checkpoint.name!r} is of the space {self.searcher.space.name!r}, "
                f"not {space.name!r}"
            )

    def read(self, images: Any, seed: int) -> Task:
        """By the encoder of its checkpoint."""
        return self.searcher.task(images, seed=seed)

    def predict(self, task: Task | None, architectures: Sequence[Architecture]) -> torch.Tensor:
        if task is None:
            raise ConfigError(
                "this predictor needs a task; make one with extract_task(load_dataset(...)), or rank without a "
                "dataset with MetaD2A.predict(None, architectures)"
            )
        return self.searcher.predict(task, architectures).mean
