"""Datasets from arrays: npz files, dicts of arrays, and the digits of scikit-learn."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pixels import (
    array_to_rgb,
    as_numpy,
    channel_axis,
    few,
    is_tensor,
)
from metad2a_plugin.data.room import LARGEST_ARRAYS
from metad2a_plugin.data.scale import Scale, find_scale
from metad2a_plugin.data.sources import Reading, Source, _warn
from metad2a_plugin.data.splits import split_of
from metad2a_plugin.data.zips import check_entries, read_entry, zip_entries
from metad2a_plugin.errors import DatasetError, MissingExtraError

_IMAGES = ("images", "image", "imgs", "img", "x", "data", "arr_0")
_LABELS = ("labels", "label", "y", "targets", "target", "fine_labels", "classes", "arr_1")
_EXPECTED = "images/labels, x/y, x_train/y_train or train_images/train_labels"


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
            "one size and stack them, or pass a list of images: (list(images), labels)"
        )
    if pixels.ndim not in (3, 4):
        raise DatasetError(
            f"images have shape {list(pixels.shape)}; expected [n, h, w], [n, h, w, c] or [n, c, h, w]. "
            "Flattened images need their height and width back: images.reshape(n, h, w); features make a Task"
        )
    if not len(pixels):
        raise DatasetError(f"there are no images (shape {list(pixels.shape)}); pass at least two classes")
    indices, class_names = index_labels(labels)
    if len(indices) != len(pixels):
        last = "; if the last axis counts the images, pass numpy.moveaxis(images, -1, 0)"
        raise DatasetError(
            f"{len(pixels)} images but {len(indices)} labels; every image needs exactly one label"
            f"{last if pixels.shape[-1] == len(indices) else ''}"
        )
    axis = channel_axis(pixels.shape[1:], channels_first=is_tensor(images))
    scale = Scale(white=full) if full else find_scale([pixels], name)
    if pixels.dtype == np.uint8 and 0 < (high := int(pixels.max())) < 255 / 8:
        _warn(
            f"the largest pixel of {name!r} is {high}, taken as almost black on a scale of 0..255; "
            f"if {high} means white, pass images / {high}"
        )
    return Reading(ArraySource(pixels, axis, scale), indices, class_names, name)


def read_npz(path: Path) -> Reading:
    """An ``.npz`` with ``images``/``labels``, ``x``/``y`` or those of a training part; never unpickled.

    Raises:
        DatasetError: no npz, missing keys, object arrays, or what `read_arrays` refuses.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip")
        entries = {"/".join(parts): info for parts, info in zip_entries(path)[0].items()}
        names = {name.removesuffix(".npy"): name for name in entries}
        pair = pair_of(list(names))
        used = [entries[names[key]] for key in pair or ()]
        check_entries(path, used)
        claimed = sum(info.file_size for info in used)
        if claimed > LARGEST_ARRAYS:
            raise DatasetError(
                f"the arrays of {str(path)!r} ({few(list(map(str, pair or ())))}) have {claimed >> 20} MiB, more than "
                f"the {LARGEST_ARRAYS >> 20} that are read of a file; save the images as uint8, or fewer of them, "
                "or load them yourself and pass (images, labels)"
            )
        found = {key: _npy(path, entries[names[key]]) for key in pair or ()}
        left = [key for key in names if key not in found]
    except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{str(path)!r} is not a readable .npz ({error}); save it again with "
            "numpy.savez(path, images=images, labels=labels)"
        ) from error
    if pair is None:
        raise DatasetError(
            f"{str(path)!r} holds the arrays {few(sorted(left), 8) or 'none'}; expected {_EXPECTED}. "
            "Save it with numpy.savez(path, images=images, labels=labels)"
        )
    try:
        return read_named(found | dict.fromkeys(left), path.stem)
    except DatasetError as error:
        raise DatasetError(f"in {str(path)!r}: {error}") from error


def _npy(path: Path, entry: zipfile.ZipInfo) -> np.ndarray:
    """An array of an npz; never more room is taken than its bytes need.

    Raises:
        DatasetError: it holds objects.
        OSError, ValueError: it is damaged.
    """
    data = read_entry(path, entry, entry.file_size + 1)
    if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
        raise OSError("damaged zip entry (wrong checksum)")
    stream = io.BytesIO(bytes(data[: 2**16]))
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise DatasetError(
            f"{str(path)!r} holds object arrays, which are pickles and are not loaded for safety; "
            "save plain arrays: images as uint8 [n, h, w, 3], labels as integers or strings"
        )
    if not dtype.itemsize or len(data) - stream.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array {list(shape)} of {dtype} does not have the bytes that it needs")
    values = np.frombuffer(data, dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def pair_of(names: Sequence[Any]) -> tuple[Any, Any] | None:
    """The names of images and labels among those of arrays, of the training part where there are parts."""
    roles: dict[tuple[bool, int], tuple[int, Any]] = {}
    for name in names:
        text = _text(name)
        split = split_of(text)
        bare = re.sub(r"(^|_)(train|training)(_|$)", "", text.lower())
        for role, known in enumerate((_IMAGES, _LABELS)):
            if split in ("train", None) and bare in known:
                place = known.index(bare)
                if (split == "train", role) not in roles or place < roles[split == "train", role][0]:
                    roles[split == "train", role] = place, name
    for train in (True, False):
        if (train, 0) in roles and (train, 1) in roles:
            return roles[train, 0][1], roles[train, 1][1]
    return None


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def read_named(arrays: Mapping[Any, Any], name: str) -> Reading:
    """Arrays by name, of which `pair_of` finds the images and labels; a warning names other parts.

    Raises:
        DatasetError: as `read_arrays`.
    """
    pair = pair_of(list(arrays))
    if pair is None:
        raise DatasetError(f"there are the arrays {few([_text(key) for key in arrays], 8)}; expected {_EXPECTED}")
    parts = [_text(key) for key in arrays if split_of(_text(key)) not in ("train", None)]
    if parts:
        _warn(f"{name!r} is split: {few([_text(key) for key in pair])} are used, and {few(parts, 8)} left out")
    images = arrays[pair[0]]
    if _text(pair[0]).lower().endswith("data") and (planes := _planes(images)) is not None:
        _warn(f"the rows of {_text(pair[0])!r} are taken as planes of red, green and blue, as CIFAR's files have them")
        images = planes
    return read_arrays(images, arrays[pair[1]], name)


def _planes(rows: Any) -> np.ndarray | None:
    """Flat rows of uint8 as square images ``[n, 3, side, side]``; None for what is no such."""
    pixels = as_numpy(rows)
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.shape[1] % 3:
        return None
    side = round((pixels.shape[1] / 3) ** 0.5)
    return pixels.reshape(-1, 3, side, side) if side > 1 and 3 * side * side == pixels.shape[1] else None


def read_digits() -> Reading:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, grey levels 0..16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "digits", "the dataset 'sklearn:digits'") from error
    data = load_digits()
    return read_arrays(data.images, data.target, "digits", full=16.0)
