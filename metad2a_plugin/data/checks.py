"""What is said of classes and images of a dataset that cannot be used, or only with care."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from metad2a_plugin.data.pixels import DatasetWarning, few
from metad2a_plugin.errors import DatasetError

if TYPE_CHECKING:
    import torch

    from metad2a_plugin.plugins.task import Task

_SCALE = 4.0
"""Times that features may be larger or smaller than is known; image sets differ by less than 2."""


def check_classes(name: str, labels: np.ndarray, class_names: tuple[str, ...], *, files: bool = False) -> None:
    """Warn of classes with a single image.

    Args:
        name: of the dataset.
        labels: class of each image, int64 ``[n]``.
        class_names: one name per class.
        files: whether classes are folders.

    Raises:
        DatasetError: there is a single class.
    """
    if len(class_names) < 2:
        folder_hint = " If the folder given is itself a class, pass the folder above it." if files else ""
        raise DatasetError(
            f"{name!r} has a single class ({few(list(class_names))}), at least two are needed: "
            "architectures are ranked by how well they tell classes apart. "
            f"Add images of another class.{folder_hint}"
        )
    counts = np.bincount(labels)
    if len(single := np.flatnonzero(counts == 1)):
        warnings.warn(
            f"{len(single)} of {len(counts)} classes of {name!r} have a single image "
            f"({few([class_names[c] for c in single])}); predictions for them are less certain",
            DatasetWarning,
            stacklevel=3,
        )


def report_repeated(name: str, distinct: int, contrary: int, total: int) -> None:
    """Warn of images that are the same, above all where their classes differ.

    Args:
        name: of the dataset.
        distinct: how many of its images differ.
        contrary: how many have the same pixels as one of another class.
        total: its images.
    """
    text = None
    if distinct == 1 and total > 1:
        text = f"all {total} images of {name!r} are the same: nothing tells its classes apart, so results say nothing"
    elif contrary >= 0.01 * total and contrary:
        text = (
            f"{contrary} of {total} images of {name!r} look exactly like one of another class, which no network can "
            "learn; check the labels, and whether images lie in several class folders"
        )
    elif 2 * distinct < total:
        text = f"only {distinct} of {total} images of {name!r} differ; copies make a class look easier than it is"
    if text:
        warnings.warn(text, DatasetWarning, stacklevel=3)


def check_scale(task: Task, anchors: torch.Tensor | None) -> None:
    """Warn of features given directly whose scale is not that of the encoder they are said to be of.

    Args:
        task: features by class.
        anchors: means of classes by that encoder, ``[anchors, dim]``; None where they are not known.
    """
    if anchors is None:
        return
    theirs, known = (float(means.norm(dim=-1).median()) for means in (task.prototypes(1), anchors))
    if not known / _SCALE < theirs < known * _SCALE:
        warnings.warn(
            f"the features of {task.name!r} have a length of {theirs:.3g} in the mean of a class, those of the encoder "
            f"{task.encoder!r} {known:.3g}: were they scaled or standardised? Pass them as the encoder made them",
            DatasetWarning,
            stacklevel=3,
        )
