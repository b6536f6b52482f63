"""Files that are whole or not there, states that cannot be read, and where data and models lie."""

from __future__ import annotations

import os
import pickle
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metad2a_plugin.errors import CheckpointError, ConfigError

UNREADABLE = (OSError, KeyError, TypeError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What reading a damaged state of training, and loading it into its objects, can raise."""


def data_folder() -> Path:
    """The folder that METAD2A_DATA names, by default ``../shared/data``."""
    return Path(os.environ.get("METAD2A_DATA", "../shared/data"))


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file to write, which takes the place of `path` when the block ends without an error.

    Raises:
        ConfigError: it cannot be written; at once where its folder cannot.
    """
    path = Path(path)
    # Not tempfile, whose files nobody else may read.
    temporary = path.parent / f".partial-{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write {str(path)!r}: {error.strerror}; choose a file in a folder that can be written"
        ) from error


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or nothing, making its folder if needed.

    Raises:
        ConfigError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


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
