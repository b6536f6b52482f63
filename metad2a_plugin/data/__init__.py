"""Datasets in, features out: `load_dataset`, `extract_task`, image encoders and the `Task` they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metad2a_plugin.utils.lazy import resolver

if TYPE_CHECKING:
    from metad2a_plugin.data.dataset import ImageDataset
    from metad2a_plugin.data.encoders import get_encoder
    from metad2a_plugin.data.features import extract_task
    from metad2a_plugin.data.loading import load_dataset
    from metad2a_plugin.data.pixels import DatasetWarning
    from metad2a_plugin.plugins.encoder import ImageEncoder
    from metad2a_plugin.plugins.task import Task

__all__ = ["DatasetWarning", "ImageDataset", "ImageEncoder", "Task", "extract_task", "get_encoder", "load_dataset"]
_NAMES = {
    "data.dataset": ("ImageDataset",),
    "data.encoders": ("get_encoder",),
    "data.features": ("extract_task",),
    "data.loading": ("load_dataset",),
    "data.pixels": ("DatasetWarning",),
    "plugins.encoder": ("ImageEncoder",),
    "plugins.task": ("Task",),
}
__getattr__ = resolver(__name__, _NAMES)
