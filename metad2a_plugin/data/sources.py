"""Where images come from: folders, zips, npz files, arrays, torch Datasets; decoded only when asked for."""

from __future__ import annotations

import bz2
import os
import re
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from metad2a_plugin.data import kinds, words
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.layout import Layout, find_layout
from metad2a_plugin.data.notes import FOLDER_HELP
from metad2a_plugin.data.pixels import DatasetWarning, decode, deep_values, is_deep, open_image
from metad2a_plugin.data.scale import PLAIN, SAMPLE, Scale, find_scale, spread
from metad2a_plugin.data.tree import Parts
from metad2a_plugin.data.walk import walk
from metad2a_plugin.errors import DatasetError

_LARGEST = 2**30  # bytes an entry may unpack to
_PROBES, _HEADERS = 32, 2048  # files whose headers are read to see whether any, and which, have more than 8 bits
_LOOKED_AT = 4  # of 8 bits, whose pixels are read to see whether all are almost black


class Source(ABC):
    """Images by index, decoded on demand; safe to share between threads, forks and pickles."""

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
        """Image `i` in RGB, at least `size` pixels on its shorter side if it has that many."""

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

    def key(self, i: int) -> str:
        return self.keys[i]

    def image(self, i: int, size: int | None = None) -> Image.Image:
        return decode(self.content(i), size, lambda: self.scale)

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
        except Exception:  # noqa: BLE001 - a broken image is reported where it is met
            return 0

    def _is_deep(self, i: int) -> bool:
        try:
            return is_deep(open_image(self.content(i)))
        except Exception:  # noqa: BLE001 - a broken image is reported where it is met
            return False

    def _pixels(self, i: int) -> np.ndarray:
        try:
            return deep_values(open_image(self.content(i)))
        except Exception:  # noqa: BLE001 - as above
            return np.empty(0, np.uint8)


class FolderSource(FileSource):
    """Images of files in a folder."""

    def content(self, i: int) -> bytes:
        return (self.path / self.keys[i]).read_bytes()


class ZipSource(FileSource):
    """Entries of a zip, read in place.

    `zipfile` shares one file position between threads and forks; opening the file for each image does not.
    """

    def __init__(self, path: Path, keys: list[str], entries: list[zipfile.ZipInfo]) -> None:
        super().__init__(path, keys)
        self._where = [(e.header_offset, e.compress_size, e.file_size, e.compress_type, e.CRC) for e in entries]

    def content(self, i: int) -> bytes:
        offset, packed_size, size, method, crc = self._where[i]
        if size > _LARGEST:
            raise OSError(f"the zip entry unpacks to {size / 2**30:.1f} GiB, more than an image should")
        with open(self.path, "rb") as file:
            file.seek(offset)
            header = file.read(30)
            if header[:4] != b"PK\x03\x04":
                raise OSError("the zip is damaged or has changed since it was opened")
            skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            file.seek(offset + 30 + skip)
            data = file.read(packed_size)
        if method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-15).decompress(data, size + 1)
        elif method == zipfile.ZIP_BZIP2:
            data = bz2.BZ2Decompressor().decompress(data, size + 1)
        if len(data) != size or zlib.crc32(data) != crc:
            raise OSError("damaged zip entry (wrong checksum)")
        return data


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
        with suppress(OSError), path.joinpath(*parts).open("rb") as file:
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


def read_zip(path: Path) -> Reading:
    """A zip of class folders; nothing is extracted, entries that point outside the zip are ignored.

    Raises:
        DatasetError: no zip, encrypted, an unsupported compression, no images, no class folders.
    """
    entries, folders = zip_entries(path)

    def where(parts: Parts) -> str:
        return f"{'/'.join(parts)!r} of the unpacked zip"

    with zip_heads(path, entries) as head:
        layout = _find(entries, folders, f"zip {str(path)!r}", where, head)
    check_entries(path, [entries[member] for member in (*layout.members, *layout.validation)])

    def read(root: Parts, members: dict[Parts, str]) -> Reading:
        labels, class_names = index_labels(list(members.values()))
        keys = ["/".join(member[len(root) :]) for member in members]
        source = ZipSource(path, keys, [entries[member] for member in members])
        return Reading(source, labels, class_names, path.stem, left_out=layout.left_out)

    return _with_validation(read, layout)


def zip_entries(path: Path) -> tuple[dict[Parts, zipfile.ZipInfo], list[Parts]]:
    """Files of a zip, without what is hidden or points outside, and folders.

    Raises:
        DatasetError: it is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DatasetError(
            f"{str(path)!r} is not a readable zip ({error}); an interrupted download or another kind of "
            "archive looks like this. Fetch it again, or unpack it and pass the folder"
        ) from error
    entries: dict[Parts, zipfile.ZipInfo] = {}
    folders = []
    for info in infos:
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            continue
        if not (parts := _parts(name)):
            continue
        if name.endswith("/"):
            folders.append(parts)
        else:
            entries[parts] = info
            folders.append(parts[:-1])

    return entries, folders


@contextmanager
def zip_heads(path: Path, entries: Mapping[Parts, zipfile.ZipInfo]) -> Iterator[Callable[[Parts], bytes]]:
    """What gives the first bytes of a file of a zip; none of one that cannot be read."""
    with zipfile.ZipFile(path) as archive:

        def head(parts: Parts) -> bytes:
            with suppress(Exception), archive.open(entries[parts]) as file:  # a broken file is no image
                return file.read(kinds.HEAD)
            return b""

        yield head


def check_entries(path: Path, used: list[zipfile.ZipInfo]) -> None:
    """Refuse files of a zip that are encrypted or packed in a way that is not read, with a `DatasetError`."""
    if any(info.flag_bits & 1 for info in used):
        raise DatasetError(
            f"zip {str(path)!r} is protected by a password; unpack it and pass the folder, or zip it again without one"
        )
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    if strange := sorted({info.compress_type for info in used} - set(known)):
        raise DatasetError(
            f"zip {str(path)!r} uses compression method {strange[0]}, expected stored, deflate or bzip2; "
            "zip it again with the default settings, or unpack it and pass the folder"
        )
