"""Networks that take pixels: the normalisation is inside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class NormalizedNetwork(nn.Module):
    """A network on raw pixels.

    Args:
        network: takes normalised images, ``[batch, 3, height, width]``.
        mean, std: of each colour channel, for pixels scaled to 0..1.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB ``[batch, 3, height, width]`` with values 0 to 255, uint8 or float, to what the network gives."""
        found: torch.Tensor = self.network((images.to(self.mean.dtype) / 255 - self.mean) / self.std)
        return found
