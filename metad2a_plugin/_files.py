"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from metad2a_plugin.errors import ConfigError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or nothing, making its folder if needed.

    Raises:
        ConfigError: it cannot be written.
    """
    path = Path(path)
    # Not tempfile, whose files nobody else may read.
    temporary = path.parent / f".partial-{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write {str(path)!r}: {error.strerror}; choose a file in a folder that can be written"
        ) from error
