"""Folders that ``save_to_disk`` of `datasets` wrote: a few JSON files, and Arrow streams of rows."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metad2a_plugin.data.arrow_stream import MOST_ROWS, WINDOW, ArrowStream
from metad2a_plugin.data.columns import class_names_of, columns_of, told_features
from metad2a_plugin.data.items import ItemSource
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.sources import Reading
from metad2a_plugin.data.splits import training_part
from metad2a_plugin.errors import DatasetError, require, said
from metad2a_plugin.utils.schema import SchemaError, read_json, why

SAVED = ("dataset_info.json", "dataset_dict.json")
"""What ``save_to_disk`` leaves in a folder."""
_PARTS = ("bytes", "path")
"""Of an image, as `datasets` keeps it."""
_ROWS = 4 * MOST_ROWS
"""Of all files."""
_VALUES = 2**25
"""Numbers in the lists of an image, or of all labels."""
_LABELS = 2**26
"""Bytes of the labels of a batch."""


def read_saved(path: Path) -> Reading:
    """A folder that ``save_to_disk`` of `datasets` wrote; of a `DatasetDict`, the training part.

    Raises:
        DatasetError: it is damaged, names files outside of it, or has columns that cannot be told.
        MissingExtraError: `pyarrow` is not installed (extra ``parquet``).
    """
    require("parquet", f"{str(path)!r}, a dataset saved by the library datasets,", "pyarrow")
    name = path.resolve().name
    if (path / "dataset_dict.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not splits:
            raise DatasetError(f"{str(path / 'dataset_dict.json')!r} has no list 'splits'; save the dataset again")
        path = training_part({split: path / _plain(split, path) for split in splits}, f"{str(path)!r}")
    files = [ArrowStream(file) for file in _files(path)]
    schema = files[0].schema
    if other := next((file for file in files if not file.schema.equals(schema)), None):
        raise DatasetError(f"{str(other.path)!r} has other columns than {str(files[0].path)!r}; save the dataset again")
    told = told_features(_json(path / "dataset_info.json").get("features"), schema)
    image, label = columns_of(schema, told, name)
    rows, labels = _Rows(files, image), _Labels(label)
    for number, file in enumerate(files):
        for at, batch in file.batches():
            rows.add(number, at, batch.num_rows)
            labels.add(file, batch)
    if not len(rows):
        raise DatasetError(f"{str(path)!r} has no rows; expected images of at least two classes")
    indices, class_names = index_labels(labels.values, class_names_of(told, label, name))
    return Reading(ItemSource(rows, _alone, np.arange(len(rows))), indices, class_names, name)


def _alone(item: Any) -> tuple[Any, Any]:
    return item, None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path)
    except (OSError, SchemaError) as error:
        why_not = (error.strerror or str(error)) if isinstance(error, OSError) else why(error)
        raise DatasetError(
            f"{str(path)!r}, a part of a dataset saved by the library datasets, cannot be read: {why_not}; save it "
            "again with dataset.save_to_disk(path)"
        ) from error
    if not isinstance(found, dict):
        raise DatasetError(f"{str(path)!r} holds {type(found).__name__}, expected an object; save the dataset again")
    return found


def _plain(name: Any, path: Path) -> str:
    """A name of what lies in the folder itself."""
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise DatasetError(
            f"{str(path)!r} names {said(name)} as a part of it, expected the name of a file or folder inside of it; "
            "save the dataset again with dataset.save_to_disk(path)"
        )
    return name


def _files(path: Path) -> list[Path]:
    state = _json(path / "state.json")
    told = state.get("_data_files")
    if not isinstance(told, list) or not told or not all(isinstance(file, dict) for file in told):
        raise DatasetError(f"{str(path / 'state.json')!r} has no list '_data_files'; save the dataset again")
    if state.get("_indices_data_files"):
        raise DatasetError(
            f"{str(path)!r} was saved by an early release of datasets, with its rows in another order; load it with "
            "datasets.load_from_disk(path) and save it again"
        )
    names = [_plain(file.get("filename"), path) for file in told]
    if len(set(names)) < len(names):
        raise DatasetError(f"{str(path / 'state.json')!r} names a file twice; save the dataset again")
    for name in names:
        if not os.path.exists(path / name):
            raise DatasetError(f"{str(path)!r} has no file {said(name)}, which its state.json names; fetch it again")
    return [path / name for name in names]


class _Labels:
    """The labels of all rows; a text that many rows have is there once."""

    def __init__(self, column: str) -> None:
        self.values: list[Any] = []
        self._column, self._left = column, _VALUES
        self._known: dict[str, str] = {}

    def add(self, file: ArrowStream, batch: Any) -> None:
        values = file.column(batch, self._column)
        kind = values.type
        where = f"the column {self._column!r} of {str(file.path)!r}"
        if values.nbytes > _LABELS:
            raise DatasetError(f"{where} has {values.nbytes >> 20} MiB in {len(values)} rows: are these labels?")
        if _is_list(kind):
            try:
                self._left -= sum(_lengths(values, self._left))
            except DatasetError as error:
                raise DatasetError(f"{where} has {error}; expected one label an image") from error
        elif not _is_number(kind) and not _is_text(kind):
            raise DatasetError(f"{where} is of the type {said(str(kind))}; expected integers or texts, one an image")
        self.values += [self._once(value) if isinstance(value, str) else value for value in values.to_pylist()]

    def _once(self, text: str) -> str:
        return self._known.setdefault(text, text)


class _Rows:
    """Images of all rows, by their number: what `datasets` keeps of a file, bytes, or an array of numbers.

    Args:
        files: with the column.
        column: of images.
    """

    def __init__(self, files: Sequence[ArrowStream], column: str) -> None:
        self._files, self._column = files, column
        self._starts: list[int] = []
        self._places: list[tuple[int, int]] = []
        self._count = 0
        self._open: tuple[int, Any] | None = None
        self._read = 0
        kind = files[0].schema.field(column).type
        if not _is_image(getattr(kind, "storage_type", kind)):
            raise DatasetError(
                f"the column {column!r} of {str(files[0].path.parent)!r} is of the type {said(str(kind))}; expected "
                "images: files as bytes, or lists of numbers"
            )

    def add(self, file: int, at: int, rows: int) -> None:
        """Count a batch that begins there."""
        if rows:
            self._starts.append(self._count)
            self._places.append((file, at))
        self._count += rows
        if self._count > _ROWS:
            raise DatasetError(f"a saved dataset has more than the {_ROWS:,} rows that are read; take a part of it")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> Any:
        number = bisect_right(self._starts, row) - 1
        if self._open is None or self._open[0] != number or self._read > WINDOW:
            file, at = self._places[number]
            self._open = None  # the pages of the last go before those of the next come
            self._open = number, self._files[file].column(self._files[file].batch(at), self._column)
            self._read = 0
        one = self._open[1].slice(row - self._starts[number], 1)
        self._read += one.nbytes
        if _is_list(one.type):
            return _array(one)
        value = one[0]
        if _is_text(one.type) or not value.is_valid:
            return value.as_py()
        return {name: value[name].as_py() for name in _PARTS if name in value}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_text(kind: Any) -> bool:
    """Whether it is of texts or bytes."""
    import pyarrow as pa

    of = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(is_kind(kind) for is_kind in of)


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        parts = [field.type for field in kind if field.name in _PARTS]
        return bool(parts) and all(_is_text(part) or pa.types.is_null(part) for part in parts)
    return _is_list(kind) or _is_text(kind)


def _lengths(values: Any, most: int) -> list[int]:
    """How many values there are at each depth of lists.

    Raises:
        DatasetError: more than so many, or of no numbers.
    """
    found = []
    while _is_list(values.type):
        values = values.flatten()
        found.append(len(values))
        if len(values) > most:
            raise DatasetError(f"lists of {len(values):,} values, more than the {most:,} that are read")
    if not _is_number(values.type) and not _is_text(values.type):
        raise DatasetError(f"lists of {said(str(values.type))}, expected numbers")
    return found


def _array(values: Any) -> np.ndarray:
    """The nested lists of one row as an array."""
    import pyarrow.compute as pc

    lengths = _lengths(values, _VALUES)
    shape: list[int] = []
    while _is_list(values.type):
        if values.null_count:
            raise DatasetError("a list is missing")
        sizes = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(sizes) != 1:
            raise DatasetError("lists of several lengths, expected an array")
        shape.append(sizes[0])
        values = values.flatten()
    if values.null_count or np.prod(shape) != lengths[-1]:
        raise DatasetError("numbers are missing")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)
