"""NNI: the strategies of this package in a `NasExperiment`, and as a tuner of ``nnictl``.

    from nni.nas.experiment import NasExperiment
    from nni.nas.hub.pytorch import NasBench201
    from metad2a_plugin.adapters.nni import MetaD2AStrategy

    experiment = NasExperiment(NasBench201(), evaluator, MetaD2AStrategy("photos/"))

`SearchStrategy` wraps any strategy by name; `TableEvaluator`, `PredictorEvaluator` and `TrainingEvaluator` evaluate;
`SearchTuner` and `MetaD2ATuner` serve YAML experiments. The model spaces are NNI's `NasBench201`, others of the same
cells, parts of these, and Once-for-All's network, which `ofa_space` makes of NNI's `MobileNetV3Space`. Written for NNI
3.0, its last release, whose faults are worked around here: see ``docs/nni.md``.
"""

# ruff: noqa: E402
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._nni_compat import check, check_versions

check_versions()  # before anything of NNI is imported

from metad2a_plugin.utils.lazy import resolver

if TYPE_CHECKING:
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
# On first use: NNI gives a tuner ten seconds to connect, of which an import of `nni.nas` would take most.
_LIGHT = {
    "adapters._nni_bridge": ("architecture_of",),
    "adapters._nni_tuner": ("MetaD2ATuner", "SearchTuner"),
}
_OF_NAS = {
    "adapters._nni_evaluators": ("PredictorEvaluator", "TableEvaluator", "TrainingEvaluator"),
    "adapters._nni_space": ("load_ofa_weights", "ofa_space"),
    "adapters._nni_strategy": ("MetaD2AStrategy", "SearchStrategy"),
}
_resolve = resolver(__name__, _LIGHT | _OF_NAS)


def __getattr__(name: str) -> Any:
    if any(name in names for names in _OF_NAS.values()):
        check()
    return _resolve(name)


def __dir__() -> list[str]:
    return __all__
