"""Datasets of items: torch Datasets, lists of (image, label), and any object with ``__len__`` and ``__getitem__``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metad2a_plugin.data.decoding import in_memory, reading
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pairs import Pair, pair_of
from metad2a_plugin.data.parts import report_broken
from metad2a_plugin.data.pixels import (
    array_to_rgb,
    as_numpy,
    channel_axis,
    deep_values,
    is_deep,
    is_tensor,
    to_rgb,
)
from metad2a_plugin.data.scale import PLAIN, Scale, find_scale, spread
from metad2a_plugin.data.sources import DeepSource, Reading, _warn, image_file
from metad2a_plugin.data.stated import plain, same, stated_labels
from metad2a_plugin.errors import DatasetError

_SOON = 2000
"""So many items are read at once where their labels are not stated."""
_ROOM = 2**28
"""Bytes of images that were read for their labels, or for their hash, and are kept until they are asked for."""
_PROBES, _SAMPLE = 4, 64
"""Items that are read to see whether any is not uint8, and for the range of all."""


def file_bytes(value: Any) -> bytes | None:
    """The bytes of an image that is given as a path, bytes of a file, or a dict of ``bytes`` or ``path``; else None."""
    if isinstance(value, Mapping) and {"bytes", "path"} & set(value):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (str, os.PathLike)):
        return image_file(Path(value))
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None


def loaded(value: Any, scale: Callable[[], Scale]) -> Image.Image | bytes:
    """One image in RGB, or the bytes of its file.

    Args:
        value: a Pillow image, array, tensor, or what `file_bytes` takes.
        scale: of the dataset, asked for where the image has more than 8 bits.
    """
    if (data := file_bytes(value)) is not None:
        return data
    with reading():
        if isinstance(value, Image.Image):
            return to_rgb(value, scale)
        pixels = as_numpy(value)
        return array_to_rgb(pixels, channel_axis(pixels.shape, is_tensor(value)), scale)


def deep_pixels(value: Any) -> np.ndarray | None:
    """Pixels of an image that may have more than 8 bits; None of others."""
    if (data := file_bytes(value)) is not None:
        return in_memory(data).deep_values()
    with reading():
        if isinstance(value, Image.Image):
            return deep_values(value) if is_deep(value) else None
        pixels = as_numpy(value)
    return pixels if pixels.dtype.kind in "buif" else None  # what is no image is reported where it is met


class ItemSource(DeepSource):
    """Images of items.

    Args:
        items: anything with ``__len__`` and ``__getitem__``.
        pair: image and label of an item.
        chosen: indices of the items that are used.
    """

    parallel = False

    def __init__(self, items: Any, pair: Pair, chosen: np.ndarray) -> None:
        self.items, self.pair, self.chosen = items, pair, chosen
        self._kept: dict[int, Image.Image | bytes] = {}
        self._room = _ROOM

    def key(self, i: int) -> str:
        return f"item {self.chosen[i]}"

    def content(self, i: int) -> bytes:
        found = self._kept.get(i)
        if found is None:
            found = loaded(self.item(i)[0], self._scale)
            self._keep(i, found)
        return found if isinstance(found, bytes) else repr(found.size).encode() + found.tobytes()

    def image(self, i: int, size: int | None = None) -> Image.Image:
        found = self._kept.pop(i, None)
        if found is None:
            found = loaded(self.item(i)[0], self._scale)
        else:
            self._room += _bytes(found)
        return found if isinstance(found, Image.Image) else in_memory(found, self._scale).rgb(size)

    def _scale(self) -> Scale:
        return self.scale

    @cached_property
    def stated_scale(self) -> Scale:
        return self.scale if any(p.dtype != np.uint8 for p in self._deep(_PROBES)) else PLAIN

    def _find_scale(self) -> Scale:
        return find_scale(self._deep(_SAMPLE), type(self.items).__name__)

    def _deep(self, limit: int) -> Iterator[np.ndarray]:
        """Pixels of some of all items; none of images of 8 bits and of items that raise."""
        for i in spread(range(len(self.items)), limit):
            with suppress(OSError, DatasetError):  # reported where the item is met
                if (pixels := deep_pixels(self.item(i, of_all=True)[0])) is not None:
                    yield pixels

    def item(self, i: int, *, of_all: bool = False) -> tuple[Any, Any]:
        """Image as it comes, and label; `of_all` counts those too that are not chosen.

        Raises:
            OSError: a broken item, for which a dataset of a user's raises what it likes.
        """
        try:
            return self.pair(self.items[i if of_all else int(self.chosen[i])])
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            raise OSError(f"{error}" or type(error).__name__) from error

    def label(self, i: int) -> Any:
        """The label of item `i`; its image is kept until it is asked for, while there is room."""
        image, label = self.item(i)
        if not isinstance(image, (str, os.PathLike)) and self._room > 0:
            # What is no image is met again, and reported, where it is needed.
            with suppress(OSError, DatasetError):
                self._keep(i, loaded(image, self._scale))
        return plain(label)

    def at(self, rows: np.ndarray) -> ItemSource:
        """Those of some rows; what was kept of them goes along."""
        source = ItemSource(self.items, self.pair, self.chosen[rows])
        for new, old in enumerate(rows.tolist()):
            if old in self._kept:
                source._keep(new, self._kept.pop(old))
        if "_found" in self.__dict__:
            source.__dict__["_found"] = self._found
        self._kept, self._room = {}, _ROOM
        return source

    def _keep(self, i: int, found: Image.Image | bytes) -> None:
        if _bytes(found) <= self._room:
            self._kept[i] = found
            self._room -= _bytes(found)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_room": _ROOM}


def _bytes(found: Image.Image | bytes) -> int:
    return len(found) if isinstance(found, bytes) else 3 * found.width * found.height


@dataclass(frozen=True)
class Unread:
    """Items whose labels are known only once they are read.

    Attributes:
        source: all items.
        name: of the dataset.
        names: of classes, by integer label, where they are stated.
    """

    source: ItemSource
    name: str
    names: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.source.chosen)

    @cached_property
    def reading(self) -> Reading:
        """All items, but for those that raise; each is read once.

        Raises:
            DatasetError: more than half of them raise, or their labels are no classes.
        """
        rows, labels, broken = self._labels(range(len(self)))
        report_broken(self.name, broken, len(self))
        return self._made(rows, labels)

    def some(self, per_class: int, seed: int) -> Reading:
        """Random items, enough for so many of each class: at most twice as many as that are read.

        Raises:
            DatasetError: as `reading`.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        counts: dict[Any, int] = {}
        rows: list[int] = []
        labels: list[Any] = []
        broken: dict[str, str] = {}
        tried = 0
        while tried < len(order) and not _enough(counts, per_class, tried):
            part = order[tried : tried + per_class]
            more, found, bad = self._labels(part.tolist())
            tried += len(part)
            rows, labels, broken = rows + more, labels + found, broken | bad
            for label in found:
                counts[str(label)] = counts.get(str(label), 0) + 1
        report_broken(self.name, broken, tried)
        if tried < len(order):
            _warn(
                f"{self.name!r} does not state its labels: {tried} of its {len(order)} items, drawn at random, were "
                f"read, which show {len(counts)} classes; one rarer than 1 in {max(2, tried // 3)} may be missing. "
                "Give the dataset an attribute 'targets', one label per item, to have all of them"
            )
        sort = np.argsort(rows)
        return self._made([rows[i] for i in sort], [labels[i] for i in sort])

    def _labels(self, rows: Sequence[int]) -> tuple[list[int], list[Any], dict[str, str]]:
        """Rows that can be read, their labels, and why others cannot."""
        good: list[int] = []
        labels: list[Any] = []
        broken: dict[str, str] = {}
        for row in rows:
            try:
                labels.append(self.source.label(row))
                good.append(row)
            except OSError as error:
                raised = error.__cause__ or error
                broken[self.source.key(row)] = f"{type(raised).__name__}: {raised}"
        return good, labels, broken

    def _made(self, rows: list[int], labels: list[Any]) -> Reading:
        indices, class_names = index_labels(labels, self.names)
        return Reading(self.source.at(np.array(rows, dtype=np.int64)), indices, class_names, self.name)


