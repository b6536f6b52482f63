"""Labels of every kind: they work, or get the sentence that is right for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from metad2a_plugin.data import load_dataset
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.errors import DatasetError

WORKS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "whole floats": ([0.0, 1.0, 0.0, 1.0], ("0", "1")),
    "one row": (np.array([[3, 7, 3, 7]]), ("3", "7")),
    "one column of floats": (torch.tensor([[0.0], [1.0], [0.0], [1.0]]), ("0", "1")),
    "booleans": ([False, True, False, True], ("False", "True")),
    "bytes": ([b"cat", b"dog", b"cat", b"dog"], ("cat", "dog")),
    "minus and plus one": ([-1, 1, -1, 1], ("-1", "1")),
    "one-hot": (np.eye(3)[[0, 2, 0, 2]], ("0", "2")),
    "one-hot booleans": (np.eye(2, dtype=bool)[[0, 1, 0, 1]], ("0", "1")),
    "tensors in a list": ([torch.tensor(0), torch.tensor(1)] * 2, ("0", "1")),
    "texts with commas": (["a, b", "c", "a, b", "c"], ("a, b", "c")),
    "objects that are numbers": (np.array([0, 1, 0, 1], dtype=object), ("0", "1")),
}


@pytest.mark.parametrize("kind", WORKS)
def test_labels_that_are_classes(kind: str) -> None:
    values, names = WORKS[kind]
    labels, class_names = index_labels(values)
    assert labels.tolist() == [0, 1, 0, 1] and labels.dtype == np.int64 and class_names == names


MULTI = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]])
REFUSED: dict[str, tuple[Any, str]] = {
    "marks of several classes": (MULTI, "1 of 4 images have several of the 3 classes and 1 have none.*multi-label"),
    "scores of several classes": (MULTI * 0.8, "do not sum to one.*multi-label"),
    "lists of several lengths": ([[0], [0, 1], [], [1]], "lists of several lengths.*multi-label"),
    "several classes in a text": (["a", "b", "a|b", "a"], "'a|b'.*multi-label"),
    "soft": (np.full((4, 3), 1 / 3), r"soft labels.*labels.argmax\(axis=1\)"),
    "boxes": (np.arange(16).reshape(4, 4), r"neither one class nor a mark.*labels\[:, k\]"),
    "measured values": ([0.5, 1.0, 2.0, 3.0], "measured values such as 0.5, which is regression"),
    "missing": ([0, None, 1, 1], "1 of 4 labels are missing.*image 1"),
    "NaN": (np.array([0, 1, np.nan, np.nan]), "2 of 4 labels are missing.*image 2"),
    "NaN among texts": (np.array(["a", float("nan"), "b", "a"], dtype=object), "1 of 4 labels are missing"),
    "infinite": ([0, 1, np.inf, 1], "infinity"),
    "negative": ([0, 1, -1, 1], "labels contain -1"),
    "paths": (["cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.jpg"], "paths of files.*parent.name"),
    "numbers among texts": ([1, "a", 2, "b"], "of the types int, str"),
    "dicts of a detector": ([{"boxes": 1, "labels": 2}] * 4, "'boxes', 'labels'.*object detection"),
    "masks": (np.zeros((4, 8, 8), int), "Masks of segmentation"),
    "empty texts": (["a", "", "b", "a"], "some labels are empty"),
    "NaN in texts": (["a", "NaN", "b", "a"], "some labels are empty"),
    "complex": (np.zeros(4, complex), "dtype complex128"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_labels_that_are_no_classes(kind: str) -> None:
    values, message = REFUSED[kind]
    with pytest.raises(DatasetError, match=message) as caught:
        index_labels(values)
    assert kind == "soft" or "argmax" not in str(caught.value)


_SCALARS = st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=4) | st.binary(max_size=4)


@given(st.lists(_SCALARS | st.lists(_SCALARS, max_size=3), max_size=8))
@example([[False, False]])
def test_any_labels_are_classes_or_a_dataset_error(values: list[Any]) -> None:
    try:
        labels, names = index_labels(values)
    except DatasetError:
        return
    row = values[0] if len(values) == 1 and isinstance(values[0], list) else values  # [1, n] is a row of labels
    assert len(labels) == len(row) and set(labels.tolist()) == set(range(len(names)))


@given(st.lists(st.integers(0, 5), min_size=2, max_size=20))
def test_one_hot_rows_are_the_classes_that_they_mark(classes: list[int]) -> None:
    labels, names = index_labels(np.eye(6)[classes])
    assert [int(names[label]) for label in labels] == classes


def test_the_multi_label_case(data_root: Path) -> None:
    with pytest.raises(DatasetError, match=r"several of the 14 classes.*multi-label"), pytest.warns(match="is split"):
        load_dataset(data_root.parent / "cases" / "npz" / "chestmnist.npz")
