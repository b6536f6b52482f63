"""Labels of any kind to class indices; what is no class of an image gets the sentence that is right for it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metad2a_plugin.data.pixels import as_numpy, few, is_tensor
from metad2a_plugin.errors import DatasetError

_MULTI_LABEL = (
    "These labels are multi-label; architectures are ranked for one class an image. Choose one column (has it or not: "
    "labels[:, k]), or keep the images that have exactly one class"
)
_FILE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"))

_LONGEST = 1000
"""Characters of the name of a class."""


def index_labels(values: Any, names: Sequence[str] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels to ``0 .. classes-1`` in sorted order, int64 ``[n]``, and one name per class.

    Args:
        values: whole numbers, booleans, texts or bytes, ``[n]``, ``[n, 1]`` or ``[1, n]``; or one-hot rows ``[n, k]``.
        names: names by integer label, or by column.

    Raises:
        DatasetError: labels that are missing, negative, several an image, soft, measured values, paths, objects, or
            longer than a name.
    """
    if isinstance(values, (list, tuple)) and values and all(type(value) is str for value in values):
        return _texts(values)
    array = _array(values)
    if array.ndim == 2 and 1 in array.shape and array.size:
        array = array.reshape(-1)
    if array.ndim == 2:
        array = _columns(array)
    if array.ndim != 1:
        raise DatasetError(
            f"labels have shape {list(array.shape)}, expected one label per image: [n]"
            + (". Masks of segmentation are no classes of images" if array.ndim > 2 else "")
        )
    if array.dtype == object:
        found = _plain(array)
        if isinstance(found, list):
            return _texts(found)
        array = found
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "f":
        array = _whole(array)
    if array.dtype.kind not in "buiU":
        raise DatasetError(f"labels have dtype {array.dtype}, expected integers or strings, one for each image")
    values_found, labels = np.unique(array, return_inverse=True)
    if array.dtype.kind == "i" and len(array) and array.min() < 0 and values_found.tolist() != [-1, 1]:
        raise DatasetError(
            f"labels contain {int(array.min())}; class indices start at 0. "
            "Leave out unlabelled images, or shift the labels"
        )
    if array.dtype.kind == "U":
        _check_texts(values_found.tolist())
    labels = labels.astype(np.int64).reshape(-1)
    numbers = [int(v) for v in values_found] if array.dtype.kind in "ui" else []
    if names and numbers and numbers[0] >= 0 and numbers[-1] < len(names):
        return labels, tuple(str(names[number]) for number in numbers)
    return labels, tuple(str(v) for v in values_found)


