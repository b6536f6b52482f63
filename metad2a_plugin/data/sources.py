"""Where images come from: folders, zips, npz files, arrays, torch Datasets; decoded only when asked for."""

from __future__ import annotations

import os
import re
import stat
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image

from metad2a_plugin.data import kinds, words
from metad2a_plugin.data.decoding import ImageFile
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.layout import Layout, find_layout
from metad2a_plugin.data.notes import FOLDER_HELP
from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.data.room import LARGEST_FILE, Work
from metad2a_plugin.data.scale import PLAIN, SAMPLE, Scale, find_scale, spread
from metad2a_plugin.data.tree import Parts
from metad2a_plugin.data.walk import walk
from metad2a_plugin.errors import DatasetError

_PROBES, _HEADERS = 32, 2048  # files whose headers are read to see whether any, and which, have more than 8 bits
_LOOKED_AT = 4  # of 8 bits, whose pixels are read to see whether all are almost black


class Source(ABC):
    """Images by index, decoded on demand; safe to share between threads and pickles, and with a fork.

    What a forked child does with them is its own matter: torch in it has one thread (`utils.forks`).
    """

    parallel = True
    """Whether `image` may be called from several threads at once."""

    @abstractmethod
    def key(self, i: int) -> str:
        """Name of image `i`, for messages and the content hash."""

    @abstractmethod
    def content(self, i: int) -> bytes:
        """The bytes that decide what image `i` looks like."""

    @abstractmethod
    def image(self, i: int, size: int | None = None) -> Image.Image:
        """Image `i` in RGB, at least `size` pixels on its shorter side if it has that many; `size` is of its square.

        Raises:
            OSError: it cannot be read; a `DatasetError` where its values can be brought on no scale.
        """

    @cached_property
    def stated_scale(self) -> Scale:
        """The scale of all images, by a few, with a warning if it may not be meant; `PLAIN` where these have 8 bits."""
        return PLAIN


class DeepSource(Source):
    """Images that may have more than 8 bits: these share a scale, which is looked for once."""

    @property
    def scale(self) -> Scale:
        """That of the images of more than 8 bits, whichever of them are asked for.

        Raises:
            DatasetError: their range is that of no scale.
        """
        if isinstance(self._found, DatasetError):
            raise self._found
        return self._found

    @cached_property
    def _found(self) -> Scale | DatasetError:
        try:
            return self._find_scale()
        except DatasetError as error:  # kept, as images are not to be read again for each of them
            return error

    @abstractmethod
    def _find_scale(self) -> Scale:
        """Read some images for `scale`."""


@dataclass(frozen=True)
class Reading:
    """What a reader found: images, labels ``0 .. classes-1``, one name per class."""

    source: Source
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str
    left_out: tuple[str, ...] = ()
    """What was left out, each a few words."""
    validation: Reading | None = None
    """The validation part, of the same classes."""


class FileSource(DeepSource):
    """Images of files, by their relative paths."""

    def __init__(self, path: Path, keys: list[str]) -> None:
        self.path, self.keys = path, keys
        self._work = Work()

    @abstractmethod
    def length(self, i: int) -> int:
        """Bytes of the file of image `i`.

        Raises:
            OSError: it cannot be read.
        """

    def key(self, i: int) -> str:
        return self.keys[i]

    def image(self, i: int, size: int | None = None) -> Image.Image:
        return self._file(i).rgb(size)

    def _file(self, i: int) -> ImageFile:
        length = _checked(self.length(i))

        def count(pixels: int, length: int) -> None:
            self._work.add(i, pixels, length, self.key(i))

        return ImageFile(partial(self.content, i), length, lambda: self.scale, count)

    @cached_property
    def stated_scale(self) -> Scale:
        if any(map(self._is_deep, spread(self._candidates, _PROBES))):
            return self.scale
        brightest = max(map(self._brightest, spread(self._candidates, _LOOKED_AT)), default=0)
        if 0 < brightest < 255 / 8 and len(self._candidates) == len(self.keys):
            _warn(
                f"the largest pixel of {self._name!r} is {brightest}, taken as almost black on a scale of 0..255; if "
                f"{brightest} means white, save the images with pixels times {255 // brightest}"
            )
        return PLAIN

    def _find_scale(self) -> Scale:
        some = spread(self._candidates, _HEADERS)
        deep = list(filter(self._is_deep, some)) or list(filter(self._is_deep, self._candidates))
        plain = len(deep) < len(some) or len(some) < len(self.keys)
        return find_scale(map(self._pixels, spread(deep, SAMPLE)), self._name, files=True, beside_8_bit=plain)

    @cached_property
    def _candidates(self) -> list[int]:
        return [i for i, key in enumerate(self.keys) if kinds.suffix(key) in kinds.DEEP]

    @property
    def _name(self) -> str:
        """For messages."""
        return self.path.name or os.path.commonpath(self.keys)

    def _brightest(self, i: int) -> int:
        try:
            return int(np.asarray(self.image(i)).max())
        except (OSError, DatasetError):  # reported where it is met
            return 0

    def _is_deep(self, i: int) -> bool:
        try:
            return self._file(i).is_deep()
        except OSError:  # as above
            return False

    def _pixels(self, i: int) -> np.ndarray:
        try:
            found = self._file(i).deep_values()
        except OSError:  # as above
            found = None
        return np.empty(0, np.uint8) if found is None else found


