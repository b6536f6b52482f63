"""Zips of images, read in place: nothing is extracted, and nothing is believed of their sizes."""

from __future__ import annotations

import bz2
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from metad2a_plugin.data import kinds
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.room import MOST_NAMES, most_unpacked
from metad2a_plugin.data.sources import FileSource, Reading, _find, _parts, _with_validation
from metad2a_plugin.data.tree import Parts
from metad2a_plugin.errors import DatasetError

_HEADER = 30  # bytes before the name of a file
_PART = 2**20  # bytes
_LONGEST = 64
"""Bytes of an entry of the directory, on average."""


Unpack = Callable[[bytes, int], tuple[bytes, bytes]]
"""Packed bytes, and how many unpacked ones are wanted; these, and the packed ones that are left."""


def _stored() -> Unpack:
    return lambda part, wanted: (part[:wanted], part[wanted:])


def _deflated() -> Unpack:
    stream = zlib.decompressobj(-15)

    def unpack(part: bytes, wanted: int) -> tuple[bytes, bytes]:
        return stream.decompress(part, wanted), stream.unconsumed_tail

    return unpack


def _bzip2() -> Unpack:
    stream = bz2.BZ2Decompressor()

    def unpack(part: bytes, wanted: int) -> tuple[bytes, bytes]:
        # It keeps what is left of the first part, and says so.
        found = stream.decompress(part if stream.needs_input else b"", wanted)
        return found, b"" if stream.eof or stream.needs_input else part

    return unpack


_UNPACK = {zipfile.ZIP_STORED: _stored, zipfile.ZIP_DEFLATED: _deflated, zipfile.ZIP_BZIP2: _bzip2}


class ZipSource(FileSource):
    """Entries of a zip, read in place.

    `zipfile` shares one file position between threads and forks; opening the file for each image does not.
    """

    def __init__(self, path: Path, keys: list[str], entries: list[zipfile.ZipInfo]) -> None:
        super().__init__(path, keys)
        self._where = [(e.header_offset, e.compress_size, e.file_size, e.compress_type, e.CRC) for e in entries]

    def length(self, i: int) -> int:
        return self._where[i][2]

    def content(self, i: int) -> bytes:
        offset, packed_size, size, method, crc = self._where[i]
        with open(self.path, "rb") as file:
            data = _unpacked(file, offset, packed_size, method, size + 1)
        if len(data) != size or zlib.crc32(data) != crc:
            raise OSError("damaged zip entry (wrong checksum)")
        return bytes(data)


def _unpacked(file: BinaryIO, offset: int, packed_size: int, method: int, limit: int) -> bytearray:
    """The first bytes of an entry, at most `limit`.

    Raises:
        OSError: it is damaged.
    """
    file.seek(offset)
    header = file.read(_HEADER)
    if header[:4] != b"PK\x03\x04":
        raise OSError("the zip is damaged or has changed since it was opened")
    skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    file.seek(offset + _HEADER + skip)
    unpack = _UNPACK[method]()
    found = bytearray()
    try:
        while len(found) < limit and (part := file.read(min(_PART, packed_size))):
            packed_size -= len(part)
            while part and len(found) < limit:
                more, part = unpack(part, min(_PART, limit - len(found)))
                found += more
    except (zlib.error, ValueError, EOFError) as error:
        raise OSError(f"damaged zip entry ({error})") from error
    return found


def read_entry(path: Path, info: zipfile.ZipInfo, limit: int) -> bytearray:
    """The first bytes of a file of a zip, at most `limit`.

    Raises:
        OSError: it is damaged, encrypted, or packed in a way that is not read.
    """
    if info.flag_bits & 1 or info.compress_type not in _UNPACK:
        raise OSError("the zip entry is encrypted, or packed in a way that is not read")
    with path.open("rb") as file:
        return _unpacked(file, info.header_offset, info.compress_size, info.compress_type, limit)


def read_zip(path: Path, entries: Mapping[Parts, zipfile.ZipInfo], folders: Sequence[Parts]) -> Reading:
    """A zip of class folders; nothing is extracted, entries that point outside the zip are ignored.

    Args:
        path: of the zip.
        entries, folders: of `zip_entries`.

    Raises:
        DatasetError: encrypted, an unsupported compression, sizes that no honest zip has, no images, no class folders.
    """

    def where(parts: Parts) -> str:
        return f"{'/'.join(parts)!r} of the unpacked zip"

    layout = _find(entries, folders, f"zip {str(path)!r}", where, zip_heads(path, entries))
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
        DatasetError: it is no zip, or has more names than fit into memory.
    """
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, LookupError) as error:
        if isinstance(error, DatasetError):
            raise
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


def _check_directory(path: Path) -> None:
    """Refuse a directory that is too long before `zipfile` makes objects of all that it names."""
    length = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, length - 2**16 - 128))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        size = int.from_bytes(tail[at + 12 : at + 16], "little")
        if size == 2**32 - 1:
            large = tail.rfind(b"PK\x06\x06", 0, at)
            size = int.from_bytes(tail[large + 40 : large + 48], "little")
    if at >= 0 and min(size, length) > MOST_NAMES * _LONGEST:
        raise DatasetError(
            f"the list of names of the zip {str(path)!r} has {min(size, length) >> 20} MiB, more than fits into "
            "memory; unpack it and pass the folder"
        )


def zip_heads(path: Path, entries: Mapping[Parts, zipfile.ZipInfo]) -> Callable[[Parts], bytes]:
    """What gives the first bytes of a file of a zip; none of one that cannot be read."""

    def head(parts: Parts) -> bytes:
        try:
            return bytes(read_entry(path, entries[parts], kinds.HEAD))
        except OSError:  # a broken file is no image
            return b""

    return head


def check_entries(path: Path, used: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse files of a zip that are encrypted, packed in a way that is not read, or larger than can be.

    Raises:
        DatasetError: they are, or two of them lie in the same place, or all together unpack to far more than the zip.
    """
    what = f"zip {str(path)!r}"
    if any(info.flag_bits & 1 for info in used):
        text = f"{what} is protected by a password; unpack it and pass the folder, or zip it again without one"
        raise DatasetError(text)
    if strange := sorted({info.compress_type for info in used} - set(_UNPACK)):
        raise DatasetError(
            f"{what} uses compression method {strange[0]}, expected stored, deflate or bzip2; "
            "zip it again with the default settings, or unpack it and pass the folder"
        )
    total, packed = sum(info.file_size for info in used), path.stat().st_size
    if total > most_unpacked(packed):
        largest = max(used, key=lambda info: info.file_size).filename
        raise DatasetError(
            f"the {len(used)} files of {what} unpack to {total / 2**30:.1f} GiB (the largest is {largest[:100]!r}), "
            f"far more than its {packed / 2**20:.1f} MiB; if that is right, unpack it and pass the folder"
        )
    for before, after in pairwise(sorted(used, key=lambda info: info.header_offset)):
        if after.header_offset < before.header_offset + _HEADER + before.compress_size:
            raise DatasetError(
                f"{what} is damaged: its files {before.filename[:100]!r} and {after.filename[:100]!r} lie in the same "
                "place; zip it again, or unpack it and pass the folder"
            )
