"""`load_dataset`: labelled images from a folder, zip, npz, arrays, torch Dataset or ``sklearn:digits``."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from metad2a_plugin.data import arrays, kinds, sources
from metad2a_plugin.data.parts import class_ranks, drop_empty_classes, report_broken
from metad2a_plugin.data.parts import square as _square
from metad2a_plugin.data.pixels import DatasetWarning, few
from metad2a_plugin.data.scale import PLAIN
from metad2a_plugin.data.walk import near_miss
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.utils.lazy import torch

_AT_ONCE = 256  # images
_KINDS = (
    "a folder of class folders, a .zip of one, an .npz file, a tuple (images, labels) of arrays, a torch Dataset, "
    "or 'sklearn:digits'"
)


class ImageDataset:
    """Labelled images, decoded when asked for; made by `load_dataset`.

    A broken image cannot be told from a good one without decoding it, so it keeps its index and label until
    it is met: `decode` reports it, `images` refuses it, `verified` leaves it out. A refused image and an index out of
    range are a `DatasetError`, any other argument out of range is a `ConfigError`.

    Attributes:
        name: for messages and reports.
        class_names: one name per class.
        labels: class of each image, int64 ``[images]``.
        validation: the validation part of a split layout, of the same classes; None of other datasets and of subsets.
    """

    def __init__(self, reading: sources.Reading, indices: np.ndarray | None = None) -> None:
        self._reading = reading
        own = reading.validation
        self.validation: ImageDataset | None = None if own is None else ImageDataset(own)
        self._indices = np.arange(len(reading.labels)) if indices is None else indices
        self.name: str = reading.name
        self.class_names: tuple[str, ...] = reading.class_names
        self.labels: np.ndarray = reading.labels[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"ImageDataset({self.name!r}, {len(self)} images, {self.num_classes} classes)"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def summary(self) -> str:
        """One line on what was read: images, classes, images a class, and what is not plain or was left out."""
        counts = np.bincount(self.labels, minlength=self.num_classes)
        fewest, most = counts.min(), counts.max()
        each = f"{most}" if fewest == most else f"{fewest} to {most} (median {np.median(counts):g})"
        first = [f"{name!r} {count}" for name, count in zip(self.class_names[:3], counts, strict=False)]
        names = ", ".join(first) + (", ..." if self.num_classes > 3 else "")
        text = f"{self.name}: {len(self)} images, {self.num_classes} classes, {each} a class ({names})"
        if (scale := self._reading.source.stated_scale) != PLAIN:
            text += f"; pixels {scale} taken as black to white"
        if self.validation is not None:
            text += f"; {len(self.validation)} validation images"
        if self._reading.left_out:
            text += f"; left out: {', '.join(self._reading.left_out)}"
        return text

    def key(self, i: int) -> str:
        """Relative path, or position, of image `i`."""
        return self._reading.source.key(int(self._indices[i]))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over relative paths, class names and raw bytes; a folder and a zip of it agree."""
        digest = hashlib.sha256()
        if (scale := self._reading.source.stated_scale) != PLAIN:
            digest.update(str(scale).encode())
        for i, label in enumerate(self.labels):
            try:
                content = hashlib.sha256(self._reading.source.content(int(self._indices[i]))).hexdigest()
            except Exception as error:  # noqa: BLE001 - no bytes to hash; the kind of damage stands for them
                content = type(error).__name__
            digest.update(repr((self.key(i), self.class_names[label], content)).encode())
        return digest.hexdigest()

    # -- pixels ----------------------------------------------------------------------------------
    def image(self, i: int) -> np.ndarray:
        """Image `i`, uint8 RGB ``[height, width, 3]``; refuses a broken one."""
        try:
            return np.asarray(self._reading.source.image(int(self._indices[i])))
        except Exception as error:
            raise DatasetError(f"cannot read {self.key(i)} of {self.name!r}: {error}") from error

    def images(self, indices: Sequence[int] | np.ndarray, size: int) -> torch.Tensor:
        """Images cut to their central square and resized (Pillow bicubic, antialiased).

        Large JPEGs are decoded at the smallest scale that is at least twice `size`.

        Returns:
            uint8 RGB ``[n, 3, size, size]``.
        """
        pixels, broken = self.decode(indices, size)
        if broken:
            i, reason = next(iter(broken.items()))
            raise DatasetError(
                f"cannot read {self.key(i)} of {self.name!r}: {reason}. Repair or remove it, "
                "or leave broken images out with dataset.verified()"
            )
        return pixels

    def decode(self, indices: Sequence[int] | np.ndarray, size: int) -> tuple[torch.Tensor, dict[int, str]]:
        """As `images`, with broken images left out and returned as ``{index: reason}``."""
        source = self._reading.source
        wanted = [int(i) for i in indices]
        work = partial(_square, source, size=size)
        rows = [int(self._indices[i]) for i in wanted]
        # Filled as they come: with copies on the way, many images would take several times their size.
        pixels, good = np.empty((len(rows), 3, size, size), np.uint8), 0
        broken: dict[int, str] = {}
        parallel = source.parallel and len(rows) > 1
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) if parallel else nullcontext() as pool:
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                for i, square in zip(wanted[start:], pool.map(work, part) if pool else map(work, part), strict=False):
                    if isinstance(square, str):
                        broken[i] = square
                    else:
                        pixels[good] = square.transpose(2, 0, 1)
                        good += 1
        return torch.from_numpy(pixels[:good]), broken

    # -- parts -----------------------------------------------------------------------------------
    def subset(self, indices: Sequence[int] | np.ndarray) -> ImageDataset:
        """The images at `indices` (or of a boolean mask), with the same classes."""
        chosen = np.asarray(indices)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise DatasetError(
                f"indices run from {chosen.min()} to {chosen.max()}, expected 0 to {len(self) - 1} for {self.name!r}"
            )
        return ImageDataset(replace(self._reading, validation=None), self._indices[chosen])

    def alone(self) -> ImageDataset:
        """The same images without the validation part."""
        return self.subset(np.arange(len(self)))

    def of_classes(self, class_names: tuple[str, ...]) -> ImageDataset:
        """The images of these classes, labelled by their order here; classes that it does not have get no image."""
        places = {name: i for i, name in enumerate(class_names)}
        renumbered = np.array([places.get(name, -1) for name in self.class_names])[self._reading.labels]
        kept = self._indices[renumbered[self._indices] >= 0]
        return ImageDataset(replace(self._reading, labels=renumbered, class_names=class_names, validation=None), kept)

    def sample(self, max_images_per_class: int | None, seed: int = 0) -> ImageDataset:
        """At most so many random images of each class, in the original order; None takes all."""
        if max_images_per_class is None:
            return self
        if not isinstance(max_images_per_class, int) or max_images_per_class < 1:
            raise ConfigError(
                f"max_images_per_class must be a positive integer or None (all), got {max_images_per_class!r}"
            )
        some = self.subset(class_ranks(self.labels, seed) < max_images_per_class)
        some.validation = self.validation and self.validation.sample(max_images_per_class, seed)
        return some

    def renamed(self, name: str) -> ImageDataset:
        """The same images under another name."""
        dataset = ImageDataset(replace(self._reading, name=name), self._indices)
        dataset.validation = self.validation
        return dataset

    def split(self, validation: float = 0.2, seed: int = 0) -> tuple[ImageDataset, ImageDataset]:
        """Random training and validation parts, stratified by class.

        Both parts get at least one image of every class that has two; a single image goes to training.
        """
        held_out = self.held_out(validation, seed)
        return self.subset(~held_out), self.subset(held_out)

    def held_out(self, validation: float = 0.2, seed: int = 0) -> np.ndarray:
        """Whether each image is in the validation part of `split`, bool ``[images]``; errors as there."""
        if not 0 < validation < 1:
            raise ConfigError(f"validation must be a share between 0 and 1, such as 0.2, got {validation!r}")
        counts = np.bincount(self.labels, minlength=self.num_classes)
        fewest = np.clip(np.rint(counts * validation), 1, np.maximum(counts - 1, 0))
        return class_ranks(self.labels, seed) < fewest[self.labels]

    def verified(self, size: int = 32) -> ImageDataset:
        """Decode every image once and leave out the broken ones, and classes that have no other.

        Warns once with their number and first names.

        Raises:
            DatasetError: more than half are broken, or fewer than two classes remain.
        """
        broken: dict[int, str] = {}
        for start in range(0, len(self), 256):
            broken |= self.decode(range(start, min(start + 256, len(self))), size)[1]
        return self.without(broken)

    def without(self, broken: Mapping[int, str]) -> ImageDataset:
        """The other images, and the classes that have any.

        Args:
            broken: the reason by index, as `decode` gives it; warnings and errors as in `verified`.
        """
        if not broken:
            return self
        report_broken(self.name, {self.key(i): reason for i, reason in broken.items()}, len(self))
        good = np.setdiff1d(np.arange(len(self)), list(broken))
        labels, class_names = drop_empty_classes(self.name, self.labels[good], self.class_names)
        all_labels = np.zeros_like(self._reading.labels)
        all_labels[self._indices[good]] = labels
        rest = ImageDataset(replace(self._reading, labels=all_labels, class_names=class_names), self._indices[good])
        rest.validation = self.validation
        return rest


