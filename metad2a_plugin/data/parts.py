"""What becomes of a dataset's images one by one: cut to squares, ranked for draws, and left out where broken."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image

from metad2a_plugin.data.pixels import DatasetWarning, few
from metad2a_plugin.data.room import TooMuchWorkError
from metad2a_plugin.data.sources import Source
from metad2a_plugin.errors import DatasetError


def square(source: Source, i: int, size: int) -> np.ndarray | str:
    """Image `i` as uint8 ``[size, size, 3]``, or why it cannot be read."""
    try:
        image = source.image(i, size)
    except TooMuchWorkError:
        raise
    except (OSError, DatasetError) as error:
        return f"{error}" or type(error).__name__
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def class_ranks(labels: np.ndarray, seed: int) -> np.ndarray:
    """Random rank of each image within its class, from 0."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks


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
