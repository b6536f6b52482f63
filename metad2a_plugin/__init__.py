"""MetaD2A: from an image dataset to a neural architecture in seconds.

>>> from metad2a_plugin import MetaD2A
>>> result = MetaD2A.from_pretrained("nasbench201").search("path/to/images")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metad2a_plugin.data import Task, extract_task, load_dataset
    from metad2a_plugin.plugins.predictor import Predictor
    from metad2a_plugin.plugins.registry import available, get_predictor, get_space, get_strategy
    from metad2a_plugin.plugins.strategy import Strategy, maximize
    from metad2a_plugin.search.metad2a import MetaD2A, pareto_space, search_space
    from metad2a_plugin.search.pareto import Front
    from metad2a_plugin.search.result import Candidate, SearchResult
    from metad2a_plugin.spaces.base import Architecture, SearchSpace
    from metad2a_plugin.spaces.choice import ChoiceSpace
    from metad2a_plugin.strategies.trained_search import train_search
    from metad2a_plugin.training.config import TrainConfig
    from metad2a_plugin.training.files import export_network, export_onnx, load_network
    from metad2a_plugin.training.result import TrainResult
    from metad2a_plugin.training.run import train_architecture, train_many

# Names are resolved on first use, so that importing the package does not import torch.
_HOMES = {
    "Architecture": "spaces.base",
    "Candidate": "search.result",
    "ChoiceSpace": "spaces.choice",
    "Front": "search.pareto",
    "MetaD2A": "search.metad2a",
    "Predictor": "plugins.predictor",
    "SearchResult": "search.result",
    "SearchSpace": "spaces.base",
    "Strategy": "plugins.strategy",
    "Task": "data",
    "TrainConfig": "training.config",
    "TrainResult": "training.result",
    "available": "plugins.registry",
    "export_network": "training.files",
    "export_onnx": "training.files",
    "extract_task": "data",
    "get_predictor": "plugins.registry",
    "get_space": "plugins.registry",
    "get_strategy": "plugins.registry",
    "load_dataset": "data",
    "load_network": "training.files",
    "maximize": "plugins.strategy",
    "pareto_space": "search.metad2a",
    "search_space": "search.metad2a",
    "train_architecture": "training.run",
    "train_many": "training.run",
    "train_search": "strategies.trained_search",
}

__all__ = [
    "Architecture",
    "Candidate",
    "ChoiceSpace",
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
    "train_search",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module(f"{__name__}.utils.installed").version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
