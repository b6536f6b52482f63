"""MetaD2A: from an image dataset to a neural architecture in seconds.

>>> from metad2a_plugin import MetaD2A
>>> result = MetaD2A.from_pretrained("nasbench201").search("path/to/images")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metad2a_plugin.utils import forks as forks  # lets forked children go on
from metad2a_plugin.utils.lazy import resolver

if TYPE_CHECKING:
    from metad2a_plugin.candidates.find import Effort
    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.contest.config import AutoConfig
    from metad2a_plugin.contest.result import AutoResult
    from metad2a_plugin.contest.run import auto
    from metad2a_plugin.data import Task, extract_task, load_dataset
    from metad2a_plugin.errors import MetaD2AError
    from metad2a_plugin.plugins.budget import Budget
    from metad2a_plugin.plugins.predictor import Prediction, Predictor
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
    from metad2a_plugin.training.predict import ImagePredictions, predict_images
    from metad2a_plugin.training.result import TrainResult
    from metad2a_plugin.training.run import train_architecture, train_many

__all__ = [
    "Architecture", "AutoConfig", "AutoResult", "Budget", "Candidate", "ChoiceSpace", "Effort", "Front",
    "ImagePredictions", "Limits", "MetaD2A", "MetaD2AError", "Prediction", "Predictor", "SearchResult", "SearchSpace",
    "Strategy", "Task", "TrainConfig", "TrainResult", "auto", "available", "export_network", "export_onnx",
    "extract_task", "get_predictor", "get_space", "get_strategy", "load_dataset", "load_network", "maximize",
    "pareto_space", "predict_images", "search_space", "train_architecture", "train_many", "train_search",
]  # fmt: skip
# Names are resolved on first use, so that importing the package does not import torch.
_NAMES = {
    "candidates.find": ("Effort",),
    "candidates.limits": ("Limits",),
    "contest.config": ("AutoConfig",),
    "contest.result": ("AutoResult",),
    "contest.run": ("auto",),
    "data": ("Task", "extract_task", "load_dataset"),
    "errors": ("MetaD2AError",),
    "plugins.budget": ("Budget",),
    "plugins.predictor": ("Prediction", "Predictor"),
    "plugins.registry": ("available", "get_predictor", "get_space", "get_strategy"),
    "plugins.strategy": ("Strategy", "maximize"),
    "search.metad2a": ("MetaD2A", "pareto_space", "search_space"),
    "search.pareto": ("Front",),
    "search.result": ("Candidate", "SearchResult"),
    "spaces.base": ("Architecture", "SearchSpace"),
    "spaces.choice": ("ChoiceSpace",),
    "strategies.trained_search": ("train_search",),
    "training.config": ("TrainConfig",),
    "training.files": ("export_network", "export_onnx", "load_network"),
    "training.predict": ("ImagePredictions", "predict_images"),
    "training.result": ("TrainResult",),
    "training.run": ("train_architecture", "train_many"),
    "utils.installed": ("version",),
}
_resolve = resolver(__name__, _NAMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _resolve("version")()
    return _resolve(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
