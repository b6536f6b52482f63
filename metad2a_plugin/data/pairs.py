"""What image and label are of one item: a pair, or a dict of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from PIL import Image

from metad2a_plugin.data.pixels import axes, few
from metad2a_plugin.errors import DatasetError

IMAGE_KEYS = ("image", "img", "images", "pixel_values", "picture", "photo", "x")
LABEL_KEYS = ("label", "labels", "target", "targets", "class", "category", "fine_label", "y")
Pair = Callable[[Any], tuple[Any, Any]]
_SINGLE = (Image.Image, str, os.PathLike, bytes, Mapping)


def _of_tuple(name: str, item: Any) -> tuple[Any, Any]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        what = f"{len(item)} values" if isinstance(item, (tuple, list)) else type(item).__name__
        raise DatasetError(
            f"an item of {name} is {what}, expected a pair (image, label), or a dict with 'image' and 'label'; "
            "wrap the dataset in one that returns such pairs"
        )
    return item[0], item[1]


def _of_dict(keys: tuple[str, str], item: Any) -> tuple[Any, Any]:
    return item[keys[0]], item[keys[1]]


def pair_of(name: str, item: Any) -> Pair:
    """How image and label are taken of items like this one."""
    if isinstance(item, Mapping):
        found = [next((key for key in keys if key in item), None) for keys in (IMAGE_KEYS, LABEL_KEYS)]
        image, label = found
        if image is None or label is None:
            raise DatasetError(
                f"an item of {name} is a dict with {few([str(key) for key in item], 8)}; expected a pair "
                "(image, label), or a dict with 'image' and 'label'"
            )
        return partial(_of_dict, (image, label))
    pair = partial(_of_tuple, name)
    image, label = pair(item)
    if isinstance(image, (tuple, list)) and len(image) and not isinstance(image[0], (int, float, list, tuple)):
        raise DatasetError(
            f"an item of {name} has {len(image)} values where one image was expected; wrap the dataset in one that "
            "returns (image, label)"
        )
    swapped = axes(image) == 0 and not isinstance(image, _SINGLE) and axes(label) > 1
    if not isinstance(image, Image.Image) and (swapped or isinstance(label, Image.Image)):
        raise DatasetError(f"an item of {name} is (label, image), expected (image, label); swap them")
    return pair
