"""Datasets in, features out: `load_dataset`, `extract_task`, image encoders and the `Task` they make."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metad2a_plugin.data._pixels import DatasetWarning
    from metad2a_plugin.data.dataset import ImageDataset, load_dataset
    from metad2a_plugin.data.encoders import ImageEncoder, get_encoder
    from metad2a_plugin.data.features import extract_task
    from metad2a_plugin.data.task import Task

_HOMES = {
    "DatasetWarning": "_pixels",
    "ImageDataset": "dataset",
    "ImageEncoder": "encoders",
    "Task": "task",
    "extract_task": "features",
    "get_encoder": "encoders",
    "load_dataset": "dataset",
}

__all__ = [
    "DatasetWarning",
    "ImageDataset",
    "ImageEncoder",
    "Task",
    "extract_task",
    "get_encoder",
    "load_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
