"""One process at a time where two would write the same files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from metad2a_plugin.errors import ConfigError

LOCK = "lock"
"""The file in a folder that `alone_in` locks; it stays, and is locked no longer once its process is gone."""


@contextmanager
def alone(path: Path, wait: bool = False, what: Path | None = None) -> Iterator[None]:
    """Nobody else is between these lines; the lock goes with the process that holds it.

    Args:
        path: the file that is locked; its folder is made if needed.
        wait: wait for whoever holds it.
        what: that is written meanwhile, for the message; by default `path` without its suffix.

    Raises:
        ConfigError: somebody is, and `wait` is not set; or the folder cannot be written.
    """
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        written = str(path.with_suffix("") if what is None else what)
        raise ConfigError(f"another process is writing {written!r}; wait for it, or stop it") from None
    except NotImplementedError:
        # Of some network file systems.
        text = f"{str(path.parent)!r} has no locks: see to it that no other process writes there meanwhile"
        warnings.warn(text, stacklevel=3)
    except OSError as error:
        raise ConfigError(f"cannot write into {str(path.parent)!r}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone_in(folder: Path | None) -> Iterator[None]:
    """As `alone`, in a folder of unfinished work; None is no folder, and nobody else's."""
    if folder is None:
        yield
        return
    with alone(folder / LOCK, what=folder):
        yield


def remove_lock(folder: Path) -> None:
    """Of a folder that nobody will write any more: whoever still gets the lock must see that."""
    with suppress(OSError):  # Windows removes no open file
        (folder / LOCK).unlink()
