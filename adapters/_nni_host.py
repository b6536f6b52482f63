"""NNI's own names, once `check` has found that it can work."""

# ruff: noqa: E402
from ._nni_compat import check

check()

import nni
from nni.nas.evaluator import Evaluator
from nni.nas.execution import ExecutionEngine, Middleware, TrainingServiceExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, ModelEventType, TrainingEndEvent
from nni.nas.hub.pytorch import MobileNetV3Space
from nni.nas.space import ExecutableModelSpace, ModelStatus
from nni.nas.strategy.base import Strategy, StrategyStatus
from nni.tuner import Tuner

__all__ = [
    "Evaluator",
    "ExecutableModelSpace",
    "ExecutionEngine",
    "FinalMetricEvent",
    "Middleware",
    "MobileNetV3Space",
    "ModelEventType",
    "ModelStatus",
    "Strategy",
    "StrategyStatus",
    "TrainingEndEvent",
    "TrainingServiceExecutionEngine",
    "Tuner",
    "nni",
]
