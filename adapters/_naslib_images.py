"""Images as NASLib has them: loaders, what its `get_train_val_loaders` gives, and its `CustomDataset`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from metad2a_plugin.data.stated import is_loader
from metad2a_plugin.errors import DatasetError

_CHANGING = ("AutoAugment", "Color", "Cutout", "Gaussian", "Normalize", "RandAugment", "Random", "TrivialAugment")
"""Beginnings of the names of transforms that draw, or that take away which value is white."""


def images_of(given: Any) -> Any:
    """What `load_dataset` takes, of what NASLib has; anything else is returned as it is.

    Of loaders the dataset of the first is taken, which that for training is, and of a `CustomDataset` the training
    images. Random steps and normalisation of its transforms, where they are a torchvision `Compose`, are left out: a
    task is made of the images themselves.

    Raises:
        DatasetError: a `CustomDataset` that does not say what its data is.
    """
    if callable(getattr(given, "get_data", None)) and callable(getattr(given, "get_transforms", None)):
        return _training_images(given)
    if isinstance(given, Sequence) and given and is_loader(given[0]):
        given = given[0]
    return _plain(given.dataset) if is_loader(given) else given


def _training_images(custom: Any) -> Any:
    name = type(custom).__name__
    try:
        _, plain = custom.get_transforms(custom.config)
        train, _ = custom.get_data(custom.data, *[_without_changes(plain)] * 2)
    except NotImplementedError as error:
        raise DatasetError(f"{name} is a CustomDataset without get_transforms or get_data; write both") from error
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"get_transforms and get_data of {name} must give a pair each, (train, valid) and (train, test): {error}"
        ) from error
    return _plain(train)


def _plain(dataset: Any) -> Any:
    """A dataset, also inside of a `Subset`, without the transforms that change from one reading to the next."""
    inner = getattr(dataset, "dataset", None)
    changed: dict[str, Any] = {}
    if inner is not None and hasattr(dataset, "indices") and (plain := _plain(inner)) is not inner:
        changed["dataset"] = plain
    transform = getattr(dataset, "transform", None)
    if (mended := _without_changes(transform)) is not transform:
        changed["transform"] = mended
    if not changed:
        return dataset
    dataset = copy.copy(dataset)
    for name, value in changed.items():
        setattr(dataset, name, value)
    return dataset


def _without_changes(transform: Any) -> Any:
    steps = getattr(transform, "transforms", None)
    if not isinstance(steps, (list, tuple)):
        return transform
    kept = [step for step in steps if not type(step).__name__.startswith(_CHANGING)]
    if len(kept) == len(steps):
        return transform
    mended = copy.copy(transform)
    mended.transforms = kept
    return mended
