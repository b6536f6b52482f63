"""Labels that datasets state beside their items, so that no item need be read for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metad2a_plugin.data.pixels import as_numpy

STATED = ("targets", "labels", "_labels", "y", "samples", "imgs", "_samples")
"""Attributes by which torch Datasets state the labels of all their items."""
_INNER = ("dataset", "reader", "parser")
"""Attributes by which wrappers, and timm's datasets, hold what states them."""


def plain(label: Any) -> Any:
    """A label of no axes as a number or text of Python."""
    return label.item() if hasattr(label, "item") and np.ndim(label) == 0 else label


def is_torch_dataset(value: Any) -> bool:
    """True for a torch `Dataset`, without importing torch for a value that cannot be one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.utils.data.Dataset)


def is_loader(value: Any) -> bool:
    """True for a torch `DataLoader`, likewise."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.utils.data.DataLoader)


def stated_labels(dataset: Any) -> tuple[list[Any] | None, Any]:
    """The labels of all items, as a dataset or those behind it state them, and `classes`; None for what it does not."""
    data = getattr(sys.modules.get("torch"), "utils", None)
    if data is not None and isinstance(dataset, data.data.Subset):
        labels, classes = stated_labels(dataset.dataset)
        inside = labels is not None and max(dataset.indices, default=0) < len(labels)  # an item beyond raises
        return [labels[i] for i in dataset.indices] if labels is not None and inside else None, classes
    if data is not None and isinstance(dataset, data.data.ConcatDataset):
        parts = [stated_labels(part) for part in dataset.datasets]
        known = [labels for labels, _ in parts if labels is not None]
        joined = [label for labels in known for label in labels] if len(known) == len(parts) else None
        # Their numbers mean the same only where their names do.
        return joined, parts[0][1] if all(classes == parts[0][1] for _, classes in parts) else None
    classes = getattr(dataset, "classes", None)
    if data is not None and isinstance(dataset, data.data.TensorDataset):
        return (list(dataset.tensors[1]) if len(dataset.tensors) == 2 else None), classes
    for name in STATED:
        if (labels := _column(getattr(dataset, name, None), len(dataset))) is not None:
            return labels, classes
    for name in _INNER:
        inner: Any = getattr(dataset, name, None)
        if hasattr(inner, "__len__") and not isinstance(inner, (Sequence, Mapping)) and len(inner) == len(dataset):
            labels, inner_classes = stated_labels(inner)
            return labels, classes or inner_classes
    return None, classes


def _column(values: Any, count: int) -> list[Any] | None:
    """An attribute as one label per item: of ``samples``, the second of each pair."""
    if isinstance(values, (str, Mapping)):
        return None
    try:
        column = list(values) if len(values) == count else None
    except Exception:  # noqa: BLE001 - an attribute of that name that is something else
        return None
    if column is None:
        return None
    if all(isinstance(v, (tuple, list)) and len(v) == 2 and isinstance(v[0], (str, os.PathLike)) for v in column):
        column = [v[1] for v in column]
    return None if any(isinstance(v, (tuple, list, Mapping)) for v in column[:1]) else [plain(v) for v in column]


def same(label: Any, stated: Any) -> bool:
    """Whether two labels are the same, whatever their types."""
    return np.array_equal(np.ravel(as_numpy(plain(label))), np.ravel(as_numpy(plain(stated))))
