"""The published files of NAS-Bench-201, read once, entry by entry, into a compact one that loads at once."""

from __future__ import annotations

import bz2
import gzip
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from metad2a_plugin.errors import ConfigError, DatasetError, shortened
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.utils.files import replacing
from metad2a_plugin.utils.progress import Progress

from ._benchmark import EPOCHS, Training
from ._pickle_objects import UNREADABLE, brief
from ._records import DATASETS, HIGHEST, MEASURED, QUANTITIES, ColumnBenchmark, Key, Record, check_seeds
from ._unpickle import TORCH_MAGIC, PickleReader

COMPACT = ("nb201.npz", "nb201.csv.gz")
"""Files that `compact_in` looks for, the first one first."""
TABLE, CONVERTED, PUBLISHED, FOLDER = "table", "converted", "published", "folder"
_FORMAT = "metad2a NAS-Bench-201 results, version 1"
_STEP = 0.002
"""Of the curves in a file, in percent points; integers of two bytes then reach beyond 100."""
_MOST_STEPS = round(100 / _STEP)
_CURVE = "curve"
_NO_CURVE = np.iinfo(np.uint16).max
_CELL_FILE = re.compile(r"(\d{1,6})\.pickle\.pbz2")
_MEGABYTE = 1_000_000
_HEAD, _TAR_PLACE = 1024, 257
_LONGEST_FORMAT = 1024
"""Bytes of the text that names a version."""


def kind_of(path: Path) -> str:
    """Which form of the benchmark a path is.

    Raises:
        DatasetError: none, or it is missing.
    """
    expected = (
        "expected nb201.csv.gz, a file of metad2a convert-benchmark, the published NAS-Bench-201-v1_1-096897.pth or "
        "NATS-tss-v1_0-3ffb9.pickle.pbz2, or the folder NATS-tss-v1_0-3ffb9-simple"
    )
    if path.is_dir():
        if _cell_files(path):
            return FOLDER
        if (inside := compact_in(path)) is not None:
            return kind_of(inside)
        raise DatasetError(f"the folder {str(path)!r} holds no NAS-Bench-201 results; {expected}")
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        packed = head.startswith(b"\x1f\x8b")
        if packed:
            with gzip.open(path) as unpacked:
                head = unpacked.read(_HEAD)
        if head[_TAR_PLACE:].startswith(b"ustar"):
            raise DatasetError(f"{str(path)!r} is a tar archive; unpack it, and give the file or folder that is in it")
        if packed and b"arch_str" in head.partition(b"\n")[0]:
            return TABLE
        if not packed and head.startswith((b"\x80", b"BZh")):
            return PUBLISHED
        if not packed and head.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                if "format.npy" in archive.namelist():
                    return CONVERTED
                if _torch_member(archive) is not None:
                    return PUBLISHED
    except FileNotFoundError:
        raise DatasetError(f"no file or folder {str(path)!r}; {expected}") from None
    except (EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{str(path)!r} cannot be read, or is damaged ({error}); {expected}") from error
    raise DatasetError(f"{str(path)!r} holds no NAS-Bench-201 results; {expected}")


def compact_in(folder: Path) -> Path | None:
    """The converted file or the table in the folder that METAD2A_DATA names; None where there is neither."""
    files = (folder / "nas_bench_201" / name for name in COMPACT)
    return next((file for file in files if file.is_file()), None)


def _torch_member(archive: zipfile.ZipFile) -> str | None:
    return next((name for name in archive.namelist() if name.split("/")[-1] == "data.pkl"), None)


# -- published files -----------------------------------------------------------------------------
def _cell_files(folder: Path) -> dict[int, Path]:
    named = ((_CELL_FILE.fullmatch(path.name), path) for path in folder.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in named if match))


def folder_cells(folder: Path) -> tuple[np.ndarray, Callable[[int], Record]]:
    """Cells that a folder of NATS-Bench has a file of, ascending, int64 ``[n]``, and a reader of one.

    Raises:
        DatasetError: there are more cells than NAS-Bench-201 has.
    """
    files = _cell_files(folder)
    if (most := max(files)) >= NASBench201().size:
        raise DatasetError(
            f"{str(folder)!r} holds a file of cell {most} and NAS-Bench-201 has {NASBench201().size:,} cells; the size "
            "space of NATS-Bench is another search space"
        )

    def record(cell: int) -> Record:
        source = repr(str(files[cell]))
        try:
            with bz2.open(files[cell]) as stream:
                return Record(cell, PickleReader(stream, source, files[cell].stat().st_size).load(), source)
        except OSError as error:
            raise DatasetError(f"{source} cannot be read ({error})") from error

    return np.array(list(files), dtype=np.int64), record


