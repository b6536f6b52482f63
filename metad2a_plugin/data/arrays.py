"""Datasets from arrays: npz files, torch Datasets, and the digits of scikit-learn."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metad2a_plugin.data.pixels import (
    array_to_rgb,
    as_numpy,
    channel_axis,
    few,
    index_labels,
    is_deep,
    is_tensor,
    to_rgb,
)
from metad2a_plugin.data.scale import PLAIN, Scale, find_scale, spread
from metad2a_plugin.data.sources import Reading, Source, _warn
from metad2a_plugin.errors import DatasetError, MissingExtraError

NPZ_KEYS = (("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("train_images", "train_labels"))


class ArraySource(Source):
    """Images of one array, in memory."""

    def __init__(self, images: np.ndarray, axis: int | None, scale: Scale) -> None:
        self.images, self.axis, self.scale = images, axis, scale

    @cached_property
    def stated_scale(self) -> Scale:
        return self.scale

    def key(self, i: int) -> str:
        return f"image {i}"

    def content(self, i: int) -> bytes:
        return np.asarray(self.image(i)).tobytes()

    def image(self, i: int, size: int | None = None) -> Image.Image:
        return array_to_rgb(self.images[i], self.axis, lambda: self.scale)


def read_arrays(images: Any, labels: Any, name: str = "arrays", full: float | None = None) -> Reading:
    """Images ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` and labels ``[n]``, numpy or torch.

    Raises:
        DatasetError: wrong axes, channels, pixel values, labels, or lengths that differ.
    """
    pixels = as_numpy(images)
    if pixels.dtype == object:
        raise DatasetError(
            "the images are an array of objects, expected numbers [n, h, w, 3]; resize the images to "
            "one size and stack them, or pass a torch Dataset of (image, label) pairs"
        )
    if pixels.ndim not in (3, 4):
        raise DatasetError(
            f"images have shape {list(pixels.shape)}; expected [n, h, w], [n, h, w, c] or [n, c, h, w]. "
            "Flattened images need their height and width back: images.reshape(n, h, w)"
        )
    if not len(pixels):
        raise DatasetError(f"there are no images (shape {list(pixels.shape)}); pass at least two classes")
    indices, class_names = index_labels(labels)
    if len(indices) != len(pixels):
        raise DatasetError(f"{len(pixels)} images but {len(indices)} labels; every image needs exactly one label")
    axis = channel_axis(pixels.shape[1:], channels_first=is_tensor(images))
    scale = Scale(white=full) if full else find_scale([pixels], name)
    if pixels.dtype == np.uint8 and 0 < (high := int(pixels.max())) < 255 / 8:
        _warn(
            f"the largest pixel of {name!r} is {high}, taken as almost black on a scale of 0..255; "
            f"if {high} means white, pass images / {high}"
        )
    return Reading(ArraySource(pixels, axis, scale), indices, class_names, name)


def read_npz(path: Path) -> Reading:
    """An ``.npz`` with ``images``/``labels``, ``x``/``y`` or ``x_train``/``y_train``; never unpickled.

    Raises:
        DatasetError: no npz, missing keys, object arrays, or what `read_arrays` refuses.
    """
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            arrays = sorted(archive.files)
            pair = next((p for p in NPZ_KEYS if set(p) <= set(arrays)), None)
            images, labels = (archive[key] for key in pair) if pair else (None, None)
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DatasetError(
                f"{str(path)!r} holds object arrays, which are pickles and are not loaded for safety; "
                "save plain arrays: images as uint8 [n, h, w, 3], labels as integers or strings"
            ) from error
        raise DatasetError(
            f"{str(path)!r} is not a readable .npz ({error}); save it again with "
            "numpy.savez(path, images=images, labels=labels)"
        ) from error
    if pair is None:
        raise DatasetError(
            f"{str(path)!r} holds the arrays {few(arrays, 8) or 'none'}; expected "
            f"{' or '.join('/'.join(p) for p in NPZ_KEYS)}. "
            "Save it with numpy.savez(path, images=images, labels=labels)"
        )
    try:
        return read_arrays(images, labels, path.stem)
    except DatasetError as error:
        raise DatasetError(f"in {str(path)!r}: {error}") from error


def read_digits() -> Reading:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, grey levels 0..16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "digits", "the dataset 'sklearn:digits'") from error
    data = load_digits()
    return read_arrays(data.images, data.target, "digits", full=16.0)


_PROBES, _SAMPLE = 4, 64  # items that are read to see whether any is not uint8, and for the range of all


class TorchSource(Source):
    """Images of a torch Dataset."""

    parallel = False

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def key(self, i: int) -> str:
        return f"item {i}"

    def content(self, i: int) -> bytes:
        image = self.image(i)
        return repr(image.size).encode() + image.tobytes()

    def image(self, i: int, size: int | None = None) -> Image.Image:
        image, _ = _pair(self.dataset, i)
        if isinstance(image, Image.Image):
            return to_rgb(image, lambda: self.scale)
        pixels = as_numpy(image)
        return array_to_rgb(pixels, channel_axis(pixels.shape, is_tensor(image)), lambda: self.scale)

    @cached_property
    def stated_scale(self) -> Scale:
        return self.scale if any(p.dtype != np.uint8 for p in self._deep(_PROBES)) else PLAIN

    @cached_property
    def scale(self) -> Scale:
        """That of the items that are not uint8, whichever of them are asked for."""
        return find_scale(self._deep(_SAMPLE), type(self.dataset).__name__)

    def _deep(self, limit: int) -> Iterator[np.ndarray]:
        """Pixels of some items; none of Pillow images of 8 bits and of items that raise."""
        for i in spread(range(len(self.dataset)), limit):
            with suppress(Exception):  # reported where the item is met
                image = self.dataset[i][0]
                if not isinstance(image, Image.Image) or is_deep(image):
                    yield as_numpy(image)


def _pair(dataset: Any, i: int) -> tuple[Any, Any]:
    item = dataset[i]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        what = f"{len(item)} values" if isinstance(item, (tuple, list)) else type(item).__name__
        raise DatasetError(
            f"item {i} of {type(dataset).__name__} is {what}, expected a pair (image, label); "
            "wrap the dataset in one that returns such pairs"
        )
    return item[0], item[1]


def is_torch_dataset(value: Any) -> bool:
    """True for a torch `Dataset`, without importing torch for a value that cannot be one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.utils.data.Dataset)


def _stated(dataset: Any) -> tuple[Any, Any]:
    """`targets` and `classes` as a dataset, or the one behind a `Subset`, states them; None for what it does not."""
    if isinstance(dataset, sys.modules["torch"].utils.data.Subset):
        targets, classes = _stated(dataset.dataset)
        return targets if targets is None else [targets[i] for i in dataset.indices], classes
    targets = getattr(dataset, "targets", None)
    usable = targets is not None and np.ndim(targets) == 1 and len(targets) == len(dataset)
    return targets if usable else None, getattr(dataset, "classes", None)


def _torch_labels(dataset: Any, targets: Any, count: int) -> list[Any]:
    """The stated `targets` where they agree with the items, else one pass over the items."""
    if targets is not None:
        probes = {0, count // 2, count - 1}
        if all(_label(_pair(dataset, i)[1]) == _label(targets[i]) for i in probes):
            return [_label(t) for t in targets]
    labels = []
    for i in range(count):
        try:
            labels.append(_label(_pair(dataset, i)[1]))
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(
                f"item {i} of {type(dataset).__name__} raised {type(error).__name__}: {error}; "
                "repair the dataset or leave that item out with torch.utils.data.Subset"
            ) from error
    return labels


def _label(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value


def read_torch(dataset: Any) -> Reading:
    """A map-style torch `Dataset` of ``(image, label)``; image a Pillow image, array or tensor.

    Raises:
        DatasetError: no length, no items, items that are no pairs, or labels that are no classes.
    """
    name = type(dataset).__name__
    try:
        count = len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise DatasetError(
            f"{name} has no length (an IterableDataset?); expected a torch Dataset with __len__ and "
            "__getitem__. Collect its items in a list-backed Dataset first"
        ) from error
    if not count:
        raise DatasetError(f"{name} is empty; expected (image, label) items of at least two classes")
    targets, names = _stated(dataset)
    labels, class_names = index_labels(_torch_labels(dataset, targets, count), list(names) if names else None)
    return Reading(TorchSource(dataset), labels, class_names, name)
