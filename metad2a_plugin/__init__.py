"""MetaD2A: from an image dataset to a neural architecture in seconds.

>>> from metad2a_plugin import MetaD2A
>>> result = MetaD2A.from_pretrained("nasbench201").search("path/to/images")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metad2a_plugin.data import Task, extract_task, load_dataset
    from metad2a_plugin.export import export_network, export_onnx, load_network
    from metad2a_plugin.predictor import Predictor
    from metad2a_plugin.registry import available, get_predictor, get_space, get_strategy
    from metad2a_plugin.result import Candidate, SearchResult
    from metad2a_plugin.search import Front, MetaD2A, pareto_space, search_space
    from metad2a_plugin.spaces.base import Architecture, SearchSpace
    from metad2a_plugin.strategy import Strategy, maximize
    from metad2a_plugin.training import TrainConfig, TrainResult, train_architecture, train_many

# Names are resolved on first use, so that importing the package does not import torch.
_HOMES = {
    "Architecture": "spaces.base",
    "Candidate": "result",
    "Front": "pareto",
    "MetaD2A": "search",
    "Predictor": "predictor",
    "SearchResult": "result",
    "SearchSpace": "spaces.base",
    "Strategy": "strategy",
    "Task": "data",
    "TrainConfig": "training",
    "TrainResult": "training",
    "available": "registry",
    "export_network": "export",
    "export_onnx": "export",
    "extract_task": "data",
    "get_predictor": "registry",
    "get_space": "registry",
    "get_strategy": "registry",
    "load_dataset": "data",
    "load_network": "export",
    "maximize": "strategy",
    "pareto_space": "search",
    "search_space": "search",
    "train_architecture": "training",
    "train_many": "training",
}

__all__ = [
    "Architecture",
    "Candidate",
    "Front",
    "MetaD2A",
    "Predictor",
    "SearchResult",
    "SearchSpace",
    "Strategy",
    "Task",
    "TrainConfig",
    "TrainResult",
    "available",
    "export_network",
    "export_onnx",
    "extract_task",
    "get_predictor",
    "get_space",
    "get_strategy",
    "load_dataset",
    "load_network",
    "maximize",
    "pareto_space",
    "search_space",
    "train_architecture",
    "train_many",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("metad2a-plugin")
        except PackageNotFoundError:  # run from a source tree
            return "unknown"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
