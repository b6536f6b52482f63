"""How much nearer a dataset looks than it is where little of it was seen.

The mean of ``n`` images of a class deviates from that of the class by the scatter of images over ``n``. So classes that
are alike look as far apart as those of other datasets: the fewer images, the more a dataset looks like any other. The
fewer classes there are, the less is said by how they lie. Neither can be told from the images that there are.
"""

from __future__ import annotations

import torch

from metad2a_plugin.plugins.task import Task

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


def images_of_a_class(task: Task) -> float:
    """Different images of a class on average, each class counted up to `MOST_IMAGES`."""
    # Equal images have equal features, hence equal sums by any weights.
    weights = torch.linspace(1, 2, task.features.shape[1], dtype=torch.float64)
    keys = torch.stack([task.labels.double(), task.features.double() @ weights], dim=1)
    counts = keys.unique(dim=0)[:, 0].long().bincount()
    return float(counts.clamp(max=MOST_IMAGES).double().mean())
