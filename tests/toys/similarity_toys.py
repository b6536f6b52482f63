"""Tiny datasets and libraries of them for the tests of task similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.similarity.build import build_library
from metad2a_plugin.similarity.config import CellConfig, TaskConfig
from metad2a_plugin.similarity.library import TaskLibrary

CONFIG = TaskConfig(input_size=8, images=40, steps=4, batch_size=16, fisher_images=12)
CELLS = CellConfig(count=4, good=2, images=24, epochs=1, input_size=8, channels=2)


def stripes(seed: int = 0, classes: int = 3, each: int = 8, name: str = "stripes") -> ImageDataset:
    """Noisy stripes of 8 pixels, each class of another width."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    pattern = np.stack([np.arange(8) // (label + 1) % 2 * 200 for label in labels])
    images = np.broadcast_to(pattern[:, None, :], (len(labels), 8, 8)) + rng.integers(0, 55, (len(labels), 8, 8))
    return load_dataset((images.astype(np.uint8), [f"width {label + 1}" for label in labels]), name=name)


def noise(seed: int = 0, name: str = "noise") -> ImageDataset:
    """Coloured noise, two classes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    images[:12, :, :, 0] = 0
    return load_dataset((images, ["blue"] * 12 + ["white"] * 12), name=name)


def build(folder: Path, **options: Any) -> TaskLibrary:
    datasets = {"stripes": stripes(), "noise": noise()}
    return build_library(
        datasets, folder / "library", CONFIG, CELLS, **{"run_dir": folder / "runs", "command": "toys", **options}
    )
