"""Small images that a small network tells apart at once, and the smallest search for them."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import numpy as np

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.one_shot.config import SearchConfig

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
    return kind(**(SMALLEST | options))