def _texts(values: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of texts, not as an array, in which each takes the room of the longest."""
    found = sorted(set(values))
    _check_texts(found)
    places = {text: i for i, text in enumerate(found)}
    return np.array([places[text] for text in values], dtype=np.int64), tuple(found)


def _array(values: Any) -> np.ndarray:
    if not isinstance(values, (list, tuple)) or not len(values):
        return as_numpy(values)
    values = [v.detach().cpu().numpy() if is_tensor(v) else v for v in values]
    try:
        array = np.asarray(values)
    except ValueError:  # of several lengths
        return _objects(values)
    # numpy makes texts of numbers that stand among texts, and 1 of True.
    kinds = {str if isinstance(v, str) else type(v) for v in values}
    return _objects(values) if array.ndim == 1 and array.dtype.kind in "US" and len(kinds) > 1 else array


def _objects(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _columns(array: np.ndarray) -> np.ndarray:
    """The class of each row that is one-hot; refuses all other rows of several numbers."""
    count, width = array.shape
    shape = f"labels have shape {[count, width]}"
    if array.dtype.kind not in "buif" or not count:
        raise DatasetError(f"{shape}, one class per image was expected; choose the column that is the class")
    rows = array.astype(np.float64)
    if not np.isfinite(rows).all():
        raise DatasetError(f"{shape} and contain NaN or infinity; leave those images out")
    ones = np.isclose(rows.sum(1), 1, atol=1e-3)
    if np.isin(rows, (0, 1)).all():
        if ones.all():
            return rows.argmax(1)
        none, several = int((rows.sum(1) == 0).sum()), int((rows.sum(1) > 1).sum())
        raise DatasetError(
            f"{shape}: {several} of {count} images have several of the {width} classes and {none} have none. "
            f"{_MULTI_LABEL}"
        )
    if ones.all() and rows.min() >= 0:
        raise DatasetError(
            f"{shape} and each row sums to one: these are soft labels (of distillation, mixup or annotators), and one "
            "class per image was expected; for the likeliest class pass labels.argmax(axis=1)"
        )
    if rows.min() >= 0 and rows.max() <= 1:
        raise DatasetError(
            f"{shape}, numbers from 0 to 1 whose rows do not sum to one: scores of several classes an image. "
            f"{_MULTI_LABEL}"
        )
    raise DatasetError(
        f"{shape}, {width} numbers an image that are neither one class nor a mark for each class (boxes, key points, "
        "several kinds of label?); choose the column that is the class: labels[:, k]"
    )


def _plain(array: np.ndarray) -> np.ndarray | list[str]:
    """Objects as numbers of one kind, or as texts."""
    missing = [i for i, v in enumerate(array) if v is None or (isinstance(v, float) and math.isnan(v))]
    if missing:
        raise DatasetError(_missing(missing, len(array)))
    values = [v.item() if hasattr(v, "item") and np.ndim(v) == 0 else v for v in array]
    values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    values = [os.fspath(v) if isinstance(v, os.PathLike) else v for v in values]
    first = values[0]
    if isinstance(first, Mapping):
        raise DatasetError(
            f"labels are {type(first).__name__}s with {few([str(key) for key in first])}, as for object detection; one "
            "class per image was expected: an integer or a text"
        )
    if any(isinstance(v, (list, tuple, set, frozenset, np.ndarray)) for v in values):
        raise DatasetError(f"labels are lists of several lengths: several classes an image, or none. {_MULTI_LABEL}")
    for kinds, kind in (((str,), str), ((bool, int, np.integer), np.int64), ((int, float, np.number), np.float64)):
        if all(isinstance(v, kinds) for v in values):
            return np.array(values, dtype=kind) if kind is not str else values
    kinds_found = sorted({type(v).__name__ for v in values})
    raise DatasetError(
        f"labels have dtype object and are of the types {', '.join(kinds_found)}; expected integers, or strings: "
        "[str(label) for label in labels]"
    )


def _missing(where: list[int], count: int) -> str:
    return (
        f"{len(where)} of {count} labels are missing (NaN or None; the first is that of image {where[0]}); "
        "leave those images out"
    )


def _whole(array: np.ndarray) -> np.ndarray:
    if (missing := np.flatnonzero(np.isnan(array))).size:
        raise DatasetError(_missing(missing.tolist(), len(array)))
    if np.abs(array).max(initial=0) > 2**53:
        raise DatasetError("labels contain infinity, or numbers too large for a class; leave those images out")
    if not (array == np.rint(array)).all():
        example = array[array != np.rint(array)][0]
        raise DatasetError(
            f"labels are measured values such as {example:.4g}, which is regression; architectures are ranked for "
            "classes. Make classes of the values, such as numpy.digitize(labels, edges)"
        )
    return array.astype(np.int64)


def _check_texts(found: list[str]) -> None:
    """Refuse texts that are paths of files, too long for a name, or name several classes."""
    if (longest := max(found, key=len, default="")) and len(longest) > _LONGEST:
        raise DatasetError(
            f"a label has {len(longest)} characters ({few([longest[:50]])}), expected the name of a class of at most "
            f"{_LONGEST}; is it the column of something else?"
        )
    paths = [v for v in found if os.path.splitext(v)[1].lower() in _FILE_SUFFIXES]
    if 2 * len(paths) > len(found):
        raise DatasetError(
            f"labels are paths of files ({few(paths, 2)}), expected classes; where the folder is the class, pass "
            "[pathlib.Path(path).parent.name for path in labels]"
        )
    if {"", "nan", "<na>", "n/a"} & {text.lower() for text in found}:
        raise DatasetError("some labels are empty; leave those images out, or name their class")
    known = set(found)
    for mark in "|;,":
        # A bar is nothing else; a comma can be part of a name.
        enough = any if mark == "|" else all
        several = [v for v in found if mark in v and enough(part.strip() in known for part in v.split(mark))]
        if several:
            raise DatasetError(
                f"labels name several classes an image ({few(several, 2)}). These labels are multi-label; "
                "architectures are ranked for one class an image: keep the images that have exactly one"
            )
