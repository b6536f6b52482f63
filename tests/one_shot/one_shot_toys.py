"""A dataset of colours and the smallest search."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import numpy as np

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.one_shot._config import SearchConfig

SMALLEST: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 8,
    "channels": 2,
    "cells": 1,
    "input_size": 8,
    "device": "cpu",
}
_Config = TypeVar("_Config", bound=SearchConfig)


def image_dataset(per_class: int = 6, size: int = 8) -> ImageDataset:
    """Noisy images of three classes, each brighter in a channel of its own."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), per_class)
    images = rng.integers(0, 128, (len(labels), size, size, 3))
    images[np.arange(len(labels)), :, :, labels] += 100
    return load_dataset((images.astype(np.uint8), labels), name="colours")


@overload
def tiny(**options: Any) -> SearchConfig: ...
@overload
def tiny(kind: type[_Config], **options: Any) -> _Config: ...
def tiny(kind: type[SearchConfig] = SearchConfig, **options: Any) -> SearchConfig:
    return kind(**(SMALLEST | options))