# -- loading -------------------------------------------------------------------------------------
def load_dataset(
    source: Any, *, name: str | None = None, max_images_per_class: int | None = None, seed: int = 0
) -> ImageDataset:
    """Labelled images from any of the supported sources.

    Args:
        source: a folder of class folders; a ``.zip`` of one (read in place); an ``.npz`` with arrays
            ``images``/``labels``, ``x``/``y`` or ``x_train``/``y_train``; a tuple ``(images, labels)`` of numpy
            arrays or tensors, images ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]`` with values 0..255 or
            0..1; a torch `Dataset` of ``(image, label)``, without random augmentation, which would make its
            cached features useless; ``"sklearn:digits"``; or an `ImageDataset`.
            A layout with parts, such as train/ and val/ or test/, gives its training part, and its validation part as
            `ImageDataset.validation`; a warning says what was left out. The summary of what a path holds goes to the
            log.
        name: replaces the name taken from the source.
        max_images_per_class: keep at most so many random images of each class.
        seed: of that choice.

    Raises:
        DatasetError: the source cannot be read or has fewer than two classes.
        ConfigError: `max_images_per_class` is not a positive integer.
        MissingExtraError: ``"sklearn:digits"`` without scikit-learn.

    >>> import numpy as np
    >>> images, labels = np.zeros((6, 8, 8), np.uint8), ["cat", "dog"] * 3
    >>> load_dataset((images, labels), name="pets")
    ImageDataset('pets', 6 images, 2 classes)
    """
    if isinstance(source, ImageDataset):
        return (source if name is None else source.renamed(name)).sample(max_images_per_class, seed)
    reading = _read(source)
    if name is not None:
        reading = replace(reading, name=name)
    _check_classes(reading)
    dataset = ImageDataset(reading).sample(max_images_per_class, seed)
    if isinstance(reading.source, sources.FileSource):
        _ = reading.source.stated_scale  # warns before any long work
    log, told = logging.getLogger(__name__), isinstance(source, (str, Path))
    if log.isEnabledFor(logging.INFO if told else logging.DEBUG):  # else items need not be looked at for it
        log.log(logging.INFO if told else logging.DEBUG, "read %s", dataset.summary())
    return dataset


