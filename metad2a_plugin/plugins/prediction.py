"""What a predictor says of architectures: `Prediction`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Prediction:
    """Predicted accuracies in percent, float32 ``[n]`` each.

    Attributes:
        mean: expected accuracy under the main meta-training protocol.
        std: standard deviation of one measured accuracy around it: members' disagreement plus noise.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def interval(self, level: float = 0.9) -> tuple[torch.Tensor, torch.Tensor]:
        """Central interval that a measured accuracy falls into with probability `level`."""
        half = math.sqrt(2) * torch.erfinv(torch.tensor(level)) * self.std
        return (self.mean - half).clamp(0, 100), (self.mean + half).clamp(0, 100)
