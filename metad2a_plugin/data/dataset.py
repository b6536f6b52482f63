"""`ImageDataset`: labelled images, decoded when asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from metad2a_plugin.data.checks import check_classes
from metad2a_plugin.data.items import Unread
from metad2a_plugin.data.parts import class_ranks, drop_empty_classes, report_broken
from metad2a_plugin.data.parts import square as _square
from metad2a_plugin.data.scale import PLAIN
from metad2a_plugin.data.sources import FileSource, Reading
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.utils.lazy import torch

_AT_ONCE = 256  # images


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

    def __init__(self, reading: Reading | Unread, indices: np.ndarray | None = None) -> None:
        self._given, self._chosen = reading, indices
        own = None if isinstance(reading, Unread) else reading.validation
        self.validation: ImageDataset | None = None if own is None else ImageDataset(own)
        self.name: str = reading.name

    @property
    def _unread(self) -> Unread | None:
        """The items, where their labels have not been asked for."""
        return self._given if isinstance(self._given, Unread) and "_reading" not in self.__dict__ else None

    @cached_property
    def _reading(self) -> Reading:
        return _checked(self._given.reading) if isinstance(self._given, Unread) else self._given

    @cached_property
    def _indices(self) -> np.ndarray:
        return np.arange(len(self._reading.labels)) if self._chosen is None else self._chosen

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return self._reading.class_names

    @cached_property
    def labels(self) -> np.ndarray:
        return self._reading.labels[self._indices]

    def __len__(self) -> int:
        return len(self._indices) if self._unread is None else len(self._unread)

    def __repr__(self) -> str:
        classes = "unread" if self._unread else f"{self.num_classes}"
        return f"ImageDataset({self.name!r}, {len(self)} images, {classes} classes)"

    def named(self, name: str) -> ImageDataset:
        """The same images under another name."""
        reading = self._given if self._unread else self._reading
        dataset = ImageDataset(replace(reading, name=name), self._chosen)
        dataset.validation = self.validation
        return dataset

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def summary(self) -> str:
        """One line on what was read: images, classes, images a class, and what is not plain or was left out."""
        if self._unread:
            return f"{self.name}: {len(self)} images, whose labels are read when they are needed"
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
        source = self._reading.source
        if isinstance(source, FileSource) and source.stated_scale != PLAIN:
            digest.update(str(source.stated_scale).encode())  # the bytes of files do not tell it
        for i, label in enumerate(self.labels):
            try:
                content = hashlib.sha256(source.content(int(self._indices[i]))).hexdigest()
            except (OSError, DatasetError) as error:  # no bytes to hash; the kind of damage stands for them
                content = type(error).__name__
            digest.update(repr((self.key(i), self.class_names[label], content)).encode())
        return digest.hexdigest()

    # -- pixels ----------------------------------------------------------------------------------
    def image(self, i: int) -> np.ndarray:
        """Image `i`, uint8 RGB ``[height, width, 3]``; refuses a broken one."""
        try:
            return np.asarray(self._reading.source.image(int(self._indices[i])))
        except (OSError, DatasetError) as error:
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
        if self._unread:  # all labels would need all images
            some = _checked(self._unread.some(max_images_per_class, seed))
            return ImageDataset(some).sample(max_images_per_class, seed)
        few_each = self.subset(class_ranks(self.labels, seed) < max_images_per_class)
        few_each.validation = self.validation and self.validation.sample(max_images_per_class, seed)
        return few_each

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


def _checked(reading: Reading) -> Reading:
    check_classes(reading.name, reading.labels, reading.class_names)
    return reading
