"""How much nearer a dataset looks than it is where little of it was seen.

The mean of ``n`` images of a class deviates from that of the class by the scatter of images over ``n``. So classes that
are alike look as far apart as those of other datasets: the fewer images, the more a dataset looks like any other. The
fewer classes there are, the less is said by how they lie. Neither can be told from the images that there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

OF_IMAGES, OF_CLASSES = 20.0, 2.0
"""Of `underestimate`: the least that kept distances from growing with data on 15 image sets (`benchmarks/intervals.py`,
which reports of five others)."""
MOST_IMAGES, MOST_CLASSES = 50, 20
"""That `Task.sets` draws; more are not seen."""


def underestimate(images: float, classes: float) -> float:
    """What the distance of a dataset may be larger by, as a factor, than that of the images seen.

    Args:
        images: of a class.
        classes: of the dataset.
    """
    images, classes = min(images, MOST_IMAGES), min(classes, MOST_CLASSES)
    return (1 + OF_IMAGES / images) * (1 + OF_CLASSES / classes)


def images_of_a_class(sets: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Different images of a class on average, in the image sets that `Task.sets` gives by default."""
    found = []
    for features, labels in sets:
        # Equal images have equal features, hence equal sums by any weights.
        weights = torch.linspace(1, 2, features.shape[1], dtype=torch.float64)
        keys = torch.stack([labels.double(), features.double() @ weights], dim=1)
        found.append(keys.unique(dim=0)[:, 0].long().bincount().double().mean())
    return float(torch.stack(found).mean())