def _enough(counts: Mapping[str, int], per_class: int, tried: int) -> bool:
    """Whether each of at least two classes is full, or twice as many items were read as are wanted of them."""
    if len(counts) < 2:
        return False
    return min(counts.values()) >= per_class or tried >= 2 * per_class * len(counts)


# -- reading ---------------------------------------------------------------------------------------
def read_items(dataset: Any, name: str = "", names: Sequence[Any] | None = None) -> Reading | Unread:
    """Items ``(image, label)``, or dicts of them; image a Pillow image, array, tensor, path or bytes of a file.

    Labels that the dataset states (``targets``, ``labels``, ``samples``, ...) are used where they agree with the items.
    Else few items are read at once, and of many none but two until labels are asked for.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__``.
        name: for messages; that of its class if empty.
        names: of classes, by integer label.

    Raises:
        DatasetError: no length, no items, items that are no pairs, or labels that are no classes.
    """
    name = name or type(dataset).__name__
    try:
        count = len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise DatasetError(
            f"{name} has no length (an IterableDataset?); expected a torch Dataset with __len__ and "
            "__getitem__. Collect its items in a list first: list(itertools.islice(dataset, 5000))"
        ) from error
    if not count:
        raise DatasetError(f"{name} is empty; expected (image, label) items of at least two classes")
    first, item = _first(dataset, name, count)
    source = ItemSource(dataset, pair_of(name, item), np.arange(count))
    _check_same_twice(source, first, item, name)
    stated, classes = stated_labels(dataset)
    if names is None and isinstance(classes, (list, tuple)):
        names = classes
    if stated is not None and _agree(source, stated, {first, count - 1}, source.pair(item)[1] if first == 0 else None):
        labels, class_names = index_labels(stated, names)
        return Reading(source, labels, class_names, name)
    unread = Unread(source, name, None if names is None else tuple(map(str, names)))
    return unread.reading if count <= _SOON else unread


