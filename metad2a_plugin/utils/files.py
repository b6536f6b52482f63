"""Files that are whole or not there, states that cannot be read, and where data and models lie."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import CheckpointError, ConfigError

UNREADABLE = (OSError, LookupError, TypeError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What reading a damaged state of training, and loading it into its objects, can raise."""


PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""The folder of the shipped models."""


def data_folder() -> Path:
    """The folder that METAD2A_DATA names, by default ``../shared/data``."""
    return Path(os.environ.get("METAD2A_DATA", "../shared/data"))


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
    """Give a file to write, which takes the place of `path` when the block ends without an error.

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
        # Not tempfile, whose files nobody else may read.
        temporary = place.parent / f".partial-{secrets.token_hex(8)}"
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        try:
            yield temporary
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)
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


def read_model(directory: Path, title: str, fix: str) -> tuple[bytes, bytes]:
    """``config.json`` and ``model.safetensors`` of a folder.

    Args:
        directory: the folder.
        title: what should be there, for the message.
        fix: how to get it, for the message.

    Raises:
        CheckpointError: one of them cannot be read.
    """
    try:
        return (directory / "config.json").read_bytes(), (directory / "model.safetensors").read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"no {title} in {str(directory)!r} ({error.strerror}: {Path(error.filename).name}); "
            f"expected config.json and model.safetensors: {fix}"
        ) from error
