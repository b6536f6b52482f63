"""Folders and zips of any layout: of class folders, or of flat images with a table; and tables themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from metad2a_plugin.data import hub, saved, tars
from metad2a_plugin.data.arrays import read_arrays
from metad2a_plugin.data.idx import idx_images, read_idx
from metad2a_plugin.data.items import read_images
from metad2a_plugin.data.kinds import SUFFIXES, suffix
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pairs import IMAGE_KEYS, LABEL_KEYS
from metad2a_plugin.data.pixel_tables import counted, read_pixels
from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.sources import (
    FolderSource,
    Reading,
    read_folder,
)
from metad2a_plugin.data.splits import split_of, training_names
from metad2a_plugin.data.tables import LARGEST, Table, labelled, parse_table, read_tables
from metad2a_plugin.data.tables import SUFFIXES as TABLES
from metad2a_plugin.data.tree import Parts
from metad2a_plugin.data.walk import walk
from metad2a_plugin.data.zips import ZipSource, check_entries, read_entry, read_zip, zip_entries
from metad2a_plugin.errors import DatasetError

_NEAR = frozenset(("data", "annotations", "annotation", "labels", "label", "metadata", "meta", "csv", "default"))
"""Folders in which tables and parquet files are looked for, beside those of a split."""


def read_any_folder(path: Path) -> Reading:
    """A folder of class folders, of images and a table, of parquet files, of WebDataset's tars, or of `datasets`.

    Raises:
        DatasetError: there is nothing of these in it, or it cannot be read.
        MissingExtraError: it needs a package that is not installed.
    """
    if any((path / name).is_file() for name in saved.SAVED):
        return saved.read_saved(path)
    near = _near(path)
    name, what = path.resolve().name, f"folder {str(path)!r}"
    if parquet := [file for file in near if file.endswith(".parquet")]:
        return hub.read_parquet([path / file for file in training_names(parquet, what)], name)
    shards = [file for file in near if file.lower().endswith(tars.ENDINGS)]
    if shards and not any(suffix(file) in SUFFIXES for file in near):
        return tars.read_tar([path / file for file in training_names(shards, what)], name)
    if digits := idx_images(near):
        return read_idx(path, digits, what)
    if any(os.path.basename(file) in ("data_batch_1", "batches.meta") for file in near):
        raise DatasetError(
            f"{what} has CIFAR's files as pickles, which can hold code and are not opened; pass "
            "torchvision.datasets.CIFAR10(root), or its arrays: (dataset.data, dataset.targets)"
        )
    tables = [file for file in near if file.lower().endswith(TABLES) and (path / file).stat().st_size < LARGEST]
    found = _by_tables(path, read_tables(lambda file: (path / file).read_bytes(), tables), what) if tables else None
    if found is not None:
        return found
    try:
        return read_folder(path)
    except DatasetError as error:
        if sheets := [file for file in near if file.lower().endswith((".xls", ".xlsx", ".ods", ".mat"))]:
            raise DatasetError(f"{error}; {few(sheets)} is not read: save it as CSV, if it has the labels") from error
        raise


def _near(path: Path) -> list[str]:
    """Files of a folder, of those below it that hold no images of one class, and of the only one, relative to it."""
    found: list[str] = []
    for folder, entries in _listed(path, ""):
        subfolders = [entry for entry in entries if entry.is_dir()]
        found += [folder + entry.name for entry in entries if not entry.is_dir() and entry.name[0] != "."]
        for entry in subfolders:
            if len(subfolders) == 1 or entry.name.lower() in _NEAR or split_of(entry.name):
                found += [
                    f"{folder}{entry.name}/{inner.name}"
                    for _, listed in _listed(Path(entry.path), "")
                    for inner in listed
                    if not inner.is_dir() and inner.name[0] != "."
                ]
    return sorted(found)


def _listed(path: Path, prefix: str) -> Iterable[tuple[str, list[os.DirEntry[str]]]]:
    try:
        with os.scandir(path) as entries:
            yield prefix, list(entries)
    except OSError as error:
        raise DatasetError(f"cannot read {error.filename}: {error.strerror}; check its permissions") from error


def _by_tables(path: Path, tables: list[Table], what: str) -> Reading | None:
    keys = _images(walk(path)[0])
    found = labelled(keys, tables, what)
    if found is None:
        return None
    labels, class_names = _indexed(found[1], what)
    return Reading(FolderSource(path, found[0]), labels, class_names, path.resolve().name)


def _images(files: Iterable[Parts]) -> list[str]:
    return sorted("/".join(parts) for parts in files if suffix(parts[-1]) in SUFFIXES)


def _indexed(values: list[str], what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Texts of a table to classes: as numbers where all are numbers, so that 10 follows 9."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    try:
        return index_labels(numbers if numbers and not all(value.isdigit() for value in values) else counted(values))
    except DatasetError as error:
        raise DatasetError(f"in the table of {what}: {error}") from error


def read_any_zip(path: Path) -> Reading:
    """A zip of class folders, or of images and a table; errors as in `zips.zip_entries` and `zips.read_zip`."""
    listed, folders = zip_entries(path)
    entries = {"/".join(parts): info for parts, info in listed.items()}
    names = [k for k, info in entries.items() if k.lower().endswith(TABLES) and info.file_size < LARGEST]
    names = [name for name in names if name.count("/") < 3]

    def open_file(name: str) -> bytes:
        try:
            return bytes(read_entry(path, entries[name], LARGEST))
        except OSError:
            return b""  # no table; images of the same damage are reported where they are met

    tables = read_tables(open_file, names)
    images = _images(tuple(key.split("/")) for key in entries)
    found = labelled(images, tables, f"zip {str(path)!r}") if tables else None
    if found is None:
        return read_zip(path, listed, folders)
    labels, class_names = _indexed(found[1], f"zip {str(path)!r}")
    used = [entries[key] for key in found[0]]
    check_entries(path, used)
    return Reading(ZipSource(path, found[0], used), labels, class_names, path.stem)


# -- tables by themselves --------------------------------------------------------------------------
def read_table_file(path: Path) -> Reading:
    """A table that names images in its own folder or anywhere, or has their pixels in its columns.

    Raises:
        DatasetError: it is no table, or names no images.
    """
    what = f"table {str(path)!r}"
    if (pixels := read_pixels(path, what)) is not None:
        return read_arrays(*pixels, path.stem)
    with path.open("rb") as file:
        table = parse_table(file.read(LARGEST), path.name)
    if table is None or not table.rows:
        raise DatasetError(
            f"cannot read a dataset from {str(path)!r}: it is no table of at least two columns; expected a header such "
            "as id,label and a row for each image"
        )
    if found := _by_tables(path.parent, [table], what):
        return found
    for i in range(table.width):
        texts = table.column(i)
        here = [text if os.path.isabs(text) else str(path.parent / text) for text in texts]
        chosen = None
        if all(os.path.isfile(text) for text in here[:10]):
            chosen = labelled(sorted({*here}), [table.replaced(i, here)], what)
        if chosen is not None:
            labels, class_names = _indexed(chosen[1], what)
            return Reading(FolderSource(path.parent, chosen[0]), labels, class_names, path.stem)
    raise DatasetError(
        f"no column of {what} ({few(table.header, 12)}) names images in its folder; pass the folder that holds both, "
        "or give it a column 'id' with paths of files"
    )


def read_frame(frame: Any) -> Reading:
    """A data frame of pandas with a column of paths or images and one of labels.

    Raises:
        DatasetError: which column is which cannot be told.
    """
    columns = {str(name).lower(): name for name in frame.columns}
    image, label = (
        next((columns[name] for name in names if name in columns), None)
        for names in (("path", "filepath", "image_path", "filename", "file", *IMAGE_KEYS), LABEL_KEYS)
    )
    if image is None or label is None:
        raise DatasetError(
            f"a data frame with the columns {few([str(name) for name in frame.columns], 12)} was given; expected "
            "'path' (or 'image') and 'label'. Rename them with frame.rename(columns={...})"
        )
    return read_images(list(frame[image]), list(frame[label]), "frame")
