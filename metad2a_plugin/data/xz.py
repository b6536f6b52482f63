"""Files packed by xz, unpacked in bounded memory, which `lzma.LZMAFile` has no setting for."""

from __future__ import annotations

import io
import lzma
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MOST = 2**27
"""Bytes of memory that a block may ask for: more than any preset of xz does."""
_PART = 2**16  # bytes


class XzFile(io.RawIOBase):
    """The bytes of a file packed by xz, of all its streams; going back begins anew.

    Reading raises `lzma.LZMAError` where it is damaged or asks for too much memory, and `EOFError` where it is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._place = 0
        self._stream = lzma.LZMADecompressor(memlimit=_MOST)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer).cast("B") as view:
            found = self._some(len(view))
            view[: len(found)] = found
        self._place += len(found)
        return len(found)

    def _some(self, most: int) -> bytes:
        """The next bytes, none only at the end."""
        while True:
            packed = b""
            if self._stream.eof:  # another may follow, after zeros
                packed = self._stream.unused_data.lstrip(b"\0")
                while not packed and (part := self._file.read(_PART)):
                    packed = part.lstrip(b"\0")
                if not packed:
                    return b""
                self._stream = lzma.LZMADecompressor(memlimit=_MOST)
            elif self._stream.needs_input and not (packed := self._file.read(_PART)):
                raise EOFError("the xz file ends too early")
            if found := self._stream.decompress(packed, most):
                return found

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Only from the start, or from where it is: the length is not known."""
        if whence == os.SEEK_END:
            raise io.UnsupportedOperation("the length of an xz file is not known")
        target = offset + (self._place if whence == os.SEEK_CUR else 0)
        if target < self._place:
            self._begin()
        while self._place < target and self.read(min(_PART, target - self._place)):
            pass
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._file.close()
        super().close()
