"""How much memory and time images may take, whatever their files claim: for all threads of the process together."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from metad2a_plugin.errors import DatasetError
from metad2a_plugin.utils.memory import give_back

ROOM = 2**29 - 2**25
"""Bytes that files and decoded images take at once; an image that needs more is not read."""
LARGEST_FILE = 2**28
"""Bytes of the file of an image."""
LARGEST_ARRAYS = 2**29 + 2**26
"""Bytes of the arrays of a file."""
MOST_NAMES = 2**19
"""Files of an archive, whose names are all in memory."""
_UNPACKED, _PACKED = 2**31, 32  # bytes that any archive may unpack to, and times its size
_MUCH = 2**25
"""Bytes of an image after which freed memory is given back to the system."""
_WORK = 2**31
_FOR_A_BYTE, _FREE = 64, 2**16  # pixels that a byte of a file justifies, and those that need no reason


def most_unpacked(packed: int) -> int:
    """Bytes that an archive of so many may unpack to; what is packed tighter holds no photos."""
    return _UNPACKED + _PACKED * packed


class TooMuchWorkError(DatasetError):
    """The images of a dataset have far more pixels than their files have bytes: that is no broken image."""


class _Room:
    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        """Take nothing for taken; in a child of a fork, where threads of the parent held some."""
        self._left = ROOM
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[Taken]:
        """Wait until there is room for so many bytes, which are given back when the block ends.

        Raises:
            OSError: there never is.
        """
        if count > ROOM:
            raise OSError(
                f"it takes {count / 2**20:.0f} MiB of memory to read, more than the {ROOM >> 20} that an image may; "
                "make it smaller"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._left >= count)
            self._left -= count
        taken = Taken(self, count)
        try:
            yield taken
        finally:
            if taken.count >= _MUCH:
                give_back()
            with self._changed:
                self._left = min(ROOM, self._left + taken.count)  # a fork in between has emptied it
                self._changed.notify_all()

    def grow(self, taken: Taken, count: int) -> bool:
        with self._changed:
            more = max(0, count - taken.count)
            fits = more <= self._left
            if fits:
                self._left -= more
                taken.count += more
            return fits


class Taken:
    """Room that a thread holds."""

    def __init__(self, room: _Room, count: int) -> None:
        self._room, self.count = room, count

    def grow(self, count: int) -> bool:
        """Make it so many bytes if there is room now: who waits while it holds some may wait for ever."""
        return self._room.grow(self, count)


_room = _Room()
take = _room.take
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_room.empty)


class Work:
    """Counts the pixels of a dataset's images that their files are too small for, each image once."""

    def __init__(self) -> None:
        self._left = _WORK
        self._counted: set[int] = set()

    def add(self, i: int, pixels: int, length: int, name: str) -> None:
        """Count image `i`.

        Args:
            i: of the dataset.
            pixels: as many as take the time to decode it.
            length: bytes of its file.
            name: of it, for the message.

        Raises:
            TooMuchWorkError: it is one too many.
        """
        more = pixels - _FOR_A_BYTE * length - _FREE
        if more <= 0 or i in self._counted:
            return
        self._counted.add(i)
        self._left -= more
        if self._left < 0:
            raise TooMuchWorkError(
                f"the images up to {name!r} have far more pixels than files of their size hold, and would take minutes "
                "to decode; save them smaller, or take fewer of each class (max_images_per_class)"
            )
