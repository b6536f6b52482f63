"""What the pages of a parquet file unpack to, by their headers, before `pyarrow` makes room for it.

A header is a struct of Thrift's compact protocol: fields by number, each with its type.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from metad2a_plugin.errors import DatasetError

LARGEST = 2**27 + 2**26
"""Bytes of a page, which `pyarrow` has whole, packed and unpacked: a part of one cannot be read."""
_LARGEST_DICTIONARY = 2**27
"""Bytes of a dictionary, which is a page that is there three times while it is read."""
_LARGEST_DELTA, _DELTA, _DICTIONARY = 2**22, 7, -1  # the second is one of parquet's encodings, the last is none
"""Bytes of a page whose values are written as what they add to the one before, which is far less than they are."""
_HEADER = 2**16  # bytes; it may hold the least and the largest value
_DEEPEST, _MOST_PAGES = 8, 2**18
_Struct = dict[int, Any]


class _Header:
    """A struct that is read from bytes; `IndexError` and `ValueError` where these are none."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _unsigned(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 128:
            found |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        return found | byte << shift

    def _signed(self) -> int:
        found = self._unsigned()
        return found >> 1 ^ -(found & 1)

    def struct(self, depth: int = 0) -> _Struct:
        if depth > _DEEPEST:
            raise ValueError("structs in structs")
        found: _Struct = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._signed()
            found[number] = self._value(kind & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind in (7, 8):
            length = 8 if kind == 7 else self._unsigned()
            self.at += length
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"a value of kind {kind}")  # lists and maps are in no header of a page


def _pages(file: BinaryIO, start: int, length: int, values: int) -> Iterator[tuple[int, int, int | None]]:
    """Bytes of each page of a column in a group of rows, packed and unpacked, and how its values are written.

    That of a dictionary is `_DICTIONARY`. Ends behind so many values, as `pyarrow` does.

    Raises:
        ValueError, IndexError: the headers are damaged.
    """
    end = start + length
    while start < end and values > 0:
        file.seek(start)
        header = _Header(file.read(_HEADER))
        page = header.struct()
        told = page.get(5) or page.get(8) or {}
        unpacked, packed = page.get(2), page.get(3)
        if type(unpacked) is not int or type(packed) is not int or unpacked < 0 or packed < 0 or type(told) is not dict:
            raise ValueError("a page without sizes")
        yield packed, unpacked, _DICTIONARY if 7 in page else told.get(2 if 5 in page else 4)
        start += header.at + packed
        values -= told.get(1, 0)


def check_pages(path: Path, metadata: Any, column: str) -> bool:
    """Refuse pages of a column that unpack to more than fits into memory.

    Args:
        path: of the file.
        metadata: of it, as `pyarrow.parquet.ParquetFile` has it.
        column: name of one, whose parts are looked at too.

    Returns:
        Whether values may be far larger than their page, together.

    Raises:
        DatasetError: a page does, or the headers are damaged.
        OSError: the file cannot be read.
    """
    what = f"of the column {column!r} of {str(path)!r}"
    left, grows = _MOST_PAGES, False
    with path.open("rb") as file:
        for chunk in _chunks(metadata, column):
            first = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
            try:
                for packed, unpacked, encoding in _pages(file, first, chunk.total_compressed_size, chunk.num_values):
                    left, grows = left - 1, grows or encoding == _DELTA
                    most = {_DELTA: _LARGEST_DELTA, _DICTIONARY: _LARGEST_DICTIONARY}.get(encoding or 0, LARGEST)
                    if max(packed, unpacked) > most or not left:
                        size = f"{max(packed, unpacked) >> 20} MiB, more than the {most >> 20}" if left else "too many"
                        raise DatasetError(
                            f"the pages {what} are {size} that are read; write it again in other groups of rows, such "
                            "as pyarrow.parquet.write_table(table, path, row_group_size=100)"
                        )
            except (IndexError, ValueError, TypeError) as error:
                raise DatasetError(f"the pages {what} are damaged ({error}); fetch it again") from error
    return grows


def _chunks(metadata: Any, column: str) -> Iterator[Any]:
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(metadata.num_columns):
            chunk = row_group.column(number)
            if chunk.path_in_schema.partition(".")[0] == column:
                yield chunk
