"""Which part of a dataset is for training, by the words in names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.sources import _warn
from metad2a_plugin.data.words import FOLD, TRAIN, role
from metad2a_plugin.errors import DatasetError


def split_of(name: str) -> str | None:
    """Which split a name says it is.

    >>> split_of("x_train"), split_of("data/test-00000-of-00001.parquet"), split_of("labels.csv")
    ('train', 'test', None)
    """
    found = role(name)[0]
    return None if found == FOLD else found


def training_names(names: list[str], what: str) -> list[str]:
    """Names of the training part, and a warning that says what is left out; all where no name is of a split.

    Raises:
        DatasetError: all are of other splits, of which there are several.
    """
    splits = {name: split_of(name) for name in names}
    train = [name for name, split in splits.items() if split == TRAIN]
    if not train and None in splits.values():
        train = [name for name, split in splits.items() if split is None]
    if not train and len(set(splits.values())) == 1:
        return names
    if not train:
        raise DatasetError(f"{what} has the parts {few(names, 6)}, and none is for training; pass the one to use")
    if left := [name for name in names if name not in train]:
        _warn(f"{what} has several parts. Used: {few(train, 6)}; left out: {few(left, 6)}")
    return train


def training_part(parts: Mapping[Any, Any], what: str) -> Any:
    """The training part of datasets by name, and a warning that names the others.

    Raises:
        DatasetError: none is called train.
    """
    names = {str(name): name for name in parts}
    if len(names) == 1:
        return next(iter(parts.values()))
    chosen = [name for name in training_names(list(names), what) if split_of(name) in (TRAIN, None)]
    if len(chosen) != 1:
        raise DatasetError(f"{what} has the parts {few(list(names), 6)}; pass the one to use, such as parts['train']")
    return parts[names[chosen[0]]]
