"""Types of what the registry returns: classes that take arguments of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import SearchSpace


class StrategyClass(Protocol):
    """What `get_strategy` returns: the class of a strategy, with options of its own."""

    __name__: str

    def __call__(self, space: SearchSpace, *, seed: int = 0, **options: Any) -> Strategy: ...


class PredictorClass(Protocol):
    """What `get_predictor` returns: the class of a predictor, with arguments of its own."""

    __name__: str
    needs_task: bool
    network: Mapping[str, Any] | None

    def __call__(self, space: SearchSpace, *arguments: Any, **options: Any) -> Predictor: ...


class EncoderClass(Protocol):
    """What `get_encoder_class` returns: the class of an image encoder."""

    __name__: str

    def __call__(self, *, device: str = "cpu") -> ImageEncoder: ...
