"""What is said of classes and images of a dataset that cannot be used, or only with care."""

from __future__ import annotations

import warnings

import numpy as np

from metad2a_plugin.data.pixels import DatasetWarning, few
from metad2a_plugin.errors import DatasetError


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


def report_broken(name: str, broken: dict[str, str], total: int) -> None:
    """One warning for all broken images of a dataset, given the reason for each and how many were tried.

    Raises:
        DatasetError: more than half of `total` are broken.
    """
    if not broken:
        return
    reason = next(iter(broken.values()))
    found = f"{len(broken)} of {total} images of {name!r} cannot be read ({few(list(broken))}; the first: {reason})"
    if 2 * len(broken) > total:
        raise DatasetError(
            f"{found}. More than half are broken, so this is no usable dataset: repair or replace those images"
        )
    warnings.warn(f"{found}; they are left out", DatasetWarning, stacklevel=3)


def drop_empty_classes(
    name: str, labels: np.ndarray, class_names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels renumbered so that every class has an image, and the names that remain.

    Raises:
        DatasetError: fewer than two classes remain.
    """
    present, renumbered = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        raise DatasetError(
            f"{name!r} has {len(present)} usable class(es), at least two are needed to compare architectures; "
            "add images of another class"
        )
    if gone := sorted({*range(len(class_names))} - {*present.tolist()}):
        warnings.warn(
            f"{len(gone)} classes of {name!r} have no usable image and are left out "
            f"({few([class_names[c] for c in gone])})",
            DatasetWarning,
            stacklevel=3,
        )
    return renumbered.astype(np.int64), tuple(class_names[c] for c in present)
