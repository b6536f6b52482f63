"""What a predictor says of architectures: `Prediction`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from metad2a_plugin.utils.lazy import torch


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
