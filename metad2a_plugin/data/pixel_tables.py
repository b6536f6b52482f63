"""Tables that hold the pixels of images themselves, as MNIST and FER2013 come in CSV; read row by row."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from metad2a_plugin.data.room import LARGEST_ARRAYS
from metad2a_plugin.data.tables import Table, label_column, training_rows
from metad2a_plugin.errors import DatasetError

_LEAST = 16
"""Pixels of an image in a table."""
_DARK = 255 / 8
"""Of integers whose largest is below, the scale is told as of floats."""
_SEPARATORS = ",;\t|"


def read_pixels(path: Path, what: str) -> tuple[np.ndarray, list[Any]] | None:
    """Square images ``[n, side, side]`` in columns, a number each or all in one cell, and labels; None for no such.

    Args:
        path: of the table.
        what: it, for messages.

    Raises:
        DatasetError: pixels that are no numbers or make no square, or more than are read.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = list(islice(_short(file), 2))
        for separator in _SEPARATORS if len(lines) == 2 else "":
            try:
                first, second = csv.reader(lines, delimiter=separator)
                rows = csv.reader(chain(lines, file), delimiter=separator)
                for i, cell in enumerate(second if len(first) == len(second) > 1 else ()):
                    if cell.count(" ") >= _LEAST - 1 and cell.replace(" ", "").isdigit():
                        return _in_a_cell(path.name, rows, i, what)
                if _is_wide(first, second):
                    return _in_columns(rows, what)
            except (csv.Error, ValueError) as error:
                if isinstance(error, DatasetError):
                    raise
    return None


def _short(file: TextIO) -> Iterator[str]:
    """Lines as long as rows of pixels are at most; a file may be one line."""
    while (line := file.readline(2**20)).endswith("\n"):
        yield line


def _is_wide(first: list[str], second: list[str]) -> bool:
    side = math.isqrt(max(0, len(second) - 1))
    place = _label_place(first)
    wide = side * side == len(second) - 1 >= _LEAST and len(first) == len(second)
    return wide and all(cell.strip().isdigit() for cell in second[place + 1 :])


def _label_place(header: list[str]) -> int:
    return next((i for i, name in enumerate(header) if name.strip().lower() in ("label", "class", "target")), 0)


def counted(values: list[str]) -> Any:
    """Texts as integers where all are."""
    return [int(value) for value in values] if values and all(value.isdigit() for value in values) else values


class _Squares:
    """Rows of numbers, a byte each while they fit."""

    def __init__(self, what: str) -> None:
        self._what, self._data = what, bytearray()
        self._type: np.dtype[Any] = np.dtype(np.uint8)
        self._width = 0

    def add(self, numbers: list[str]) -> None:
        try:
            values = np.array(numbers, np.float32)
        except ValueError as error:
            raise DatasetError(f"pixels in {self._what} are no numbers ({error})") from error
        self._width = self._width or len(values)
        if len(values) != self._width or math.isqrt(len(values)) ** 2 != len(values):
            raise DatasetError(
                f"a row of {self._what} has {len(values)} pixels, which make no square image or are not as many as in "
                f"the first, {self._width}"
            )
        if self._type == np.uint8 and not ((values >= 0) & (values <= 255) & (values == np.rint(values))).all():
            self._type = np.dtype(np.float32)
            self._data = bytearray(np.frombuffer(self._data, np.uint8).astype(np.float32).tobytes())
        self._data += values.astype(self._type).tobytes()
        if len(self._data) > LARGEST_ARRAYS:
            raise DatasetError(f"the pixels of {self._what} take more than {LARGEST_ARRAYS >> 20} MiB; take fewer rows")

    def images(self) -> np.ndarray:
        side = math.isqrt(self._width)
        found = np.frombuffer(self._data, self._type).reshape(-1, side, side)
        return found.astype(np.float32) if found.max(initial=0) < _DARK else found


def _in_columns(rows: Iterator[list[str]], what: str) -> tuple[np.ndarray, list[Any]]:
    squares, labels, place = _Squares(what), [], -1
    for row in rows:
        if place < 0:
            place = _label_place(row)
            if not all(cell.strip().isdigit() for cell in row):
                continue  # a header
        if row:
            squares.add(row[:place] + row[place + 1 :])
            labels.append(row[place].strip() if place < len(row) else "")
    return squares.images(), counted(labels)


def _in_a_cell(name: str, rows: Iterator[list[str]], place: int, what: str) -> tuple[np.ndarray, list[Any]]:
    squares = _Squares(what)
    header = next(rows)
    kept: list[list[str]] = []
    for row in rows:
        if len(row) == len(header):
            squares.add(row[place].split())
            kept.append([*row[:place], str(len(kept)), *row[place + 1 :]])
    table, place = training_rows(Table(name, header, kept), place, what)
    labels = label_column(table, place, what)
    images = squares.images()
    chosen = [int(text) for text in table.column(place)]
    return images if len(chosen) == len(images) else images[chosen], counted(labels or [])
