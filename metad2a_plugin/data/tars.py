"""Tars of class folders, of images with a table, and of WebDataset; read in place, nothing is extracted."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from metad2a_plugin.data.kinds import HEAD, SUFFIXES, suffix
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pairs import LABEL_KEYS
from metad2a_plugin.data.room import MOST_NAMES, most_unpacked
from metad2a_plugin.data.sources import FileSource, Reading, _find, _parts, _with_validation
from metad2a_plugin.data.splits import training_names
from metad2a_plugin.data.tables import LARGEST, labelled, read_tables
from metad2a_plugin.data.tables import SUFFIXES as TABLES
from metad2a_plugin.data.tree import Parts
from metad2a_plugin.data.xz import XzFile
from metad2a_plugin.errors import DatasetError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGED = (EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError)
"""What unpacking raises beside an `OSError`; bz2 a `RuntimeError` where it has failed before."""
_ERRORS = (tarfile.TarError, OSError, *_DAMAGED)
_DESCRIBED, _SMALL = 2**18, 2**26  # bytes of what stands before a member, and of all labels and tables


class _Place(NamedTuple):
    """Where a member lies in the tar, once that is unpacked."""

    tar: int
    offset: int
    size: int


class TarSource(FileSource):
    """Members of tars; of compressed ones in the order in which they lie, since going back begins anew.

    Args:
        tars: the files.
        keys: names of the images.
        places: of each.
    """

    def __init__(self, tars: Sequence[Path], keys: list[str], places: list[_Place]) -> None:
        super().__init__(tars[0], keys)
        self.tars, self.places = tuple(tars), places
        # Threads ask in almost the order in which members lie, and going back begins anew.
        self.parallel = not any(_opener(path) for path in self.tars)
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._open: tuple[int, int, IO[bytes]] | None = None

    def _close(self) -> None:
        if self._open is not None:
            self._open[2].close()

    __del__ = _close

    def length(self, i: int) -> int:
        return self.places[i].size

    def content(self, i: int) -> bytes:
        place = self.places[i]
        # A file position belongs to one reader: to no other thread, and to no fork.
        with self._lock:
            if self._open is None or self._open[:2] != (os.getpid(), place.tar):
                self._close()
                self._open = os.getpid(), place.tar, _opened(self.tars[place.tar])
            file = self._open[2]
            try:
                file.seek(place.offset)
                data = file.read(place.size)
            except _DAMAGED as error:
                raise OSError(f"the tar is damaged here ({error})") from error
        if len(data) != place.size:
            raise OSError("the tar ends within this member; an interrupted download looks like this")
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_open")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._start()


_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lambda path: io.BufferedReader(XzFile(path), 2**16),
}


def _opener(path: Path) -> Callable[[Path], Any] | None:
    """What unpacks it; None where it is not compressed."""
    with open(path, "rb") as file:
        start = file.read(6)
    return next((found for magic, found in _OPENERS.items() if start.startswith(magic)), None)


def _opened(path: Path) -> IO[bytes]:
    opener = _opener(path)
    return open(path, "rb") if opener is None else opener(path)


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, by its name or its content."""
    return path.name.lower().endswith(ENDINGS) or (path.is_file() and tarfile.is_tarfile(path))


def read_tar(tars: Sequence[Path], name: str) -> Reading:
    """A tar of class folders, of flat images with a table, or of WebDataset's samples, in one file or several.

    Links, devices and members that point outside are ignored.

    Raises:
        DatasetError: not readable, no images, or no classes.
    """
    what = f"tar {str(tars[0])!r}" if len(tars) == 1 else f"{name!r}, {len(tars)} tars,"
    places: dict[str, _Place] = {}
    small: dict[str, bytes] = {}
    heads: dict[Parts, bytes] = {}
    left = _SMALL
    try:
        for number, path in enumerate(tars):
            with _opened(path) as file:
                for count, member in enumerate(_members(file, path)):
                    if count == MOST_NAMES:
                        raise DatasetError(
                            f"{what} has more than {MOST_NAMES} members, the most that are read; unpack it and "
                            "pass the folder"
                        )
                    key = _key(member)
                    if key is None:
                        continue
                    if len(tars) > 1:
                        key = f"{path.stem}/{key}"
                    places[key] = _Place(number, member.offset_data, member.size)
                    if not suffix(key):
                        file.seek(member.offset_data)
                        heads[tuple(key.split("/"))] = file.read(min(HEAD, member.size))
                    if _is_small(key, member.size):
                        if (left := left - member.size) < 0:
                            raise DatasetError(
                                f"the tables and labels of {what} have more than {_SMALL >> 20} MiB; unpack it and "
                                "pass the folder"
                            )
                        file.seek(member.offset_data)
                        small[key] = file.read(member.size)
    except _ERRORS as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{what} is not readable ({error}); an interrupted download or another kind of archive looks like this. "
            "Fetch it again, or unpack it and pass the folder"
        ) from error
    members = _samples(places, small, what) or _tabled(places, small, what)
    if members is not None:
        return _reading(tars, places, members, name)

    files = [tuple(key.split("/")) for key in places]
    folders = {file[:-1] for file in files}
    layout = _find(files, folders, what, lambda parts: f"{'/'.join(parts)!r} of the unpacked tar", heads.__getitem__)

    def read(root: Parts, members: dict[Parts, str]) -> Reading:
        found = _reading(tars, places, {"/".join(parts): label for parts, label in members.items()}, name, root)
        return replace(found, left_out=layout.left_out)

    return _with_validation(read, layout)


