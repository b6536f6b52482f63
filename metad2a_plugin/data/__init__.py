"""Datasets in, features out: `load_dataset`, `extract_task`, image encoders and the `Task` they make."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metad2a_plugin.data.dataset import ImageDataset, load_dataset
    from metad2a_plugin.data.encoders import get_encoder
    from metad2a_plugin.data.features import extract_task
    from metad2a_plugin.data.pixels import DatasetWarning
    from metad2a_plugin.plugins.encoder import ImageEncoder
    from metad2a_plugin.plugins.task import Task

_HOMES = {
    "DatasetWarning": "data.pixels",
    "ImageDataset": "data.dataset",
    "ImageEncoder": "plugins.encoder",
    "Task": "plugins.task",
    "extract_task": "data.features",
    "get_encoder": "data.encoders",
    "load_dataset": "data.dataset",
}

__all__ = ["DatasetWarning", "ImageDataset", "ImageEncoder", "Task", "extract_task", "get_encoder", "load_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"metad2a_plugin.{_HOMES[name]}"), name)
