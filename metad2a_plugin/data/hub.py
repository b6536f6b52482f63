"""Datasets of the Hugging Face hub: objects of `datasets`, folders of ``save_to_disk``, and parquet files."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metad2a_plugin.data.items import ItemSource, deep_pixels, file_bytes
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pairs import IMAGE_KEYS, LABEL_KEYS
from metad2a_plugin.data.pixels import decode, few
from metad2a_plugin.data.scale import PLAIN, Scale, find_scale, spread
from metad2a_plugin.data.sources import DeepSource, Reading, _warn
from metad2a_plugin.data.splits import training_part
from metad2a_plugin.errors import DatasetError, require

_PROBES, _SAMPLE = 4, 64
"""Rows that are read to see whether any has more than 8 bits, and for the range of all."""
SAVED = ("dataset_info.json", "dataset_dict.json")
"""What ``save_to_disk`` leaves in a folder."""


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
    image = _column(kinds, "Image", IMAGE_KEYS, "image", name)
    label = _column(kinds, "ClassLabel", LABEL_KEYS, "label", name)
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


def _column(kinds: Mapping[str, str], kind: str, plain: Sequence[str], what: str, name: str) -> str:
    """The only column of a kind of feature; of several, or none, the first that has a plain name."""
    typed = [column for column, found in kinds.items() if found == kind]
    if len(typed) == 1:
        return typed[0]
    named = [column for column in plain if column in (typed or kinds)]
    if not named:
        raise DatasetError(
            f"which column of {name} is the {what} cannot be told from {few(list(kinds), 12)}; rename it: "
            f"dataset.rename_column(OLD, {what!r})"
        )
    if len(typed) > 1:
        _warn(f"{name} has the {what} columns {few(typed, 8)}: {named[0]!r} is used")
    return named[0]


def read_saved(path: Path) -> Reading:
    """A folder that ``save_to_disk`` of `datasets` wrote; of a `DatasetDict`, the training part.

    Raises:
        DatasetError: it cannot be read, or `read_hub` refuses it.
        MissingExtraError: `datasets` is not installed (extra ``hf``).
    """
    require("hf", f"{str(path)!r}, a dataset saved by the library datasets,", "datasets")
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:
        raise DatasetError(
            f"{str(path)!r} cannot be read by datasets ({type(error).__name__}: {error}); save it again with "
            "dataset.save_to_disk(path)"
        ) from error
    if isinstance(found, Mapping):
        found = training_part(found, f"{str(path)!r}")
    return read_hub(found, path.resolve().name)


# -- parquet ---------------------------------------------------------------------------------------
class ParquetSource(DeepSource):
    """Images of parquet files; a group of rows is read at a time, and the last one kept.

    Args:
        files: with the column of images.
        column: of images.
        groups: of each row: file, row group, and its place in it, int64 ``[n, 3]``.
    """

    def __init__(self, files: Sequence[Path], column: str, groups: np.ndarray) -> None:
        self.files, self.column, self.groups = files, column, groups
        self._lock = threading.Lock()
        self._last: tuple[tuple[int, int], Any] | None = None

    def key(self, i: int) -> str:
        file, _, _ = self.groups[i]
        return f"{self.files[file].name}, row {i - int(np.searchsorted(self.groups[:, 0], file))}"

    def content(self, i: int) -> bytes:
        return file_bytes(self._value(i)) or b""

    def image(self, i: int, size: int | None = None) -> Image.Image:
        return decode(self.content(i), size, lambda: self.scale)

    @cached_property
    def stated_scale(self) -> Scale:
        return self.scale if any(True for _ in self._deep(_PROBES)) else PLAIN

    def _find_scale(self) -> Scale:
        return find_scale(self._deep(_SAMPLE), self.files[0].parent.name, files=True)

    def _deep(self, limit: int) -> Iterator[np.ndarray]:
        for i in spread(range(len(self.groups)), limit):
            with suppress(Exception):  # reported where the image is met
                if (pixels := deep_pixels(self.content(i))) is not None:
                    yield pixels

    def _value(self, i: int) -> Any:
        import pyarrow.parquet as pq

        file, group, row = (int(number) for number in self.groups[i])
        with self._lock:
            if self._last is None or self._last[0] != (file, group):
                table = pq.ParquetFile(self.files[file]).read_row_group(group, columns=[self.column])
                self._last = (file, group), table.column(0)
            return self._last[1][row].as_py()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None, "_lock": None}

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
        schema = opened[0].schema_arrow
        kinds, names = _told(schema)
        for field in schema:
            binary = [field.type] if not pa.types.is_struct(field.type) else [f.type for f in field.type]
            if any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in binary):
                kinds.setdefault(field.name, "Image")
            kinds.setdefault(field.name, str(field.type))
        image = _column(kinds, "Image", IMAGE_KEYS, "image", name)
        label = _column(kinds, "ClassLabel", LABEL_KEYS, "label", name)
        values = [value for file in opened for value in file.read(columns=[label]).column(0).to_pylist()]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DatasetError(
            f"{name!r} is no readable parquet ({type(error).__name__}: {error}); fetch it again, or load it with "
            "datasets.load_dataset and pass that"
        ) from error
    groups = [
        (number, group, row)
        for number, file in enumerate(opened)
        for group in range(file.num_row_groups)
        for row in range(file.metadata.row_group(group).num_rows)
    ]
    if not groups:
        raise DatasetError(f"{name!r} has no rows; expected images of at least two classes")
    labels, class_names = index_labels(values, names.get(label))
    return Reading(ParquetSource(list(files), image, np.array(groups)), labels, class_names, name)


def _told(schema: Any) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Kinds of features by column, and names of classes, of what the hub writes into a parquet file."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        known = {column: feature for column, feature in told.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}, {}
    kinds = {column: str(feature.get("_type")) for column, feature in known.items() if column in schema.names}
    names = {column: feature["names"] for column, feature in known.items() if isinstance(feature.get("names"), list)}
    return {column: kind for column, kind in kinds.items() if kind in ("Image", "ClassLabel")}, names
