"""Files in writing, which have a name of their own until they are whole and on the disk."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_NAME = re.compile(r"\.partial-[0-9a-f]{16}")


@contextmanager
def partial(place: Path) -> Iterator[Path]:
    """Give an empty file to write, which takes the place of `place` when the block ends without an error.

    It is on the disk before it has that name. Files that killed processes were writing in the folder are removed.
    """
    remove_abandoned(place.parent)
    path, descriptor = _locked(place.parent)
    try:
        yield path
        _sync(path, os.O_RDWR)
        if sys.platform == "win32":  # an open file cannot be renamed there
            os.close(descriptor)
            descriptor = -1
        os.replace(path, place)
        if sys.platform != "win32":
            # Some file systems sync no folders.
            with suppress(OSError):
                _sync(place.parent, os.O_RDONLY)
    finally:
        with suppress(OSError):
            path.unlink()
        if descriptor >= 0:
            os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Remove files of `partial` whose process is gone, which is what their locks tell."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove(entry.path)


def _remove(path: str) -> None:
    """Unless it is locked; on Windows no open file can be removed."""
    if sys.platform == "win32":
        os.unlink(path)
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> tuple[Path, int]:
    """A new file, and a descriptor that holds its lock."""
    while True:
        # Not tempfile, whose files nobody else may read.
        path = folder / f".partial-{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if sys.platform == "win32":
            return path, descriptor
        with suppress(OSError):  # no locks there: nobody can tell that it is abandoned, and nobody removes it
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # taken for abandoned before it was locked


def _sync(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
