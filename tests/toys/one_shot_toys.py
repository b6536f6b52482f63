"""Small images that a small network tells apart at once, the smallest search for them, and a space of somebody else."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import numpy as np
import torch
from torch import nn

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.one_shot.config import SearchConfig
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.interfaces import WeightSharing
from metad2a_plugin.testing import ToySpace

SMALLEST: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 8,
    "channels": 2,
    "cells": 1,
    "input_size": 8,
    "device": "cpu",
}
_Config = TypeVar("_Config", bound=SearchConfig)


def coloured(*counts: int, seed: int = 0) -> ImageDataset:
    """So many noisy images of 8 pixels of each class, which differ in the brightest channel."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = rng.integers(0, 120, (len(labels), 8, 8, 3), dtype=np.uint8)
    images[np.arange(len(labels)), :, :, labels % 3] += 100
    return load_dataset((images, labels), name="coloured")


@overload
def tiny(**options: Any) -> SearchConfig: ...
@overload
def tiny(kind: type[_Config], **options: Any) -> _Config: ...
def tiny(kind: type[SearchConfig] = SearchConfig, **options: Any) -> SearchConfig:
    return kind.from_dict(SMALLEST | options)


class ChainSupernet(nn.Module):
    """Chains of ``none``, ``skip`` and ``conv``, each decision with a convolution of its own."""

    def __init__(self, length: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(length))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

    def forward(self, images: torch.Tensor, selection: torch.Tensor | tuple[int, ...]) -> torch.Tensor:
        x = self.stem(images)
        for conv, chosen in zip(self.convs, selection, strict=True):
            if isinstance(chosen, torch.Tensor):
                x = chosen[1] * x + chosen[2] * conv(x)
            else:
                x = (torch.zeros_like(x), x, conv(x))[chosen]
        return self.head(x)


class SharedChains(ToySpace, WeightSharing):
    """`ToySpace` with a supernet and an option of its networks."""

    name = "shared-chains"

    def __init__(self, length: int = 3) -> None:
        super().__init__(length)
        self.reference = (2,) * length

    def build(self, architecture: Architecture, num_classes: int, *, width: int = 4) -> nn.Module:
        supernet, choices = self.supernet(num_classes, width=width), self.validate(architecture).choices
        convs = [conv for conv, choice in zip(supernet.convs, choices, strict=True) if choice == 2]
        return nn.Sequential(supernet.stem, *convs, supernet.head)

    def supernet(self, num_classes: int, *, width: int = 4) -> ChainSupernet:
        return ChainSupernet(self.length, num_classes, width)
