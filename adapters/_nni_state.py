"""The state file of a search in NNI, and what tells one search from another."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.utils.files import UNREADABLE

from ._nni_evaluators import OwnEvaluator


def read_state(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a search of that identity.

    Raises:
        CheckpointError: the file cannot be read, is something else, or of another search.
    """
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        search = state["search"]
    except UNREADABLE as error:
        raise CheckpointError(
            f"{str(path)!r} is no state of a search ({type(error).__name__}: {error}); remove it to start anew"
        ) from error
    if search != identity:
        raise CheckpointError(
            f"{str(path)!r} is of another search, {search}; this one is {identity}. Give another "
            "state_file, or remove it to start anew"
        )
    return state


def plain(value: Any) -> Any:
    """A value as JSON has it, or something short that tells it from others."""
    from metad2a_plugin.data import Task
    from metad2a_plugin.search.metad2a import MetaD2A

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Task):
        return hashlib.sha256(value.features.numpy().tobytes() + value.labels.numpy().tobytes()).hexdigest()[:16]
    if isinstance(value, MetaD2A):
        return value.checkpoint.name
    if isinstance(value, OwnEvaluator):
        return plain(value._dump())
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__
