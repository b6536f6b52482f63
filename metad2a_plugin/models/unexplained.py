"""Whether anything in the images of a dataset explains its labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metad2a_plugin.models.set_code import image_separability
from metad2a_plugin.plugins.task import Task

ENOUGH = 100
"""Images that are enough to find an explanation where there is one: of 20 image sets, in every draw of so many."""
_LOOKED, _PERMUTATIONS, _FIRST, _CLEAR = 400, 199, 19, 6.0
_RARE = 0.01


@dataclass(frozen=True)
class Explained:
    """How well the nearest class mean tells images apart, each image left out of its own class's.

    Attributes:
        share: of images that it gets right, each class counting alike; from 0 to 1.
        chance: the same where labels are permuted, on average.
        images: that were looked at.
        by_images: whether labels that are permuted at random do as well less than once in a hundred times.
    """

    share: float
    chance: float
    images: int
    by_images: bool

    @property
    def enough(self) -> bool:
        """Whether so many images would have shown an explanation."""
        return self.images >= ENOUGH


def explained(task: Task, seed: int = 0) -> Explained:
    """Compare a dataset's labels with permuted ones (a permutation test; e.g. Ojala and Garriga, JMLR 2010).

    Some 400 images of at most 20 classes are looked at.

    Args:
        task: features and labels.
        seed: of the choice of images and of the permutations.
    """
    # Of those that the code of the dataset is made of, so that no further images need be encoded.
    features, labels = task.sets(seed=seed)[0]
    counts = labels.bincount()
    number = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels]
    features, labels = (part[number < max(20, _LOOKED // len(counts))] for part in (features, labels))
    generator = torch.Generator().manual_seed(seed)

    def right(order: torch.Tensor) -> float:
        # NaN, where no class has two images, is no image right.
        return float(image_separability(features, labels[order], 1.0)[0].nan_to_num())

    every = torch.arange(len(labels))
    share = right(every)
    chance: list[float] = []
    while len(chance) < _PERMUTATIONS:
        chance.append(right(every[torch.randperm(len(every), generator=generator)]))
        told = torch.tensor(chance, dtype=torch.float64)
        # What is clear after a few needs no more.
        if len(chance) == _FIRST and share > told.mean() + _CLEAR * told.std():
            return Explained(share, float(told.mean()), len(labels), True)
    as_good = (1 + int((told >= share - 1e-9).sum())) / (1 + _PERMUTATIONS)
    return Explained(share, float(told.mean()), len(labels), as_good <= _RARE)
