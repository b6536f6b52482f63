"""Files that are whole or not there, states that cannot be read, and where data and models lie."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.utils.partial import partial

UNREADABLE = (
    *(OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, EOFError),
    pickle.UnpicklingError,
)
"""What reading a damaged state, and loading it into its objects, can raise."""


PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""The folder of the shipped models."""


def data_folder() -> Path:
    """The folder that METAD2A_DATA names, by default ``../shared/data``."""
    return Path(os.environ.get("METAD2A_DATA", "../shared/data"))


def data_lacks(file: str) -> str:
    """That a file of the data is not there, as half a sentence; without METAD2A_DATA there is no folder to speak of."""
    if "METAD2A_DATA" in os.environ or data_folder().is_dir():
        return f"there is no {str(data_folder() / file)!r}"
    return f"METAD2A_DATA, the folder of the data that holds {file}, is not set"


def check_writable(path: str | os.PathLike[str]) -> None:
    """As `check_writable_folder`, of a file and its folders."""
    try:
        place = _place(Path(path))
    except OSError as error:
        raise _unwritable(path, error) from error
    if isinstance(place, int):
        return
    if _is_stream(place):
        if not os.access(place, os.W_OK):
            raise ConfigError(f"{str(path)!r} cannot be written; choose another file")
        return
    # Of a path that is no link, the folder is called as it was given.
    check_writable_folder((place if Path(path).is_symlink() else Path(path)).parent)
    if place.is_dir():
        raise ConfigError(f"cannot write {str(path)!r}: it is a folder; name a file")


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether what is written there goes into a device, a pipe or an open descriptor, whatever its name ends in."""
    try:
        place = _place(Path(path))
    except OSError:
        return False
    return isinstance(place, int) or _is_stream(place)


def check_writable_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before any long work; makes nothing.

    Raises:
        ConfigError: says what is in the way.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise ConfigError(f"cannot make the folder {str(folder)!r}: {str(there)!r} is a file")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"the folder {str(there)!r} cannot be written; choose another")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file to write, which takes the place of `path` when the block ends without an error, see `partial`.

    A link stays, and what it points at is replaced. Into a device, a pipe or an open descriptor, such as
    ``/dev/stdout``, the content is written.

    Raises:
        ConfigError: it cannot be written; at once where its folder cannot.
    """
    try:
        place = _place(Path(path))
        if isinstance(place, int) or _is_stream(place):
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder) / "content"
                _pour(Path(folder) / "content", place)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with partial(place) as temporary:
            yield temporary
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: str | os.PathLike[str], error: OSError) -> ConfigError:
    text = f"cannot write {os.fspath(path)!r}: {error.strerror}; choose a file in a folder that can be written"
    return ConfigError(text)


def _place(path: Path) -> Path | int:
    """Where links lead, to something that need not exist; the number of a descriptor of this process."""
    for _ in range(40):  # as many links as Linux follows
        path = Path(os.path.realpath(path.parent), path.name)
        if found := re.fullmatch(rf"(?:/dev|/proc/(?:self|{os.getpid()}))/fd/(\d+)", str(path)):
            return int(found[1])
        if _is_stream(path) or not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_stream(path: Path) -> bool:
    """Whether it is a device, a pipe or the like, which is written into and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _pour(content: Path, place: Path | int) -> None:
    if isinstance(place, int):
        sys.stdout.flush()  # what was printed before comes first
        place = os.dup(place)  # opened by its path, a file would be written from its start again
    # Neither makes nor cuts a file: a device that has gone must not become one.
    descriptor = place if isinstance(place, int) else os.open(place, os.O_WRONLY)
    with content.open("rb") as source, open(descriptor, "wb") as stream:
        shutil.copyfileobj(source, stream)


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or nothing, making its folder if needed; errors as in `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def json_text(value: Any) -> str:
    """Plain values as the lines that are written to files."""
    return json.dumps(value, indent=1) + "\n"


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write plain values as JSON; see `write_atomically`."""
    write_atomically(path, json_text(value).encode())


def check_model(directory: Path, title: str, fix: str) -> None:
    """Refuse a folder without ``config.json`` and ``model.safetensors`` that can be read.

    Args:
        directory: the folder.
        title: what should be there, for the message.
        fix: how to get it, for the message.

    Raises:
        CheckpointError: one of them cannot be read.
    """
    try:
        for name in ("config.json", "model.safetensors"):
            mode = (directory / name).stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # who opens a pipe waits for ever
                raise OSError(errno.EINVAL, "no regular file", str(directory / name))
            with (directory / name).open("rb"):
                pass
    except OSError as error:
        raise CheckpointError(
            f"no {title} in {str(directory)!r} ({error.strerror}: {Path(error.filename).name}); "
            f"expected config.json and model.safetensors: {fix}"
        ) from error
