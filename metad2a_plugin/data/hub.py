"""Datasets of the Hugging Face hub: objects of `datasets`, and parquet files."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metad2a_plugin.data.columns import class_names_of, column_of, columns_of, told_features
from metad2a_plugin.data.decoding import in_memory
from metad2a_plugin.data.items import ItemSource, deep_pixels, file_bytes
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pairs import IMAGE_KEYS, LABEL_KEYS
from metad2a_plugin.data.parquet_pages import check_pages
from metad2a_plugin.data.scale import PLAIN, Scale, find_scale, spread
from metad2a_plugin.data.sources import DeepSource, Reading
from metad2a_plugin.errors import DatasetError, require

_PROBES, _SAMPLE = 4, 64
"""Rows that are read to see whether any has more than 8 bits, and for the range of all."""
_BY_PAGES: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20}
"""Else the column of a whole group of rows is in memory at once, however small its pages are."""
_AT_ONCE = 8
"""Rows of images that are read at once."""
_LABELS_AT_ONCE, _GROWING_AT_ONCE = 2**16, 64
"""Rows of labels that are read at once, also where each may be as long as a page."""
_MOST_ROWS, _LABELS = 2**21, 2**26  # of a file; bytes of its column of labels


def is_hub_dataset(value: Any) -> bool:
    """True for a `datasets.Dataset`, or what has its columns and features."""
    return hasattr(value, "column_names") and hasattr(value, "features") and hasattr(value, "__getitem__")


def read_hub(dataset: Any, name: str = "") -> Reading:
    """A `datasets.Dataset`: columns by their features, else by their names; names of classes of a ``ClassLabel``.

    Raises:
        DatasetError: no length (streaming), no items, or columns that cannot be told.
    """
    name = name or str(getattr(getattr(dataset, "info", None), "dataset_name", None) or type(dataset).__name__)
    if not hasattr(dataset, "__len__"):
        raise DatasetError(
            f"{name} is streamed and has no length; load it without streaming=True, or take a part of it: "
            "datasets.Dataset.from_list(list(dataset.take(5000)))"
        )
    if not len(dataset):
        raise DatasetError(f"{name} is empty; expected images of at least two classes")
    features: Mapping[str, Any] = dataset.features or dict.fromkeys(dataset.column_names)
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    image = column_of(kinds, "Image", IMAGE_KEYS, "image", name)
    label = column_of(kinds, "ClassLabel", LABEL_KEYS, "label", name)
    if hasattr(dataset, "with_format"):  # numbers and images as they are stored, without transforms
        dataset = dataset.with_format(None)
    labels, class_names = index_labels(list(dataset[label]), getattr(features[label], "names", None))
    if hasattr(dataset, "select_columns"):
        dataset = dataset.select_columns([image])
    library = sys.modules.get("datasets")
    if library is not None and kinds[image] == "Image" and hasattr(dataset, "cast_column"):
        dataset = dataset.cast_column(image, library.Image(decode=False))
    return Reading(ItemSource(dataset, partial(_cell, image), np.arange(len(labels))), labels, class_names, name)


def _cell(image: str, row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row[image], None


# -- parquet ---------------------------------------------------------------------------------------
class _Rows:
    """Values of a column of a group of rows, from which rows are taken in almost ascending order.

    Args:
        path: of the file.
        column: of it.
        place: number of the file, and of the group in it.
    """

    def __init__(self, path: Path, column: str, place: tuple[int, int]) -> None:
        import pyarrow.parquet as pq

        self.place, self._next = place, 0
        file = pq.ParquetFile(path, **_BY_PAGES)
        self._batches = file.iter_batches(_AT_ONCE, row_groups=[place[1]], columns=[column])
        self._values: dict[int, Any] = {}

    def __contains__(self, row: int) -> bool:
        return row >= self._next or row in self._values

    def __getitem__(self, row: int) -> Any:
        import pyarrow as pa

        try:
            while row >= self._next:
                values = next(self._batches).column(0)
                before = {k: v for k, v in self._values.items() if k >= self._next - _AT_ONCE}
                self._values = before | {self._next + k: value for k, value in enumerate(values)}
                self._next += len(values)
        except (pa.ArrowException, OSError, StopIteration) as error:
            raise OSError(f"damaged parquet ({error})") from error
        return self._values[row].as_py()


class ParquetSource(DeepSource):
    """Images of parquet files; some rows are read at a time, in their order.

    Args:
        files: with the column of images.
        column: of images.
        groups: of each row: file, row group, and its place in it, int64 ``[n, 3]``.
    """

    def __init__(self, files: Sequence[Path], column: str, groups: np.ndarray) -> None:
        self.files, self.column, self.groups = files, column, groups
        self._lock = threading.Lock()
        self._reader: _Rows | None = None

    def key(self, i: int) -> str:
        file, _, _ = self.groups[i]
        return f"{self.files[file].name}, row {i - int(np.searchsorted(self.groups[:, 0], file))}"

    def content(self, i: int) -> bytes:
        return file_bytes(self._value(i)) or b""

    def image(self, i: int, size: int | None = None) -> Image.Image:
        return in_memory(self.content(i), lambda: self.scale).rgb(size)

    @cached_property
    def stated_scale(self) -> Scale:
        return self.scale if any(True for _ in self._deep(_PROBES)) else PLAIN

    def _find_scale(self) -> Scale:
        return find_scale(self._deep(_SAMPLE), self.files[0].parent.name, files=True)

    def _deep(self, limit: int) -> Iterator[np.ndarray]:
        for i in spread(range(len(self.groups)), limit):
            with suppress(OSError, DatasetError):  # reported where the image is met
                if (pixels := deep_pixels(self.content(i))) is not None:
                    yield pixels

    def _value(self, i: int) -> Any:
        file, group, row = (int(number) for number in self.groups[i])
        with self._lock:
            if self._reader is None or self._reader.place != (file, group) or row not in self._reader:
                self._reader = _Rows(self.files[file], self.column, (file, group))
            return self._reader[row]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._lock = threading.Lock()


def read_parquet(files: Sequence[Path], name: str) -> Reading:
    """Parquet files as the hub has them: a column of images, ``{bytes, path}`` or bytes, and one of labels.

    Raises:
        DatasetError: not readable, or columns that cannot be told.
        MissingExtraError: `pyarrow` is not installed (extra ``parquet``).
    """
    require("parquet", f"{name!r}, which is parquet,", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = [pq.ParquetFile(file) for file in files]
        if (most := max(file.metadata.num_rows for file in opened)) > _MOST_ROWS:
            raise DatasetError(f"{name!r} has {most} rows in a file, more than the {_MOST_ROWS} that are read")
        schema = opened[0].schema_arrow
        told = told_features(None, schema)
        image, label = columns_of(schema, told, name)
        values: list[Any] = []
        for path, file in zip(files, opened, strict=True):
            check_pages(path, file.metadata, image)
            grows = check_pages(path, file.metadata, label)
            values += _column_of(path, label, _GROWING_AT_ONCE if grows else _LABELS_AT_ONCE)
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{name!r} is no readable parquet ({type(error).__name__}: {error}); fetch it again, or load it with "
            "datasets.load_dataset and pass that"
        ) from error
    counts = [
        (number, group, file.metadata.row_group(group).num_rows)
        for number, file in enumerate(opened)
        for group in range(file.num_row_groups)
    ]
    groups = [np.array([np.full(n, number), np.full(n, group), np.arange(n)]).T for number, group, n in counts]
    if not sum(map(len, groups)):
        raise DatasetError(f"{name!r} has no rows; expected images of at least two classes")
    labels, class_names = index_labels(values, class_names_of(told, label, name))
    return Reading(ParquetSource(list(files), image, np.concatenate(groups)), labels, class_names, name)


def _column_of(path: Path, column: str, rows: int) -> list[Any]:
    """Labels of a file, so many rows at once; a text that many rows have is there once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values: list[Any] = []
    for batch in pq.ParquetFile(path, read_dictionary=[column], **_BY_PAGES).iter_batches(rows, columns=[column]):
        found = batch.column(0)
        if found.nbytes > _LABELS:
            size = f"{found.nbytes >> 20} MiB in {len(found)} rows"
            raise DatasetError(f"the column {column!r} of {str(path)!r} has {size}: are these labels?")
        if pa.types.is_dictionary(found.type):
            known = found.dictionary.to_pylist()
            values += [None if place is None else known[place] for place in found.indices.to_pylist()]
        else:
            values += found.to_pylist()
    return values
