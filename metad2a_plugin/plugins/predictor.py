"""The `Predictor` interface: scores architectures for a task without training them.

A whole plug-in::

    class Smallest(Predictor):
        def predict(self, task, architectures):
            return -torch.tensor([self.space.cost(a).params for a in architectures])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metad2a_plugin.spaces.base import Architecture, SearchSpace

if TYPE_CHECKING:
    import torch

    from metad2a_plugin.plugins.task import Task


class Predictor(ABC):
    """Ranks architectures.

    Attributes:
        needs_task: False where scores do not depend on a dataset.
        unit: of the scores, such as ``%``; empty where they have none.
        scale: a sentence on what the scores are, for those who read a search's result.
        candidates: networks that a search scores unless told, of a predictor that takes its time; None where it can
            score thousands.
    """

    needs_task: bool = False
    unit: str = ""
    scale: str = ""
    candidates: int | None = None

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @abstractmethod
    def predict(self, task: Task | None, architectures: Sequence[Architecture]) -> torch.Tensor:
        """Scores, float32 ``[n]``, higher is better, in the order given.

        Raises:
            ConfigError: `task` is None and `needs_task` is True.
            ArchitectureError: an architecture is of another space.
        """

    def read(self, images: Any, seed: int) -> Task | None:
        """The images as this predictor wants to see them; None where the default encoder's features will do."""
        return None

    def predict_encoded(self, task: Task | None, vertices: torch.Tensor) -> torch.Tensor:
        """`predict` of encoded architectures, int64 ``[n, vertices]``; override it where decoding would be in vain."""
        return self.predict(task, self.space.decode(vertices))

    def spread(self, vertices: torch.Tensor) -> torch.Tensor:
        """Standard deviation of a measured value around the score of each, float32 ``[n]``; NaN where it is not known.

        Args:
            vertices: encoded architectures, int64 ``[n, vertices]``.
        """
        import torch

        return torch.full((len(vertices),), torch.nan)
