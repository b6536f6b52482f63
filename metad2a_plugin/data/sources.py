"""Where images come from: folders, zips, npz files, arrays, torch Datasets; decoded only when asked for."""

from __future__ import annotations

import bz2
import os
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pixels import DatasetWarning, decode, few
from metad2a_plugin.errors import DatasetError

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_OTHER = (".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif")
SUFFIXES = frozenset(_JPEG + _OTHER)
FOLDER_HELP = "Expected a folder of class folders, such as flowers/rose/1.jpg and flowers/tulip/2.jpg"
_LARGEST = 2**30  # bytes an entry may unpack to
_TRAIN = ("train", "training")
_SPLITS = frozenset((*_TRAIN, "val", "valid", "validation", "test", "testing"))


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


@dataclass(frozen=True)
class Reading:
    """What a reader found: images, labels ``0 .. classes-1``, one name per class."""

    source: Source
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str


class FileSource(Source):
    """Images of files, by their relative paths."""

    def __init__(self, path: Path, keys: list[str]) -> None:
        self.path, self.keys = path, keys

    def key(self, i: int) -> str:
        return self.keys[i]

    def image(self, i: int, size: int | None = None) -> Image.Image:
        return decode(self.content(i), size)


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


Parts = tuple[str, ...]


def _parts(path: str) -> Parts | None:
    """Path as parts; None for hidden files and folders."""
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    hidden = any(part[0] == "." or part == "__MACOSX" for part in parts)
    return None if hidden else parts


def _suffix(parts: Parts) -> str:
    return os.path.splitext(parts[-1])[1].lower()


def _descend(files: list[Parts], what: str) -> int:
    """Depth of the folder that holds the class folders: past a wrapping folder, into train/ of a train/val layout.

    Narrows `files` to those below that folder.
    """
    depth = 0
    while all(len(f) > depth + 1 for f in files):
        tops = {f[depth] for f in files}
        train = [t for t in tops if t.lower() in _TRAIN]
        if train and len(tops) > 1 and {t.lower() for t in tops} <= _SPLITS:
            others = few(sorted(tops - {train[0]}), 6)
            _warn(
                f"{what} is split into {few(sorted(tops), 6)}: only {train[0]!r} is used. "
                f"To use {others}, pass that folder itself"
            )
            files[:] = [f for f in files if f[depth] == train[0]]
        elif len(tops) > 1 or any(len(f) == depth + 2 for f in files):
            return depth
        depth += 1
    return depth


def _classes(files: Iterable[str], folders: Iterable[str], what: str) -> tuple[str, dict[str, str]]:
    """Path prefix of the folder that holds the class folders, and the class of each image below it.

    Args:
        files: relative paths of all files.
        folders: relative paths of folders, to notice empty classes.
        what: the source, for messages.
    """
    seen = [parts for parts in map(_parts, files) if parts]
    images = sorted(parts for parts in seen if _suffix(parts) in SUFFIXES)
    if not images:
        kinds = sorted({_suffix(parts) or parts[-1] for parts in seen})
        found = f"only files of kind {few(kinds, 5)}" if kinds else "it has no visible files"
        raise DatasetError(f"no images in {what}: {found}. {FOLDER_HELP}. Image files end in .jpg, .png, .webp, ...")
    depth = _descend(images, what)
    root = images[0][:depth]
    loose = [parts[-1] for parts in images if len(parts) == depth + 1]
    members = {"/".join(parts): parts[depth] for parts in images if len(parts) > depth + 1}
    if not members:
        where = f" in {'/'.join(root)}/" if root else ""
        raise DatasetError(
            f"{what} has {len(loose)} images{where} ({few(loose)}) but no class folders. {FOLDER_HELP}: "
            "make one folder per class and move the images into them"
        )
    if loose:
        _warn(f"{what}: {len(loose)} images outside the class folders are ignored ({few(loose)})")
    listed = {f[depth] for f in map(_parts, folders) if f and len(f) > depth and f[:depth] == root}
    if empty := sorted(listed - set(members.values())):
        _warn(f"{what}: {len(empty)} class folders without images are left out ({few(empty)})")
    return "".join(part + "/" for part in root), members


def _warn(text: str) -> None:
    warnings.warn(text, DatasetWarning, stacklevel=3)


def _walk(path: Path) -> tuple[list[str], list[str]]:
    """Relative paths of all files and folders; links are followed, each target once."""

    def refuse(error: OSError) -> None:
        raise DatasetError(f"cannot read {error.filename}: {error.strerror}; check its permissions") from error

    files: list[str] = []
    folders: list[str] = []
    followed = {os.path.realpath(path)}
    for folder, subfolders, names in os.walk(path, onerror=refuse, followlinks=True):
        for name in list(subfolders):
            full = os.path.join(folder, name)
            target = os.path.realpath(full) if os.path.islink(full) else ""
            if name.startswith(".") or target in followed:
                subfolders.remove(name)
            elif target:
                followed.add(target)
        below = Path(folder).relative_to(path).as_posix()
        folders.append(below)
        files += [f"{below}/{name}" for name in names]
    return files, folders


def read_folder(path: Path) -> Reading:
    """A folder of class folders; images at any depth inside a class folder.

    Raises:
        DatasetError: no images, no class folders, or a folder that may not be read.
    """
    root, members = _classes(*_walk(path), f"folder {str(path)!r}")
    labels, class_names = index_labels(list(members.values()))
    keys = [key.removeprefix(root) for key in members]
    return Reading(FolderSource(path / root, keys), labels, class_names, path.resolve().name)


def read_zip(path: Path) -> Reading:
    """A zip of class folders; nothing is extracted, entries that point outside the zip are ignored.

    Raises:
        DatasetError: no zip, encrypted, an unsupported compression, no images, no class folders.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DatasetError(
            f"{str(path)!r} is not a readable zip ({error}); an interrupted download or another kind of "
            "archive looks like this. Fetch it again, or unpack it and pass the folder"
        ) from error
    entries: dict[str, zipfile.ZipInfo] = {}
    folders = []
    for info in infos:
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            continue
        if name.endswith("/"):
            folders.append(name)
        elif parts := _parts(name):
            entries["/".join(parts)] = info
            folders += ["/".join(parts[:-1])]
    root, members = _classes(entries, folders, f"zip {str(path)!r}")
    used = [entries[key] for key in members]
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
    labels, class_names = index_labels(list(members.values()))
    keys = [key.removeprefix(root) for key in members]
    return Reading(ZipSource(path, keys, used), labels, class_names, path.stem)
