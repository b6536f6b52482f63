"""The `Predictor` interface: scores architectures for a task without training them.

A whole plug-in::

    class Smallest(Predictor):
        def predict(self, task, architectures):
            return -torch.tensor([self.space.cost(a).params for a in architectures])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from metad2a_plugin.spaces.base import Architecture, SearchSpace

if TYPE_CHECKING:
    import torch

    from metad2a_plugin.data.task import Task


class Predictor(ABC):
    """Ranks architectures; `needs_task` is False where scores do not depend on a dataset."""

    needs_task: bool = False

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @abstractmethod
    def predict(self, task: Task | None, architectures: Sequence[Architecture]) -> torch.Tensor:
        """Scores, float32 ``[n]``, higher is better, in the order given.

        Raises:
            ConfigError: `task` is None and `needs_task` is True.
            ArchitectureError: an architecture is of another space.
        """
