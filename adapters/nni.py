"""NNI: the strategies of this package in a `NasExperiment`, and as a tuner of ``nnictl``.

    from nni.nas.experiment import NasExperiment
    from nni.nas.hub.pytorch import NasBench201
    from metad2a_plugin.adapters.nni import MetaD2AStrategy

    experiment = NasExperiment(NasBench201(), evaluator, MetaD2AStrategy("photos/"))

`SearchStrategy` wraps any strategy by name; `TableEvaluator`, `PredictorEvaluator` and `TrainingEvaluator` evaluate;
`SearchTuner` and `MetaD2ATuner` serve YAML experiments. The model spaces are NNI's `NasBench201` and Once-for-All's
network, which `ofa_space` makes of its `MobileNetV3Space`. Written for NNI 3.0, its last release, whose faults are
worked around here: see ``docs/nni.md``.
"""

# ruff: noqa: E402
from ._nni_compat import check

check()  # before anything of NNI is imported

from ._nni_bridge import architecture_of
from ._nni_evaluators import PredictorEvaluator, TableEvaluator, TrainingEvaluator
from ._nni_space import load_ofa_weights, ofa_space
from ._nni_strategy import MetaD2AStrategy, SearchStrategy
from ._nni_tuner import MetaD2ATuner, SearchTuner

__all__ = [
    "MetaD2AStrategy",
    "MetaD2ATuner",
    "PredictorEvaluator",
    "SearchStrategy",
    "SearchTuner",
    "TableEvaluator",
    "TrainingEvaluator",
    "architecture_of",
    "load_ofa_weights",
    "ofa_space",
]