def _first(dataset: Any, name: str, count: int) -> tuple[int, Any]:
    """The first item that can be read, of the first few."""
    failed: Exception | None = None
    for i in range(min(count, 10)):
        try:
            return i, dataset[i]
        except Exception as error:  # noqa: BLE001 - a dataset of a user's raises what it likes
            failed = failed or error
    raise DatasetError(
        f"the first items of {name} cannot be read: item 0 raised {type(failed).__name__}: {failed}; repair the dataset"
    ) from failed


def _agree(source: ItemSource, stated: list[Any], probes: set[int], known: Any) -> bool:
    """Whether stated labels are those of a few items."""
    for i in probes:
        try:
            label = known if i == 0 and known is not None else source.item(i)[1]
        except OSError:  # reported where its image is needed
            continue
        if not same(label, stated[i]):
            return False
    return True


def _check_same_twice(source: ItemSource, i: int, item: Any, name: str) -> None:
    """Warn of items that change from one reading to the next."""
    try:
        value = source.pair(item)[0]
        if isinstance(value, (str, bytes, os.PathLike, Mapping)):
            return
        same_twice = np.array_equal(as_numpy(value), as_numpy(source.item(i)[0]))
    except Exception:  # noqa: BLE001 - reported where its image is needed
        return
    if not same_twice:
        _warn(
            f"item {i} of {name} differs from one reading to the next, as with random augmentation: results rest on "
            "one random view of each image; pass the dataset without augmentation"
        )


def read_loader(loader: Any) -> Reading | Unread:
    """The dataset behind a torch `DataLoader`; errors as in `read_items`."""
    name = type(loader.dataset).__name__
    _warn(
        f"of the DataLoader only its dataset {name} is used, each item once: not its shuffling, sampler, batches or "
        "collate function"
    )
    return read_items(loader.dataset)


def read_images(images: Sequence[Any], labels: Any, name: str) -> Reading:
    """Images one by one, of any sizes: Pillow images, arrays, tensors, paths or bytes of files; and labels ``[n]``.

    Raises:
        DatasetError: none, labels that are no classes, or lengths that differ.
    """
    indices, class_names = index_labels(labels)
    if len(indices) != len(images):
        raise DatasetError(f"{len(images)} images but {len(indices)} labels; every image needs exactly one label")
    return Reading(ItemSource(images, _alone, np.arange(len(images))), indices, class_names, name)


def _alone(item: Any) -> tuple[Any, Any]:
    return item, None