def _read(source: Any) -> sources.Reading:
    if isinstance(source, (str, Path)):
        return _read_path(source)
    if arrays.is_torch_dataset(source):
        return arrays.read_torch(source)
    if isinstance(source, (tuple, list)):
        if len(source) != 2:
            raise DatasetError(
                f"a {type(source).__name__} of {len(source)} values was given; arrays come as a pair (images, labels)"
            )
        return arrays.read_arrays(*source)
    hint = "; arrays need their labels too: (images, labels)" if hasattr(source, "shape") else ""
    raise DatasetError(f"a dataset cannot be read from {type(source).__name__}{hint}. Expected {_KINDS}")


def _read_path(source: str | Path) -> sources.Reading:
    text = str(source)
    path = Path(os.path.expanduser(text))
    if text == "sklearn:digits":
        return arrays.read_digits()
    if not text or not os.path.exists(path):  # unlike Path.exists, never raises
        if re.match(r"[A-Za-z]\w+:", text):
            raise DatasetError(
                f"unknown dataset {text[:300]!r}: the only built-in name is 'sklearn:digits', and nothing is "
                f"downloaded. Expected {_KINDS}"
            )
        shown = text if len(text) <= 300 else text[:300] + "..."
        raise DatasetError(
            f"no file or folder {shown!r} (working folder: {os.getcwd()}){near_miss(text)}. Expected {_KINDS}"
        )
    if not os.access(path, os.R_OK):
        raise DatasetError(f"{text!r} may not be read by this user; check its permissions")
    if path.is_dir():
        return sources.read_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return arrays.read_npz(path)
    if suffix == ".zip" or (path.is_file() and zipfile.is_zipfile(path)):
        return sources.read_zip(path)
    hints = {
        ".npy": "an .npy file has no labels; save both arrays with numpy.savez('data.npz', images=..., labels=...)",
        **dict.fromkeys(kinds.SUFFIXES, "it is a single image; pass the folder that holds the class folders"),
        **dict.fromkeys((".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"), "unpack it and pass the folder"),
    }
    hint = hints.get(suffix, "this kind of file is not known")
    raise DatasetError(f"cannot read a dataset from {text!r}: {hint}. Expected {_KINDS}")


def _check_classes(reading: sources.Reading) -> None:
    if len(reading.class_names) < 2:
        inside = isinstance(reading.source, sources.FileSource)
        folder_hint = " If the folder given is itself a class, pass the folder above it." if inside else ""
        raise DatasetError(
            f"{reading.name!r} has a single class ({few(list(reading.class_names))}), at least two are needed: "
            "architectures are ranked by how well they tell classes apart. "
            f"Add images of another class.{folder_hint}"
        )
    counts = np.bincount(reading.labels)
    if len(single := np.flatnonzero(counts == 1)):
        warnings.warn(
            f"{len(single)} of {len(counts)} classes of {reading.name!r} have a single image "
            f"({few([reading.class_names[c] for c in single])}); predictions for them are less certain",
            DatasetWarning,
            stacklevel=3,
        )
