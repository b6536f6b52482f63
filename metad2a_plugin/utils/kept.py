"""What is computed once and kept in a file, under a name that says all it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.schema import why

Value = TypeVar("Value")


def digest(value: object) -> str:
    """Sixteen digits that tell a JSON value from others, for the name of a file or folder."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def unreadable(path: Path, error: Exception, advice: str) -> CheckpointError:
    """The error for a file that cannot be read; `advice` says how to go on."""
    return CheckpointError(f"{str(path)!r} cannot be read ({why(error)}); {advice}")


def kept(
    path: Path,
    read: Callable[[Path], Value],
    compute: Callable[[], Value],
    write: Callable[[Value], bytes],
    *,
    advice: str | None = None,
) -> Value:
    """What a file holds; where there is none, it is computed and written.

    Args:
        path: the file.
        read: what makes the value of the file.
        compute: what makes it anew.
        write: the file's content for a value.
        advice: how to go on where the file is damaged, for the error; None computes it again.

    Raises:
        CheckpointError: the file is damaged, and there is advice.
        ConfigError: the file cannot be written.
    """
    try:
        return read(path)
    except FileNotFoundError:
        pass
    except (SafetensorError, *UNREADABLE) as error:
        if advice is not None:
            raise unreadable(path, error, advice) from error
    value = compute()
    write_atomically(path, write(value))
    return value
