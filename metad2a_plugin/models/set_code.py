"""A dataset as a fixed-length code: how its classes lie among the meta-training classes, and how far apart.

The code of an image set is invariant to the order of images and of classes, as in MetaD2A (Sec. 3.2), but it
is a kernel mean embedding (Muandet et al., 2017) instead of a learned Set Transformer: with a few thousand
tasks built from a few hundred classes it predicts better (see the benchmarks) and it trains in closed form.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

SEPARATION_SCALES = (0.2, 0.35, 0.5, 0.8, 1.2)
"""Kernel widths of the separability statistics, in median distances between anchors."""
EMBEDDING_SCALES = (0.5, 1.0)
"""Kernel widths of the mean embedding, likewise."""
OF_CLASSES, OF_IMAGES = len(SEPARATION_SCALES) + 3, 5
"""Lengths of `separability` and of `image_separability`, which follow the embedding in a code."""


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``[..., n, d]`` and ``[..., m, d]`` to ``[..., n, m]``."""
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist").square()


def embed(classes: torch.Tensor, anchors: torch.Tensor, unit: float) -> torch.Tensor:
    """Kernel mean embedding of a set of class prototypes, ``[tasks, classes, dim]`` to ``[tasks, scales * anchors]``.

    Args:
        classes: class prototypes of each task.
        anchors: prototypes of the meta-training classes, ``[anchors, dim]``.
        unit: median squared distance between anchors.
    """
    distance = squared_distances(classes, anchors.expand(len(classes), -1, -1))
    return torch.cat([(-distance / (2 * s * s * unit)).exp().mean(1) for s in EMBEDDING_SCALES], dim=-1)


def separability(classes: torch.Tensor, unit: float) -> torch.Tensor:
    """How far apart a task's classes are, ``[tasks, classes, dim]`` to ``[tasks, 8]`` (`OF_CLASSES`).

    Mean kernel value between different classes at `SEPARATION_SCALES`, then mean, minimum and standard
    deviation of the distance to the nearest other class.
    """
    n = classes.shape[1]
    distance = squared_distances(classes, classes)
    # The diagonal is exactly one kernel value per class; rounding must not leak into the statistics.
    eye = torch.eye(n, dtype=torch.bool, device=classes.device)
    off = distance.masked_fill(eye, torch.inf)
    kernels = [(-off / (2 * s * s * unit)).exp().sum((1, 2)) / (n * (n - 1)) for s in SEPARATION_SCALES]
    nearest = off.amin(-1).sqrt()
    return torch.stack([*kernels, nearest.mean(-1), nearest.amin(-1), nearest.std(-1)], dim=-1)


def image_separability(images: torch.Tensor, labels: torch.Tensor, unit: float) -> torch.Tensor:
    """How well the nearest class prototype tells images apart, each image left out of its own class's; ``[5]``.

    The share that it gets right; the mean log ratio of the squared distances to the nearest other prototype and to the
    own one; the cross-entropy of a softmax over squared distances, in their means over 5 and over 20; and the mean
    squared distance to the own prototype. Every class counts alike; one of a single image does not count.

    Args:
        images: features ``[n, dim]``.
        labels: class of each, int64 ``[n]``, values ``0 .. classes-1``, every class present.
        unit: median squared distance between anchors.

    Returns:
        NaN where no class has two images.
    """
    count = labels.bincount()
    prototypes = torch.zeros(len(count), images.shape[1]).index_add(0, labels, images) / count[:, None]
    distance = squared_distances(images, prototypes)
    own = F.one_hot(labels, len(count)).bool()
    # Without itself, an image is n / (n - 1) times as far from the mean of its class.
    left = (count / (count - 1).clamp(min=1)).square()[labels, None]
    distance = torch.where(own, left * distance, distance)[count[labels] > 1]
    labels, own = labels[count[labels] > 1], own[count[labels] > 1]
    within, between = distance[own], distance.masked_fill(own, torch.inf).amin(1)
    scaled = -distance / distance.mean()
    each = [
        (within < between).float(),
        (between / within.clamp(min=1e-6)).log(),
        *(F.cross_entropy(sharpness * scaled, labels, reduction="none") for sharpness in (5, 20)),
        within / unit,
    ]
    weight = 1 / count[labels]
    # Nothing over nothing where no class has two images.
    return torch.stack(each) @ weight / weight.sum()


def remoteness(code: torch.Tensor, anchors: int) -> torch.Tensor:
    """Distance from the anchors as a whole, read off raw codes ``[..., code]``; ``[...]``, about 1 in their midst.

    The square root of minus the logarithm of the mean kernel value at the widest scale: where a dataset is far from
    every anchor all kernel values vanish, and nothing else of the code tells.
    """
    widest = code[..., (len(EMBEDDING_SCALES) - 1) * anchors : len(EMBEDDING_SCALES) * anchors]
    return widest.mean(-1).clamp(1e-30, 1).log().neg().sqrt()


def task_code(
    classes: torch.Tensor, anchors: torch.Tensor, unit: float, images: torch.Tensor | None = None
) -> torch.Tensor:
    """Raw codes of tasks given as class prototypes.

    Args:
        classes: ``[tasks, classes, dim]``.
        anchors: ``[anchors, dim]``.
        unit: median squared distance between anchors.
        images: `image_separability` of each task, ``[tasks, 5]``, for a code that has it.

    Returns:
        ``[tasks, 2 * anchors + 8]``, or 5 more with `images`.
    """
    parts = [embed(classes, anchors, unit), separability(classes, unit)]
    return torch.cat(parts if images is None else [*parts, images], dim=-1)
