"""The `ImageEncoder` interface: images to the feature vectors that a set encoder reads."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch


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