class _Scanned:
    """A tar of which `tarfile` reads what it says of members, and no more than that can be."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._limit = file, limit
        self.left = _DESCRIBED
        self.tell = file.tell

    def seek(self, place: int, whence: int = 0) -> int:
        if place > self._limit:
            raise OSError(f"it unpacks to more than {self._limit / 2**30:.1f} GiB, far more than its size")
        return self._file.seek(place, whence)

    def read(self, size: int = -1) -> bytes:
        self.left -= size
        if self.left < 0 or size < 0:
            raise OSError("what it says of a member is longer than can be")
        return self._file.read(size)


def _members(file: IO[bytes], path: Path) -> Iterator[tarfile.TarInfo]:
    """Of an open tar, one after the other; none is kept."""
    packed = path.stat().st_size
    scanned = _Scanned(file, max(packed, most_unpacked(packed)))
    with tarfile.open(fileobj=cast(IO[bytes], scanned), mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            scanned.left = _DESCRIBED
            yield member


def _reading(
    tars: Sequence[Path], places: dict[str, _Place], members: dict[str, Any], name: str, root: Parts = ()
) -> Reading:
    """Of members by their labels, in the order in which they lie; keys are below `root`."""
    keys = sorted(members, key=lambda key: places[key])
    labels, class_names = index_labels([members[key] for key in keys])
    prefix = "".join(part + "/" for part in root)
    source = TarSource(tars, [key.removeprefix(prefix) for key in keys], [places[key] for key in keys])
    return Reading(source, labels, class_names, name)


def _key(member: tarfile.TarInfo) -> str | None:
    """Its path as parts of names; None for what is no visible file inside."""
    name = member.name.replace("\\", "/")
    if not member.isreg() or member.issparse() or name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
        return None
    parts = _parts(name)
    return "/".join(parts) if parts else None


def _is_small(key: str, size: int) -> bool:
    """Whether a member is a label of WebDataset's or a table, and is read at once."""
    return (key.endswith((".cls", ".json", ".cls.txt")) and size < 2**16) or (key.endswith(TABLES) and size < LARGEST)


def _samples(places: dict[str, _Place], small: dict[str, bytes], what: str) -> dict[str, Any] | None:
    """Labels of WebDataset's samples, ``key.jpg`` beside ``key.cls`` or ``key.json``; None where there are none."""
    beside: dict[str, dict[str, str]] = {}
    for key in places:
        folder, file = os.path.split(key)
        stem, _, ending = file.partition(".")
        beside.setdefault(os.path.join(folder, stem), {})[ending.lower()] = key
    found: dict[str, Any] = {}
    without = 0
    described = 0
    for members in beside.values():
        image = next((key for ending, key in members.items() if f".{ending.rpartition('.')[2]}" in SUFFIXES), None)
        label = _label({ending: small[key] for ending, key in members.items() if key in small})
        if image is not None and label is not None:
            found[image] = label
        without += image is not None and label is None
        described += image is not None and len(members) > 1
    parts = sorted({os.path.dirname(key) for key in found})
    if len(parts) > 1:
        used = training_names(parts, what)
        found = {key: label for key, label in found.items() if os.path.dirname(key) in used}
    flat = len({os.path.dirname(key) for key in places}) == 1
    if without and (found or (flat and described == without)):
        raise DatasetError(f"{without} of {without + len(found)} samples of {what} have no label; add a .cls for each")
    return found or None


def _label(files: dict[str, bytes]) -> Any:
    for ending, data in files.items():
        if ending.removesuffix(".txt").rpartition(".")[2] == "cls":
            text = data.decode("utf-8", "replace").strip()
            return int(text) if text.isdigit() else text
    try:
        told = json.loads(files.get("json", b"null"))
    except (ValueError, RecursionError):
        return None
    if isinstance(told, dict):
        told = next((told[key] for key in ("cls", *LABEL_KEYS, "class_id", "class_name") if key in told), None)
    return told if isinstance(told, (str, int)) else None


def _tabled(places: dict[str, _Place], small: dict[str, bytes], what: str) -> dict[str, Any] | None:
    """Labels of flat images by a table among the members."""
    images = [key for key in places if suffix(key) in SUFFIXES]
    tables = read_tables(small.__getitem__, [key for key in small if key.endswith(TABLES)])
    found = labelled(images, tables, what)
    return None if found is None else dict(zip(*found, strict=True))
