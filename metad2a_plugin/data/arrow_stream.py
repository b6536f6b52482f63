"""Batches of rows of an Arrow stream in a file, one at a time from a memory map, each checked before it is used.

What a batch takes is told by its header, a flatbuffer that `pyarrow` has verified by then: how many rows it has, and
whether its buffers are packed. Packed ones begin with the bytes that they unpack to, as an int64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.sources import file_size
from metad2a_plugin.errors import DatasetError

MOST_ROWS = 2**21
"""Of a file."""
_HEADER = 2**23
"""Bytes of a header: of the schema, with the names of its classes, or of a batch."""
_UNPACKED = 2**27
"""Bytes that the packed buffers of a batch may unpack to, together."""
WINDOW = 2**26
"""Bytes that are read through one memory map, whose pages stay in memory until it is closed."""
_MOST_BATCHES = 2**18
_CONTINUED, _NO_MORE = b"\xff\xff\xff\xff", (b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\0")
_FILE, _BIG_ENDIAN = b"ARROW1", 1


class _Table:
    """A table of a flatbuffer; fields that are not there are None."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - struct.unpack_from("<i", data, at)[0]

    def _field(self, number: int) -> int | None:
        (size,) = struct.unpack_from("<H", self._data, self._fields)
        if 4 + 2 * number + 2 > size:
            return None
        (offset,) = struct.unpack_from("<H", self._data, self._fields + 4 + 2 * number)
        return self._at + offset if offset else None

    def number(self, number: int, kind: str) -> int:
        at = self._field(number)
        return 0 if at is None else int(struct.unpack_from(f"<{kind}", self._data, at)[0])

    def table(self, number: int) -> _Table | None:
        at = self._field(number)
        return None if at is None else _Table(self._data, at + struct.unpack_from("<I", self._data, at)[0])

    def pairs(self, number: int) -> Iterator[tuple[int, int]]:
        """A vector of structs of two int64."""
        if (at := self._field(number)) is None:
            return
        at += struct.unpack_from("<I", self._data, at)[0]
        (count,) = struct.unpack_from("<I", self._data, at)
        for place in range(count):
            yield struct.unpack_from("<qq", self._data, at + 4 + 16 * place)


def _header(message: Any) -> _Table:
    data = message.metadata.to_pybytes()
    found = _Table(data, struct.unpack_from("<I", data)[0]).table(2)
    if found is None:
        raise ValueError("a message without a header")
    return found


def _decode_names(field: Any) -> None:
    """Raise what damaged names raise, of a field and of those in it."""
    _ = field.name
    for number in range(field.type.num_fields):
        _decode_names(field.type.field(number))


class ArrowStream:
    """A file with a schema and batches of rows, as ``save_to_disk`` of `datasets` writes them.

    Args:
        path: of the file.

    Raises:
        DatasetError: it is none, cut off, or has columns of a kind that such files have not. So do the methods, also
            where a batch is damaged or claims more than it has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading(), self._open(0) as source:
            message = self._message(source)
            self.schema = self._schema(message)

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Where each batch begins in the file, and the `pyarrow.RecordBatch`, not yet checked."""
        with self._reading():
            with self._open(0) as source:
                self._message(source)
                at = source.tell()
            left, rows = _MOST_BATCHES, MOST_ROWS
        more = True
        while more:
            with self._reading(), self._open(at) as source:
                end = at + WINDOW
                while at < end:
                    message = self._message(source)
                    if message is None:
                        more = False
                        break
                    count = _header(message).number(0, "q") if message.type == "record batch" else 0
                    left, rows = left - 1, rows - count
                    if min(left, rows, count) < 0:
                        raise DatasetError(
                            f"{str(self.path)!r} claims more rows or batches than the {MOST_ROWS:,} rows that are read "
                            "of a file; save it in more parts: dataset.save_to_disk(path, num_shards=...)"
                        )
                    yield at, self._batch(message)
                    at = source.tell()
                    del message

    def batch(self, at: int) -> Any:
        """The `pyarrow.RecordBatch` that begins there; its pages stay in memory while it does."""
        with self._reading(), self._open(at) as source:
            return self._batch(self._message(source))

    def column(self, batch: Any, name: str) -> Any:
        """A column of a batch, of which nothing lies outside of its buffers; of an extension type its storage."""
        import pyarrow as pa

        with self._reading():
            column = batch.column(self.schema.get_field_index(name))
            column.validate(full=True)
        return column.storage if isinstance(column, pa.ExtensionArray) else column

    def _open(self, at: int) -> Any:
        import pyarrow as pa

        file_size(self.path)  # refuses pipes and devices
        source = pa.memory_map(str(self.path))
        source.seek(at)
        return source

    def _message(self, source: Any) -> Any:
        """The next message; None at the end."""
        import pyarrow as pa

        at = source.tell()
        start = source.read(8)
        source.seek(at)
        if start.startswith(_NO_MORE):
            return None
        if start.startswith(_FILE):
            raise ValueError("it is an Arrow file with an index, expected a stream")
        size = struct.unpack("<i", start[4:] if start[:4] == _CONTINUED else start[:4])[0] if len(start) == 8 else -1
        if size < 0:
            raise ValueError("it is no Arrow stream" if at == 0 else "it is cut off, or damaged")
        if size > _HEADER:
            raise ValueError(f"a header of {size >> 20} MiB, more than the {_HEADER >> 20} that are read")
        return pa.ipc.read_message(source)

    def _schema(self, message: Any) -> Any:
        import pyarrow as pa

        if message is None or message.type != "schema":
            raise ValueError("it has no schema")
        if _header(message).number(0, "h") == _BIG_ENDIAN:
            raise ValueError("its numbers are big-endian")
        try:
            schema = pa.ipc.read_schema(message)
            for field in schema:
                _decode_names(field)
        except Exception as error:  # registered extension types raise what they like
            raise ValueError(f"its schema is damaged: {error}") from error
        if len(set(schema.names)) < len(schema.names):
            raise ValueError(f"several columns have one name: {few(schema.names, 12)}")
        return schema

    def _batch(self, message: Any) -> Any:
        import pyarrow as pa

        if message is None or message.type != "record batch":
            found = "its end" if message is None else message.type
            raise ValueError(f"{found} where a batch of rows was expected; columns as dictionaries are not read")
        header = _header(message)
        if header.table(3) is not None:
            self._check_packed(header, message.body)
        return pa.ipc.read_record_batch(message, self.schema)

    def _check_packed(self, header: _Table, body: Any) -> None:
        left = _UNPACKED
        for offset, length in header.pairs(2):
            if length <= 0:
                continue
            if offset < 0 or length < 8 or offset + length > body.size:
                raise ValueError("a packed buffer lies outside of its batch")
            (size,) = struct.unpack("<q", body.slice(offset, 8).to_pybytes())
            left -= length if size == -1 else size
            if size < -1 or left < 0:
                raise ValueError(
                    f"a packed batch claims more than the {_UNPACKED >> 20} MiB that are unpacked at once"
                )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What `pyarrow` raises for a damaged file becomes a `DatasetError`."""
        import pyarrow as pa

        try:
            yield
        except DatasetError:
            raise
        except (pa.ArrowException, OSError, EOFError, ValueError, struct.error) as error:
            raise DatasetError(
                f"{str(self.path)!r} cannot be read as a dataset's Arrow stream: {error}; save the dataset again with "
                "dataset.save_to_disk(path)"
            ) from error