def _records(path: Path, progress: Progress) -> Iterator[Record]:
    """Of a published file or folder, one at a time."""
    if kind_of(path) == FOLDER:
        cells, record = folder_cells(path)
        for done, cell in enumerate(cells.tolist(), 1):
            yield record(cell)
            progress("cells", done, len(cells), "")
        return
    source = repr(str(path))
    with ExitStack() as opened:
        raw = opened.enter_context(path.open("rb"))
        stream: Any = raw
        if raw.peek(4).startswith(b"BZh"):
            stream = opened.enter_context(bz2.open(raw))
        elif raw.peek(4).startswith(b"PK"):
            archive = opened.enter_context(zipfile.ZipFile(raw))
            stream = opened.enter_context(archive.open(_torch_member(archive) or ""))
        size = path.stat().st_size // _MEGABYTE
        shown, count = -1, 0
        for count, (cell, schedules) in enumerate(_entries(stream, source, path.stat().st_size), 1):
            if type(cell) is not int:
                raise DatasetError(f"{source} has a record of cell {brief(cell)}; expected an official index")
            yield Record(cell, schedules, source)
            if (done := raw.tell() // _MEGABYTE) > shown:
                progress("MB", done, size, f"{count:,} cells")
                shown = done
        progress("MB", size, size, f"{count:,} cells")


def _entries(stream: IO[bytes], source: str, stored: int) -> Iterator[tuple[Any, Any]]:
    reader = PickleReader(stream, source, stored)
    yield from reader.entries("arch2infos")
    if reader.value == TORCH_MAGIC:  # older torch files: a magic number, a version and a description come first
        reader.load()
        reader.load()
        yield from reader.entries("arch2infos")
    root = reader.value
    if not isinstance(root, dict) or not isinstance(root.get("arch2infos"), dict):
        raise DatasetError(
            f"{source} is no published file of NAS-Bench-201: it has no dictionary 'arch2infos' of records; of the "
            "files of single cells, give the folder"
        )
    yield from root["arch2infos"].items()


# -- the compact file ----------------------------------------------------------------------------
def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    curves: bool = False,
    progress: Progress = lambda stage, done, total, note: None,
) -> Path:
    """Read published results once into a compact file, for `open_benchmark`.

    It holds, for every cell, training and seed, the accuracies after the last epoch on all splits, the seconds of
    training (float32), parameters and multiply-accumulates (float64); with curves also the accuracies after each epoch,
    to 0.001 percent points. Nothing in the source is executed. Memory does not grow with its size.

    Args:
        source: ``NAS-Bench-201-v1_1-096897.pth``, ``NATS-tss-v1_0-3ffb9.pickle.pbz2``, or a folder of NATS-Bench
            such as ``NATS-tss-v1_0-3ffb9-simple``.
        destination: the file to write, usually ``.npz``; it appears when it is complete.
        curves: also keep the accuracy after each epoch: some 130 MB instead of 7.
        progress: told what is counted, how much is done, of how much, and a note.

    Returns:
        The destination.

    Raises:
        ConfigError: the destination cannot be written, or the source needs no conversion.
        DatasetError: the source is missing, damaged, cut short, of another search space, or something else.
    """
    source, destination = Path(source), Path(destination)
    kind = kind_of(source)
    if kind in (TABLE, CONVERTED):
        raise ConfigError(f"{str(source)!r} is compact already; open it with open_benchmark")
    if destination.is_dir() or (destination.exists() and destination.samefile(source)):
        raise ConfigError(f"the destination {str(destination)!r} is the source or a folder; give a file to write")
    size = NASBench201().size
    columns: dict[str, np.ndarray] = {}
    curves_of: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    known: set[Key] = set()
    with replacing(destination) as temporary:
        seen = np.zeros(size, bool)
        for record in _records(source, progress):
            if seen[record.cell]:
                raise DatasetError(f"{str(source)!r} has two records of cell {record.cell}")
            seen[record.cell] = True
            numbers = record.numbers()
            if not known.issuperset(numbers):
                known.update(numbers)
                check_seeds(known, repr(str(source)))
            for key, value in numbers.items():
                name = "/".join(map(str, key))
                if name not in columns:
                    columns[name] = np.full(size, np.nan, _type(key))
                columns[name][record.cell] = value
            for key, curve in record.curves().items() if curves else ():
                name = "/".join(map(str, (*key, _CURVE)))
                if name not in curves_of:
                    # Zeros take no memory before they are written to, so it follows what the records hold.
                    curves_of[name] = np.zeros((size, key.epochs), np.uint16), np.zeros((size, 1), bool)
                steps, there = curves_of[name]
                steps[record.cell], there[record.cell] = np.rint(curve / _STEP), True
        if not seen.any():
            raise DatasetError(f"{str(source)!r} holds the record of no cell")
        if not seen.all():
            warnings.warn(f"{str(source)!r} has {seen.sum():,} of the {size:,} cells", stacklevel=2)
        with zipfile.ZipFile(temporary, "w") as archive:
            _add(archive, "format", np.array(_FORMAT))
            for name, column in columns.items():
                _add(archive, name, column)
            for name, (steps, there) in curves_of.items():
                _add(archive, name, np.where(there, steps, np.uint16(_NO_CURVE)))
    return destination


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """As numpy does, but for the date: the same records give the same file."""
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(member, "w") as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


