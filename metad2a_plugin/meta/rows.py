"""The rows of a meta-database as files: appended to, counted, and written by one process at a time."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.utils.files import write_atomically

COLUMNS = ("row", "task", "arch_str", "accuracy", "split")


def append(file: IO[bytes], row: Sequence[str]) -> None:
    """One write, and on the disk when it returns: a row is there or not."""
    line = (",".join(row) + "\n").encode()
    if file.write(line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file.fileno())


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Raises `ConfigError` where a row cannot be written; what was written of it is cut off by the next call."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot write {str(path)!r}: {reason}; mend that and run the same command again") from error


def finished(path: Path, numbers: set[int]) -> set[int]:
    """Numbers of the rows in a file, of which a last line without an end is cut off.

    Raises:
        DatasetError: the file holds something else; nothing of it is changed.
    """
    header = ",".join(COLUMNS) + "\n"
    if not path.exists():
        with written(path):
            write_atomically(path, header.encode())
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        lines = list(csv.reader(whole.decode().splitlines()))
        found = [int(line[0]) for line in lines[1:]]
    except (ValueError, IndexError):
        lines, found = [], []
    if lines[:1] != [list(COLUMNS)] or len(set(found)) < len(found) or not numbers.issuperset(found):
        raise DatasetError(
            f"{str(path)!r} holds something else than rows of this database; move it away, and the rows are measured "
            "again"
        )
    if whole != content:
        os.truncate(path, len(whole))
    return set(found)


@contextmanager
def alone(path: Path, wait: bool = False) -> Iterator[None]:
    """Nobody else is between these lines; the lock goes with the process that holds it.

    Raises:
        ConfigError: somebody is, and `wait` is not set; or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        written = str(path.with_suffix(""))
        raise ConfigError(f"another process is writing {written!r}; wait for it, or stop it") from None
    except OSError as error:
        raise ConfigError(f"cannot write into {str(path.parent)!r}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
