"""Small images that a small network tells apart at once."""

from __future__ import annotations

import numpy as np

from metad2a_plugin.data import ImageDataset, load_dataset


def coloured(*counts: int, seed: int = 0) -> ImageDataset:
    """So many noisy images of 8 pixels of each class, which differ in the brightest channel."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = rng.integers(0, 120, (len(labels), 8, 8, 3), dtype=np.uint8)
    images[np.arange(len(labels)), :, :, labels % 3] += 100
    return load_dataset((images, labels), name="coloured")
