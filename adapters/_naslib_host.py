"""NASLib's own names, once `prepare` has made them importable."""

# ruff: noqa: E402
from ._naslib_compat import prepare

prepare()

from naslib import optimizers
from naslib.defaults.trainer import Trainer
from naslib.optimizers.core.metaclasses import MetaOptimizer
from naslib.predictors.predictor import Predictor
from naslib.search_spaces import NasBench201SearchSpace
from naslib.search_spaces.core.query_metrics import Metric
from naslib.utils import AttrDict, set_seed

__all__ = [
    "AttrDict",
    "MetaOptimizer",
    "Metric",
    "NasBench201SearchSpace",
    "Predictor",
    "Trainer",
    "optimizers",
    "set_seed",
]