class ConvertedBenchmark(ColumnBenchmark):
    """The results in a file of `convert`; curves are read when they are asked for."""

    def __init__(self, path: Path, columns: dict[Key, np.ndarray], curves: frozenset[Key]) -> None:
        super().__init__(repr(str(path)), columns)
        self._path, self._curves, self._loaded = path, curves, dict[Key, np.ndarray]()

    @classmethod
    def load(cls, path: Path) -> ConvertedBenchmark:
        """Read a file of `convert`.

        Raises:
            DatasetError: it is damaged, or of another version of this package.
        """
        columns: dict[Key, np.ndarray] = {}
        curves: set[Key] = set()
        with _reading(path), zipfile.ZipFile(path) as archive:
            version = str(_array(archive, "format", (), "U"))
            if version != _FORMAT:
                raise DatasetError(f"{str(path)!r} is {version!r}, not {_FORMAT!r}; convert it anew")
            for name in (member.removesuffix(".npy") for member in archive.namelist()):
                if name == "format":
                    continue
                key = _key(name)
                if name.endswith(_CURVE):
                    curves.add(key)
                    continue
                column = columns[key] = _array(archive, name, (NASBench201().size,), np.dtype(_type(key)).str)
                known = column[~np.isnan(column)]
                if not ((known >= 0) & (known <= (100 if key.quantity in MEASURED else HIGHEST))).all():
                    raise ValueError(f"numbers out of range in the column {name!r}")
                check_seeds(columns, repr(str(path)))
        return cls(path, columns, frozenset(curves))

    def _curve(self, index: int, training: Training, quantity: str, seed: int | None) -> np.ndarray | None:
        found = []
        for key in sorted(self._curves):
            if key[:2] == training and key.quantity == quantity and seed in (None, key.seed):
                if key not in self._loaded:
                    with _reading(self._path), zipfile.ZipFile(self._path) as archive:
                        self._loaded[key] = _curves(archive, key)
                steps = self._loaded[key][index]
                if steps[0] != _NO_CURVE:
                    found.append(steps * _STEP)
        return np.mean(found, axis=0) if found else None


def _curves(archive: zipfile.ZipFile, key: Key) -> np.ndarray:
    name = "/".join(map(str, (*key, _CURVE)))
    steps = _array(archive, name, (NASBench201().size, key.epochs), "<u2")
    beyond = steps > _MOST_STEPS
    if not (beyond.any(1) == (steps == _NO_CURVE).all(1)).all():
        raise ValueError(f"accuracies out of range in {name!r}")
    return steps


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], form: str) -> np.ndarray:
    """An array of a file; nothing of another shape or type, whose header could ask for any memory, is read."""
    with archive.open(f"{name}.npy") as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"the column {name!r} is not in the first version of numpy's format")
        found, _, dtype = np.lib.format.read_array_header_1_0(stream)
        if found != shape or not dtype.str.removeprefix("<").startswith(form.removeprefix("<")):
            raise ValueError(f"{name!r} of shape {list(found)} and type {dtype}, expected {list(shape)} and {form}")
        if dtype.itemsize > _LONGEST_FORMAT:
            raise ValueError(f"{name!r} of {dtype.itemsize:,} bytes")
        stream.seek(0)
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        return array


def _type(key: Key) -> type[np.floating[Any]]:
    return np.float64 if key.quantity in ("params", "flops") else np.float32


def _key(name: str) -> Key:
    bare = name.removesuffix(f"/{_CURVE}")
    epochs, dataset, seed, quantity = bare.split("/")
    key = Key(int(epochs), dataset, int(seed), quantity)
    known = key.epochs in EPOCHS and dataset in DATASETS and quantity in (MEASURED if name != bare else QUANTITIES)
    if not known or "/".join(map(str, key)) != bare:
        raise ValueError(f"a column {name!r}")
    return key


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    except (*UNREADABLE, EOFError, NotImplementedError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{str(path)!r} is a damaged file of metad2a convert-benchmark "
            f"({type(error).__name__}: {shortened(str(error))}); convert it anew"
        ) from error
