"""The bytes, the stack and the numbered objects that a pickle's program works on, none of which can take all memory."""

from __future__ import annotations

import struct
import zipfile
import zlib
from bisect import bisect_right
from itertools import islice
from types import FunctionType
from typing import IO, Any

import numpy as np

from metad2a_plugin.errors import DatasetError, shortened

from ._pickle_objects import BLOCK, LONGEST_SHARED, size_of

_READ = 1 << 20
_AHEAD = 1 << 16
"""Bytes at hand when an opcode is read, so that few runs of numbers are cut in two."""
_LONGEST_ENTRY = 1 << 22
"""Bytes of one entry and of what lies outside all, together; published ones have 0.4 MB and 1.4 MB."""
_MOST_OBJECTS = 1 << 17
"""Containers that an entry makes, and numbered objects that it has; published ones have some 10,000."""
_MOST_SHARED = 1 << 27
"""Bytes of memory for what entries share, and for where it is; published files take some 40 MB."""
_DENSEST, _SMALL = 64, 1 << 23
"""How many times its size on the disk a file may hold, and how much a small one; published files hold 6 times."""
_REFERENCE, _OVERHEAD = 8, 128
"""Bytes of memory of a reference, and of an object's header with its place in a dictionary."""
_GONE = object()


class PickleMachine:
    """What the opcodes of `PickleReader` share.

    Args:
        stream: at the beginning of a pickle.
        source: where it is from, for messages.
        stored: bytes that the stream takes on the disk, where it is compressed; None sets no bound on what it holds.
    """

    def __init__(self, stream: IO[bytes], source: str, stored: int | None = None) -> None:
        self._stream, self._source = stream, source
        self._most = None if stored is None else _SMALL + _DENSEST * stored
        self._buffer, self._at, self._before, self._safe = b"", 0, 0, -1
        self._names: dict[Any, Any] = {}

    def _begin(self) -> None:
        """Another pickle."""
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._made, self._entry = 0, self._before + self._at
        self._outside = (0, 0)
        self._memo: list[Any] = []
        self._start, self._known, self._shared = 0, len(self._names), 0
        self._starts: list[int] = []
        self._kept: list[tuple[tuple[Any, ...], ...]] = []
        self._blocks: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def _refusal(self, what: str) -> DatasetError:
        at = self._before + self._at
        return DatasetError(f"{self._source} has, at byte {at:,}, {shortened(what)}; it was not read on")

    # -- bytes -------------------------------------------------------------------------------
    def _fill(self, count: int) -> None:
        """Have at least so many bytes, and more if there are."""
        if self._before + self._at + count - self._entry > _LONGEST_ENTRY:
            raise self._refusal(f"a record of more than {_LONGEST_ENTRY:,} bytes, longer than any of NAS-Bench-201")
        self._count(0)
        parts, have = [self._buffer[self._at :]], len(self._buffer) - self._at
        ended = False
        while have < count + _AHEAD and not ended:
            try:
                part = self._stream.read(_READ)
            except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
                raise self._refusal(f"damaged or missing data ({error})") from error
            parts.append(part)
            have += len(part)
            ended = not part
        if self._most is not None and self._before + self._at + have > self._most:
            raise self._refusal(f"more than {self._most:,} bytes of data, far more than a file of its size holds")
        self._before += self._at
        self._buffer, self._at = b"".join(parts), 0
        self._safe = have - 1 if ended else have - _AHEAD
        if have < count:
            raise self._refusal("its end, in the middle of an object: it is cut short")

    def _take(self, count: int) -> bytes:
        if count > _LONGEST_ENTRY:
            raise self._refusal(f"a piece of {count:,} bytes, longer than any of NAS-Bench-201")
        if self._at + count > len(self._buffer):
            self._fill(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def _number(self, form: str) -> Any:
        """The argument of an opcode."""
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _next(self) -> bytes:
        if self._at > self._safe:
            self._fill(1)
        return self._buffer[self._at : self._at + 1]

    def _count(self, made: int) -> None:
        self._made += made
        if max(self._made, len(self._memo)) > _MOST_OBJECTS:
            raise self._refusal(f"a record of more than {_MOST_OBJECTS:,} objects, more than any of NAS-Bench-201")

    # -- numbered objects --------------------------------------------------------------------
    def _remember(self, index: int) -> None:
        if index != self._start + len(self._memo):
            raise ValueError("objects are not numbered in order")
        self._memo.append(self._stack[-1])

    def _drop(self, *objects: Any) -> None:
        """Objects that were numbered just now, to which nothing refers again."""
        for place in range(-min(len(self._memo), 3), 0):
            if any(self._memo[place] is item for item in objects):
                self._memo[place] = _GONE

    def _recall(self, index: int) -> Any:
        if index >= self._start:
            return self._memo[index - self._start]
        place = bisect_right(self._starts, index) - 1
        block, offset = divmod(index - self._starts[place], BLOCK)
        found = self._kept[place][block][offset]
        if found is _GONE:
            raise self._refusal("a reference from one cell's record into another's")
        return found

    def _begin_entries(self) -> None:
        """What was made outside of entries stays and counts with each; none can put more into it."""
        self._forget()
        self._outside = (self._made, self._before + self._at - self._entry)

    def _end_entry(self) -> None:
        self._forget()
        self._made, self._entry = self._outside[0], self._before + self._at - self._outside[1]

    def _forget(self) -> None:
        """Keep what later entries may refer to. Entries are much alike, so equal blocks are kept once."""
        names, before = self._names, len(self._blocks)
        lasting = [
            names.setdefault(v, v)
            if (type(v) is str and len(v) <= LONGEST_SHARED) or (type(v) is tuple and size_of(v) <= 2 * LONGEST_SHARED)
            else v
            if isinstance(v, (FunctionType, np.dtype))
            else _GONE
            for v in self._memo
        ]
        blocks = (tuple(lasting[i : i + BLOCK]) for i in range(0, len(lasting), BLOCK))
        self._kept.append(tuple(self._blocks.setdefault(block, block) for block in blocks))
        self._starts.append(self._start)
        new = islice(reversed(names), len(names) - self._known)
        self._shared += (
            _OVERHEAD + _REFERENCE * len(self._kept[-1])
            + (_OVERHEAD + _REFERENCE * BLOCK) * (len(self._blocks) - before)
            + sum(_OVERHEAD + size_of(name) for name in new)
        )  # fmt: skip
        if self._shared > _MOST_SHARED:
            raise self._refusal("more texts that its records share than NAS-Bench-201 has")
        self._start += len(self._memo)
        self._memo, self._known = [], len(names)
