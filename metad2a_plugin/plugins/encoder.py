"""The `ImageEncoder` interface: images to the feature vectors that a set encoder reads; and of those that train on."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class ImageEncoder(ABC):
    """Images to features; the same images always give the same features."""

    name: str
    """Registry name."""
    dim: int
    """Width of the feature vector."""
    size: int
    """Side of the square input images, in pixels."""
    fingerprint: str
    """Changes whenever the weights or the preprocessing do; part of the cache key."""

    @abstractmethod
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 RGB ``[n, 3, size, size]`` to float32 ``[n, dim]`` on the CPU."""


class TrainableEncoder(ImageEncoder):
    """An encoder whose network can be trained further on other images."""

    @classmethod
    def untrained(cls) -> TrainableEncoder:
        """One whose network will be given other weights of the same layout; by default as any, which reads its own.

        Override it where these need not be there.
        """
        return cls()

    @abstractmethod
    def network(self) -> nn.Module:
        """A new copy on the CPU, with the encoder's weights, in evaluation mode.

        It takes uint8 RGB ``[n, 3, side, side]``, of any side from `size` / 2 on, and gives features ``[n, dim]``;
        its architecture depends on the name alone.
        """