class FolderSource(FileSource):
    """Images of files in a folder."""

    def length(self, i: int) -> int:
        return file_size(self.path / self.keys[i])

    def content(self, i: int) -> bytes:
        return image_file(self.path / self.keys[i])


def image_file(path: Path) -> bytes:
    """The bytes of the file of an image.

    Raises:
        OSError: it cannot be read, is no regular file, or larger than an image may be.
    """
    _checked(file_size(path))
    with path.open("rb") as file:
        return file.read(LARGEST_FILE)


def _checked(length: int) -> int:
    if length > LARGEST_FILE:
        raise OSError(f"its file has {length >> 20} MiB, more than the {LARGEST_FILE >> 20} that an image may")
    return length


def file_size(path: Path) -> int:
    """Bytes of a file; who reads a pipe or a device may wait for ever."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no file but a pipe, a device or a folder")
    return found.st_size


def _parts(path: str) -> Parts | None:
    """Path as parts; None for what is hidden or left behind by a system."""
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    return None if any(map(words.is_system, parts)) else parts


def _find(
    files: Iterable[Parts],
    folders: Iterable[Parts],
    what: str,
    where: Callable[[Parts], str],
    head: Callable[[Parts], bytes],
) -> Layout:
    """The classes of a listing without what systems leave behind; `what` and `where` as for `find_layout`."""
    listing = kinds.tell_apart(files, head)
    if not listing.images:
        found = ", ".join(filter(None, (listing.warned, listing.beside)))
        only = f"only other files: {found}" if found else "it has no visible files"
        if re.search(r" \.(zip|tar|gz|tgz|7z|rar)\b", found):
            only += "; unpack the archives inside of it"
        raise DatasetError(f"no images in {what}: {only}. {FOLDER_HELP}. Image files end in .jpg, .png, .webp, ...")
    if listing.warned:
        _warn(f"{what}: files that are not read are left out: {listing.warned}")
    layout = find_layout(listing.images, folders, what, where)
    others = tuple(filter(None, (listing.warned, listing.beside)))
    return replace(layout, left_out=(*layout.left_out, *others))


def _warn(text: str) -> None:
    warnings.warn(text, DatasetWarning, stacklevel=3)


def read_folder(path: Path) -> Reading:
    """A folder of class folders; images at any depth inside a class folder.

    Raises:
        DatasetError: no images, no class folders, folders that may be parts of a split as well as classes, two class
            folders that are the same, or a folder that may not be read.
    """
    files, folders = walk(path)
    where = f"folder {str(path)!r}"
    layout = _find(files, folders, where, lambda parts: repr(str(path.joinpath(*parts))), head_below(path))

    def read(root: Parts, members: dict[Parts, str]) -> Reading:
        labels, class_names = index_labels(list(members.values()))
        keys = ["/".join(member[len(root) :]) for member in members]
        source = FolderSource(path.joinpath(*root), keys)
        return Reading(source, labels, class_names, path.resolve().name, left_out=layout.left_out)

    return _with_validation(read, layout)


def head_below(path: Path) -> Callable[[Parts], bytes]:
    """What gives the first bytes of a file below a folder; none of one that cannot be read."""

    def head(parts: Parts) -> bytes:
        with suppress(OSError):
            file_size(path.joinpath(*parts))
            with path.joinpath(*parts).open("rb") as file:
                return file.read(kinds.HEAD)
        return b""

    return head


def _with_validation(read: Callable[[Parts, dict[Parts, str]], Reading], layout: Layout) -> Reading:
    """The training part, which knows its validation part."""
    reading = read(layout.root, layout.members)
    if not layout.validation:
        return reading
    validation = replace(read(layout.validation_root, layout.validation), left_out=())
    return replace(reading, validation=validation)
